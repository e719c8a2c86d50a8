//! All that the core can ask of the world, and what it tells it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::budget;
use crate::cidr::{Cidr, Unit};
use crate::ids::{AttachmentId, EniId, IntentId, Mac, PodName, RequestId, SandboxKey, SubnetId};
use crate::snapshot::{Operation, Snapshot, Trigger};
use crate::time::Millis;

/// Something to be done. The caller performs effects in order and feeds back events.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Answer a request. Each request is answered exactly once.
    Reply {
        /// Which one.
        request: RequestId,
        /// With what.
        reply: Reply,
    },
    /// Make this durable, then say `Event::Checkpointed`. At most one write is under way.
    Checkpoint {
        /// Number of the write.
        generation: u64,
        /// All of it, not the difference.
        saved: Saved,
        /// True when more than the allocations changed: what cools, what is coming.
        rest_changed: bool,
    },
    /// Ask a policy, then say `Event::Proposed`. At most one question is under way.
    AskPolicy {
        /// Which one.
        decider: Decider,
        /// All it may know.
        snapshot: Box<Snapshot>,
    },
    /// Call EC2 once, then say `Event::Ec2Finished`. What the next life must know of it is durable.
    Ec2 {
        /// Ties the answer to the question.
        intent: IntentId,
        /// What to ask.
        request: Ec2Request,
    },
    /// Wait for the link and make it ready for pods, then say `Event::EniConfigured`.
    ConfigureEni(EniLink),
    /// Remove what the node holds for an ENI that goes.
    ForgetEni(EniLink),
    /// Read this instance's ENIs and subnets from EC2, then say `Event::Observed` or
    /// `Event::LookFailed`. At most one look is under way.
    Look,
    /// Tell people.
    Report(Report),
    /// A decision was taken: for the ledger, the log and the status.
    Decided(Box<DecisionRecord>),
}

/// Who decides a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decider {
    /// The policy that the operator chose.
    #[default]
    Chosen,
    /// The built-in default: when the chosen one failed, or left a pod waiting with room to grow.
    BuiltIn,
}

/// What the links, routes and rules of an ENI are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EniLink {
    /// Which ENI.
    pub eni: EniId,
    /// Names its link.
    pub mac: Mac,
    /// Its own address.
    pub primary: IpAddr,
    /// Where its gateway is.
    pub subnet: SubnetId,
    /// Network card.
    pub card: u32,
    /// Device index on that card.
    pub device_index: u32,
}

/// One EC2 call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ec2Request {
    /// Make an ENI, tagged as this node's. The intent makes the client token.
    CreateEni {
        /// In this subnet.
        subnet: SubnetId,
        /// Kind of its blocks.
        unit: Unit,
        /// How many.
        blocks: u32,
    },
    /// Attach an ENI to this instance.
    AttachEni {
        /// Which.
        eni: EniId,
        /// At this index.
        device_index: u32,
        /// Of this card.
        card: u32,
    },
    /// Have EC2 delete the ENI with the instance.
    SetDeleteOnTermination {
        /// Which.
        eni: EniId,
        /// Its attachment.
        attachment: AttachmentId,
    },
    /// Detach an ENI.
    DetachEni {
        /// Which.
        eni: EniId,
        /// Its attachment.
        attachment: AttachmentId,
    },
    /// Delete a detached ENI.
    DeleteEni {
        /// Which.
        eni: EniId,
    },
    /// More blocks on an ENI. Counts: never to be sent twice.
    Assign {
        /// Which.
        eni: EniId,
        /// Kind of the blocks.
        unit: Unit,
        /// How many.
        count: u32,
    },
    /// Blocks back to the subnet.
    Unassign {
        /// Which ENI.
        eni: EniId,
        /// Which blocks.
        blocks: Vec<Cidr>,
    },
}

impl Ec2Request {
    /// The ENI it is about; a new one has no id yet.
    pub fn eni(&self) -> Option<&EniId> {
        match self {
            Self::CreateEni { .. } => None,
            Self::AttachEni { eni, .. }
            | Self::SetDeleteOnTermination { eni, .. }
            | Self::DetachEni { eni, .. }
            | Self::DeleteEni { eni }
            | Self::Assign { eni, .. }
            | Self::Unassign { eni, .. } => Some(eni),
        }
    }

    /// The EC2 action it is sent as.
    pub fn action(&self) -> &'static str {
        match self {
            Self::CreateEni { .. } => budget::CREATE,
            Self::AttachEni { .. } => budget::ATTACH,
            Self::SetDeleteOnTermination { .. } => budget::MODIFY,
            Self::DetachEni { .. } => budget::DETACH,
            Self::DeleteEni { .. } => budget::DELETE,
            Self::Assign { .. } => budget::ASSIGN,
            Self::Unassign { .. } => budget::UNASSIGN,
        }
    }
}

