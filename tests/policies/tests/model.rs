//! The model by itself: the steady states that the specification prints, and answers that are wrong.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::cast_sign_loss,
    clippy::allow_attributes,
    reason = "a test may panic"
)]

use onsen_core::cidr::Unit;
use onsen_core::proposal::Request;
use onsen_core::snapshot::Setting;
use onsen_policy_tests::card::cards;
use onsen_policy_tests::judge::judge;
use onsen_policy_tests::random;
use onsen_policy_tests::rules::{Mode, Rules};
use onsen_policy_tests::toy::Toy;

/// `mode` strict.
fn m5_large(unit: Unit, settings: &[(&str, u32)]) -> Toy {
    let mut toy = Toy::m5_large(unit, settings);
    toy.node.settings.push(Setting {
        key: "STRICT_UPSTREAM".into(),
        value: "true".into(),
    });
    toy
}

/// One growth step of the model itself; false when nothing is asked for.
fn step(toy: &mut Toy) -> bool {
    let snapshot = toy.snapshot();
    let rules = Rules::read(&snapshot);
    let card = cards(&snapshot, &rules).remove(0);
    if !rules.too_low(&card) {
        return false;
    }
    let wanted = rules.step(&card);
    let request = match card.enis.iter().find(|eni| rules.fillable(eni)) {
        Some(eni) => Request::Grow {
            eni: eni.index,
            unit: rules.unit,
            count: wanted.min(eni.free_slots) as u32,
        },
        None if rules.room_for_eni(&card) => Request::AttachEni {
            subnet: None,
            unit: rules.unit,
            blocks: wanted.min(rules.slots) as u32,
            card: 0,
        },
        None => return false,
    };
    assert_eq!(
        judge(&snapshot, std::slice::from_ref(&request)).complaints,
        Vec::<String>::new()
    );
    toy.apply(&[request]).unwrap();
    true
}

/// Pods come one by one; after each the pool grows until it rests. ENIs and addresses in the end.
fn after(mut toy: Toy, pods: u32) -> (usize, u32) {
    while step(&mut toy) {}
    for _ in 0..pods {
        toy.node.demand.waiting = vec![0];
        toy.serve();
        toy.node.demand.waiting.clear();
        while step(&mut toy) {}
    }
    let blocks = toy.enis.iter().flat_map(|eni| &eni.blocks);
    let addresses = blocks.map(|block| toy.size(block.unit)).sum();
    (toy.enis.len(), addresses)
}

#[test]
fn warm_eni_keeps_the_addresses_of_one_eni_available() {
    let toy = |warm| m5_large(Unit::Address, &[("WARM_ENI_TARGET", warm)]);
    assert_eq!(after(toy(1), 0), (1, 9));
    assert_eq!(after(toy(1), 1), (2, 18));
    assert_eq!(after(toy(1), 9), (2, 18));
    assert_eq!(after(toy(1), 10), (3, 27));
    assert_eq!(after(toy(0), 8), (1, 9));
    assert_eq!(after(toy(0), 9), (2, 18));
}

#[test]
fn ip_targets_keep_the_larger_of_pods_and_warm_or_the_floor() {
    let toy = |warm, floor| {
        m5_large(
            Unit::Address,
            &[("WARM_IP_TARGET", warm), ("MINIMUM_IP_TARGET", floor)],
        )
    };
    assert_eq!(after(toy(5, 0), 0), (1, 5));
    assert_eq!(after(toy(2, 8), 5), (1, 8));
    assert_eq!(after(toy(2, 8), 8), (2, 10));
    assert_eq!(after(toy(0, 3), 3), (1, 3));
}

#[test]
fn prefixes_are_counted_by_their_addresses() {
    let toy = |key, value| m5_large(Unit::Prefix, &[(key, value)]);
    assert_eq!(after(toy("WARM_PREFIX_TARGET", 1), 0), (1, 16));
    assert_eq!(after(toy("WARM_PREFIX_TARGET", 1), 1), (1, 32));
    assert_eq!(after(toy("WARM_PREFIX_TARGET", 1), 17), (1, 48));
    assert_eq!(after(toy("WARM_IP_TARGET", 5), 11), (1, 16));
    assert_eq!(after(toy("WARM_IP_TARGET", 5), 12), (1, 32));
    assert_eq!(after(toy("WARM_IP_TARGET", 5), 140), (2, 160));
}

/// A judge that never objects would make every comparison pass.
#[test]
fn doing_nothing_and_doing_too_much_are_both_found_wrong() {
    for mode in [Mode::Strict, Mode::Normal] {
        let (mut idle, mut greedy) = (0, 0);
        for seed in 0..500 {
            let toy = random::pool(seed, mode);
            let snapshot = toy.snapshot();
            idle += u32::from(!judge(&snapshot, &[]).complaints.is_empty());
            let more = [Request::AttachEni {
                subnet: None,
                unit: toy.node.unit,
                blocks: toy.node.limits.slots_per_eni,
                card: 0,
            }];
            greedy += u32::from(!judge(&snapshot, &more).complaints.is_empty());
        }
        assert!(
            idle > 150 && greedy > 400,
            "{mode:?}: {idle} and {greedy} of 500"
        );
    }
}
