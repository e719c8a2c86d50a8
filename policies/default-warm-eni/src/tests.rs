//! The policy on the toy pool: steady states, the way down, errors, waiting pods, rest.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use onsen_policy_sdk::testing::{Dice, Pool};
use onsen_policy_sdk::{Decision, Policy, Request, SECOND, Setting, Unit, View};

use crate::{WarmEni, decide};

fn ask(view: &View<'_>) -> Result<Decision, String> {
    WarmEni::decide(view)
}

/// A pool at rest with this many pods, which came one after another.
fn grown(mut pool: Pool, pods: u32) -> Pool {
    pool.rest(ask);
    for _ in 0..pods {
        pool.add_pod();
        pool.rest(ask);
    }
    pool
}

fn last_reason(pool: &Pool) -> String {
    let snapshot = pool.snapshot();
    decide(&View::new(&snapshot)).reason
}

#[test]
fn whole_enis_stay_warm() {
    // Pods, WARM_ENI_TARGET, addresses of an m4.4xlarge (8 ENIs of 29 slots).
    for (pods, warm, addresses) in [
        (0, 1, 29),
        (1, 1, 58),
        (29, 1, 58),
        (30, 1, 87),
        (58, 1, 87),
        (59, 1, 116),
        (0, 2, 58),
        (5, 2, 87),
        (28, 0, 29),
        (29, 0, 58),
    ] {
        let pool = grown(
            Pool::new(8, 29, Unit::Address).with("WARM_ENI_TARGET", warm),
            pods,
        );
        assert_eq!(pool.addresses(), addresses, "{pods} pods, target {warm}");
    }
}

#[test]
fn numbers_of_addresses_rule_when_given() {
    // Pods, WARM_IP_TARGET, MINIMUM_IP_TARGET, addresses.
    for (pods, warm, minimum, addresses) in [
        (0, 1, 0, 1),
        (9, 1, 0, 10),
        (30, 5, 30, 35),
        (35, 5, 30, 40),
        (3, 2, 10, 10),
        (9, 2, 10, 11),
        (10, 0, 10, 10),
        (0, 0, 30, 30),
    ] {
        let pool = Pool::new(8, 29, Unit::Address)
            .with("WARM_IP_TARGET", warm)
            .with("MINIMUM_IP_TARGET", minimum);
        let pool = grown(pool, pods);
        assert_eq!(
            pool.addresses(),
            addresses,
            "{pods} pods, warm {warm}, minimum {minimum}"
        );
    }
}

#[test]
fn prefixes_stay_warm() {
    // ENIs, slots, pods, WARM_PREFIX_TARGET, WARM_IP_TARGET, MINIMUM_IP_TARGET, prefixes.
    for (enis, slots, pods, prefix, warm, minimum, prefixes) in [
        (3, 3, 0, 1, 0, 0, 1),
        (3, 3, 1, 1, 0, 0, 2),
        (3, 3, 16, 1, 0, 0, 2),
        (3, 3, 17, 1, 0, 0, 3),
        (3, 9, 32, 2, 0, 0, 4),
        (3, 3, 0, 0, 7, 20, 2),
        (3, 3, 20, 0, 7, 20, 2),
        (3, 3, 30, 0, 7, 20, 3),
        (15, 49, 3, 1, 16, 64, 4),
        (15, 49, 95, 1, 16, 64, 7),
        (15, 49, 45, 1, 16, 64, 4),
    ] {
        let pool = Pool::new(enis, slots, Unit::Prefix)
            .with("WARM_PREFIX_TARGET", prefix)
            .with("WARM_IP_TARGET", warm)
            .with("MINIMUM_IP_TARGET", minimum);
        let pool = grown(pool, pods);
        assert_eq!(
            pool.count(Unit::Prefix),
            prefixes,
            "{pods} pods, {prefix} {warm} {minimum}"
        );
        assert_eq!(
            pool.enis.len() as u32,
            prefixes.div_ceil(slots),
            "{pods} pods"
        );
    }
}

#[test]
fn a_node_that_empties_goes_back_to_one_eni() {
    for (unit, setting) in [
        (Unit::Address, ("WARM_ENI_TARGET", 1)),
        (Unit::Address, ("WARM_IP_TARGET", 2)),
        (Unit::Prefix, ("WARM_PREFIX_TARGET", 1)),
        (Unit::Prefix, ("WARM_IP_TARGET", 2)),
    ] {
        let mut pool = grown(Pool::new(4, 4, unit).with(setting.0, setting.1), 12);
        for _ in 0..12 {
            pool.delete_pod();
        }
        pool.rest(ask);
        assert_eq!(pool.enis.len(), 1, "{setting:?}");
    }
}

