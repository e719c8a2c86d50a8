//! Watches how the policy in force does, and says when it has to go.
//!
//! In: how each decision and each ADD went. Out: a verdict in words.
//! Must hold: a verdict needs figures of this policy that are bad by themselves, and worse than the
//! last good policy's where that can be compared; what EC2 or the cluster did to the node is not
//! held against a policy.
//!
//! | figure | goes when |
//! | --- | --- |
//! | failures: trap, fuel, memory, time, nonsense | 3 of the last 32 decisions, at any time |
//! | overruled: a pod waited, there was room, it asked for nothing | 3 of the last 32 decisions |
//! | laws: decisions with actions that were dropped as they break a law | half of at least 8, and twice the good share |
//! | turns: from growing to releasing or back while the demand stayed | 6 in 32 decisions, and twice the good number |
//! | fuel | a quarter of the limit on average of at least 8, and 4 times the good average |
//! | ADDs that waited a second or more, or were refused an address | 3 of the last 64, and twice the good share and a tenth |
//!
//! All but the first are looked at on probation only, for [`crate::settings::Settings::policy_watch`]
//! after a swap. A policy that has passed it, has decided at least 8 times and did not fail lately is the
//! last good one.

use std::collections::VecDeque;
use std::fmt::Write;

use onsen_core::proposal::{Proposal, Request};
use onsen_core::snapshot::Snapshot;

const ROUNDS: usize = 32;
const ADDS: usize = 64;
const FAILURES: usize = 3;
const OVERRULED: usize = 3;
/// Fewer rounds say nothing of averages.
const ENOUGH_ROUNDS: usize = 8;
const TURNS: usize = 6;
const SLOW_ADDS: usize = 3;
/// Fewer ADDs of the last good policy are nothing to compare with.
const ENOUGH_ADDS: usize = 16;

/// Reasons to drop an action that no policy can know beforehand.
const EXCUSED: [&str; 7] = [
    "call-budget",
    "in-flight",
    "not-ready",
    "terminating",
    "throttled",
    "too-young",
    "unconfirmed",
];

/// How a request for an address ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddOutcome {
    /// Out of the warm pool.
    Prompt,
    /// It had to wait for EC2.
    Waited,
    /// There was none in time.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Growing,
    Releasing,
}

/// How one decision went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Answered,
    /// From growing to releasing or back while the demand stayed.
    Turned,
    Failed,
    /// The built-in default was asked instead.
    Overruled,
}

#[derive(Clone, Debug)]
struct Round {
    course: Course,
    broke_laws: bool,
    fuel: u64,
}

/// What a policy is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    broke_laws: f64,
    turns: f64,
    fuel: f64,
    /// Unknown when there were too few.
    slow_adds: Option<f64>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Guard {
    rounds: VecDeque<Round>,
    adds: VecDeque<AddOutcome>,
    /// The last direction, and the demand it answered.
    heading: Option<(Direction, u32)>,
    last_failure: String,
    good: Rates,
    fuel_limit: u64,
}

impl Guard {
    /// Watches a policy that was just swapped in, beside the last good one's figures.
    pub(crate) fn new(good: Rates, fuel_limit: u64) -> Self {
        Self {
            rounds: VecDeque::new(),
            adds: VecDeque::new(),
            heading: None,
            last_failure: String::new(),
            good,
            fuel_limit,
        }
    }

    /// The policy answered what it was shown.
    pub(crate) fn decided(&mut self, snapshot: &Snapshot, proposal: &Proposal, fuel: u64) {
        let demand = demand(snapshot);
        let direction = direction(proposal);
        let turned = matches!((self.heading, direction), (Some((before, asked)), Some(now))
            if before != now && asked == demand);
        if let Some(direction) = direction {
            self.heading = Some((direction, demand));
        }
        self.push(
            if turned {
                Course::Turned
            } else {
                Course::Answered
            },
            fuel,
        );
    }

    /// The policy did not answer.
    pub(crate) fn failed(&mut self, why: &str) {
        why.clone_into(&mut self.last_failure);
        self.push(Course::Failed, 0);
    }

    /// The core asks the built-in default: after a failure, or since the policy left a pod waiting.
    pub(crate) fn replaced(&mut self) {
        if self
            .rounds
            .back()
            .is_some_and(|round| round.course == Course::Failed)
        {
            return;
        }
        self.push(Course::Overruled, 0);
    }

