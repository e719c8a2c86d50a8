//! What earlier errors of EC2 forbid for a while.
//!
//! In: the snapshot's outcomes. Out: when growth may go on, how much of one ENI may be asked for,
//! in which subnet a new ENI may be tried. This is upstream's ladder of errors, read from what
//! was recorded: all blocks, then one, then the next ENI, then a new ENI, then a pause.

use onsen_policy_sdk::outcomes::{is_growth, is_shortage, retry_at};
use onsen_policy_sdk::{EniView, Operation, Outcome, SECOND, View};

use crate::ROUND;
use crate::memo::Memo;
use crate::targets::Targets;

/// Pause after a subnet had nothing left.
const SHORTAGE: u64 = 120 * SECOND;
/// How long EC2 is believed that an ENI holds no more than it does.
const DISAGREEMENT: u64 = 60 * SECOND;
/// How long an attachment limit that EC2 told of is believed.
const ATTACHMENT_LIMIT: u64 = 600 * SECOND;

/// EC2 counts more on an ENI than the host does.
const FULLER_THAN_KNOWN: &str = "PrivateIpAddressLimitExceeded";

/// Whether upstream tries the next thing in the same round after this call.
pub(crate) fn goes_on(last: &Outcome, discovery: bool) -> bool {
    let shortage = is_shortage(&last.code);
    match last.operation {
        Operation::Grow if last.asked > 1 => {
            !last.code.is_empty() && last.code != FULLER_THAN_KNOWN
        }
        Operation::Grow | Operation::AttachEni => discovery && shortage,
        Operation::Release | Operation::DetachEni => false,
    }
}

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
    strict: bool,
    /// Since when refusals of single ENIs are remembered: upstream starts each round anew.
    since: u64,
}

impl<'a> Brakes<'a> {
    pub(crate) fn new(view: &View<'a>, targets: &Targets, memo: &Memo) -> Self {
        Self {
            outcomes: &view.snapshot.ec2.outcomes,
            now: view.snapshot.now,
            strict: targets.strict,
            since: if targets.strict { memo.round_at } else { 0 },
        }
    }

    /// When anything may be asked for again; in the past when it may be now.
    pub(crate) fn growth_at(&self, view: &View<'_>, targets: &Targets) -> u64 {
        let has_its_own_rule = |outcome: &Outcome| {
            is_shortage(&outcome.code)
                || outcome.code == FULLER_THAN_KNOWN
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
        // The host reads the ENI anew; what it finds may be all that is wanted.
        let reading = self
            .newest(|outcome| !targets.strict && outcome.code == FULLER_THAN_KNOWN)
            .map_or(0, |outcome| outcome.at.saturating_add(ROUND));
        // A shortage that a new ENI met in every subnet stops all growth.
        let attach = self.subnet(view, targets).err().unwrap_or(0);
        let throttled = view.snapshot.ec2.throttled_until;
        let pauses = [retry, shortage, reading, attach, throttled];
        pauses.into_iter().fold(0, u64::max)
    }

    pub(crate) fn allowance(&self, eni: EniView<'_>) -> Allowance {
        let is_about = |it: &Outcome| it.operation == Operation::Grow && it.eni == Some(eni.index);
        let Some(place) = self.outcomes.iter().rposition(is_about) else {
            return Allowance::All;
        };
        let (last, since) = (&self.outcomes[place], &self.outcomes[place + 1..]);
        // A call that a look showed undone was not refused: there is nothing to be careful about.
        if matches!(last.code.as_str(), "" | "Unknown") || last.at < self.since {
            return Allowance::All;
        }
        let until = |pause: u64| last.at.saturating_add(pause);
        if last.code == FULLER_THAN_KNOWN {
            return if self.strict {
                Allowance::All
            } else {
                self.later(until(DISAGREEMENT))
            };
        }
        // Where something was had since, there is something. Upstream's next round asks anew anyhow.
        let anew = |it: &Outcome| {
            is_growth(it)
                && it.code.is_empty()
                && (self.strict || it.subnet == Some(eni.eni.subnet))
        };
        if self.now >= until(SHORTAGE) || since.iter().any(anew) {
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