#[test]
fn many_waiting_pods_are_served_by_one_decision() {
    let mut pool = Pool::new(3, 9, Unit::Address);
    for _ in 0..60 {
        pool.add_pod();
    }
    assert!(pool.round(ask));
    assert_eq!(
        (pool.addresses(), pool.assigned(), pool.waiting),
        (27, 27, 33)
    );
    assert!(!pool.round(ask), "there is no room left");
    assert!(last_reason(&pool).contains("all 3 ENIs are attached and full"));
}

#[test]
fn pods_that_wait_are_served_though_the_targets_are_reached() {
    let mut pool = grown(
        Pool::new(3, 9, Unit::Address).with("MINIMUM_IP_TARGET", 3),
        0,
    );
    assert_eq!(pool.addresses(), 3);
    for _ in 0..10 {
        pool.add_pod();
    }
    pool.round(ask);
    pool.round(ask);
    assert_eq!((pool.assigned(), pool.waiting), (10, 0));
}

#[test]
fn a_cordoned_node_grows_only_for_pods_that_wait() {
    let mut pool = Pool::new(3, 9, Unit::Address);
    pool.schedulable = false;
    pool.rest(ask);
    assert_eq!(pool.addresses(), 0);
    pool.add_pod();
    pool.round(ask);
    assert_eq!(pool.waiting, 0);
}

#[test]
fn an_empty_subnet_is_asked_three_times_and_then_left_alone() {
    let mut pool = Pool::new(3, 9, Unit::Address);
    pool.no_addresses = true;
    for _ in 0..24 {
        pool.round(ask);
    }
    let asked: Vec<_> = pool.history.iter().map(|(_, what)| what.clone()).collect();
    assert_eq!(asked.len(), 3, "all, then one, then a new ENI: {asked:#?}");
    assert!(last_reason(&pool).contains("growth rests"));
    pool.no_addresses = false;
    pool.rest(ask);
    assert_eq!(pool.addresses(), 9);
}

#[test]
fn the_node_stops_growing_at_its_number_of_pods() {
    let mut pool = Pool::new(8, 10, Unit::Address).with("WARM_ENI_TARGET", 3);
    pool.max_pods = 11;
    pool.rest(ask);
    assert_eq!(pool.addresses(), 20);
}

#[test]
fn max_eni_holds() {
    let pool = grown(Pool::new(8, 4, Unit::Address).with("MAX_ENI", 2), 7);
    assert_eq!(pool.enis.len(), 2);
}

#[test]
fn blocks_of_the_other_unit_go_back_after_a_change() {
    let mut pool = Pool::new(3, 9, Unit::Address);
    pool.fill(0, Unit::Prefix, 3);
    pool.rest(ask);
    assert_eq!(
        (pool.count(Unit::Prefix), pool.count(Unit::Address)),
        (0, 9)
    );
}

#[test]
fn an_instance_without_prefixes_gets_addresses() {
    let mut pool = Pool::new(3, 9, Unit::Prefix);
    pool.prefixes = false;
    pool.rest(ask);
    assert_eq!(
        (pool.count(Unit::Prefix), pool.count(Unit::Address)),
        (0, 9)
    );
}

#[test]
fn garbage_in_settings_is_told_and_reads_as_the_default() {
    let bad = |key: &str, value: &str| Setting {
        key: key.into(),
        value: value.into(),
    };
    let problems = WarmEni::problems(&[bad("WARM_ENI_TARGET", "-1"), bad("MAX_ENI", "x")]);
    assert_eq!(problems.len(), 2);
    let pool = grown(
        Pool::new(8, 29, Unit::Address).with("WARM_ENI_TARGET", "-1"),
        1,
    );
    assert_eq!(pool.addresses(), 58, "as with the default of 1");
}

#[test]
fn every_pool_comes_to_rest_and_serves_its_pods() {
    let mut dice = Dice(7);
    for case in 0..150 {
        let unit = if dice.below(2) == 0 {
            Unit::Address
        } else {
            Unit::Prefix
        };
        let (enis, slots) = (1 + dice.below(6), 1 + dice.below(12));
        let mut pool = Pool::new(enis, slots, unit);
        pool.grow_budget = 1 + dice.below(4);
        for (key, end) in [
            ("WARM_ENI_TARGET", 4),
            ("WARM_IP_TARGET", 20),
            ("MINIMUM_IP_TARGET", 40),
            ("WARM_PREFIX_TARGET", 4),
        ] {
            if dice.below(2) == 0 {
                pool = pool.with(key, dice.below(end));
            }
        }
        let capacity = enis * slots * if unit == Unit::Prefix { 16 } else { 1 };
        for _ in 0..6 {
            for _ in 0..dice.below(capacity.min(120)) {
                if dice.below(2) == 0 && pool.assigned() + pool.waiting < capacity {
                    pool.add_pod();
                } else {
                    pool.delete_pod();
                }
                if dice.below(4) == 0 {
                    pool.round(ask);
                }
            }
            pool.rest(ask);
            let about = format!("case {case}: {:?}", pool.settings);
            assert_eq!(pool.waiting, 0, "{about}");
        }
    }
}