    /// What check dropped of the newest answer.
    pub(crate) fn dropped<'a>(&mut self, mut reasons: impl Iterator<Item = &'a str>) {
        if let Some(round) = self.rounds.back_mut() {
            round.broke_laws |= reasons.any(|reason| !EXCUSED.contains(&reason));
        }
    }

    /// A pod asked for an address.
    pub(crate) fn added(&mut self, outcome: AddOutcome) {
        if self.adds.len() == ADDS {
            self.adds.pop_front();
        }
        self.adds.push_back(outcome);
    }

    /// Whether it has decided often enough to be judged, and not failed lately.
    pub(crate) fn is_sound(&self) -> bool {
        self.rounds.len() >= ENOUGH_ROUNDS && self.count(Course::Failed) == 0
    }

    fn push(&mut self, course: Course, fuel: u64) {
        if self.rounds.len() == ROUNDS {
            self.rounds.pop_front();
        }
        self.rounds.push_back(Round {
            course,
            broke_laws: false,
            fuel,
        });
    }

    fn count(&self, course: Course) -> usize {
        let is = |round: &&Round| round.course == course;
        self.rounds.iter().filter(is).count()
    }

    fn lawless(&self) -> usize {
        self.rounds.iter().filter(|round| round.broke_laws).count()
    }

    fn slow_adds(&self) -> usize {
        let slow = |add: &&AddOutcome| **add != AddOutcome::Prompt;
        self.adds.iter().filter(slow).count()
    }

    /// What the next policy is compared with, once this one has proved good.
    pub(crate) fn rates(&self) -> Rates {
        let rounds = self.rounds.len().max(1) as f64;
        Rates {
            broke_laws: self.lawless() as f64 / rounds,
            turns: self.count(Course::Turned) as f64,
            fuel: self.rounds.iter().map(|round| round.fuel).sum::<u64>() as f64 / rounds,
            slow_adds: (self.adds.len() >= ENOUGH_ADDS)
                .then(|| self.slow_adds() as f64 / self.adds.len() as f64),
        }
    }

    /// Why the policy has to go, when it has to.
    pub(crate) fn verdict(&self, on_probation: bool) -> Option<String> {
        let rounds = self.rounds.len();
        let failures = self.count(Course::Failed);
        if failures >= FAILURES {
            return Some(format!(
                "{failures} of its last {rounds} decisions failed, the last one because {}",
                self.last_failure
            ));
        }
        if !on_probation {
            return None;
        }
        let overruled = self.count(Course::Overruled);
        if overruled >= OVERRULED {
            return Some(format!(
                "in {overruled} of its last {rounds} decisions pods waited, there was room and it asked for nothing"
            ));
        }
        let now = self.rates();
        let enough = rounds >= ENOUGH_ROUNDS;
        if enough && now.broke_laws >= 0.5 && now.broke_laws > 2.0 * self.good.broke_laws {
            let broken = self.lawless();
            return Some(format!(
                "{broken} of its last {rounds} decisions asked for what breaks a law"
            ));
        }
        if now.turns >= TURNS as f64 && now.turns >= 2.0 * self.good.turns {
            return Some(format!(
                "it turned {} times between growing and releasing in {rounds} decisions while the demand stayed the same",
                now.turns
            ));
        }
        if enough && now.fuel >= self.fuel_limit as f64 / 4.0 && now.fuel > 4.0 * self.good.fuel {
            return Some(format!(
                "its decisions burn {:.0} units of fuel on average; {} are the limit",
                now.fuel, self.fuel_limit
            ));
        }
        self.good.slow_adds.and_then(|good| self.slow(good))
    }

    fn slow(&self, good: f64) -> Option<String> {
        let slow = self.slow_adds();
        let share = slow as f64 / self.adds.len().max(1) as f64;
        (slow >= SLOW_ADDS && share > 2.0 * good + 0.1).then(|| {
            let mut why = format!("{slow} of the last {} pods waited", self.adds.len());
            let refused = |add: &&AddOutcome| **add == AddOutcome::Refused;
            match self.adds.iter().filter(refused).count() {
                0 => {}
                // Writing to a String cannot fail.
                refused => write!(why, ", {refused} of them in vain").unwrap_or_default(),
            }
            why + &format!("; {:.0} of 100 did before", 100.0 * good)
        })
    }
}

/// Addresses that pods hold or wait for.
fn demand(snapshot: &Snapshot) -> u32 {
    let held = snapshot
        .blocks
        .assigned
        .iter()
        .fold(0, |sum: u32, count| sum.saturating_add(*count));
    held.saturating_add(snapshot.demand.waiting.len() as u32)
}

