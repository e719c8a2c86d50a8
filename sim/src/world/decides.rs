//! Who decides on a node: a component, or native code that a test brings.

use std::sync::Arc;

use onsen_core::proposal::Proposal;
use onsen_core::snapshot::Snapshot;
use onsen_policy_runner::Policy;

use crate::rng::Rng;

/// A policy in native code: a snapshot and dice give a proposal, or the reason why there is none.
pub type Native = fn(&Snapshot, &mut Dice) -> Result<Proposal, String>;

/// Who decides.
#[derive(Clone)]
pub enum Decides {
    /// A component, run as on a node.
    Component(Arc<Policy>),
    /// Native code with dice of its own.
    Native(Native, Dice),
}

/// Dice for native policies.
#[derive(Clone, Debug)]
pub struct Dice(Rng);

impl Dice {
    /// The dice of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Rng::new(seed))
    }

    /// A number below the bound.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0.below(bound as usize) as u32
    }
}

impl std::fmt::Debug for Decides {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Component(policy) => write!(f, "component {}", policy.digest()),
            Self::Native(..) => f.write_str("native"),
        }
    }
}

impl From<Arc<Policy>> for Decides {
    fn from(policy: Arc<Policy>) -> Self {
        Self::Component(policy)
    }
}

impl Decides {
    pub(super) fn decide(&mut self, snapshot: &Snapshot) -> Result<Proposal, String> {
        match self {
            Self::Component(policy) => policy
                .decide(snapshot)
                .map(|decided| decided.proposal)
                .map_err(|error| error.to_string()),
            Self::Native(policy, dice) => policy(snapshot, dice),
        }
    }
}
