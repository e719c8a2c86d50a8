//! One decision on one snapshot: tried, and written down.

use onsen_core::proposal::Request;
use onsen_core::snapshot::Snapshot;
use onsen_policy_runner::Policy;
use onsen_policy_runner::documents::{SnapshotDocument, in_words};
use serde::Serialize;

use super::expect::{ActionExpected, DecisionExpected};
use super::{Failure, Verdict};
use crate::account::InstanceType;

pub(super) fn run(
    snapshot: &SnapshotDocument,
    expected: &DecisionExpected,
    policy: &Policy,
) -> Verdict {
    let mut verdict = Verdict {
        decisions: 1,
        ..Verdict::default()
    };
    let failure = |differences, error| Failure {
        line: None,
        at_ms: 0,
        differences,
        error,
    };
    let limits_of = |name: &str| InstanceType::find(name).map(|kind| kind.limits());
    let decided = snapshot
        .clone()
        .into_snapshot(limits_of)
        .map_err(|error| format!("snapshot: {error}"))
        .and_then(|snapshot| {
            let decided = policy
                .decide(&snapshot)
                .map_err(|error| error.to_string())?;
            Ok((decided.proposal, snapshot))
        });
    match decided {
        Ok((proposal, snapshot)) => {
            let differences = expected.compare(&proposal.actions, &proposal.reason);
            if !differences.is_empty() {
                verdict.failures.push(failure(differences, None));
                verdict.last_decisions.push(proposal.reason);
                let actions = proposal.actions.iter();
                verdict.last_decisions.extend(actions.map(|action| {
                    let words = in_words(&action.request, &snapshot);
                    format!("  {words}: {}", action.reason)
                }));
            }
        }
        Err(error) => verdict.failures.push(failure(Vec::new(), Some(error))),
    }
    verdict
}

/// A decision as a scenario file: this is how a disagreement that a test has found is told.
#[derive(Serialize)]
struct Written<'a> {
    name: &'a str,
    about: &'a str,
    snapshot: SnapshotDocument,
    expect: DecisionExpected,
}

/// The file of a scenario in which exactly these requests are expected on this snapshot.
pub fn write_decision(
    name: &str,
    about: &str,
    snapshot: &Snapshot,
    expected: &[Request],
) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(&Written {
        name,
        about,
        snapshot: SnapshotDocument::from(snapshot),
        expect: DecisionExpected {
            actions: Some(expected.iter().map(ActionExpected::from).collect()),
            reason: None,
        },
    })
}