#[test]
fn a_decision_is_the_same_every_time() {
    let mut pool = Pool::new(3, 9, Unit::Address);
    pool.add_pod();
    let snapshot = pool.snapshot();
    assert_eq!(decide(&View::new(&snapshot)), decide(&View::new(&snapshot)));
}

#[test]
fn lists_that_do_not_fit_together_do_no_harm() {
    let pool = grown(Pool::new(3, 9, Unit::Address), 3);
    let mut snapshot = pool.snapshot();
    snapshot.blocks.free.truncate(2);
    snapshot.enis[0].first_block = u32::MAX;
    snapshot.memo = alloc::vec![1, 2, 3];
    let decision = decide(&View::new(&snapshot));
    assert!(!decision.reason.is_empty());
}

#[test]
fn surplus_goes_back_at_most_every_thirty_seconds() {
    let mut pool = grown(Pool::new(3, 9, Unit::Address).with("WARM_IP_TARGET", 1), 6);
    for _ in 0..3 {
        pool.delete_pod();
    }
    pool.pass(31 * SECOND);
    pool.round(ask);
    pool.delete_pod();
    pool.pass(31 * SECOND);
    pool.delete_pod();
    pool.rest(ask);
    let times: Vec<u64> = pool
        .history
        .iter()
        .filter(|(_, what)| what.contains("Release"))
        .map(|(at, _)| *at)
        .collect();
    assert!(times.len() >= 2, "{:?}", pool.history);
    assert!(
        times
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= 30 * SECOND),
        "{times:?}"
    );
}

#[test]
fn a_terminating_node_changes_nothing() {
    let mut snapshot = Pool::new(3, 9, Unit::Address).snapshot();
    snapshot.node.terminating = true;
    assert!(decide(&View::new(&snapshot)).actions.is_empty());
}

#[test]
fn an_ipv6_node_has_one_prefix_on_each_eni() {
    let mut snapshot = Pool::new(3, 9, Unit::Prefix).snapshot();
    snapshot.node.family = onsen_policy_sdk::Family::Ipv6;
    let decision = decide(&View::new(&snapshot));
    let [only] = &*decision.actions else {
        panic!("one action: {decision:?}")
    };
    assert!(
        matches!(&only.request, Request::Grow(grow) if grow.count == 1 && grow.unit == Unit::Prefix)
    );
}

/// Rounds of five seconds; how often ENIs or prefixes came or went in the last ten minutes.
fn changes_at_the_end(mut pool: Pool) -> usize {
    for _ in 0..360 {
        pool.round(ask);
        pool.pass(5 * SECOND);
    }
    let since = pool.now - 600 * SECOND;
    pool.history.iter().filter(|(at, _)| *at >= since).count()
}

#[test]
fn upstreams_combinations_that_never_rest_do_so_only_when_asked_to() {
    let full_enis = || {
        let pool = Pool::new(4, 9, Unit::Address).with("WARM_ENI_TARGET", 0);
        let mut pool = grown(pool, 8);
        pool.add_pod();
        pool
    };
    let all_targets_0 = || Pool::new(4, 9, Unit::Prefix);
    for (name, pool) in [("full ENIs", full_enis()), ("prefixes", all_targets_0())] {
        let strict = pool.clone().with("STRICT_UPSTREAM", true);
        assert_eq!(changes_at_the_end(pool), 0, "{name}");
        assert!(
            changes_at_the_end(strict) >= 6,
            "{name}: upstream never rests"
        );
    }
}

