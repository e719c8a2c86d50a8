//! What earlier errors of EC2 forbid for a while.
//!
//! In: the snapshot's outcomes. Out: when growth may go on, how much of one ENI may be asked for,
//! in which subnet a new ENI may be tried. This is upstream's ladder of errors, read from what
//! was recorded: all blocks, then one, then the next ENI, then a new ENI, then a pause.

use onsen_policy_sdk::outcomes::{is_growth, is_shortage, retry_at};
use onsen_policy_sdk::{EniView, Operation, Outcome, SECOND, View};

use crate::targets::Targets;

/// Pause after a subnet had nothing left.
const SHORTAGE: u64 = 120 * SECOND;
/// The host reads the ENI anew in this time.
const DISAGREEMENT: u64 = 60 * SECOND;
/// How long an attachment limit that EC2 told of is believed.
const ATTACHMENT_LIMIT: u64 = 600 * SECOND;

/// How much may be asked for on an ENI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// What is wanted.
    All,
    /// One block, to see whether any comes.
    One,
    /// Nothing before this time.
    NotBefore(u64),
}

/// The outcomes, as brakes.
#[derive(Debug)]
pub(crate) struct Brakes<'a> {
    outcomes: &'a [Outcome],
    now: u64,
}

impl<'a> Brakes<'a> {
    pub(crate) fn new(view: &View<'a>) -> Self {
        Self {
            outcomes: &view.snapshot.ec2.outcomes,
            now: view.snapshot.now,
        }
    }

    /// When anything may be asked for again; in the past when it may be now.
    pub(crate) fn growth_at(&self, view: &View<'_>, targets: &Targets) -> u64 {
        let has_its_own_rule = |outcome: &Outcome| {
            is_shortage(&outcome.code)
                || outcome.code == "PrivateIpAddressLimitExceeded"
                || outcome.code == "AttachmentLimitExceeded"
                || (outcome.operation == Operation::Grow && outcome.asked > 1)
        };
        let retry = if targets.strict {
            // Upstream tries again in its next round, however often it failed.
            0
        } else {
            retry_at(self.outcomes, |outcome| !has_its_own_rule(outcome))
        };
        let shortage = if targets.subnet_discovery {
            0
        } else {
            self.newest(|outcome| {
                is_growth(outcome) && outcome.asked <= 1 && is_shortage(&outcome.code)
            })
            .map_or(0, |outcome| outcome.at.saturating_add(SHORTAGE))
        };
        // A shortage that a new ENI met in every subnet stops all growth.
        let attach = self.subnet(view, targets).err().unwrap_or(0);
        let throttled = view.snapshot.ec2.throttled_until;
        retry.max(shortage).max(attach).max(throttled)
    }

    pub(crate) fn allowance(&self, eni: EniView<'_>) -> Allowance {
        let newest = self.newest(|outcome| {
            outcome.operation == Operation::Grow && outcome.eni == Some(eni.index)
        });
        // A call that a look showed undone was not refused: there is nothing to be careful about.
        let refused = |outcome: &&Outcome| !matches!(outcome.code.as_str(), "" | "Unknown");
        let Some(last) = newest.filter(refused) else {
            return Allowance::All;
        };
        let until = |pause: u64| last.at.saturating_add(pause);
        if last.code == "PrivateIpAddressLimitExceeded" {
            self.later(until(DISAGREEMENT))
        } else if self.now >= until(SHORTAGE) {
            Allowance::All
        } else if last.asked > 1 {
            Allowance::One
        } else if is_shortage(&last.code) {
            self.later(until(SHORTAGE))
        } else {
            Allowance::All
        }
    }

    fn later(&self, until: u64) -> Allowance {
        if self.now < until {
            Allowance::NotBefore(until)
        } else {
            Allowance::All
        }
    }

    /// When a new ENI may be tried again after EC2 said that no more can be attached. Upstream tries
    /// in each round.
    pub(crate) fn attach_at(&self, targets: &Targets) -> u64 {
        if targets.strict {
            return 0;
        }
        self.newest(|outcome| outcome.code == "AttachmentLimitExceeded")
            .map_or(0, |outcome| outcome.at.saturating_add(ATTACHMENT_LIMIT))
    }

    /// The subnet for a new ENI: the one with most free addresses that was not short lately. `Ok(None)`
    /// leaves it to the host; an error says when to try again.
    pub(crate) fn subnet(&self, view: &View<'_>, targets: &Targets) -> Result<Option<u32>, u64> {
        let short_until = |index: Option<u32>| {
            self.newest(|outcome| {
                outcome.operation == Operation::AttachEni
                    && is_shortage(&outcome.code)
                    && (outcome.subnet.is_none() || index.is_none() || outcome.subnet == index)
            })
            .map_or(0, |outcome| outcome.at.saturating_add(SHORTAGE))
        };
        let subnets = &view.snapshot.subnets;
        // With custom networking the host knows the subnet.
        if !targets.subnet_discovery || targets.custom_networking || subnets.len() < 2 {
            let until = short_until(None);
            return if self.now < until {
                Err(until)
            } else {
                Ok(None)
            };
        }
        let mut best: Option<(u32, u32)> = None;
        let mut earliest = u64::MAX;
        for (index, subnet) in (0u32..).zip(subnets) {
            let until = short_until(Some(index));
            if self.now < until {
                earliest = earliest.min(until);
                continue;
            }
            let free = subnet.free_addresses.unwrap_or(0);
            if best.is_none_or(|(_, most)| free > most) {
                best = Some((index, free));
            }
        }
        best.map(|(index, _)| Some(index)).ok_or(earliest)
    }

    fn newest(&self, is_meant: impl Fn(&Outcome) -> bool) -> Option<&'a Outcome> {
        self.outcomes.iter().rev().find(|outcome| is_meant(outcome))
    }
}
