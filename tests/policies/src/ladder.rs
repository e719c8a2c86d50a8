//! What the outcomes of earlier EC2 calls allow next: section "EC2 errors".
//!
//! In: outcomes, newest last. Out: the place on the ladder "retry with one, next ENI, new ENI, pause".
//! Must hold: upstream walks the ladder within one round; here each rung is a decision of its own,
//! so the outcomes are replayed from the oldest. Between a failed round and the next one upstream
//! sleeps for some seconds: until then both trying and waiting are right.

use std::collections::BTreeSet;

use onsen_core::snapshot::{Operation, Outcome, Snapshot};

use crate::rules::{Mode, Rules};

const SECOND: u64 = 1_000;
/// A failed round may be repeated after a pause of this order.
const ROUND: u64 = 5 * SECOND;
/// The pause after a shortage; nothing is left of the ladder after it.
const SHORTAGE: u64 = 120 * SECOND;
/// How long normal mode believes that an ENI holds no more than it does.
const DISAGREEMENT: u64 = 60 * SECOND;
/// How long a refused attachment is remembered in normal mode.
const ATTACHMENT_LIMIT: u64 = 600 * SECOND;
/// The pause between two rounds of release.
const RELEASE: u64 = 30 * SECOND;

/// Where growth stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
pub struct Ladder {
    /// No growth at all.
    pub paused: bool,
    /// Try this ENI again, with one block.
    pub retry: Option<u32>,
    /// Something was had elsewhere since: the ENIs before that one come first.
    pub anew: bool,
    /// ENIs that failed twice for want of addresses, or that EC2 calls full: the next ones come first.
    pub spent: Vec<u32>,
    /// Subnets in which a new ENI found no addresses, where there are several to choose from.
    pub short: BTreeSet<u32>,
    /// No new ENI.
    pub no_attach: bool,
    /// A round has failed a moment ago: waiting is as right as trying.
    pub may_wait: bool,
    /// Rounds that failed one after the other: normal mode waits twice as long after each.
    failures: u32,
}

impl Ladder {
    /// Something was had in this subnet: the next round starts anew, and the clocks of pauses run on.
    /// Normal mode remembers what it knows of other subnets.
    fn succeeded(&mut self, subnet: Option<u32>, snapshot: &Snapshot, rules: &Rules) {
        let elsewhere =
            |eni: &u32| rules.mode == Mode::Normal && subnet_of(snapshot, *eni) != subnet;
        self.retry = self.retry.filter(elsewhere);
        self.anew = true;
        self.spent.retain(elsewhere);
        self.may_wait = false;
        self.failures = 0;
    }

    /// The round has failed: upstream starts the next one anew, and normal mode remembers what is short.
    fn failed(&mut self, rules: &Rules) {
        self.retry = None;
        if rules.mode == Mode::Strict {
            self.spent.clear();
        }
        self.may_wait = true;
        self.failures += 1;
    }

    /// How long waiting is as right as trying.
    fn pause(&self, rules: &Rules) -> u64 {
        let doublings = self.failures.saturating_sub(1).min(8);
        match rules.mode {
            Mode::Strict => ROUND,
            Mode::Normal => (ROUND << doublings).min(SHORTAGE),
        }
    }
}

fn subnet_of(snapshot: &Snapshot, eni: u32) -> Option<u32> {
    snapshot.enis.get(eni as usize).map(|eni| eni.subnet)
}

/// Whether EC2 has no address, or no whole prefix, left in the subnet.
fn is_shortage(code: &str) -> bool {
    matches!(
        code,
        "InsufficientFreeAddressesInSubnet" | "InsufficientCidrBlocks"
    )
}

/// Replays the outcomes. `exhausted` says whether no ENI but these can be filled and none attached.
pub fn read(snapshot: &Snapshot, rules: &Rules, exhausted: impl Fn(&[u32]) -> bool) -> Ladder {
    let mut at = Ladder::default();
    let mut full = Vec::new();
    let mut newest = 0;
    for outcome in &snapshot.ec2.outcomes {
        let age = snapshot.now.saturating_sub(outcome.at);
        match outcome.operation {
            Operation::Grow if outcome.code == "PrivateIpAddressLimitExceeded" => {
                // Counts as growth: the host reads the ENI, and the round is over. What it finds may be
                // enough; if not, upstream asks for the same again, and normal mode passes on.
                at.failed(rules);
                at.paused |= rules.mode == Mode::Normal && age < ROUND;
                full.extend(outcome.eni.map(|eni| (eni, age)));
            }
            Operation::Grow => grown(&mut at, outcome, (age, snapshot), rules),
            Operation::AttachEni => attached(&mut at, outcome, (age, snapshot), rules),
            Operation::Release | Operation::DetachEni => continue,
        }
        newest = outcome.at;
    }
    if !at.spent.is_empty() && exhausted(&at.spent) {
        at.failed(rules);
    }
    if rules.mode == Mode::Normal {
        let full = full.into_iter().filter(|(_, age)| *age < DISAGREEMENT);
        at.spent.extend(full.map(|(eni, _)| eni));
    }
    at.may_wait &= snapshot.now.saturating_sub(newest) <= at.pause(rules);
    at
}

fn grown(at: &mut Ladder, outcome: &Outcome, (age, snapshot): (u64, &Snapshot), rules: &Rules) {
    let Some(eni) = outcome.eni else { return };
    if outcome.code.is_empty() {
        at.succeeded(subnet_of(snapshot, eni), snapshot, rules);
    } else if age >= SHORTAGE {
        // Long over.
    } else if at.retry != Some(eni) {
        if at.spent.contains(&eni) {
            // Another round.
            at.spent.clear();
        }
        at.retry = Some(eni);
        at.anew = false;
        at.may_wait = false;
    } else if !is_shortage(&outcome.code) {
        at.failed(rules);
    } else {
        at.retry = None;
        at.spent.push(eni);
        if !rules.subnet_discovery {
            at.paused = true;
            at.spent.clear();
        }
    }
}

fn attached(at: &mut Ladder, outcome: &Outcome, (age, snapshot): (u64, &Snapshot), rules: &Rules) {
    if outcome.code.is_empty() {
        at.succeeded(outcome.subnet, snapshot, rules);
        at.no_attach = false;
        return;
    }
    let subnets = snapshot.subnets.len();
    let chooses = rules.subnet_discovery && !rules.custom_networking && subnets > 1;
    if is_shortage(&outcome.code) && age < SHORTAGE {
        match outcome.subnet {
            // Upstream tries one subnet after the other in the same round.
            Some(subnet) if chooses => {
                at.short.insert(subnet);
                at.paused |= at.short.len() == subnets;
            }
            _ => at.paused = true,
        }
        return;
    }
    at.failed(rules);
    if outcome.code == "AttachmentLimitExceeded" && rules.mode == Mode::Normal {
        at.no_attach |= age <= ATTACHMENT_LIMIT;
    }
}

/// Whether the pause after the last round of release is over.
pub fn may_release(snapshot: &Snapshot) -> bool {
    let releases = snapshot.ec2.outcomes.iter();
    let last = releases
        .filter(|outcome| outcome.operation == Operation::Release)
        .map(|outcome| outcome.at)
        .max();
    last.is_none_or(|at| snapshot.now.saturating_sub(at) > RELEASE)
}