#[test]
fn to_the_letter_there_is_one_step_in_five_seconds_and_waiting_pods_are_not_seen() {
    let mut pool = Pool::new(4, 9, Unit::Address)
        .with("WARM_IP_TARGET", 12)
        .with("STRICT_UPSTREAM", true);
    let decided = |pool: &mut Pool| {
        let snapshot = pool.snapshot();
        let decision = decide(&View::new(&snapshot));
        pool.apply(&decision);
        decision.actions.len()
    };
    assert_eq!((decided(&mut pool), pool.addresses()), (1, 9), "one ENI");
    pool.pass(4 * SECOND);
    assert_eq!(decided(&mut pool), 0, "no new round yet");
    pool.pass(SECOND);
    assert_eq!((decided(&mut pool), pool.addresses()), (1, 12));
    pool.pass(5 * SECOND);
    let mut snapshot = pool.snapshot();
    snapshot.demand.waiting = alloc::vec![1_000; 30];
    assert!(decide(&View::new(&snapshot)).actions.is_empty());
}

#[test]
fn custom_networking_leaves_the_primary_empty() {
    let mut pool = Pool::new(3, 9, Unit::Address).with("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", true);
    pool.rest(ask);
    assert_eq!(pool.enis[0].blocks.len(), 0);
    assert_eq!(pool.enis[1].blocks.len(), 9);
}

#[test]
fn a_place_is_kept_for_a_trunk() {
    let pool = Pool::new(3, 9, Unit::Address).with("WARM_ENI_TARGET", 9);
    let mut without = pool.clone();
    without.rest(ask);
    assert_eq!(without.enis.len(), 3);
    let mut with = pool.with("ENABLE_POD_ENI", true);
    with.rest(ask);
    assert_eq!(with.enis.len(), 2);
}

#[test]
fn another_card_keeps_one_address_or_prefix_whatever_the_targets_are() {
    for unit in [Unit::Address, Unit::Prefix] {
        let mut pool = Pool::new(3, 9, unit)
            .with("WARM_IP_TARGET", 5)
            .with("ENABLE_MULTI_NIC", true);
        pool.rest(ask);
        let mut snapshot = pool.snapshot();
        snapshot.limits.other_cards = alloc::vec![0, 3];
        let decision = decide(&View::new(&snapshot));
        let [action] = &*decision.actions else {
            panic!("{decision:?}");
        };
        assert!(
            matches!(&action.request, Request::AttachEni(attach) if attach.card == 2 && attach.blocks == 1),
            "{action:?}"
        );
        snapshot
            .settings
            .retain(|setting| setting.key != "ENABLE_MULTI_NIC");
        assert!(decide(&View::new(&snapshot)).actions.is_empty());
    }
}

#[test]
fn names_that_guides_misspell_are_honoured_and_told() {
    let setting = |key: &str| Setting {
        key: key.into(),
        value: "3".into(),
    };
    for (wrong, right) in [
        ("WAM_ENI_TARGET", "WARM_ENI_TARGET"),
        ("AWS_VPC_K8S_CNI_WARM_IP_TARGET", "WARM_IP_TARGET"),
        ("AWS_VPC_K8S_CNI_MAX_ENI", "MAX_ENI"),
        ("MINIMUM_IP_TARGETS", "MINIMUM_IP_TARGET"),
    ] {
        let mut pool = Pool::new(5, 9, Unit::Address);
        pool.settings = alloc::vec![setting(wrong)];
        let mut proper = Pool::new(5, 9, Unit::Address);
        proper.settings = alloc::vec![setting(right)];
        pool.rest(ask);
        proper.rest(ask);
        assert_eq!(pool.addresses(), proper.addresses(), "{wrong}");
        let problems = WarmEni::problems(&pool.settings);
        assert!(
            problems[0]
                .message
                .starts_with(&format!("did you mean {right}?")),
            "{problems:?}"
        );
    }
    let keys: Vec<String> = crate::targets::specs()
        .into_iter()
        .map(|spec| spec.key)
        .collect();
    for key in &keys {
        let given = [setting(key)];
        let specs = crate::targets::specs();
        let others: Vec<_> = specs.into_iter().filter(|spec| spec.key != *key).collect();
        assert!(
            onsen_policy_sdk::settings::problems(&others, &given).is_empty(),
            "{key} is no slip of another"
        );
    }
}

#[test]
fn an_eni_whose_call_is_under_way_is_waited_for_before_another_one_is_attached() {
    let mut pool = Pool::new(3, 9, Unit::Prefix).with("WARM_PREFIX_TARGET", 1);
    pool.rest(ask);
    let mut snapshot = pool.snapshot();
    snapshot.demand.waiting = alloc::vec![100; 40];
    snapshot.enis[0].in_flight = 1;
    snapshot.enis[0].busy = true;
    snapshot.enis[0].free_slots = 7;
    assert!(decide(&View::new(&snapshot)).actions.is_empty());
    snapshot.enis[0].free_slots = 0;
    assert_eq!(decide(&View::new(&snapshot)).actions.len(), 1, "a new ENI");
}
