//! All that can happen to a node. One closed list: whatever wakes the core is here.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::cidr::{Cidr, Unit};
use crate::ids::{AttachmentId, EniId, IntentId, Mac, PodName, RequestId, SandboxKey, SubnetId};
use crate::proposal::Proposal;
use crate::snapshot::{Role, Setting};
use crate::time::Millis;

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A sandbox asks for an address (CNI ADD).
    Assign {
        /// Answered once, by `Effect::Reply`.
        request: RequestId,
        /// Who asks.
        key: SandboxKey,
        /// Whose sandbox it is.
        pod: PodName,
        /// When waiting ends.
        deadline: Millis,
    },
    /// A sandbox gives its address back (CNI DEL).
    Release {
        /// Answered once, by `Effect::Reply`.
        request: RequestId,
        /// Who gives.
        key: SandboxKey,
    },
    /// The write asked for by `Effect::Checkpoint` has ended.
    Checkpointed {
        /// Which write.
        generation: u64,
        /// False when it failed: what it held is undone.
        durable: bool,
    },
    /// The policy answered `Effect::AskPolicy`.
    Proposed {
        /// The snapshot's number.
        decision: u64,
        /// A proposal from a stranger, or why there is none (trap, out of fuel, nonsense).
        answer: Result<Proposal, String>,
    },
    /// An EC2 call has ended.
    Ec2Finished {
        /// Which one.
        intent: IntentId,
        /// How.
        outcome: Ec2Outcome,
    },
    /// `Effect::ConfigureEni` has ended.
    EniConfigured {
        /// Which ENI.
        eni: EniId,
        /// Why not, for people.
        result: Result<(), String>,
    },
    /// A look at EC2 asked for by `Effect::Look` arrived.
    Observed(Box<Observation>),
    /// The look failed; the text says why.
    LookFailed(String),
    /// Another policy runs, or the settings changed.
    PolicyChanged {
        /// The operator's settings, sorted by key.
        settings: Vec<Setting>,
        /// What new blocks are by default.
        unit: Unit,
        /// True when another policy runs: its predecessor's memo means nothing to it.
        reset_memo: bool,
    },
    /// The node was cordoned or uncordoned, or is shutting down.
    NodeChanged {
        /// False when cordoned.
        schedulable: bool,
        /// True on the way down.
        terminating: bool,
        /// Pods that the kubelet runs at most; absent when not told, and then it stays as it was.
        max_pods: Option<u32>,
    },
    /// The node's labels, as far as policies see them, sorted by key.
    LabelsChanged(Vec<Setting>),
    /// The time named by `Node::next_wake` has come.
    Tick,
}

/// What EC2 says of an ENI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EniFacts {
    /// Its id.
    pub id: EniId,
    /// Names its link on the node.
    pub mac: Mac,
    /// Where its addresses come from.
    pub subnet: SubnetId,
    /// What it is for.
    pub role: Role,
    /// False when the daemon must leave it alone.
    pub managed: bool,
    /// True when it carries this node's tag: the daemon made it.
    pub ours: bool,
    /// True when its addresses must serve no new pod.
    pub excluded: bool,
    /// Its own address, never given to pods.
    pub primary: IpAddr,
    /// Secondary addresses and prefixes, without the primary address.
    pub blocks: BTreeSet<Cidr>,
    /// Absent when it is attached to nothing.
    pub attachment: Option<Attachment>,
}

/// How an ENI hangs on this instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// EC2's id of it; empty when the reply did not carry one.
    pub id: AttachmentId,
    /// Network card.
    pub card: u32,
    /// Device index on that card.
    pub device_index: u32,
    /// Whether it is on its way out.
    pub detaching: bool,
    /// Whether EC2 deletes the ENI when the instance goes.
    pub delete_on_termination: bool,
}

/// What EC2 says of a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetFacts {
    /// Its id.
    pub id: SubnetId,
    /// EC2's lagging count.
    pub free_addresses: u32,
}

/// One look at EC2: every page was read, nothing is missing that EC2 would have told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// ENIs attached to this instance, managed or not.
    pub attached: Vec<EniFacts>,
    /// ENIs tagged as made by this node and attached to nothing.
    pub detached: Vec<EniFacts>,
    /// Subnets this node may use; empty when the call was refused.
    pub subnets: Vec<SubnetFacts>,
}

/// How an EC2 call ended. There are three ways, not two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ec2Outcome {
    /// EC2 did it; this is what it gave.
    Done(Ec2Gave),
    /// EC2 said no, and did nothing.
    Refused {
        /// EC2's error code.
        code: String,
        /// EC2's words.
        message: String,
    },
    /// No usable answer came. It may have been done.
    Unknown {
        /// What went wrong with the answer.
        message: String,
    },
}

/// What a successful call gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ec2Gave {
    /// A new ENI.
    Eni(Box<EniFacts>),
    /// A new attachment.
    Attachment(AttachmentId),
    /// New blocks: only those that this call added.
    Blocks(Vec<Cidr>),
    /// Nothing but the fact.
    Nothing,
}
