//! What the outcomes of earlier EC2 calls allow next: section "EC2 errors".
//!
//! In: outcomes, newest last. Out: the place on the ladder "retry with one, next ENI, new ENI, pause".
//! Must hold: upstream walks the ladder within one round; here each rung is a decision of its own,
//! so the outcomes are replayed from the oldest. Between a failed round and the next one upstream
//! sleeps for some seconds: until then both trying and waiting are right.

use onsen_core::snapshot::{Operation, Outcome, Snapshot};

use crate::rules::{Mode, Rules};

const SECOND: u64 = 1_000;
/// A failed round may be repeated after a pause of this order.
const ROUND: u64 = 5 * SECOND;
/// A pool that rested for so long has no ladder any more.
const STALE: u64 = 121 * SECOND;
/// The pause after a shortage.
const SHORTAGE: u64 = 120 * SECOND;
/// How long a refused attachment is remembered in normal mode.
const ATTACHMENT_LIMIT: u64 = 600 * SECOND;
/// The pause between two rounds of release.
const RELEASE: u64 = 30 * SECOND;

/// Where growth stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ladder {
    /// No growth at all.
    pub paused: bool,
    /// Try this ENI again, with one block.
    pub retry: Option<u32>,
    /// ENIs that failed twice for want of addresses: the next ones come first.
    pub spent: Vec<u32>,
    /// No new ENI.
    pub no_attach: bool,
    /// A round has failed a moment ago: waiting is as right as trying.
    pub may_wait: bool,
}

impl Ladder {
    /// The next round starts anew; the clocks of pauses run on.
    fn succeeded(&mut self) {
        self.retry = None;
        self.spent.clear();
        self.may_wait = false;
    }
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
    let mut newest = 0;
    for outcome in &snapshot.ec2.outcomes {
        let age = snapshot.now.saturating_sub(outcome.at);
        match outcome.operation {
            Operation::Grow => grown(&mut at, outcome, age, rules, &exhausted),
            Operation::AttachEni => attached(&mut at, outcome, age, rules),
            Operation::Release | Operation::DetachEni => continue,
        }
        newest = outcome.at;
    }
    let age = snapshot.now.saturating_sub(newest);
    if age > STALE {
        at.retry = None;
        at.spent.clear();
    }
    at.may_wait &= age <= ROUND;
    at
}

fn grown(
    at: &mut Ladder,
    outcome: &Outcome,
    age: u64,
    rules: &Rules,
    exhausted: &impl Fn(&[u32]) -> bool,
) {
    let Some(eni) = outcome.eni else { return };
    if outcome.code.is_empty() {
        at.succeeded();
    } else if outcome.code == "PrivateIpAddressLimitExceeded" {
        // Counts as growth: the host reads the ENI. The round is over.
        at.retry = None;
        at.spent.clear();
        at.may_wait = true;
    } else if at.retry != Some(eni) {
        at.retry = Some(eni);
        at.may_wait = false;
    } else if !is_shortage(&outcome.code) {
        at.retry = None;
        at.spent.clear();
        at.may_wait = true;
    } else {
        at.retry = None;
        at.spent.push(eni);
        let pauses =
            !rules.subnet_discovery || (rules.mode == Mode::Normal && exhausted(&at.spent));
        if pauses {
            at.paused |= age <= SHORTAGE;
            at.spent.clear();
        } else if exhausted(&at.spent) {
            // Upstream: the round ends, and the next one starts anew.
            at.spent.clear();
            at.may_wait = true;
        }
    }
}

fn attached(at: &mut Ladder, outcome: &Outcome, age: u64, rules: &Rules) {
    if outcome.code.is_empty() {
        at.succeeded();
        at.no_attach = false;
        return;
    }
    at.retry = None;
    at.spent.clear();
    at.may_wait = true;
    if is_shortage(&outcome.code) {
        at.paused |= age <= SHORTAGE;
    } else if outcome.code == "AttachmentLimitExceeded" && rules.mode == Mode::Normal {
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
