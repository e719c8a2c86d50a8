//! The policy on the toy pool: shapes, fallback, idleness, waiting pods, rest.

use alloc::format;
use alloc::string::String;

use onsen_policy_sdk::testing::{Dice, Pool};
use onsen_policy_sdk::{Decision, Policy, SECOND, Setting, Unit, View};

use crate::shrink::SLACK;
use crate::{PrefixFrugal, decide};

const MINUTE: u64 = 60 * SECOND;

fn ask(view: &View<'_>) -> Result<Decision, String> {
    PrefixFrugal::decide(view)
}

#[test]
fn a_quiet_node_holds_a_few_single_addresses() {
    let mut pool = Pool::new(3, 9, Unit::Address);
    pool.rest(ask);
    assert_eq!(
        (pool.count(Unit::Prefix), pool.count(Unit::Address)),
        (0, 3)
    );
}

#[test]
fn a_pool_that_another_policy_filled_shrinks_under_running_pods() {
    let mut pool = Pool::new(3, 9, Unit::Address);
    for eni in 0..3 {
        if eni > 0 {
            pool.enis.push(pool.enis[0].clone());
            pool.enis[eni].blocks.clear();
            pool.enis[eni].idle_since = pool.now;
        }
        pool.fill(eni, Unit::Address, 9);
    }
    for _ in 0..5 {
        pool.add_pod();
    }
    pool.pass(10 * MINUTE);
    pool.rest(ask);
    assert_eq!(pool.count(Unit::Prefix), 0);
    assert!(pool.free() < 2 + SLACK, "{} are free", pool.free());
    assert_eq!((pool.enis.len(), pool.assigned(), pool.waiting), (3, 5, 0));
    // ENIs without anything stay a little longer than an hour.
    pool.pass(60 * MINUTE);
    pool.rest(ask);
    assert_eq!((pool.enis.len(), pool.assigned(), pool.waiting), (1, 5, 0));
}

#[test]
fn many_pods_that_wait_get_whole_prefixes_and_the_rest_single_addresses() {
    let mut pool = Pool::new(4, 14, Unit::Address);
    pool.rest(ask);
    for _ in 0..40 {
        pool.add_pod();
    }
    pool.rest(ask);
    assert_eq!((pool.count(Unit::Prefix), pool.waiting), (2, 0));
}

#[test]
fn slow_growth_takes_single_addresses_on_one_eni_after_the_other() {
    let mut pool = Pool::new(3, 9, Unit::Address);
    for _ in 0..20 {
        pool.add_pod();
        pool.pass(2 * MINUTE);
        pool.rest(ask);
        assert_eq!(pool.waiting, 0);
        assert!(pool.free() < 2 + SLACK, "{} are free", pool.free());
    }
    assert_eq!((pool.count(Unit::Prefix), pool.enis.len()), (0, 3));
}

#[test]
fn a_prefix_runs_empty_when_few_pods_are_left_and_goes_back_soon() {
    let mut pool = Pool::new(3, 9, Unit::Address);
    pool.fill(0, Unit::Address, 8);
    for _ in 0..6 {
        pool.add_pod();
    }
    pool.rest(ask);
    for _ in 0..18 {
        pool.add_pod();
    }
    pool.round(ask);
    pool.round(ask);
    assert_eq!((pool.waiting, pool.count(Unit::Prefix)), (0, 1));
    pool.pass(4 * MINUTE);
    for _ in 0..18 {
        pool.delete_pod();
    }
    pool.pass(2 * MINUTE);
    pool.rest(ask);
    assert_eq!((pool.assigned(), pool.count(Unit::Prefix)), (6, 0));
    assert!(pool.free() >= 2);
}

#[test]
fn a_scarce_subnet_gets_back_what_is_idle_after_half_the_time() {
    let minutes_until_release = |free: Option<u32>| {
        let mut pool = Pool::new(1, 9, Unit::Address);
        pool.fill(0, Unit::Address, 9);
        let mut snapshot = pool.snapshot();
        snapshot.subnets[0].free_addresses = free;
        decide(&View::new(&snapshot)).wake_after
    };
    assert_eq!(minutes_until_release(Some(500)), Some(120 * SECOND));
    assert_eq!(minutes_until_release(None), Some(120 * SECOND));
    assert_eq!(minutes_until_release(Some(20)), Some(60 * SECOND));
}

