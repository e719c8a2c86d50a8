//! The form of a scenario file.
//!
//! The doc comments are the reference for people: `docs/scenario.schema.json` is made of them.
//! Places of ENIs count from 0 in attach order, the primary first.

use std::collections::BTreeMap;

use onsen_policy_runner::documents::{Scalar, SnapshotDocument, Span};
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use super::expect::{DecisionExpected, Expected, PoolExpected};
use super::upstream::Upstream;
use crate::account::{FaultName, Operation};

/// A scenario: a node that lives through some steps, or one decision on one snapshot.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "scenario"))]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    /// One line that says what must be so.
    pub(crate) name: String,
    /// Where that comes from, and what else a reader should know.
    #[serde(default)]
    #[expect(dead_code, reason = "for readers of the file")]
    pub(crate) about: String,
    /// Each row makes a scenario of its own. `$name` anywhere below stands for the row's value of
    /// that name.
    #[serde(default)]
    #[expect(dead_code, reason = "read before the rest, see `rows`")]
    #[cfg_attr(
        test,
        schemars(with = "Vec<BTreeMap<String, super::schema::ValueForm>>")
    )]
    pub(crate) rows: Vec<BTreeMap<String, Scalar>>,
    /// How upstream decided, for scenarios that show what came of it.
    #[serde(default)]
    pub(crate) upstream: Option<Upstream>,
    /// The node and its pool before the first step.
    #[serde(default)]
    pub(crate) given: Given,
    /// What holds at every moment of the scenario.
    #[serde(default)]
    pub(crate) always: Option<PoolExpected>,
    /// What happens, in this order.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Vec<Step>"))]
    pub(crate) steps: Vec<Spanned<Step>>,
    /// Instead of `given` and `steps`: the snapshot of one decision.
    #[serde(default)]
    #[cfg_attr(test, schemars(schema_with = "super::schema::snapshot"))]
    pub(crate) snapshot: Option<SnapshotDocument>,
    /// With `snapshot`: what the policy answers.
    #[serde(default)]
    pub(crate) expect: Option<DecisionExpected>,
}

/// The node and its pool before the first step.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "given"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Given {
    /// The machine.
    pub(crate) node: GivenNode,
    /// The settings of policy and daemon.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, super::schema::ValueForm>"))]
    pub(crate) settings: BTreeMap<String, Scalar>,
    /// The ENIs, the primary first. Left out: a primary that holds nothing.
    pub(crate) pool: Vec<GivenEni>,
    /// The subnet.
    pub(crate) subnet: GivenSubnet,
    /// Seed of latencies and of EC2's choices. Left out: 1.
    pub(crate) seed: Option<u64>,
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "node"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GivenNode {
    /// Left out: m5.large.
    pub(crate) instance_type: Option<String>,
    /// Pods that kubelet runs at most. Left out: not known, which stops nothing.
    pub(crate) max_pods: u32,
    /// No pods are scheduled here.
    pub(crate) cordoned: bool,
}

/// An ENI at the start.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "eni"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GivenEni {
    /// Slots that hold single addresses.
    pub(crate) addresses: u32,
    /// Slots that hold prefixes.
    pub(crate) prefixes: u32,
    /// Pods that have addresses of this ENI, lowest addresses first.
    pub(crate) pods: u32,
}

/// The subnet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "subnet"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GivenSubnet {
    /// Its range. Left out: 10.0.0.0/16.
    pub(crate) cidr: Option<String>,
}

/// One step. Its parts happen in the order of this list; nothing else happens meanwhile. `expect` is
/// looked at last.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "step"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Step {
    /// Words for the report.
    pub(crate) note: Option<String>,
    /// Settings that change; the others stay.
    #[cfg_attr(
        test,
        schemars(with = "Option<BTreeMap<String, super::schema::ValueForm>>")
    )]
    pub(crate) settings: Option<BTreeMap<String, Scalar>>,
    /// Whether the node is cordoned from here on.
    pub(crate) cordon: Option<bool>,
    /// The node starts to shut down.
    pub(crate) terminate: bool,
    /// The daemon dies, and another one starts by itself.
    pub(crate) crash: bool,
    /// All faults end.
    pub(crate) heal: bool,
    /// A fault begins.
    pub(crate) fail: Option<Fail>,
    /// Pods that leave at once.
    pub(crate) leave: Option<Leave>,
    /// Pods that arrive.
    pub(crate) arrive: Option<Arrive>,
    /// Time passes.
    #[cfg_attr(test, schemars(with = "Option<super::schema::DurationForm>"))]
    pub(crate) wait: Option<Span>,
    /// Time passes until the node rests. It is a failure when it does not within so long.
    #[cfg_attr(test, schemars(with = "Option<super::schema::DurationForm>"))]
    pub(crate) rest: Option<Span>,
    /// What must be so now.
    pub(crate) expect: Option<Expected>,
}

/// Something goes wrong at EC2.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "fail"))]
#[serde(deny_unknown_fields)]
pub(crate) struct Fail {
    /// What goes wrong.
    #[cfg_attr(test, schemars(schema_with = "super::schema::fault_name"))]
    pub(crate) fault: FaultName,
    /// Only calls of this operation, by its name at EC2.
    #[serde(default)]
    #[cfg_attr(test, schemars(schema_with = "super::schema::operation"))]
    pub(crate) operation: Option<Operation>,
    /// So many times. Left out: until it ends.
    #[serde(default)]
    pub(crate) count: Option<u32>,
    /// For so long. Left out: until `heal`.
    #[serde(default, rename = "for")]
    #[cfg_attr(test, schemars(with = "Option<super::schema::DurationForm>"))]
    pub(crate) span: Option<Span>,
    /// How much later, for the faults that delay. Left out: 30 s.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<super::schema::DurationForm>"))]
    pub(crate) delay: Option<Span>,
}

/// Pods that arrive: a number of them at once, or more exactly.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arrive {
    pub(crate) count: u32,
    pub(crate) every: Span,
    pub(crate) names: Vec<String>,
}

/// Pods that arrive.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "arrivals"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ArriveMap {
    /// How many.
    pub(crate) count: Option<u32>,
    /// Time between two of them. Left out: all at once.
    #[cfg_attr(test, schemars(with = "super::schema::DurationForm"))]
    pub(crate) every: Span,
    /// Instead of `count`: their names, to let them leave by name.
    pub(crate) names: Vec<String>,
}

/// Pods that leave.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Leave {
    /// Every pod.
    All,
    /// The newest ones.
    Newest(u32),
    /// The oldest ones.
    Oldest(u32),
    /// These.
    Named(Vec<String>),
}

/// Pods that leave; one of the three.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "departures"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LeaveMap {
    /// So many of the newest.
    pub(crate) newest: Option<u32>,
    /// So many of the oldest.
    pub(crate) oldest: Option<u32>,
    /// These.
    pub(crate) names: Option<Vec<String>>,
}

/// A bound on a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "range"))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Range {
    /// At least this.
    pub(crate) min: Option<u64>,
    /// At most this.
    pub(crate) max: Option<u64>,
}
