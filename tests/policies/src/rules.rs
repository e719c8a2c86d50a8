//! The operator's settings, and the thresholds and steps that follow from them.
//!
//! In: a snapshot. Out: is a card low, how much is asked for, how much is too much, which ENI may go.
//! Must hold: each function is one paragraph of the specification; where `Normal` differs from
//! `Strict`, the difference stands beside it.

use onsen_core::cidr::Unit;
use onsen_core::snapshot::{Family, Role, Setting, Snapshot};

use crate::card::{Card, Eni};

/// More than any pool holds; larger settings mean the same.
const PLENTY: i64 = 1_000_000;

/// Which behaviour is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `STRICT_UPSTREAM=true`: what the Amazon VPC CNI does, its defects included.
    Strict,
    /// The same without its defects.
    Normal,
}

/// All that steers the pool and does not change within a round.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a condition of its own"
)]
#[expect(missing_docs, reason = "named as the settings are")]
pub struct Rules {
    pub mode: Mode,
    pub warm_eni: i64,
    pub warm_ip: i64,
    pub minimum_ip: i64,
    pub warm_prefix: i64,
    pub max_eni: i64,
    pub custom_networking: bool,
    pub pod_eni: bool,
    pub manage_cordoned: bool,
    pub subnet_discovery: bool,
    pub ipv6: bool,
    /// The active unit.
    pub unit: Unit,
    pub slots: i64,
    pub per_prefix: i64,
    pub max_pods: i64,
    pub waiting: i64,
    pub cordoned: bool,
    pub terminating: bool,
}

impl Rules {
    /// Reads a snapshot.
    pub fn read(snapshot: &Snapshot) -> Self {
        let set = &snapshot.settings;
        let mode = if flag(set, "STRICT_UPSTREAM", false) {
            Mode::Strict
        } else {
            Mode::Normal
        };
        let number = |key, default| integer(set, key).unwrap_or(default);
        let (node, limits) = (&snapshot.node, &snapshot.limits);
        Self {
            mode,
            warm_eni: number("WARM_ENI_TARGET", 1),
            warm_ip: number("WARM_IP_TARGET", 0),
            minimum_ip: number("MINIMUM_IP_TARGET", 0),
            warm_prefix: number("WARM_PREFIX_TARGET", 0),
            max_eni: Some(number("MAX_ENI", 0))
                .filter(|most| *most >= 1)
                .unwrap_or(PLENTY),
            custom_networking: flag(set, "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", false),
            pod_eni: flag(set, "ENABLE_POD_ENI", false) && limits.trunk,
            manage_cordoned: flag(set, "AWS_MANAGE_ENIS_NON_SCHEDULABLE", false),
            subnet_discovery: flag(set, "ENABLE_SUBNET_DISCOVERY", true),
            ipv6: node.family == Family::Ipv6,
            unit: if limits.prefixes {
                snapshot.unit
            } else {
                Unit::Address
            },
            slots: i64::from(limits.slots_per_eni),
            per_prefix: i64::from(limits.addresses_per_prefix),
            max_pods: i64::from(node.max_pods),
            waiting: snapshot.demand.waiting.len() as i64,
            cordoned: !node.schedulable,
            terminating: node.terminating,
        }
    }

    /// Whether prefixes are the active unit.
    pub fn prefixes(&self) -> bool {
        self.unit == Unit::Prefix
    }

    /// Addresses of one block.
    pub fn size(&self, unit: Unit) -> i64 {
        match unit {
            Unit::Address => 1,
            Unit::Prefix => self.per_prefix,
        }
    }

    /// Whether `WARM_IP_TARGET` or `MINIMUM_IP_TARGET` rules.
    pub fn targets_set(&self) -> bool {
        self.warm_ip != 0 || self.minimum_ip != 0
    }

    /// Whether the cordon stops growth and detachment.
    pub fn cordon_stops(&self) -> bool {
        self.cordoned && !self.manage_cordoned
    }

    /// `WARM_IP_TARGET` and `MINIMUM_IP_TARGET` as they hold on this card; absent when they do not.
    fn targets(&self, card: &Card) -> Option<(i64, i64)> {
        if card.number > 0 {
            Some((1, 1))
        } else {
            self.targets_set()
                .then_some((self.warm_ip, self.minimum_ip))
        }
    }

    /// What is short and what is over, in blocks of the active unit (upstream: in addresses on
    /// cards other than 0). Absent when no target is defined.
    pub fn target_state(&self, card: &Card) -> Option<(i64, i64)> {
        let (warm, minimum) = self.targets(card)?;
        let now = card.measure(self);
        let short = (warm - now.available).max(minimum - now.total).max(0);
        let over = (now.available - warm)
            .max(0)
            .min(now.total - minimum)
            .max(0);
        if !self.prefixes() || (card.number > 0 && self.mode == Mode::Strict) {
            return Some((short, over));
        }
        let over = now
            .free_prefixes
            .min(now.prefixes - ceil_div(now.assigned + warm, self.per_prefix))
            .min(now.prefixes - ceil_div(minimum, self.per_prefix))
            .max(0);
        Some((ceil_div(short, self.per_prefix), over))
    }

    /// Addresses that should be available where no target is defined.
    fn wanted_available(&self) -> i64 {
        let wanted = if self.prefixes() {
            self.per_prefix * self.warm_prefix
        } else {
            self.slots * self.warm_eni
        };
        wanted.max(1)
    }

    /// Whether the targets are missed, whatever max pods says.
    pub fn misses_targets(&self, card: &Card) -> bool {
        match self.target_state(card) {
            Some((short, _)) => short > 0,
            None => card.measure(self).available < self.wanted_available(),
        }
    }