/// Nothing when it asks for nothing, or for both.
fn direction(proposal: &Proposal) -> Option<Direction> {
    let grows =
        |request: &Request| matches!(request, Request::AttachEni { .. } | Request::Grow { .. });
    let growing = proposal
        .actions
        .iter()
        .filter(|it| grows(&it.request))
        .count();
    match (growing, proposal.actions.len() - growing) {
        (0, 0) => None,
        (_, 0) => Some(Direction::Growing),
        (0, _) => Some(Direction::Releasing),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use onsen_core::cidr::Unit;
    use onsen_core::proposal::Action;

    use super::*;

    const LIMIT: u64 = 1_000;

    fn guard() -> Guard {
        Guard::new(Rates::default(), LIMIT)
    }

    fn snapshot(waiting: usize) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.demand.waiting = vec![0; waiting];
        snapshot
    }

    fn asks(request: Request) -> Proposal {
        let reason = String::new();
        Proposal {
            actions: vec![Action { request, reason }],
            ..Proposal::default()
        }
    }

    fn grow() -> Proposal {
        asks(Request::Grow {
            eni: 0,
            unit: Unit::Address,
            count: 1,
        })
    }

    fn release() -> Proposal {
        asks(Request::DetachEni { eni: 1 })
    }

    #[test]
    fn a_policy_that_traps_on_every_seventh_call_goes_within_21() {
        let mut guard = guard();
        for call in 1..=20 {
            if call % 7 == 0 {
                guard.failed("it trapped");
            } else {
                guard.decided(&snapshot(0), &Proposal::default(), 10);
            }
            assert_eq!(guard.verdict(false), None, "call {call}");
        }
        guard.failed("it trapped");
        let why = guard.verdict(false).unwrap();
        assert!(
            why.contains("3 of its last 21") && why.contains("it trapped"),
            "{why}"
        );
    }

    #[test]
    fn a_policy_proves_good_by_eight_decisions_of_which_none_failed() {
        let mut guard = guard();
        guard.failed("it trapped");
        for _ in 0..7 {
            assert!(!guard.is_sound());
            guard.decided(&snapshot(0), &Proposal::default(), 10);
        }
        assert!(!guard.is_sound(), "its failure is among the last ones");
        for _ in 0..25 {
            guard.decided(&snapshot(0), &Proposal::default(), 10);
        }
        assert!(guard.is_sound());
    }

    #[test]
    fn a_failure_now_and_then_is_forgiven() {
        let mut guard = guard();
        for call in 1..=200 {
            if call % 20 == 0 {
                guard.failed("it trapped");
            } else {
                guard.decided(&snapshot(0), &Proposal::default(), 10);
            }
            assert_eq!(guard.verdict(true), None);
        }
    }

    #[test]
    fn to_and_fro_at_the_same_demand_is_thrashing_and_at_another_is_not() {
        let (mut thrashing, mut following) = (guard(), guard());
        for round in 0..8 {
            let proposal = if round % 2 == 0 { grow() } else { release() };
            thrashing.decided(&snapshot(3), &proposal, 10);
            following.decided(&snapshot(round), &proposal, 10);
        }
        let why = thrashing.verdict(true).unwrap();
        assert!(why.contains("turned 7 times"), "{why}");
        assert_eq!(thrashing.verdict(false), None, "only on probation");
        assert_eq!(following.verdict(true), None);
    }

    #[test]
    fn actions_that_break_laws_count_and_those_that_come_too_early_do_not() {
        let (mut lawless, mut early) = (guard(), guard());
        for _ in 0..8 {
            for guard in [&mut lawless, &mut early] {
                guard.decided(&snapshot(0), &release(), 10);
            }
            lawless.dropped(["assigned"].into_iter());
            early.dropped(["throttled", "unconfirmed"].into_iter());
        }
        assert!(lawless.verdict(true).unwrap().contains("8 of its last 8"));
        assert_eq!(early.verdict(true), None);
        // As bad as the last good one is good enough.
        let mut alike = Guard::new(lawless.rates(), LIMIT);
        for _ in 0..8 {
            alike.decided(&snapshot(0), &release(), 10);
            alike.dropped(["assigned"].into_iter());
        }
        assert_eq!(alike.verdict(true), None);
    }

    #[test]
    fn fuel_near_the_limit_counts_when_the_last_good_policy_burnt_less() {
        let mut costly = guard();
        for _ in 0..8 {
            costly.decided(&snapshot(0), &Proposal::default(), 300);
        }
        assert!(costly.verdict(true).unwrap().contains("300 units of fuel"));
        costly.good = costly.rates();
        assert_eq!(costly.verdict(true), None);
    }

    #[test]
    fn slow_adds_are_compared_and_without_a_comparison_say_nothing() {
        let mut good = guard();
        for _ in 0..20 {
            good.added(AddOutcome::Prompt);
        }
        let mut slow = Guard::new(good.rates(), LIMIT);
        let mut alone = guard();
        for guard in [&mut slow, &mut alone] {
            for outcome in [AddOutcome::Waited, AddOutcome::Waited, AddOutcome::Refused] {
                guard.added(outcome);
            }
        }
        let why = slow.verdict(true).unwrap();
        assert!(
            why.contains("3 of the last 3 pods waited, 1 of them in vain"),
            "{why}"
        );
        assert_eq!(alone.verdict(true), None);
    }

    #[test]
    fn a_policy_that_leaves_pods_waiting_goes() {
        let mut guard = guard();
        for _ in 0..3 {
            guard.decided(&snapshot(1), &Proposal::default(), 10);
            guard.replaced();
        }
        assert!(guard.verdict(true).unwrap().contains("asked for nothing"));
    }
}
