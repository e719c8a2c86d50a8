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
    default: 10,
    min: 0,
    max: 1_000,
    doc: "Free addresses wanted, in percent of the pods that start in a minute.",
};
const IDLE: Integer = Integer {
    key: "FRUGAL_IDLE_SECONDS",
    default: 120,
    min: 0,
    max: 86_400,
    doc: "How long a single address must have been without a pod before it goes back.",
};
const PREFIX_IDLE: Integer = Integer {
    key: "FRUGAL_PREFIX_IDLE_SECONDS",
    default: 60,
    min: 0,
    max: 86_400,
    doc: "How long a prefix must have been without a pod before it goes back.",
};
const ENI_IDLE: Integer = Integer {
    key: "FRUGAL_ENI_IDLE_SECONDS",
    default: 3_900,
    min: 0,
    max: 86_400,
    doc: "How long an ENI must have been without a pod before it goes back. It costs one address, \
          its own, and seconds of waiting when it is missed.",
};
const SCARCE: Integer = Integer {
    key: "FRUGAL_SCARCE_ADDRESSES",
    default: 64,
    min: 0,
    max: 65_536,
    doc: "With fewer free addresses than this in the subnet, nothing is kept but FRUGAL_MIN_FREE, \
          and idle blocks go back after half the time.",
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
        ENI_IDLE.spec(),
        HEADROOM.spec(),
        IDLE.spec(),
        MAX_FREE.spec(),
        MIN_FREE.spec(),
        PREFIX_IDLE.spec(),
        SCARCE.spec(),
        MAX_ENI.spec(),
    ]
}

/// The settings in force, applied to this node's demand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Pods that start in a minute.
    pub(crate) pace: u32,
    /// Free addresses that are wanted.
    pub(crate) wanted: u32,
    /// Milliseconds without a pod after which a single address goes back.
    pub(crate) idle: u64,
    /// The same for a prefix.
    pub(crate) prefix_idle: u64,
    /// The same for an ENI.
    pub(crate) eni_idle: u64,
    /// The subnets have little left.
    pub(crate) scarce: bool,
    pub(crate) max_enis: u32,
    pub(crate) slots: u32,
    pub(crate) per_prefix: u32,
    /// Slots of each ENI that single addresses leave free, for a prefix in a hurry.
    pub(crate) reserve: u32,
    /// Single addresses that fit on all ENIs, reserved slots left free.
    pub(crate) singles: u32,
    /// Single addresses suffice for all pods that the kubelet will run.
    pub(crate) singles_suffice: bool,
}

impl Settings {
    pub(crate) fn read(view: &View<'_>) -> Self {
        let (given, snapshot) = (view.settings(), view.snapshot);
        let (limits, max_pods) = (&snapshot.limits, snapshot.node.max_pods);
        let max_enis = match MAX_ENI.read(given) {
            0 => limits.enis,
            some => limits.enis.min(some),
        };
        let known = snapshot.subnets.iter().map(|subnet| subnet.free_addresses);
        let left: Option<u32> = known.sum();
        let scarce =
            left.is_some_and(|left| left < SCARCE.read(given)) && !snapshot.subnets.is_empty();
        let pace = pace(view);
        let min = MIN_FREE.read(given);
        let max = if scarce {
            min
        } else {
            MAX_FREE.read(given).max(min)
        };
        let headroom = (u64::from(pace) * u64::from(HEADROOM.read(given))).div_ceil(100);
        let wanted = if snapshot.node.schedulable {
            u32::try_from(headroom).unwrap_or(u32::MAX).clamp(min, max)
        } else {
            0
        };
        let patience = |setting: &Integer| {
            let milliseconds = u64::from(setting.read(given)) * SECOND;
            if scarce {
                milliseconds / 2
            } else {
                milliseconds
            }
        };
        let slots = limits.slots_per_eni;
        let reserve = reserve(max_enis, slots, view);
        Self {
            pace,
            wanted,
            idle: patience(&IDLE),
            prefix_idle: patience(&PREFIX_IDLE),
            eni_idle: patience(&ENI_IDLE),
            scarce,
            max_enis,
            slots,
            per_prefix: limits.addresses_per_prefix.max(1),
            reserve,
            singles: max_enis.saturating_mul(slots.saturating_sub(reserve)),
            singles_suffice: max_pods > 0
                && max_pods <= max_enis.saturating_mul(limits.slots_per_eni) + HOST_NETWORK,
        }
    }
}

/// Slots of each ENI that are kept for prefixes: an eighth for haste, more where the kubelet runs
/// more pods than there are slots.
fn reserve(enis: u32, slots: u32, view: &View<'_>) -> u32 {
    let (limits, max_pods) = (&view.snapshot.limits, view.snapshot.node.max_pods);
    if !limits.prefixes || slots == 0 {
        return 0;
    }
    let pods = if max_pods == 0 { KUBELET } else { max_pods };
    let beyond = pods.saturating_sub(enis.saturating_mul(slots).saturating_add(HOST_NETWORK));
    // Each prefix in place of a single address makes room for so many more.
    let more = limits.addresses_per_prefix.saturating_sub(1).max(1);
    let each = beyond.div_ceil(more).div_ceil(enis.max(1));
    each.max(slots / 8).clamp(1, slots)
}

/// Pods that a kubelet runs unless told otherwise.
const KUBELET: u32 = 110;

/// Pods of the kubelet's count that use the node's own address: `aws-node` and `kube-proxy`.
const HOST_NETWORK: u32 = 2;

/// Pods in a minute: those of the last one and those that wait, or the mean of the last five
/// minutes when that was busier.
fn pace(view: &View<'_>) -> u32 {
    let demand = &view.snapshot.demand;
    let last = demand.adds_1m.saturating_add(view.waiting());
    last.max(demand.adds_5m.div_ceil(5))
}
