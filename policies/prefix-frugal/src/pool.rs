//! What the pool has, what it should have, and where prefixes can be had.
//!
//! Must hold: what has been asked for and not arrived counts as if it had. Addresses in a prefix
//! that is to run empty serve pods that wait, but are no reason to keep fewer single ones.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

use onsen_policy_sdk::outcomes::is_growth;
use onsen_policy_sdk::{EniState, EniView, SECOND, Totals, Unit, View};

use crate::settings::Settings;
use crate::shrink::SLACK;

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
    pub(crate) offer: Offer,
    /// Slots that single addresses may take; the others are kept for prefixes.
    pub(crate) room: u32,
}

/// Sums in addresses.
#[derive(Debug)]
pub(crate) struct Pool<'a> {
    pub(crate) lines: Vec<Line<'a>>,
    /// What can be had of each subnet.
    pub(crate) offers: Vec<Offer>,
    pub(crate) enis: u32,
    /// Whether pods fill prefixes; else these are to run empty.
    pub(crate) filling: bool,
    /// Prefixes without a pod hold so many.
    pub(crate) empty: u32,
    /// The node has as many addresses as the kubelet runs pods, and the host lets it have no more.
    pub(crate) capped: bool,
    /// Free in prefixes that have a pod.
    in_prefixes: u32,
    /// Free single ones.
    in_singles: u32,
    /// Cooling, and free again before the next pod is expected.
    soon: u32,
    /// Asked for and not arrived, on an ENI that is ready.
    coming: u32,
    /// The same with an ENI that is on its way.
    pub(crate) arriving: u32,
    assigned: u32,
    /// Pods that wait, and those bound to the node that have not asked yet.
    waiting: u32,
    wanted: u32,
}

impl<'a> Pool<'a> {
    pub(crate) fn measure(view: &View<'a>, settings: &Settings) -> Self {
        let demand = &view.snapshot.demand;
        let most = settings.slots.saturating_mul(settings.per_prefix);
        let mut pool = Self {
            lines: Vec::with_capacity(view.enis().len()),
            offers: (0..view.snapshot.subnets.len())
                .map(|index| offer(view, index))
                .collect(),
            enis: view.enis().filter(|eni| eni.eni.card == 0).count() as u32,
            filling: false,
            empty: 0,
            capped: false,
            in_prefixes: 0,
            in_singles: 0,
            soon: 0,
            coming: 0,
            arriving: 0,
            assigned: 0,
            waiting: view.waiting().saturating_add(demand.scheduled.min(most)),
            wanted: settings.wanted,
        };
        let mut prefixes = 0;
        for eni in view.enis() {
            if eni.eni.state != EniState::Detaching {
                prefixes += pool.add(view, settings, eni);
            }
        }
        let max_pods = view.snapshot.node.max_pods;
        if max_pods > 0 {
            let most = max_pods.saturating_sub(pool.assigned + pool.waiting);
            pool.wanted = pool.wanted.min(most);
            let usable = pool.assigned + pool.free() + pool.on_its_way();
            pool.capped = usable >= max_pods;
        }
        // Prefixes are for haste, and for more pods than fit on single addresses.
        let pods = pool.assigned + pool.target();
        pool.filling =
            pods > settings.singles && pods + SLACK >= settings.per_prefix.saturating_mul(prefixes);
        pool
    }

