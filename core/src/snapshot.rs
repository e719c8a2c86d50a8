//! What a policy may see: the contract's `snapshot`, as plain values.
//!
//! Field by field the same as `wit/policy.wit`, which holds the documentation, the units and the
//! ranges. Sorted and complete: the same pool gives the same snapshot.

use alloc::string::String;
use alloc::vec::Vec;

use crate::cidr::Unit;
use crate::time::Millis;

/// The address family that pods of this node get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    #[default]
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Why the policy is asked now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// The daemon has just started and knows its ENIs.
    Start,
    /// The host's own period, or the time a policy asked for.
    #[default]
    Timer,
    /// A pod waits, or an address was taken or given back.
    Demand,
    /// An EC2 call ended, or a look at EC2 arrived.
    Outcome,
    /// The settings or the policy changed.
    Change,
}

/// One setting as the operator wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting {
    /// Name, `WARM_ENI_TARGET`.
    pub key: String,
    /// Text.
    pub value: String,
}

/// The machine the pool belongs to.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the contract documents each field")]
pub struct NodeFacts {
    pub instance_type: String,
    pub zone: String,
    pub labels: Vec<Setting>,
    pub family: Family,
    pub max_pods: u32,
    pub schedulable: bool,
    pub terminating: bool,
}

/// What EC2 and the operator allow this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract documents each field")]
pub struct Limits {
    pub enis: u32,
    pub other_cards: Vec<u32>,
    pub slots_per_eni: u32,
    pub prefixes: bool,
    pub addresses_per_prefix: u32,
    pub trunk: bool,
}

/// What an ENI is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Device 0 of card 0.
    #[default]
    Primary,
    /// Made by the daemon, or usable as if.
    Secondary,
    /// Holds branch ENIs.
    Trunk,
    /// Elastic Fabric Adapter.
    Efa,
}

/// Where an ENI is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EniPhase {
    /// Not usable yet.
    Attaching,
    /// Usable.
    #[default]
    Ready,
    /// Not usable any more.
    Detaching,
}

/// Why an ENI cannot be detached now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract documents each case")]
pub enum KeepReason {
    Primary,
    Trunk,
    Efa,
    Assigned,
    Cooling,
    TooYoung,
    InFlight,
    Unconfirmed,
}

impl KeepReason {
    /// The word of the contract.
    pub fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Trunk => "trunk",
            Self::Efa => "efa",
            Self::Assigned => "assigned",
            Self::Cooling => "cooling",
            Self::TooYoung => "too-young",
            Self::InFlight => "in-flight",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// One ENI, without its blocks.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the contract documents each field")]
pub struct SnapshotEni {
    pub id: String,
    pub role: Role,
    pub phase: EniPhase,
    pub subnet: u32,
    pub device_index: u32,
    pub card: u32,
    pub excluded: bool,
    pub since: Millis,
    pub idle_since: Millis,
    pub free_slots: u32,
    pub in_flight: u32,
    pub in_flight_unit: Unit,
    pub busy: bool,
    pub keep: Option<KeepReason>,
    pub first_block: u32,
    pub block_count: u32,
}

/// All blocks of the node as parallel lists of one length.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the contract documents each field")]
pub struct Blocks {
    pub base_high: Vec<u64>,
    pub base: Vec<u64>,
    pub length: Vec<u8>,
    pub assigned: Vec<u32>,
    pub cooling: Vec<u32>,
    pub cooling_until: Vec<Millis>,
    pub idle_since: Vec<Millis>,
    pub free: Vec<u32>,
    pub releasable: Vec<bool>,
}

/// What pods want.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract documents each field")]
pub struct Demand {
    pub waiting: Vec<Millis>,
    pub scheduled: u32,
    pub adds_1m: u32,
    pub adds_5m: u32,
    pub adds_15m: u32,
    pub deletes_1m: u32,
    pub deletes_5m: u32,
    pub deletes_15m: u32,
}

/// A subnet that ENIs of this node use or may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract documents each field")]
pub struct SnapshotSubnet {
    pub id: String,
    pub own: bool,
    pub free_addresses: Option<u32>,
    pub read_at: Millis,
    pub no_addresses_at: Millis,
    pub no_prefixes_at: Millis,
}

/// Kinds of EC2 work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Make and attach an ENI.
    AttachEni,
    /// More blocks on an ENI.
    Grow,
    /// Blocks back to the subnet.
    Release,
    /// Detach and delete an ENI.
    DetachEni,
}

impl Operation {
    /// The word of the contract.
    pub fn word(self) -> &'static str {
        match self {
            Self::AttachEni => "attach-eni",
            Self::Grow => "grow",
            Self::Release => "release",
            Self::DetachEni => "detach-eni",
        }
    }
}

/// How an earlier action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract documents each field")]
pub struct Outcome {
    pub at: Millis,
    pub operation: Operation,
    pub eni: Option<u32>,
    pub subnet: Option<u32>,
    pub unit: Unit,
    pub asked: u32,
    pub done: u32,
    pub code: String,
}

/// How EC2 treats this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract documents each field")]
pub struct Ec2Facts {
    pub grow_budget: u32,
    pub release_budget: u32,
    pub in_flight: u32,
    pub throttled_until: Millis,
    pub outcomes: Vec<Outcome>,
}

/// All a policy can know.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the contract documents each field")]
pub struct Snapshot {
    pub decision_id: u64,
    pub now: Millis,
    pub utc_offset: i32,
    pub uptime: Millis,
    pub trigger: Trigger,
    pub node: NodeFacts,
    pub limits: Limits,
    pub unit: Unit,
    pub enis: Vec<SnapshotEni>,
    pub blocks: Blocks,
    pub demand: Demand,
    pub subnets: Vec<SnapshotSubnet>,
    pub ec2: Ec2Facts,
    pub settings: Vec<Setting>,
    pub memo: Vec<u8>,
}
