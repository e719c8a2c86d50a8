//! The settings, and the thresholds that they make.
//!
//! In: settings, sums of one network card's pool. Out: how many are short or surplus, and whether
//! the pool is low. All thresholds count pods that wait as if they had their address, unless
//! upstream is to be followed to the letter.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use onsen_policy_sdk::settings::{Flag, Integer};
use onsen_policy_sdk::{Role, SettingSpec, Unit, View};

use crate::pool::Sums;

const MANY: u32 = 100_000;

const WARM_ENI: Integer = Integer {
    key: "WARM_ENI_TARGET",
    default: 1,
    min: 0,
    max: MANY,
    doc: "Addresses of so many full ENIs stay available. Without effect when an IP target is set, or with prefixes.",
};
const WARM_IP: Integer = Integer {
    key: "WARM_IP_TARGET",
    default: 0,
    min: 0,
    max: MANY,
    doc: "Addresses that stay available; 0 means not set.",
};
const MINIMUM_IP: Integer = Integer {
    key: "MINIMUM_IP_TARGET",
    default: 0,
    min: 0,
    max: MANY,
    doc: "Addresses the node holds at least, at all times; 0 means not set.",
};
const WARM_PREFIX: Integer = Integer {
    key: "WARM_PREFIX_TARGET",
    default: 0,
    min: 0,
    max: MANY,
    doc: "With prefixes: addresses of so many prefixes stay available. Without effect on growth when an IP target is set.",
};
const MAX_ENI: Integer = Integer {
    key: "MAX_ENI",
    default: 0,
    min: 0,
    max: MANY,
    doc: "ENIs this node may hold, the primary included; 0 means as many as the instance can.",
};
const PREFIXES: Flag = Flag {
    key: "ENABLE_PREFIX_DELEGATION",
    default: false,
    doc: "Take prefixes instead of single addresses. When absent, the host's unit decides.",
};
const DISCOVERY: Flag = Flag {
    key: "ENABLE_SUBNET_DISCOVERY",
    default: true,
    doc: "When a subnet is short of addresses, try the next ENI and other subnets.",
};
const CORDONED: Flag = Flag {
    key: "AWS_MANAGE_ENIS_NON_SCHEDULABLE",
    default: false,
    doc: "Manage the pool of a cordoned node, too.",
};

const CUSTOM: Flag = Flag {
    key: "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG",
    default: false,
    doc: "Custom networking: the primary ENI is not filled.",
};
const POD_ENI: Flag = Flag {
    key: "ENABLE_POD_ENI",
    default: false,
    doc: "Keep a place for a trunk ENI while there is none.",
};
const MULTI_NIC: Flag = Flag {
    key: "ENABLE_MULTI_NIC",
    default: false,
    doc: "Keep one address or prefix warm on each further network card.",
};
const STRICT: Flag = Flag {
    key: "STRICT_UPSTREAM",
    default: false,
    doc: "Do as the Amazon VPC CNI does also where that is of no use: one step in 5 s, no regard for waiting pods, combinations that never rest.",
};

pub(crate) fn specs() -> Vec<SettingSpec> {
    vec![
        CORDONED.spec(),
        CUSTOM.spec(),
        MULTI_NIC.spec(),
        POD_ENI.spec(),
        PREFIXES.spec(),
        DISCOVERY.spec(),
        MAX_ENI.spec(),
        MINIMUM_IP.spec(),
        STRICT.spec(),
        WARM_ENI.spec(),
        WARM_IP.spec(),
        WARM_PREFIX.spec(),
    ]
}