#[test]
fn a_cordoned_node_keeps_nothing_to_spare() {
    let mut pool = Pool::new(3, 9, Unit::Address);
    for _ in 0..5 {
        pool.add_pod();
    }
    pool.rest(ask);
    pool.schedulable = false;
    pool.pass(10 * MINUTE);
    pool.rest(ask);
    assert!(pool.free() < SLACK, "{} are free", pool.free());
    assert_eq!(pool.assigned(), 5);
}

#[test]
fn a_subnet_without_prefixes_gives_single_addresses() {
    let mut pool = Pool::new(3, 9, Unit::Prefix);
    pool.no_prefixes = true;
    for _ in 0..12 {
        pool.add_pod();
    }
    pool.rest(ask);
    assert_eq!(
        (pool.count(Unit::Prefix), pool.assigned(), pool.waiting),
        (0, 12, 0)
    );
    let tries = pool
        .history
        .iter()
        .filter(|(_, what)| what.contains("unit: Unit::Prefix"))
        .count();
    assert!(
        tries <= 2,
        "all that is wanted, then one: {:#?}",
        pool.history
    );
}

#[test]
fn prefixes_come_back_when_the_subnet_has_some_again() {
    let mut pool = Pool::new(3, 9, Unit::Prefix);
    pool.no_prefixes = true;
    pool.rest(ask);
    assert!(pool.count(Unit::Address) > 0);
    pool.no_prefixes = false;
    pool.pass(31 * MINUTE);
    for _ in 0..20 {
        pool.add_pod();
    }
    pool.rest(ask);
    assert!(pool.count(Unit::Prefix) > 0);
}

#[test]
fn an_instance_without_prefixes_gets_single_addresses() {
    let mut pool = Pool::new(3, 9, Unit::Prefix);
    pool.prefixes = false;
    pool.rest(ask);
    assert_eq!(
        (pool.count(Unit::Prefix), pool.count(Unit::Address)),
        (0, 3)
    );
}

#[test]
fn busy_minutes_ask_for_more_and_quiet_ones_give_it_back() {
    let mut pool = Pool::new(3, 9, Unit::Prefix);
    pool.rest(ask);
    for _ in 0..30 {
        pool.add_pod();
    }
    pool.round(ask);
    assert_eq!(pool.waiting, 0, "served at once");
    pool.round(ask);
    assert!(pool.free() >= 8, "a quarter more: {}", pool.free());
    for _ in 0..30 {
        pool.delete_pod();
    }
    pool.pass(20 * MINUTE);
    pool.rest(ask);
    assert!(pool.addresses() < 2 + SLACK + 16, "{}", pool.addresses());
}

#[test]
fn idle_blocks_stay_for_the_time_that_the_operator_set() {
    let mut pool = Pool::new(3, 9, Unit::Prefix).with("FRUGAL_PREFIX_IDLE_SECONDS", 600);
    pool.rest(ask);
    let since = pool.now;
    pool.fill(0, Unit::Prefix, 2);
    pool.rest(ask);
    let back = pool
        .history
        .iter()
        .find(|(_, what)| what.contains("Release"));
    assert!(back.is_none(), "too early: {back:?}");
    pool.pass(600 * SECOND);
    pool.rest(ask);
    let (at, _) = pool.history.last().unwrap();
    assert!(*at >= since + 600 * SECOND);
    assert_eq!(pool.count(Unit::Prefix), 0);
}

#[test]
fn a_wish_to_wake_comes_with_blocks_that_are_not_idle_long_enough() {
    let mut pool = Pool::new(1, 9, Unit::Prefix);
    pool.fill(0, Unit::Address, 3);
    pool.fill(0, Unit::Prefix, 3);
    pool.pass(30 * SECOND);
    let snapshot = pool.snapshot();
    let decision = decide(&View::new(&snapshot));
    assert_eq!(decision.wake_after, Some(30 * SECOND));
}

