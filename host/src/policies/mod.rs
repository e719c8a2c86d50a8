//! The life of policies: chosen, fetched, compiled, tried, swapped in, watched, kept or rolled back.
//!
//! In: rules (a ConfigMap, a file), the environment, snapshots, how decisions went. Out: the policy
//! that decides now, its status, news for people.
//!
//! ```text
//! wish (which rule) -> fetch (bytes) -> trial (compile, check, configure, self-test) -> life (swap,
//!                                                                  guard, roll back) -> keep (on disk)
//! ```
//!
//! Must hold:
//! - a policy that cannot be fetched or loaded, refuses its settings or fails on the last snapshots
//!   never replaces one that works;
//! - everything but the swap itself happens beside the loop, on threads with at least 2 MiB of stack
//!   (tokio's blocking threads, see `main`);
//! - what was rolled back does not come back until something else is asked for.

mod fetch;
mod guard;
mod keep;
mod labels;
mod life;
mod shadow;
mod trial;
mod watch;
mod wish;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use onsen_core::cidr::Unit;
use onsen_core::proposal::Proposal;
use onsen_core::snapshot::{Setting, Snapshot};
use onsen_policy_runner::Policy;
use onsen_policy_runner::reference::Reference;

use crate::settings::parse_flag;

pub(crate) use guard::AddOutcome;
pub(crate) use labels::{Labels, Shown};
#[cfg(test)]
pub(crate) use life::Named;
pub(crate) use life::{Life, LifeEvent, PolicyStatus};
pub(crate) use shadow::{Compared, Figures};
pub(crate) use trial::compile_into;
pub(crate) use watch::{Seen, Watcher, see};
pub(crate) use wish::{Cluster, ConfigMap, Heard, Sources};

/// The policy that decides when the chosen one does not.
pub(crate) const DEFAULT: &str = "default-warm-eni";

/// A policy that may run, with the settings it runs with.
#[derive(Clone)]
pub(crate) struct Candidate {
    /// Compiled.
    pub(crate) policy: Arc<Policy>,
    /// Where it came from.
    pub(crate) reference: Reference,
    /// By key.
    pub(crate) settings: BTreeMap<String, String>,
    /// Its bytes: kept on disk once it has proved good.
    pub(crate) wasm: Arc<Cow<'static, [u8]>>,
    /// Digest of the public key that its signature was checked with; absent when none was asked for.
    pub(crate) key: Option<String>,
    /// How long compiling and loading it took; zero when it was loaded already.
    pub(crate) load: Duration,
}

impl Candidate {
    /// As the core wants them: sorted by key.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let setting = |(key, value): (&String, &String)| Setting {
            key: key.clone(),
            value: value.clone(),
        };
        self.settings.iter().map(setting).collect()
    }

    /// What new blocks are by default.
    pub(crate) fn unit(&self, prefixes_possible: bool) -> Unit {
        let wanted = self.settings.get("ENABLE_PREFIX_DELEGATION");
        if prefixes_possible && wanted.is_some_and(|text| parse_flag(text) == Some(true)) {
            Unit::Prefix
        } else {
            Unit::Address
        }
    }

    /// The same node at the same moment, as this policy would be shown it.
    pub(crate) fn see(&self, snapshot: &Snapshot, memo: Vec<u8>) -> Snapshot {
        Snapshot {
            settings: self.settings(),
            unit: self.unit(snapshot.limits.prefixes),
            memo,
            ..snapshot.clone()
        }
    }

    /// Whether it would decide alike: the same bytes with the same settings.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.policy.digest() == other.policy.digest() && self.settings == other.settings
    }
}

/// What runs by the operator's wish.
#[derive(Clone)]
pub(crate) struct Chosen {
    /// It decides.
    pub(crate) candidate: Candidate,
    /// The rule that chose it, in words; absent when the environment did.
    pub(crate) rule: Option<String>,
    /// It is compared; absent when none is wanted, an error when it cannot run.
    pub(crate) shadow: Option<Result<Candidate, String>>,
}

/// What the watcher found.
pub(crate) enum News {
    /// This runs from now on.
    Changed(Box<Chosen>),
    /// What was asked for cannot run; what ran goes on.
    Refused(String),
}

/// What came of asking a policy.
pub(crate) struct Asked {
    /// For the core.
    pub(crate) answer: Result<Proposal, String>,
    /// What the guest burnt, when it answered.
    pub(crate) fuel: u64,
    /// Why there is no answer, in one word.
    pub(crate) failure: Option<&'static str>,
}

/// Asks a policy. Blocks.
pub(crate) fn decide(policy: &Policy, snapshot: &Snapshot) -> Asked {
    match policy.decide(snapshot) {
        Ok(decided) => {
            for line in decided.log {
                tracing::debug!(decision = snapshot.decision_id, level = ?line.level, "policy: {}", line.message);
            }
            Asked {
                answer: Ok(decided.proposal),
                fuel: decided.fuel,
                failure: None,
            }
        }
        Err(error) => Asked {
            failure: Some(error.kind()),
            answer: Err(error.to_string()),
            fuel: 0,
        },
    }
}
