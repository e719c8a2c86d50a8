//! The settings, and how many free addresses they ask for.

use alloc::vec;
use alloc::vec::Vec;

use onsen_policy_sdk::settings::Integer;
use onsen_policy_sdk::{SECOND, SettingSpec, View};

const MIN_FREE: Integer = Integer {
    key: "FRUGAL_MIN_FREE",
    default: 2,
    min: 0,
    max: 256,
    doc: "Free addresses that are kept however quiet the node is.",
};
const MAX_FREE: Integer = Integer {
    key: "FRUGAL_MAX_FREE",
    default: 16,
    min: 0,
    max: 1_024,
    doc: "Free addresses that are wanted at most, however busy the node is.",
};
const HEADROOM: Integer = Integer {
    key: "FRUGAL_HEADROOM_PERCENT",
    default: 25,
    min: 0,
    max: 1_000,
    doc: "Free addresses wanted, in percent of the pods that start in a minute.",
};
const IDLE: Integer = Integer {
    key: "FRUGAL_IDLE_SECONDS",
    default: 120,
    min: 0,
    max: 86_400,
    doc: "How long a block must have been without a pod before it goes back.",
};
const MAX_ENI: Integer = Integer {
    key: "MAX_ENI",
    default: 0,
    min: 0,
    max: 1_024,
    doc: "ENIs this node may hold, the primary included; 0 means as many as the instance can.",
};

pub(crate) fn specs() -> Vec<SettingSpec> {
    vec![
        HEADROOM.spec(),
        IDLE.spec(),
        MAX_FREE.spec(),
        MIN_FREE.spec(),
        MAX_ENI.spec(),
    ]
}

/// The settings in force, applied to this node's demand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Free addresses that are wanted.
    pub(crate) wanted: u32,
    /// Milliseconds without a pod.
    pub(crate) idle: u64,
    pub(crate) max_enis: u32,
    pub(crate) slots: u32,
    pub(crate) per_prefix: u32,
}

impl Settings {
    pub(crate) fn read(view: &View<'_>) -> Self {
        let (given, snapshot) = (view.settings(), view.snapshot);
        let max_eni = match MAX_ENI.read(given) {
            0 => u32::MAX,
            some => some,
        };
        let demand = &snapshot.demand;
        // Pods in a minute: the last one, or the mean of the last five when that was busier.
        let pace = u64::from(demand.adds_1m.max(demand.adds_5m.div_ceil(5)));
        let headroom = (pace * u64::from(HEADROOM.read(given))).div_ceil(100);
        let min = MIN_FREE.read(given);
        let max = MAX_FREE.read(given).max(min);
        let wanted = if snapshot.node.schedulable {
            u32::try_from(headroom).unwrap_or(u32::MAX).clamp(min, max)
        } else {
            0
        };
        Self {
            wanted,
            idle: u64::from(IDLE.read(given)) * SECOND,
            max_enis: snapshot.limits.enis.min(max_eni),
            slots: snapshot.limits.slots_per_eni,
            per_prefix: snapshot.limits.addresses_per_prefix.max(1),
        }
    }
}
