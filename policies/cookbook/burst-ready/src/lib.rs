//! Keeps as many addresses as the busiest moment of the last hours took, so that the next wave finds
//! them free.
//!
//! In: a snapshot, whose memo holds the most addresses used at once and when. Out: growth up to that
//! many. Must hold: a memo of another shape reads as "nothing seen"; while waves come and go within
//! what is remembered, EC2 is not called.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")
)]
extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use onsen_policy_sdk::settings::Integer;
use onsen_policy_sdk::steps::{Supply, settle};
use onsen_policy_sdk::{Decision, Draft, Metadata, Placement, Policy, SECOND, View};

const MIN_FREE: Integer = Integer {
    key: "BURST_MIN_FREE",
    default: 4,
    min: 0,
    max: 256,
    doc: "Addresses kept free at least.",
};
const MAX_FREE: Integer = Integer {
    key: "BURST_MAX_FREE",
    default: 128,
    min: 0,
    max: 1024,
    doc: "Addresses kept free at most.",
};
const HOURS: Integer = Integer {
    key: "BURST_HOURS",
    default: 6,
    min: 1,
    max: 168,
    doc: "How long the busiest moment is remembered.",
};
const IDLE_SECONDS: u32 = 300;

/// The policy.
pub struct BurstReady;

impl Policy for BurstReady {
    fn metadata() -> Metadata {
        Metadata {
            name: "burst-ready".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            doc:
                "Remembers how many addresses the busiest moment of the last hours took, and keeps \
                  that many for the next wave."
                    .into(),
            settings: [MIN_FREE.spec(), MAX_FREE.spec(), HOURS.spec()].into(),
        }
    }

    fn decide(view: &View<'_>) -> Result<Decision, String> {
        Ok(decide(view))
    }
}

onsen_policy_sdk::export_policy!(BurstReady);

/// Addresses that pods used at once, and when.
#[derive(Clone, Copy)]
struct Peak {
    used: u32,
    at: u64,
}

impl Peak {
    /// The highest that is young enough: the remembered one, or what is used now.
    fn highest(view: &View<'_>, supply: &Supply) -> Self {
        let used = supply.assigned + supply.waiting;
        let now = Self {
            used: u32::try_from(used).unwrap_or(u32::MAX),
            at: view.snapshot.now,
        };
        let memory = u64::from(HOURS.read(view.settings())) * 3_600 * SECOND;
        match Self::read(&view.snapshot.memo) {
            Some(seen) if seen.used > now.used && seen.at.saturating_add(memory) > now.at => seen,
            _ => now,
        }
    }

    fn read(memo: &[u8]) -> Option<Self> {
        let (used, at) = memo.split_first_chunk::<4>()?;
        Some(Self {
            used: u32::from_le_bytes(*used),
            at: u64::from_le_bytes(at.try_into().ok()?),
        })
    }

    fn to_memo(self) -> Vec<u8> {
        [&self.used.to_le_bytes()[..], &self.at.to_le_bytes()[..]].concat()
    }
}

/// One decision.
pub fn decide(view: &View<'_>) -> Decision {
    let mut draft = Draft::default();
    let supply = Supply::of(view);
    let peak = Peak::highest(view, &supply);
    draft.remember(peak.to_memo());
    let node = &view.snapshot.node;
    if node.terminating {
        return draft.finish(Placement::Pack, "The node is shutting down.".into());
    }
    let (min, max) = (
        MIN_FREE.read(view.settings()),
        MAX_FREE.read(view.settings()),
    );
    let keep = if node.schedulable {
        // The reserve lies on top of the peak: a wave as high as the last one leaves it untouched.
        let used = supply.assigned + supply.waiting;
        (u64::from(peak.used).saturating_sub(used) + u64::from(min)).min(max.into())
    } else {
        0
    };
    let verdict = settle(view, supply.wanted(keep), IDLE_SECONDS, &mut draft);
    let used = peak.used;
    draft.finish(
        Placement::Pack,
        format!("The busiest moment took {used} addresses; {keep} are kept free: {verdict}."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use onsen_policy_sdk::Unit;
    use onsen_policy_sdk::strategies::pools;
    use onsen_policy_sdk::testing::Pool;
    use proptest::prelude::*;

    fn rest(node: &mut Pool) {
        node.rest(|view| Ok(decide(view)));
    }

    fn wave(node: &mut Pool) {
        for _ in 0..20 {
            node.add_pod();
        }
        rest(node);
        for _ in 0..20 {
            node.delete_pod();
        }
        rest(node);
    }

    #[test]
    fn the_second_wave_finds_its_addresses_free_and_costs_no_call() {
        let mut node = Pool::new(4, 14, Unit::Address);
        rest(&mut node);
        assert_eq!(node.free(), 4);
        wave(&mut node);
        assert_eq!(node.free(), 24);
        let calls = node.history.len();
        for _ in 0..20 {
            node.add_pod();
        }
        assert_eq!(node.waiting, 0);
        rest(&mut node);
        for _ in 0..20 {
            node.delete_pod();
        }
        rest(&mut node);
        assert_eq!((node.history.len(), node.free()), (calls, 24));
    }

    #[test]
    fn a_wave_is_forgotten_after_its_hours() {
        let mut node = Pool::new(4, 14, Unit::Address).with("BURST_HOURS", 1);
        wave(&mut node);
        node.pass(3_700 * SECOND);
        rest(&mut node);
        assert_eq!(node.free(), 4);
    }

    #[test]
    fn no_more_than_the_most_is_kept_free() {
        let mut node = Pool::new(4, 14, Unit::Address).with("BURST_MAX_FREE", 10);
        wave(&mut node);
        node.pass(u64::from(IDLE_SECONDS) * SECOND);
        rest(&mut node);
        assert_eq!(node.free(), 10);
    }

    #[test]
    fn a_cordoned_node_gives_everything_back() {
        let mut node = Pool::new(4, 14, Unit::Address);
        wave(&mut node);
        node.schedulable = false;
        rest(&mut node);
        assert_eq!(node.free(), 0);
    }

    #[test]
    fn a_memo_of_another_shape_is_nothing_seen() {
        for memo in [&[][..], &[1, 2, 3], &[0; 13]] {
            assert!(Peak::read(memo).is_none());
        }
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