/// The settings in force on one network card.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub(crate) struct Targets {
    pub(crate) card: u32,
    /// Upstream to the letter.
    pub(crate) strict: bool,
    /// The primary ENI takes no blocks.
    pub(crate) custom_networking: bool,
    pub(crate) unit: Unit,
    /// Addresses of one block of the unit.
    pub(crate) per_block: i64,
    /// Blocks of one ENI.
    pub(crate) slots: u32,
    /// ENIs that this card may hold.
    pub(crate) max_enis: u32,
    /// The setting, for any card.
    max_eni: u32,
    /// 0: unknown.
    max_pods: i64,
    pub(crate) subnet_discovery: bool,
    /// Whether growth ahead of demand and detachment are wanted now.
    pub(crate) managed: bool,
    warm_eni: i64,
    pub(crate) warm_ip: i64,
    pub(crate) minimum_ip: i64,
    pub(crate) warm_prefix: i64,
}

impl Targets {
    /// One for each network card in use, card 0 first.
    pub(crate) fn of_cards(view: &View<'_>) -> Vec<Self> {
        let first = Self::of_card_0(view);
        let mut all = vec![first];
        if MULTI_NIC.read(view.settings()) {
            let cards = (1..).zip(&view.snapshot.limits.other_cards);
            all.extend(
                cards
                    .filter(|(_, enis)| **enis > 0)
                    .map(|(card, enis)| Self {
                        card,
                        max_enis: first.max_eni.min(*enis),
                        // Fixed, whatever is configured.
                        warm_ip: 1,
                        minimum_ip: 1,
                        ..first
                    }),
            );
        }
        all
    }

    fn of_card_0(view: &View<'_>) -> Self {
        let (given, limits) = (view.settings(), &view.snapshot.limits);
        let wanted = match PREFIXES.given(given) {
            Some(true) => Unit::Prefix,
            Some(false) => Unit::Address,
            None => view.snapshot.unit,
        };
        let unit = if limits.prefixes {
            wanted
        } else {
            Unit::Address
        };
        let max_eni = match MAX_ENI.read(given) {
            0 => u32::MAX,
            some => some,
        };
        let has_trunk = view.enis().any(|eni| eni.eni.role == Role::Trunk);
        let reserved = POD_ENI.read(given) && limits.trunk && !has_trunk;
        Self {
            card: 0,
            strict: STRICT.read(given),
            custom_networking: CUSTOM.read(given),
            unit,
            per_block: i64::from(view.addresses_per(unit)),
            slots: limits.slots_per_eni,
            max_enis: limits.enis.min(max_eni).saturating_sub(u32::from(reserved)),
            max_eni,
            max_pods: i64::from(view.snapshot.node.max_pods),
            subnet_discovery: DISCOVERY.read(given),
            managed: view.snapshot.node.schedulable || CORDONED.read(given),
            warm_eni: i64::from(WARM_ENI.read(given)),
            warm_ip: i64::from(WARM_IP.read(given)),
            minimum_ip: i64::from(MINIMUM_IP.read(given)),
            warm_prefix: i64::from(WARM_PREFIX.read(given)),
        }
    }

    pub(crate) fn with_prefixes(&self) -> bool {
        self.unit == Unit::Prefix
    }

    /// Whether numbers of addresses rule, and not whole ENIs or prefixes.
    pub(crate) fn by_address(&self) -> bool {
        self.warm_ip != 0 || self.minimum_ip != 0
    }

    /// Addresses of one full ENI.
    pub(crate) fn per_eni(&self) -> i64 {
        i64::from(self.slots) * self.per_block
    }

    /// Addresses that are to be available when whole ENIs or prefixes rule.
    fn warm_addresses(&self) -> i64 {
        if self.with_prefixes() {
            self.warm_prefix * self.per_block
        } else {
            self.warm_eni * self.per_eni()
        }
    }

    /// ENIs' worth of addresses that must be left for a detachment to be considered.
    pub(crate) fn detach_target(&self) -> i64 {
        if self.with_prefixes() {
            self.warm_prefix
        } else {
            self.warm_eni
        }
    }

    /// Addresses that are missing; by numbers of addresses only.
    fn short(&self, sums: &Sums) -> i64 {
        (self.warm_ip - sums.available)
            .max(self.minimum_ip - sums.total)
            .max(0)
    }

