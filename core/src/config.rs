//! What the core is told once, at the start: the machine, the operator's bounds, the clocks.
//!
//! In: facts from IMDS, EC2 and the environment. Nothing here changes while the daemon runs
//! except by `Event::PolicyChanged`, `Event::NodeChanged` and `Event::LabelsChanged`.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use crate::cidr::Unit;
use crate::effect::Saved;
use crate::event::Observation;
use crate::ids::{SandboxKey, SubnetId};
use crate::snapshot::{Limits, NodeFacts, Setting};
use crate::time::{MINUTE, Millis, SECOND};

/// How long things last. The defaults are the documented ones; demos scale them down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// An address given back is not given again before this (`IP_COOLDOWN_PERIOD`).
    pub cooldown: Millis,
    /// An ENI younger than this is not detached.
    pub min_eni_age: Millis,
    /// A read that contradicts a change of ours younger than this is stale, not news.
    pub consistency: Millis,
    /// After an unknown outcome, a look this much later settles what happened.
    pub settle: Millis,
    /// Destruction needs EC2's confirmation at most this old.
    pub fresh_view: Millis,
    /// Time between two looks at EC2 when nothing asks for one.
    pub look_period: Millis,
    /// Time between two questions to the policy when nothing happens.
    pub policy_period: Millis,
    /// When a pod has waited this long and the policy asked for nothing, the default decides.
    pub progress: Millis,
    /// First pause after EC2 throttled or refused; it doubles up to 64 times this.
    pub backoff: Millis,
    /// What EC2 or the machine would not give though it should (one more ENI, a link, a detach) is not
    /// tried again before this.
    pub mistrust: Millis,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            cooldown: 30 * SECOND,
            min_eni_age: MINUTE,
            consistency: 30 * SECOND,
            settle: 5 * SECOND,
            fresh_view: MINUTE,
            look_period: 5 * MINUTE,
            policy_period: MINUTE,
            progress: 2 * SECOND,
            backoff: SECOND,
            mistrust: 10 * MINUTE,
        }
    }
}

/// How many EC2 calls the node may make: a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls at once.
    pub burst: u32,
    /// Calls per second, in thousandths.
    pub per_second_milli: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            burst: 8,
            per_second_milli: 1_000,
        }
    }
}

/// All that `Node::start` needs besides what was found on the node.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The machine.
    pub node: NodeFacts,
    /// EC2's limits for its type, lowered by `MAX_ENI`. Unmanaged ENIs are not taken off yet.
    pub limits: Limits,
    /// Subnet of the primary ENI.
    pub own_subnet: SubnetId,
    /// What new blocks are by default.
    pub unit: Unit,
    /// The operator's settings, sorted by key.
    pub settings: Vec<Setting>,
    /// Minutes to add to UTC for local time.
    pub utc_offset: i32,
    /// Durations.
    pub times: Times,
    /// Bucket of the calls that get more.
    pub grow_rate: Rate,
    /// Bucket of the calls that give back.
    pub release_rate: Rate,
    /// Seed of jitter: the only dice, and they are given.
    pub seed: u64,
    /// Number of the last decision that an earlier life of the daemon has recorded; numbers go on
    /// from there.
    pub last_decision: u64,
}

/// What was found on the node and at EC2 before the core starts.
#[derive(Clone, Debug, Default)]
pub struct StartFacts {
    /// The checkpoint, or what could be rebuilt without it.
    pub saved: Saved,
    /// Sandboxes of the checkpoint that are no longer on the node: their addresses start to cool.
    pub gone: BTreeSet<SandboxKey>,
    /// EC2's view, complete.
    pub observation: Observation,
    /// What people should know of how the facts were found.
    pub remarks: Vec<String>,
    /// True when it is not known which addresses were given back lately: whatever nobody holds cools.
    pub forgotten: bool,
}
