//! What the pool has, what it should have, and where prefixes can be had.
//!
//! Must hold: what has been asked for and not arrived counts as if it had.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use onsen_policy_sdk::outcomes::is_growth;
use onsen_policy_sdk::{EniState, EniView, SECOND, Totals, Unit, View};

use crate::settings::Settings;

/// How long a subnet that had no whole prefix is not asked for one.
const NO_PREFIX: u64 = 1_800 * SECOND;
/// How long a subnet that had no address is not asked for any.
const NO_ADDRESS: u64 = 120 * SECOND;

/// What can be had of a subnet now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Prefixes,
    /// It had not as many as were asked for; perhaps it has one.
    OnePrefix,
    Addresses,
    /// Nothing before this time.
    Nothing(u64),
}

/// One ENI.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) eni: EniView<'a>,
    pub(crate) prefixes: Totals,
    pub(crate) singles: Totals,
    pub(crate) offer: Offer,
}

/// Sums in addresses.
#[derive(Debug)]
pub(crate) struct Pool<'a> {
    pub(crate) lines: Vec<Line<'a>>,
    /// What can be had of each subnet.
    pub(crate) offers: Vec<Offer>,
    pub(crate) enis: u32,
    /// Free and cooling, in prefixes.
    in_prefixes: u32,
    /// Free and cooling, as single addresses.
    in_singles: u32,
    /// Asked for and not arrived.
    pub(crate) coming: u32,
    /// Free now, or with an ENI that is on its way.
    free: u32,
    assigned: u32,
    waiting: u32,
    wanted: u32,
}

impl<'a> Pool<'a> {
    pub(crate) fn measure(view: &View<'a>, settings: &Settings) -> Self {
        let offers: Vec<Offer> = (0..view.snapshot.subnets.len())
            .map(|index| offer(view, index))
            .collect();
        let unknown = if view.snapshot.limits.prefixes {
            Offer::Prefixes
        } else {
            Offer::Addresses
        };
        let demand = &view.snapshot.demand;
        let mut pool = Self {
            lines: Vec::with_capacity(view.enis().len()),
            enis: view.enis().len() as u32,
            in_prefixes: 0,
            in_singles: 0,
            coming: 0,
            free: 0,
            assigned: 0,
            waiting: view.waiting(),
            wanted: settings.wanted,
            offers,
        };
        for eni in view
            .enis()
            .filter(|eni| eni.eni.state != EniState::Detaching)
        {
            let (mut prefixes, mut singles) = (Totals::default(), Totals::default());
            for block in eni.blocks() {
                match block.unit {
                    Unit::Prefix => prefixes += Totals::from(block),
                    Unit::Address => singles += Totals::from(block),
                }
            }
            let offer = pool
                .offers
                .get(eni.eni.subnet as usize)
                .copied()
                .unwrap_or(unknown);
            pool.assigned += prefixes.assigned + singles.assigned;
            if !eni.eni.excluded {
                pool.in_prefixes += prefixes.addresses - prefixes.assigned.min(prefixes.addresses);
                pool.in_singles += singles.addresses - singles.assigned.min(singles.addresses);
                pool.free += match eni.eni.state {
                    EniState::Attaching => prefixes.addresses + singles.addresses,
                    EniState::Ready | EniState::Detaching => prefixes.free + singles.free,
                };
            }
            let each = match eni.eni.in_flight_unit {
                Unit::Prefix => settings.per_prefix,
                Unit::Address => 1,
            };
            pool.coming += eni.eni.in_flight.saturating_mul(each);
            pool.lines.push(Line {
                eni,
                prefixes,
                singles,
                offer,
            });
        }
        let max_pods = view.snapshot.node.max_pods;
        if max_pods > 0 {
            let most = max_pods.saturating_sub(pool.assigned + pool.waiting);
            pool.wanted = pool.wanted.min(most);
        }
        pool.wanted = pool
            .wanted
            .max(demand.scheduled.min(settings.slots * settings.per_prefix));
        pool
    }

    /// All that is free or cooling or coming.
    pub(crate) fn supply(&self) -> u32 {
        self.in_prefixes + self.in_singles + self.coming
    }

    /// Free addresses that there should be.
    pub(crate) fn target(&self) -> u32 {
        self.wanted + self.waiting
    }

    /// Addresses that are missing: for the target, or for pods that wait while others cool.
    pub(crate) fn missing(&self) -> u32 {
        self.target()
            .saturating_sub(self.supply())
            .max(self.unserved())
    }

    /// Waiting pods that nothing free or coming will serve.
    pub(crate) fn unserved(&self) -> u32 {
        self.waiting.saturating_sub(self.free + self.coming)
    }

    /// Counts addresses that were just asked for.
    pub(crate) fn expect(&mut self, addresses: u32) {
        self.coming += addresses;
    }

    /// 100 when a pod waits that nothing serves, else how much of what is wanted is not there.
    pub(crate) fn pressure(&self) -> u8 {
        if self.waiting > self.free {
            return 100;
        }
        let lack = self.wanted.saturating_sub(self.free - self.waiting);
        (u64::from(lack) * 90 / u64::from(self.wanted.max(1))) as u8
    }

    pub(crate) fn in_words(&self) -> String {
        let waiting = match self.waiting {
            0 => String::new(),
            some => format!(", {some} wait"),
        };
        format!(
            "{} assigned{waiting}, {} free, {} free wanted",
            self.assigned, self.free, self.wanted
        )
    }
}

fn offer(view: &View<'_>, index: usize) -> Offer {
    let snapshot = view.snapshot;
    let Some(subnet) = snapshot.subnets.get(index) else {
        return Offer::Addresses;
    };
    let within = |at: u64, period: u64| at > 0 && snapshot.now < at.saturating_add(period);
    if within(subnet.no_addresses_at, NO_ADDRESS) {
        return Offer::Nothing(subnet.no_addresses_at.saturating_add(NO_ADDRESS));
    }
    if !snapshot.limits.prefixes {
        return Offer::Addresses;
    }
    if !within(subnet.no_prefixes_at, NO_PREFIX) {
        return Offer::Prefixes;
    }
    let last = snapshot.ec2.outcomes.iter().rev().find(|outcome| {
        is_growth(outcome)
            && outcome.unit == Unit::Prefix
            && outcome
                .subnet
                .is_some_and(|subnet| subnet as usize == index)
    });
    match last {
        Some(outcome) if !outcome.code.is_empty() && outcome.asked > 1 => Offer::OnePrefix,
        _ => Offer::Addresses,
    }
}