    /// Section "thresholds".
    pub fn too_low(&self, card: &Card) -> bool {
        let stopped = self.max_pods > 0 && card.measure(self).total >= self.max_pods;
        !stopped && self.misses_targets(card)
    }

    /// Blocks that one growth step asks for, before slots bound it.
    pub fn step(&self, card: &Card) -> i64 {
        let state = self.target_state(card);
        if self.prefixes() {
            let free = card.measure(self).free_prefixes;
            state
                .map_or(self.warm_prefix - free, |(short, _)| short)
                .max(1)
        } else {
            state.map_or(self.slots, |(short, _)| short)
        }
    }

    /// Blocks after which the card is no longer low.
    pub fn enough(&self, card: &Card) -> i64 {
        if let Some((short, _)) = self.target_state(card) {
            return short;
        }
        let missing = self.wanted_available() - card.measure(self).available;
        ceil_div(missing, self.size(self.unit)).max(0)
    }

    /// Whether blocks may be asked for on this ENI.
    pub fn fillable(&self, eni: &Eni) -> bool {
        let barred = eni.role == Role::Trunk
            || eni.excluded
            || (eni.role == Role::Primary && self.custom_networking);
        eni.ready && !barred && eni.free_slots > 0 && eni.in_flight == 0
    }

    /// Whether an excluded ENI's free blocks go back: upstream does that at the start and on card 0,
    /// normal mode at any time, since they count in no threshold.
    pub fn serves_none(&self, eni: &Eni, card: u32, start: bool) -> bool {
        eni.excluded && (self.mode == Mode::Normal || (start && card == 0))
    }

    /// Whether one more ENI fits on the card.
    pub fn room_for_eni(&self, card: &Card) -> bool {
        let trunk = card.enis.iter().any(|eni| eni.role == Role::Trunk);
        let reserve = i64::from(card.number == 0 && self.pod_eni && !trunk);
        (card.enis.len() as i64) < card.limit - reserve
    }

    /// Blocks that are too many. In normal mode never so many that the card would be low after.
    pub fn too_many(&self, card: &Card) -> i64 {
        let mut over = match self.target_state(card) {
            Some((_, over)) => over,
            None if self.prefixes() => card.measure(self).free_prefixes - self.warm_prefix,
            None => 0,
        }
        .max(0);
        if self.mode == Mode::Normal && self.target_state(card).is_none() {
            let spare = card.measure(self).available - self.wanted_available();
            over = over.min((spare / self.size(self.unit)).max(0));
        }
        over
    }

    /// Whether detachment is worth a look, on the figures from the top of the round.
    pub fn considers_detach(&self, card: &Card) -> bool {
        if self.targets_set() || card.number > 0 {
            return true;
        }
        let full = self.slots * self.size(self.unit);
        let warm = if self.prefixes() {
            self.warm_prefix
        } else {
            self.warm_eni
        };
        let bare = card
            .enis
            .iter()
            .any(|eni| eni.role == Role::Secondary && !eni.carries_pod());
        card.measure(self).available >= (warm + 1) * full || (self.prefixes() && bare)
    }

    /// Section "detaching an ENI": whether this one may go, on the card as the first step left it.
    pub fn may_detach(&self, card: &Card, eni: &Eni) -> bool {
        // a, b, c, d, h, i: the host knows them.
        if eni.kept || !eni.ready {
            return false;
        }
        let rest = card.without(eni.index);
        let others = rest.measure(self);
        let (warm, minimum) = if card.number > 0 {
            (1, 1)
        } else {
            (self.warm_ip, self.minimum_ip)
        };
        let whole = self.size(self.unit);
        let rounded = |target: i64| ceil_div(target, whole) * whole;
        let e = warm != 0 && others.available < rounded(warm);
        let f = minimum != 0 && others.total < rounded(minimum);
        let g =
            self.prefixes() && self.warm_prefix != 0 && self.free_cidrs(&rest) < self.warm_prefix;
        let low_after = self.mode == Mode::Normal && self.too_low(&rest);
        !(e || f || g || low_after)
    }

    /// Upstream counts blocks of either unit here.
    fn free_cidrs(&self, card: &Card) -> i64 {
        let enis = card.enis.iter().filter(|eni| !eni.excluded);
        let blocks = enis.flat_map(|eni| &eni.blocks);
        blocks
            .filter(|b| b.assigned == 0)
            .filter(|b| self.mode == Mode::Strict || b.unit == Unit::Prefix)
            .count() as i64
    }
}

fn ceil_div(a: i64, b: i64) -> i64 {
    // Not `div_ceil`: negative numerators round towards zero, which is up.
    (a + (b - 1) * i64::from(a > 0)) / b
}

fn find<'a>(settings: &'a [Setting], key: &str) -> Option<&'a str> {
    let found = settings.iter().find(|setting| setting.key == key)?;
    // Empty means not set, for numbers and for flags.
    (!found.value.is_empty()).then_some(&*found.value)
}

/// Absent when unset, negative or no number. A wrong spelling is honoured only when the proper
/// name is absent.
fn integer(settings: &[Setting], key: &str) -> Option<i64> {
    let prefixed = format!("AWS_VPC_K8S_CNI_{key}");
    let dropped = key.replacen("WARM_", "WAM_", 1);
    let spellings = [key, &prefixed, &dropped];
    let text = spellings.iter().find_map(|key| find(settings, key))?;
    let value = text.parse::<i64>().ok()?;
    (value >= 0).then_some(value.min(PLENTY))
}

/// As Go's `ParseBool` reads it.
fn flag(settings: &[Setting], key: &str, default: bool) -> bool {
    match find(settings, key) {
        Some("1" | "t" | "T" | "TRUE" | "true" | "True") => true,
        Some("0" | "f" | "F" | "FALSE" | "false" | "False") => false,
        _ => default,
    }
}