#[test]
fn a_pod_that_comes_and_goes_does_not_move_prefixes() {
    let mut pool = Pool::new(2, 9, Unit::Prefix);
    for _ in 0..14 {
        pool.add_pod();
        pool.round(ask);
    }
    pool.rest(ask);
    pool.pass(20 * MINUTE);
    pool.rest(ask);
    let before = pool.history.len();
    for _ in 0..60 {
        pool.add_pod();
        for _ in 0..12 {
            pool.round(ask);
        }
        pool.delete_pod();
        for _ in 0..12 {
            pool.round(ask);
        }
    }
    let moves = &pool.history[before..];
    let grows = |what: &str| what.contains("Grow") || what.contains("Attach");
    assert!(!moves.iter().any(|(_, what)| grows(what)), "{moves:#?}");
}

#[test]
fn a_full_subnet_is_left_alone_for_two_minutes() {
    let mut pool = Pool::new(3, 9, Unit::Prefix);
    pool.no_addresses = true;
    for _ in 0..24 {
        pool.round(ask);
    }
    assert!(pool.history.len() <= 3, "{:#?}", pool.history);
    pool.no_addresses = false;
    pool.rest(ask);
    assert!(pool.free() >= 2);
}

#[test]
fn settings_outside_their_range_are_told() {
    let bad = |key: &str, value: &str| Setting {
        key: key.into(),
        value: value.into(),
    };
    let given = [
        bad("FRUGAL_MIN_FREE", "257"),
        bad("FRUGAL_IDLE_SECONDS", "soon"),
    ];
    assert_eq!(PrefixFrugal::problems(&given).len(), 2);
    assert!(PrefixFrugal::problems(&[bad("FRUGAL_MAX_FREE", "64")]).is_empty());
}

#[test]
fn every_pool_comes_to_rest_serves_its_pods_and_stays_frugal() {
    let mut dice = Dice(11);
    for case in 0..150 {
        let unit = if dice.below(2) == 0 {
            Unit::Address
        } else {
            Unit::Prefix
        };
        let (enis, slots) = (1 + dice.below(6), 2 + dice.below(12));
        let mut pool = Pool::new(enis, slots, unit);
        pool.prefixes = dice.below(4) > 0;
        pool.grow_budget = 1 + dice.below(4);
        let minimum = dice.below(6);
        pool = pool
            .with("FRUGAL_MIN_FREE", minimum)
            .with("FRUGAL_MAX_FREE", minimum + dice.below(20));
        pool.fill(0, Unit::Address, dice.below(slots + 1));
        let capacity = enis * slots * if pool.prefixes { 16 } else { 1 };
        // Single addresses of pods hold slots that prefixes cannot take.
        let safe = if pool.prefixes {
            (capacity / 2).saturating_sub(16 * slots)
        } else {
            capacity
        };
        for phase in 0..6 {
            pool.no_prefixes = dice.below(4) == 0;
            for _ in 0..dice.below(120) {
                if dice.below(2) == 0 && pool.assigned() + pool.waiting < safe.min(enis * slots) {
                    pool.add_pod();
                } else {
                    pool.delete_pod();
                }
                if dice.below(4) == 0 {
                    pool.round(ask);
                }
            }
            pool.rest(ask);
            let about = format!("case {case}, phase {phase}: {:?}", pool.settings);
            assert_eq!(pool.waiting, 0, "{about}");
        }
        pool.no_prefixes = false;
        while pool.assigned() > 0 {
            pool.delete_pod();
        }
        pool.pass(40 * MINUTE);
        pool.rest(ask);
        pool.pass(40 * MINUTE);
        pool.rest(ask);
        let about = format!("case {case}: {:?}", pool.settings);
        // Where prefixes were refused once, the last single addresses are not risked for one.
        let is_full = pool.count(Unit::Address) == enis * slots;
        // At the limit of ENIs a prefix comes only when nothing is free.
        assert!(pool.free() >= minimum.min(1) || is_full, "{about}");
        assert!(
            pool.free() < minimum + SLACK + 16,
            "{} free, {about}",
            pool.free()
        );
    }
}