    /// Counts one ENI; how many prefixes with a pod it has.
    fn add(&mut self, view: &View<'a>, settings: &Settings, eni: EniView<'a>) -> u32 {
        let (mut prefixes, mut singles) = (Totals::default(), Totals::default());
        let is_ready = eni.eni.state == EniState::Ready;
        let next_pod = view.snapshot.now + 60 * SECOND / u64::from(settings.pace.max(1));
        for block in eni.blocks() {
            let free = if eni.eni.excluded { 0 } else { block.free };
            match block.unit {
                Unit::Prefix if block.assigned == 0 => self.empty += free,
                Unit::Prefix => self.in_prefixes += free,
                Unit::Address => self.in_singles += free,
            }
            if block.cooling_until <= next_pod && !eni.eni.excluded && is_ready {
                self.soon += block.cooling;
            }
            match block.unit {
                Unit::Prefix => prefixes += Totals::from(block),
                Unit::Address => singles += Totals::from(block),
            }
        }
        let per_block = view.addresses_per(eni.eni.in_flight_unit);
        let asked = eni.eni.in_flight.saturating_mul(per_block);
        if is_ready {
            self.coming += asked;
        } else {
            self.arriving += asked + prefixes.addresses + singles.addresses;
        }
        self.assigned += prefixes.assigned + singles.assigned;
        let offer = self.offer(view, eni.eni.subnet);
        let reserve = match offer {
            Offer::Prefixes | Offer::OnePrefix => settings.reserve.saturating_sub(prefixes.blocks),
            Offer::Addresses | Offer::Nothing(_) => 0,
        };
        self.lines.push(Line {
            eni,
            offer,
            room: eni.eni.free_slots.saturating_sub(reserve),
        });
        prefixes.blocks - prefixes.unused_blocks
    }

    /// What can be had of a subnet, by its place.
    pub(crate) fn offer(&self, view: &View<'_>, subnet: u32) -> Offer {
        let unknown = if view.snapshot.limits.prefixes {
            Offer::Prefixes
        } else {
            Offer::Addresses
        };
        self.offers.get(subnet as usize).copied().unwrap_or(unknown)
    }

    /// Addresses that are there for new pods, but for those in prefixes that should run empty.
    pub(crate) fn supply(&self) -> u32 {
        let in_prefixes = if self.filling { self.in_prefixes } else { 0 };
        self.in_singles + self.soon + self.coming + self.arriving + in_prefixes
    }

    /// Whether single addresses can be had: there is a slot for them, or another ENI.
    pub(crate) fn takes_singles(&self, settings: &Settings) -> bool {
        settings.singles_suffice
            || self.enis < settings.max_enis
            || self.lines.iter().any(|line| line.room > 0)
    }

    /// Asked for and not there yet.
    pub(crate) fn on_its_way(&self) -> u32 {
        self.coming + self.arriving
    }

    /// Addresses that there should be for new pods.
    pub(crate) fn target(&self) -> u32 {
        self.wanted + self.waiting
    }

    /// Addresses that are missing, though pods could use those of prefixes that should run empty.
    pub(crate) fn missing(&self) -> u32 {
        let missing = self.target().saturating_sub(self.supply());
        missing.max(self.unserved())
    }

    /// Addresses that are missing, all prefixes counted.
    pub(crate) fn shortage(&self) -> u32 {
        let all = self.supply() + self.empty + if self.filling { 0 } else { self.in_prefixes };
        self.target().saturating_sub(all)
    }

    /// Pods for which nothing is free or will be within a second or so.
    pub(crate) fn unserved(&self) -> u32 {
        self.waiting.saturating_sub(self.free() + self.coming)
    }

    /// A pod could get one now.
    pub(crate) fn free(&self) -> u32 {
        self.in_singles + self.in_prefixes + self.empty
    }

    /// Counts addresses that were just asked for, on an ENI that is ready.
    pub(crate) fn expect(&mut self, addresses: u32) {
        self.coming += addresses;
    }

    /// Counts addresses that were just asked for, with a new ENI.
    pub(crate) fn expect_eni(&mut self, addresses: u32) {
        self.enis += 1;
        self.arriving += addresses;
    }

    /// 100 when a pod waits that nothing serves, else how much of what is wanted is not there.
    pub(crate) fn pressure(&self) -> u8 {
        let Some(left) = self.free().checked_sub(self.waiting) else {
            return 100;
        };
        let lack = self.wanted.saturating_sub(left);
        (u64::from(lack) * 90 / u64::from(self.wanted.max(1))) as u8
    }

    pub(crate) fn in_words(&self) -> String {
        let mut words = format!("{} assigned", self.assigned);
        let mut also = |count: u32, what: &str| {
            if count > 0 {
                // Writing to a String cannot fail.
                let _ = write!(words, ", {count} {what}");
            }
        };
        also(self.waiting, "wait");
        also(self.on_its_way(), "on their way");
        also(self.soon, "soon cooled");
        format!("{words}, {} free, {} free wanted", self.free(), self.wanted)
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
