//! A second policy sees what the first one sees. Its answers are compared, counted and never carried
//! out.
//!
//! In: the snapshot of a decision and its proposal. Out: how the two compare.
//! Must hold: the shadow never delays a decision, is never checked and never reaches the core; its
//! memo is its own.

use std::sync::{Arc, Mutex, TryLockError};

use onsen_core::proposal::Proposal;
use onsen_core::snapshot::Snapshot;
use onsen_policy_runner::documents::in_words;
use serde::Serialize;

use super::{Candidate, decide};

/// What a shadow answered, beside the policy in force.
#[derive(Clone, Debug)]
pub(crate) enum Compared {
    /// Both ask for the same.
    Alike,
    /// They do not.
    Differently(Difference),
    /// The shadow failed.
    Failed(String),
    /// The shadow was not done with the last question yet.
    Busy,
}

/// Two answers to the same question, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// The decision.
    pub(crate) decision: u64,
    /// What the policy in force asked for.
    pub(crate) policy: Vec<String>,
    /// Why.
    pub(crate) policy_reason: String,
    /// What the shadow would have asked for.
    pub(crate) shadow: Vec<String>,
    /// Why.
    pub(crate) shadow_reason: String,
}

/// How often it said what.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// Decisions compared.
    pub(crate) compared: u64,
    /// Among them those in which the two differed.
    pub(crate) differed: u64,
    /// Decisions in which it failed.
    pub(crate) failed: u64,
    /// Decisions it missed.
    pub(crate) missed: u64,
    /// The last one in which the two differed.
    pub(crate) last_difference: Option<Difference>,
    /// The last failure.
    pub(crate) last_failure: Option<String>,
}

impl Figures {
    pub(super) fn count(&mut self, compared: Compared) {
        match compared {
            Compared::Alike => self.compared += 1,
            Compared::Differently(difference) => {
                self.compared += 1;
                self.differed += 1;
                self.last_difference = Some(difference);
            }
            Compared::Failed(why) => {
                self.failed += 1;
                self.last_failure = Some(why);
            }
            Compared::Busy => self.missed += 1,
        }
    }
}

/// A shadow at work. Clones are the same shadow.
#[derive(Clone)]
pub(crate) struct Shadow {
    pub(super) candidate: Candidate,
    memo: Arc<Mutex<Vec<u8>>>,
}

impl Shadow {
    pub(super) fn new(candidate: Candidate) -> Self {
        Self {
            candidate,
            memo: Arc::default(),
        }
    }

    /// Asks it what the policy in force was asked. Blocks.
    pub(crate) fn compare(&self, snapshot: &Snapshot, proposal: &Proposal) -> Compared {
        let mut memo = match self.memo.try_lock() {
            Ok(memo) => memo,
            Err(TryLockError::WouldBlock) => return Compared::Busy,
            // The thread that held it panicked; a memo is any bytes.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        };
        let snapshot = self.candidate.see(snapshot, memo.clone());
        match decide(&self.candidate.policy, &snapshot).answer {
            Ok(mut own) => {
                *memo = std::mem::take(&mut own.memo);
                compare(&snapshot, proposal, &own)
            }
            Err(why) => Compared::Failed(why),
        }
    }
}

/// Only what is asked for counts, in its order. Reasons are for people.
fn compare(snapshot: &Snapshot, policy: &Proposal, shadow: &Proposal) -> Compared {
    let requests =
        |of: &Proposal| -> Vec<_> { of.actions.iter().map(|it| it.request.clone()).collect() };
    let (one, other) = (requests(policy), requests(shadow));
    if one == other {
        return Compared::Alike;
    }
    let words = |requests: &[_]| requests.iter().map(|it| in_words(it, snapshot)).collect();
    Compared::Differently(Difference {
        decision: snapshot.decision_id,
        policy: words(&one),
        policy_reason: policy.reason.clone(),
        shadow: words(&other),
        shadow_reason: shadow.reason.clone(),
    })
}

#[cfg(test)]
mod tests {
    use onsen_core::cidr::Unit;
    use onsen_core::proposal::{Action, Request};

    use super::*;

    fn grow(count: u32, reason: &str) -> Proposal {
        let request = Request::Grow {
            eni: 0,
            unit: Unit::Address,
            count,
        };
        Proposal {
            actions: vec![Action {
                request,
                reason: reason.into(),
            }],
            ..Proposal::default()
        }
    }

    #[test]
    fn reasons_may_differ_and_requests_may_not() {
        let snapshot = Snapshot::default();
        let same = compare(&snapshot, &grow(3, "a"), &grow(3, "b"));
        assert!(matches!(same, Compared::Alike));
        let mut figures = Figures::default();
        figures.count(same);
        figures.count(compare(&snapshot, &grow(3, ""), &grow(4, "")));
        let difference = figures.last_difference.clone().unwrap();
        assert!(difference.policy[0].starts_with('3') && difference.shadow[0].starts_with('4'));
        assert_eq!((figures.compared, figures.differed), (2, 1));
    }
}
