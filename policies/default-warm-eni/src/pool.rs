//! The pool in the terms of the thresholds.
//!
//! In: the snapshot. Out: sums, and a line for each ENI.
//! Must hold: what has been asked for and not arrived counts as if it had, so that nothing is
//! asked for twice; an ENI on its way out counts for nothing but its place among the ENIs.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use onsen_policy_sdk::{Block, EniState, EniView, Role, Totals, Unit, View};

use crate::targets::Targets;

/// One ENI.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) eni: EniView<'a>,
    /// Blocks of the unit in force.
    pub(crate) active: Totals,
    /// Blocks of the other unit, from before a change of unit. They serve their pods.
    pub(crate) leftover: Totals,
}

impl<'a> Line<'a> {
    /// These blocks of an ENI.
    fn of(eni: EniView<'a>, blocks: impl IntoIterator<Item = Block>, targets: &Targets) -> Self {
        let (mut active, mut leftover) = (Totals::default(), Totals::default());
        for block in blocks {
            if block.unit == targets.unit {
                active += Totals::from(block);
            } else {
                leftover += Totals::from(block);
            }
        }
        Self {
            eni,
            active,
            leftover,
        }
    }

    pub(crate) fn has_pods(&self) -> bool {
        self.active.assigned + self.leftover.assigned > 0
    }

    /// Whether it takes more blocks.
    pub(crate) fn can_fill(&self, targets: &Targets) -> bool {
        let is_kept_empty = targets.custom_networking && self.eni.eni.role == Role::Primary;
        self.eni.can_grow() && !is_kept_empty
    }

    /// Whether it will take more blocks when the call that is under way has ended.
    pub(crate) fn fills_later(&self, targets: &Targets) -> bool {
        let eni = self.eni.eni;
        let room = match eni.state {
            EniState::Ready => eni.free_slots,
            EniState::Attaching => targets
                .slots
                .saturating_sub(eni.block_count.saturating_add(eni.in_flight)),
            EniState::Detaching => 0,
        };
        let is_under_way = eni.busy || eni.state == EniState::Attaching;
        let is_kept_empty = targets.custom_networking && eni.role == Role::Primary;
        let takes_blocks = matches!(eni.role, Role::Primary | Role::Secondary);
        is_under_way && room > 0 && takes_blocks && !eni.excluded && !is_kept_empty
    }

    /// Neither of the kinds that are never detached.
    pub(crate) fn is_ours(&self) -> bool {
        self.eni.eni.role == Role::Secondary
    }
}

/// Sums over ENIs, in addresses where nothing else is said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    /// All, cooling ones included.
    pub(crate) total: i64,
    /// Held by pods, or awaited by one.
    pub(crate) assigned: i64,
    /// The difference; below zero when more pods wait than there are addresses.
    pub(crate) available: i64,
    /// Of `available`.
    pub(crate) cooling: i64,
    /// Prefixes, as blocks.
    pub(crate) prefixes: i64,
    /// Prefixes without a pod, as blocks.
    pub(crate) free_prefixes: i64,
    /// Blocks without a pod on ENIs that are not excluded; upstream counts both units.
    pub(crate) free_blocks: i64,
}

/// What is measured before anything is decided, and changed by what is planned.
#[derive(Debug)]
pub(crate) struct Pool<'a> {
    pub(crate) lines: Vec<Line<'a>>,
    pub(crate) sums: Sums,
    pub(crate) waiting: i64,
    /// What waiting pods can count on: free now, whatever the unit, or on its way.
    pub(crate) usable: i64,
    /// Blocks asked for earlier that have not arrived.
    pub(crate) coming: i64,
    /// ENIs of the card, those on their way in and out included.
    pub(crate) enis: u32,
}

