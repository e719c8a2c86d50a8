//! Keeps more addresses free at the hours in which pods come, and is warm before they begin.
//!
//! In: a snapshot with the wall clock and the offset of local time. Out: growth half an hour before
//! the office opens, and a wish to be woken at the next change. Must hold: it sees the same hour on
//! every node of a zone, whatever the machine's own time zone; nothing goes back while the office is open.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")
)]
extern crate alloc;

use alloc::format;
use alloc::string::String;

use onsen_policy_sdk::settings::Integer;
use onsen_policy_sdk::steps::{Supply, settle};
use onsen_policy_sdk::{Decision, Draft, Metadata, Placement, Policy, SECOND, View};

const OPENS: Integer = Integer {
    key: "OFFICE_OPENS",
    default: 8,
    min: 0,
    max: 23,
    doc: "Hour of local time at which pods begin to come, Monday to Friday.",
};
const CLOSES: Integer = Integer {
    key: "OFFICE_CLOSES",
    default: 18,
    min: 1,
    max: 24,
    doc: "Hour of local time at which they cease.",
};
const DAY_FREE: Integer = Integer {
    key: "OFFICE_DAY_FREE",
    default: 16,
    min: 0,
    max: 512,
    doc: "Addresses kept free at those hours.",
};
const NIGHT_FREE: Integer = Integer {
    key: "OFFICE_NIGHT_FREE",
    default: 1,
    min: 0,
    max: 512,
    doc: "Addresses kept free at all others.",
};
const MINUTE: u64 = 60 * SECOND;
const DAY: u64 = 24 * 60 * MINUTE;
/// How long before the hour the pool is made ready.
const EARLY: u64 = 30 * MINUTE;
const IDLE_SECONDS: u32 = 600;

/// The policy.
pub struct OfficeHours;

impl Policy for OfficeHours {
    fn metadata() -> Metadata {
        Metadata {
            name: "office-hours".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            doc: "Warm before the office opens, small after it has closed.".into(),
            settings: [
                OPENS.spec(),
                CLOSES.spec(),
                DAY_FREE.spec(),
                NIGHT_FREE.spec(),
            ]
            .into(),
        }
    }

    fn decide(view: &View<'_>) -> Result<Decision, String> {
        Ok(decide(view))
    }
}

onsen_policy_sdk::export_policy!(OfficeHours);

/// Whether it is a time at which pods come, and how long until that changes.
fn office(view: &View<'_>) -> (bool, u64) {
    let snapshot = view.snapshot;
    let offset = i64::from(snapshot.utc_offset) * MINUTE.cast_signed();
    let local = snapshot.now.saturating_add_signed(offset);
    let hour = |setting: &Integer| u64::from(setting.read(view.settings())) * 60 * MINUTE;
    let (start, end) = (hour(&OPENS).saturating_sub(EARLY), hour(&CLOSES));
    let of_day = local % DAY;
    // 1970-01-01 was a Thursday, day 3 of a week that starts on Monday.
    let weekday = (local / DAY + 3) % 7;
    let open = weekday < 5 && (start..end).contains(&of_day);
    let next = [start, end, DAY]
        .into_iter()
        .filter(|at| *at > of_day)
        .min();
    (open, next.unwrap_or(DAY) - of_day)
}

/// One decision.
pub fn decide(view: &View<'_>) -> Decision {
    let mut draft = Draft::default();
    let node = &view.snapshot.node;
    if node.terminating {
        return draft.finish(Placement::Pack, "The node is shutting down.".into());
    }
    let (open, change) = office(view);
    draft.wake_after(change);
    let keep = match (node.schedulable, open) {
        (false, _) => 0,
        (true, true) => DAY_FREE.read(view.settings()),
        (true, false) => NIGHT_FREE.read(view.settings()),
    };
    let supply = Supply::of(view);
    let wanted = supply.wanted(keep.into());
    let missing = supply.missing(wanted);
    // What pods leave by day is there for the next ones.
    let verdict = if open && node.schedulable && missing == 0 && supply.waiting == 0 {
        "enough"
    } else {
        settle(view, wanted, IDLE_SECONDS, &mut draft)
    };
    let hours = if open { "open" } else { "closed" };
    draft.finish(
        Placement::Pack,
        format!("The office is {hours}; {keep} are kept free: {verdict}."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use onsen_policy_sdk::Unit;
    use onsen_policy_sdk::strategies::pools;
    use onsen_policy_sdk::testing::Pool;
    use proptest::prelude::*;

    /// 2024-01-01, a Monday, at this minute of UTC.
    fn monday(minute: u64) -> u64 {
        1_704_067_200_000 + minute * MINUTE
    }

    fn open_at(now: u64, utc_offset: i32) -> (bool, u64) {
        let mut snapshot = Pool::new(3, 9, Unit::Address).snapshot();
        (snapshot.now, snapshot.utc_offset) = (now, utc_offset);
        office(&View::new(&snapshot))
    }

    #[test]
    fn the_office_is_warm_half_an_hour_early_and_shut_at_weekends() {
        assert_eq!(open_at(monday(7 * 60), 0), (false, 30 * MINUTE));
        assert_eq!(open_at(monday(7 * 60 + 30), 0), (true, 630 * MINUTE));
        assert_eq!(open_at(monday(18 * 60), 0), (false, 360 * MINUTE));
        for day in [5, 6] {
            assert!(!open_at(monday(12 * 60) + day * DAY, 0).0);
        }
        assert!(open_at(monday(12 * 60) + 4 * DAY, 0).0);
    }

    #[test]
    fn local_time_counts() {
        // 22:40 on Sunday in London is 7:40 on Monday in Tokyo.
        assert!(open_at(monday(0) - 80 * MINUTE, 540).0);
        assert!(!open_at(monday(12 * 60), -480).0);
    }

    #[test]
    fn the_pool_follows_the_hours_and_comes_to_rest() {
        let mut node = Pool::new(3, 9, Unit::Address);
        node.now = monday(9 * 60);
        node.rest(|view| Ok(decide(view)));
        assert_eq!(node.free(), 16);
        for _ in 0..8 {
            node.add_pod();
        }
        node.rest(|view| Ok(decide(view)));
        for _ in 0..8 {
            node.delete_pod();
        }
        node.rest(|view| Ok(decide(view)));
        assert_eq!(node.free(), 24, "nothing goes back by day");
        node.now = monday(19 * 60);
        node.rest(|view| Ok(decide(view)));
        assert_eq!(node.free(), 1);
    }

    proptest! {
        #[test]
        fn every_pool_comes_to_rest_and_what_went_back_is_not_asked_for(mut node in pools()) {
            node.rest(|view| Ok(decide(view)));
            let asked = node.history.iter().map(|(_, what)| what);
            let after_giving = asked.skip_while(|what| {
                !what.starts_with("Release") && !what.starts_with("DetachEni")
            });
            for what in after_giving {
                prop_assert!(!what.starts_with("Grow") && !what.starts_with("Attach"), "{}", what);
            }
        }
    }
}