/// An answer to a request of the plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The address is the sandbox's.
    Assigned(Holding),
    /// There is none, and this is why.
    NoAddress(NoAddress),
    /// It was the sandbox's and is cooling now.
    Released(Holding),
    /// No address is held by this sandbox.
    UnknownSandbox,
    /// The key lacks a part.
    IncompleteKey,
    /// The change could not be made durable and was undone.
    NotDurable,
}

/// An address and the ENI that carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The address.
    pub address: IpAddr,
    /// Its ENI.
    pub eni: EniId,
    /// Network card of the ENI.
    pub card: u32,
    /// Device index of the ENI.
    pub device_index: u32,
}

/// Why a pod gets no address: a closed set, so that people can look each one up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAddress {
    /// All addresses this node can have are held or cooling.
    NodeFull {
        /// Addresses held by pods.
        assigned: u32,
        /// Addresses cooling.
        cooling: u32,
        /// ENIs attached, of how many.
        enis: u32,
        /// The limit.
        enis_limit: u32,
    },
    /// The subnet has no free address (or no whole prefix).
    SubnetEmpty {
        /// Which.
        subnet: SubnetId,
        /// EC2's code.
        code: String,
    },
    /// EC2 does not allow the daemon to act.
    Denied {
        /// What was tried.
        operation: Operation,
        /// EC2's code.
        code: String,
    },
    /// EC2 throttles the node for longer than the pod may wait.
    Throttled {
        /// Until then nothing is sent.
        until: Millis,
    },
    /// The bound of waiting has come; growth may still be under way.
    WaitedTooLong {
        /// How long it waited.
        waited: Millis,
        /// Actions under way.
        in_flight: u32,
        /// The last thing EC2 refused, if any.
        last_code: Option<String>,
    },
    /// The sandbox was deleted while it waited.
    Cancelled,
    /// The sandbox holds an address that EC2 has taken away.
    AddressLost {
        /// Which.
        address: IpAddr,
    },
}

impl NoAddress {
    /// The word of the closed set, for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NodeFull { .. } => "node-full",
            Self::SubnetEmpty { .. } => "subnet-empty",
            Self::Denied { .. } => "ec2-denied",
            Self::Throttled { .. } => "ec2-throttled",
            Self::WaitedTooLong { .. } => "waited-too-long",
            Self::Cancelled => "cancelled",
            Self::AddressLost { .. } => "address-lost",
        }
    }
}

/// What must outlive the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Addresses held, sorted by key.
    pub allocations: Vec<Allocation>,
    /// Addresses cooling and until when, sorted by address.
    pub cooling: Vec<(IpAddr, Millis)>,
    /// ENIs that were asked for and are not attached yet.
    pub coming: Vec<ComingEni>,
    /// What goes back to EC2, or went so lately that a read may still show it.
    pub leaving: Vec<Leaving>,
}

/// What goes back to EC2. It is durable before the call leaves, so that the next life of the daemon does
/// not trust a read that still shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Which ENI, or of which.
    pub eni: EniId,
    /// These blocks of it; none: all of the ENI.
    pub blocks: Vec<Cidr>,
}

/// An ENI that was asked for and is not attached yet: what the next life of the daemon needs to go on
/// where this one ended. Lost, it costs the ENI, which is then deleted as nobody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComingEni {
    /// Its id, once EC2 has told it.
    pub eni: Option<EniId>,
    /// Its subnet.
    pub subnet: SubnetId,
    /// The network card that it is for.
    pub card: u32,
    /// Kind of its blocks.
    pub unit: Unit,
    /// How many were asked for.
    pub blocks: u32,
}

/// One address held by one sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// By whom.
    pub key: SandboxKey,
    /// What.
    pub address: IpAddr,
    /// For which pod.
    pub pod: PodName,
    /// Since when.
    pub since: Millis,
}

/// Something people should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How much it matters.
    pub severity: Severity,
    /// A word for machines, `address-lost`.
    pub code: &'static str,
    /// A sentence.
    pub message: String,
}

/// How much a report matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look.
    Warning,
    /// Pods are affected.
    Error,
}

/// How one decision went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionRecord {
    /// Number on this node.
    pub id: u64,
    /// When the answer was checked.
    pub at: Millis,
    /// Why it was asked for.
    pub trigger: Trigger,
    /// The policy's sentence, or the fallback's.
    pub reason: String,
    /// Why the built-in default decided instead of the chosen policy, when it did.
    pub fallback: Option<String>,
    /// What was sent on its way: one sentence each.
    pub accepted: Vec<String>,
    /// What kind of work each of them is, and on which ENI; a new one has no id yet.
    pub operations: Vec<(Operation, Option<EniId>)>,
    /// What was dropped: the action in words and the reason code.
    pub dropped: Vec<(String, &'static str)>,
    /// 0 to 100.
    pub pressure: u8,
}