    /// Whether growth is called for, the demand of waiting pods apart.
    pub(crate) fn is_low(&self, sums: &Sums) -> bool {
        if self.max_pods > 0 && sums.total >= self.max_pods {
            return false;
        }
        if self.by_address() {
            return self.short(sums) > 0;
        }
        // Even with a target of nothing, one address is to be there.
        sums.available < self.warm_addresses().max(1)
    }

    /// Whether the kubelet would run more pods than the addresses that do not cool can serve.
    pub(crate) fn is_below_max_pods(&self, sums: &Sums) -> bool {
        self.max_pods == 0 || sums.total - sums.cooling < self.max_pods
    }

    /// Blocks to ask for in one step.
    pub(crate) fn step(&self, sums: &Sums, unserved: i64) -> i64 {
        match (self.with_prefixes(), self.by_address()) {
            (false, false) => i64::from(self.slots),
            (false, true) => self.short(sums).max(unserved),
            (true, false) if unserved > 0 => {
                let missing = self.warm_addresses().max(1) - sums.available;
                ceil_div(missing.max(unserved), self.per_block)
            }
            (true, false) => (self.warm_prefix - sums.free_prefixes).max(1),
            (true, true) => ceil_div(self.short(sums).max(unserved), self.per_block).max(1),
        }
    }

    /// Blocks that may go back one by one.
    pub(crate) fn surplus(&self, sums: &Sums) -> i64 {
        let surplus = match (self.with_prefixes(), self.by_address()) {
            // Whole ENIs go back, never single addresses.
            (false, false) => 0,
            (false, true) => self.surplus_addresses(sums),
            (true, false) if self.strict => sums.free_prefixes - self.warm_prefix,
            (true, false) => (sums.free_prefixes - self.warm_prefix)
                // The pool is not low afterwards, not even with a target of nothing or pods that wait.
                .min((sums.available - self.warm_addresses().max(1)).div_euclid(self.per_block)),
            // Upstream takes addresses for prefixes here: what is not used never rests.
            (true, true) if self.strict && self.card > 0 => self.surplus_addresses(sums),
            (true, true) => sums
                .free_prefixes
                .min(sums.prefixes - ceil_div(sums.assigned + self.warm_ip, self.per_block))
                .min(sums.prefixes - ceil_div(self.minimum_ip, self.per_block)),
        };
        surplus.max(0)
    }

    fn surplus_addresses(&self, sums: &Sums) -> i64 {
        (sums.available - self.warm_ip)
            .max(0)
            .min(sums.total - self.minimum_ip)
    }

    /// The rule in force, for people.
    pub(crate) fn in_words(&self) -> String {
        if self.by_address() {
            let (warm, minimum) = (self.warm_ip, self.minimum_ip);
            return format!("WARM_IP_TARGET {warm}, MINIMUM_IP_TARGET {minimum}");
        }
        let (name, target) = if self.with_prefixes() {
            ("WARM_PREFIX_TARGET", self.warm_prefix)
        } else {
            ("WARM_ENI_TARGET", self.warm_eni)
        };
        format!("{name} {target} wants {} available", self.warm_addresses())
    }

    /// What the pool has of what it should have, for people.
    pub(crate) fn compare(&self, sums: &Sums) -> String {
        if self.by_address() {
            format!(
                "{} available of {} wanted, {} in all of at least {}",
                sums.available.max(0),
                self.warm_ip,
                sums.total,
                self.minimum_ip
            )
        } else {
            format!(
                "{} warm of {} wanted",
                sums.available.max(0),
                self.warm_addresses().max(1)
            )
        }
    }
}

/// A count that the contract can carry.
pub(crate) fn count(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// Rounds up; the divisor is positive.
pub(crate) fn ceil_div(number: i64, by: i64) -> i64 {
    number.div_euclid(by) + i64::from(number.rem_euclid(by) > 0)
}
