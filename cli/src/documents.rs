//! The daemon's status documents, as far as the tables show them. Members that this version does
//! not know are passed over.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `/onsen/v1/status`.
#[derive(Deserialize)]
pub(crate) struct Status {
    pub(crate) node: Node,
    pub(crate) daemon: Daemon,
    pub(crate) policy: Policy,
    #[serde(default)]
    pub(crate) shadow: Shadow,
    pub(crate) limits: Limits,
    pub(crate) pool: Pool,
    pub(crate) ec2: Ec2,
    pub(crate) last_decision: Option<Decision>,
    pub(crate) reports: Vec<Report>,
}

#[derive(Deserialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) instance_id: String,
    pub(crate) instance_type: String,
    pub(crate) zone: String,
    pub(crate) primary_address: String,
}

#[derive(Deserialize)]
pub(crate) struct Daemon {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) started_at: u64,
    pub(crate) now: u64,
}

#[derive(Deserialize)]
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) reference: String,
    pub(crate) digest: String,
    pub(crate) since: u64,
    pub(crate) last_error: Option<String>,
    #[serde(default)]
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) rule: Option<String>,
    #[serde(default)]
    pub(crate) on_probation: bool,
    pub(crate) last_good: Option<Named>,
    pub(crate) shadow: Option<Named>,
    pub(crate) shadow_error: Option<String>,
    #[serde(default)]
    pub(crate) swaps: u64,
    #[serde(default)]
    pub(crate) refusals: u64,
    #[serde(default)]
    pub(crate) rollbacks: u64,
}

/// A policy in short.
#[derive(Deserialize)]
pub(crate) struct Named {
    pub(crate) reference: String,
    pub(crate) digest: String,
}

/// How the shadow compares.
#[derive(Default, Deserialize)]
pub(crate) struct Shadow {
    pub(crate) compared: u64,
    pub(crate) differed: u64,
    pub(crate) failed: u64,
    #[serde(default)]
    pub(crate) missed: u64,
    pub(crate) last_difference: Option<Difference>,
    pub(crate) last_failure: Option<String>,
}

/// Two answers to the same question.
#[derive(Deserialize)]
pub(crate) struct Difference {
    pub(crate) decision: u64,
    pub(crate) policy: Vec<String>,
    pub(crate) policy_reason: String,
    pub(crate) shadow: Vec<String>,
    pub(crate) shadow_reason: String,
}

#[derive(Deserialize)]
pub(crate) struct Limits {
    pub(crate) enis: u32,
    pub(crate) slots_per_eni: u32,
}

#[derive(Deserialize)]
pub(crate) struct Pool {
    pub(crate) enis: u32,
    pub(crate) addresses: u32,
    pub(crate) prefixes: u32,
    pub(crate) assigned: u32,
    pub(crate) cooling: u32,
    pub(crate) warm: u32,
    pub(crate) waiting: u32,
    pub(crate) in_flight: u32,
    pub(crate) throttled_until: u64,
}

#[derive(Deserialize)]
pub(crate) struct Ec2 {
    pub(crate) calls: BTreeMap<String, u64>,
    pub(crate) errors: BTreeMap<String, BTreeMap<String, u64>>,
}

/// The newest decision.
#[derive(Deserialize)]
pub(crate) struct Decision {
    pub(crate) id: u64,
    pub(crate) at: u64,
    pub(crate) trigger: String,
    pub(crate) decider: String,
    pub(crate) reason: String,
    pub(crate) fallback: Option<String>,
    /// Absent until it is known.
    pub(crate) micros: Option<u64>,
}

#[derive(Deserialize)]
pub(crate) struct Report {
    pub(crate) at: u64,
    pub(crate) severity: String,
    pub(crate) code: String,
    pub(crate) message: String,
}

/// One of `/onsen/v1/enis`.
#[derive(Deserialize)]
pub(crate) struct Eni {
    pub(crate) id: String,
    pub(crate) role: String,
    pub(crate) phase: String,
    pub(crate) device_index: u32,
    pub(crate) subnet: String,
    pub(crate) mac: String,
    pub(crate) primary_address: String,
    pub(crate) free_slots: u32,
    pub(crate) keep: Option<String>,
    pub(crate) kept_until: Option<u64>,
    pub(crate) since: u64,
    pub(crate) blocks: Vec<Block>,
}

#[derive(Deserialize)]
pub(crate) struct Block {
    pub(crate) cidr: String,
    pub(crate) assigned: u32,
    pub(crate) cooling: u32,
    pub(crate) free: u32,
    pub(crate) hold: String,
    #[serde(default)]
    pub(crate) cools: Vec<Cools>,
}

/// An address that cools.
#[derive(Deserialize)]
pub(crate) struct Cools {
    pub(crate) address: String,
    pub(crate) until: u64,
}

/// One of `/onsen/v1/pods`.
#[derive(Deserialize)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) container: String,
    pub(crate) address: String,
    pub(crate) eni: Option<String>,
    pub(crate) since: u64,
}
