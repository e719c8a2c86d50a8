//! Keeps as many addresses free as the largest burst of the last hours took.
//!
//! In: a snapshot, whose memo holds the largest burst seen and when. Out: growth up to that many
//! free addresses. Must hold: a memo of another shape reads as "no burst seen".
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
    doc: "Addresses kept free when no burst is remembered.",
};
const MAX_FREE: Integer = Integer {
    key: "BURST_MAX_FREE",
    default: 64,
    min: 0,
    max: 1024,
    doc: "Addresses kept free at most.",
};
const HOURS: Integer = Integer {
    key: "BURST_HOURS",
    default: 6,
    min: 1,
    max: 168,
    doc: "How long a burst is remembered.",
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
                "Remembers the largest number of pods that started within a minute, and keeps that \
                  many addresses free for the next time."
                    .into(),
            settings: [MIN_FREE.spec(), MAX_FREE.spec(), HOURS.spec()].into(),
        }
    }

    fn decide(view: &View<'_>) -> Result<Decision, String> {
        Ok(decide(view))
    }
}

onsen_policy_sdk::export_policy!(BurstReady);

/// Pods that started within one minute, and when.
#[derive(Clone, Copy)]
struct Burst {
    pods: u32,
    at: u64,
}

impl Burst {
    /// The largest that is young enough: the remembered one, or what happens now.
    fn largest(view: &View<'_>) -> Self {
        let snapshot = view.snapshot;
        let now = Self {
            pods: snapshot.demand.adds_1m,
            at: snapshot.now,
        };
        let memory = u64::from(HOURS.read(view.settings())) * 3_600 * SECOND;
        match Self::read(&snapshot.memo) {
            Some(seen) if seen.pods > now.pods && seen.at.saturating_add(memory) > now.at => seen,
            _ => now,
        }
    }

    fn read(memo: &[u8]) -> Option<Self> {
        let (pods, at) = memo.split_first_chunk::<4>()?;
        Some(Self {
            pods: u32::from_le_bytes(*pods),
            at: u64::from_le_bytes(at.try_into().ok()?),
        })
    }

    fn to_memo(self) -> Vec<u8> {
        [&self.pods.to_le_bytes()[..], &self.at.to_le_bytes()[..]].concat()
    }
}

/// One decision.
pub fn decide(view: &View<'_>) -> Decision {
    let mut draft = Draft::default();
    let burst = Burst::largest(view);
    draft.remember(burst.to_memo());
    let node = &view.snapshot.node;
    if node.terminating {
        return draft.finish(Placement::Pack, "The node is shutting down.".into());
    }
    let (min, max) = (
        MIN_FREE.read(view.settings()),
        MAX_FREE.read(view.settings()),
    );
    let keep = if node.schedulable {
        burst.pods.max(min).min(max)
    } else {
        0
    };
    let wanted = Supply::of(view).wanted(keep.into());
    let verdict = settle(view, wanted, IDLE_SECONDS, &mut draft);
    let pods = burst.pods;
    draft.finish(
        Placement::Pack,
        format!("The largest burst was {pods} pods in a minute; {keep} are kept free: {verdict}."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use onsen_policy_sdk::Unit;
    use onsen_policy_sdk::testing::Pool;

    fn rest(node: &mut Pool) {
        node.rest(|view| Ok(decide(view)));
    }

    #[test]
    fn the_second_burst_finds_its_addresses_free() {
        let mut node = Pool::new(4, 14, Unit::Address);
        rest(&mut node);
        assert_eq!(node.free(), 4);
        for _ in 0..20 {
            node.add_pod();
        }
        rest(&mut node);
        for _ in 0..20 {
            node.delete_pod();
        }
        rest(&mut node);
        assert_eq!(node.free(), 20);
        for _ in 0..20 {
            node.add_pod();
        }
        assert_eq!(node.waiting, 0);
    }

    #[test]
    fn a_burst_is_forgotten_after_its_hours() {
        let mut node = Pool::new(4, 14, Unit::Address).with("BURST_HOURS", 1);
        for _ in 0..20 {
            node.add_pod();
        }
        rest(&mut node);
        for _ in 0..20 {
            node.delete_pod();
        }
        node.pass(3_700 * SECOND);
        rest(&mut node);
        assert_eq!(node.free(), 4);
    }

    #[test]
    fn a_memo_of_another_shape_is_no_burst() {
        for memo in [&[][..], &[1, 2, 3], &[0; 13]] {
            assert!(Burst::read(memo).is_none());
        }
    }
}