impl<'a> Pool<'a> {
    pub(crate) fn measure(view: &View<'a>, targets: &Targets) -> Self {
        let mut pool = Self {
            lines: Vec::with_capacity(view.enis().len()),
            sums: Sums::default(),
            // Pods turn to card 0 first.
            waiting: match targets.card {
                0 if !targets.strict => i64::from(view.waiting()),
                _ => 0,
            },
            usable: 0,
            coming: 0,
            enis: 0,
        };
        for eni in view.enis() {
            if eni.eni.card != targets.card {
                // Where card 0 has none left, pods take one of another card.
                pool.usable += eni.blocks().map(|block| i64::from(block.free)).sum::<i64>();
                continue;
            }
            pool.enis += 1;
            if eni.eni.state == EniState::Detaching {
                continue;
            }
            let line = Line::of(eni, eni.blocks(), targets);
            pool.sums.add(&line, targets);
            pool.usable += match eni.eni.state {
                // What it brings cannot be given yet, but need not be asked for again.
                EniState::Attaching => i64::from(line.active.addresses),
                EniState::Ready | EniState::Detaching => {
                    i64::from(line.active.free + line.leftover.free)
                }
            };
            pool.expect(i64::from(eni.eni.in_flight), targets);
            pool.coming += i64::from(eni.eni.in_flight);
            pool.lines.push(line);
        }
        pool.sums.assigned += pool.waiting;
        pool.sums.available -= pool.waiting;
        pool
    }

    /// Counts blocks that will come.
    pub(crate) fn expect(&mut self, blocks: i64, targets: &Targets) {
        let addresses = blocks * targets.per_block;
        self.sums.total += addresses;
        self.sums.available += addresses;
        self.sums.free_blocks += blocks;
        if targets.with_prefixes() {
            self.sums.prefixes += blocks;
            self.sums.free_prefixes += blocks;
        }
        self.usable += addresses;
    }

    /// Counts blocks of an ENI that go back as gone.
    pub(crate) fn lose(&mut self, eni: EniView<'a>, blocks: &[Block], targets: &Targets) {
        let gone = Line::of(eni, blocks.iter().copied(), targets);
        self.sums = self.without(&gone, targets);
        self.usable -= i64::from(gone.active.free + gone.leftover.free);
    }

    /// Waiting pods for which no address is free or on its way.
    pub(crate) fn unserved(&self) -> i64 {
        (self.waiting - self.usable).max(0)
    }

    /// The sums without this ENI, or without some of its blocks.
    pub(crate) fn without(&self, line: &Line<'_>, targets: &Targets) -> Sums {
        let mut gone = Sums::default();
        gone.add(line, targets);
        let all = self.sums;
        Sums {
            total: all.total - gone.total,
            assigned: all.assigned - gone.assigned,
            available: all.available - gone.available,
            cooling: all.cooling - gone.cooling,
            prefixes: all.prefixes - gone.prefixes,
            free_prefixes: all.free_prefixes - gone.free_prefixes,
            free_blocks: all.free_blocks - gone.free_blocks,
        }
    }
}

impl Sums {
    fn add(&mut self, line: &Line<'_>, targets: &Targets) {
        if !line.eni.eni.excluded {
            let active = line.active;
            self.total += i64::from(active.addresses);
            self.assigned += i64::from(active.assigned);
            self.available += i64::from(active.addresses) - i64::from(active.assigned);
            self.cooling += i64::from(active.cooling);
            self.free_blocks += i64::from(active.unused_blocks);
            if targets.strict {
                self.free_blocks += i64::from(line.leftover.unused_blocks);
            }
        } else if !targets.strict {
            return;
        }
        let prefixes = match targets.unit {
            Unit::Prefix => line.active,
            Unit::Address => line.leftover,
        };
        self.prefixes += i64::from(prefixes.blocks);
        self.free_prefixes += i64::from(prefixes.unused_blocks);
    }

    pub(crate) fn in_words(&self, pool: &Pool<'_>) -> String {
        let waiting = match pool.waiting {
            0 => String::new(),
            some => format!(" or awaited ({some} wait)"),
        };
        format!(
            "{} addresses on {} ENIs, {} assigned{waiting}, {} available",
            self.total,
            pool.lines.len(),
            self.assigned,
            self.available.max(0)
        )
    }
}
