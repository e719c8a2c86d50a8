//! The EC2 operations the model answers, as values: what a caller asks and what it gets.
//!
//! Only the operations a VPC CNI uses exist. A door (HTTP, or a simulator's effect loop) turns its own
//! form of a request into these; the model checks everything else.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Cidr, Eni, InstanceState, InstanceType};

/// The EC2 actions the model knows, under EC2's own names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "each is documented by its request in `Request`"
)]
pub enum Operation {
    AssignPrivateIpAddresses,
    AttachNetworkInterface,
    CreateNetworkInterface,
    CreateTags,
    DeleteNetworkInterface,
    DescribeInstanceTypes,
    DescribeInstances,
    DescribeNetworkInterfaces,
    DescribeSubnets,
    DetachNetworkInterface,
    ModifyNetworkInterfaceAttribute,
    UnassignPrivateIpAddresses,
}

impl Operation {
    /// The action's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::AssignPrivateIpAddresses => "AssignPrivateIpAddresses",
            Self::AttachNetworkInterface => "AttachNetworkInterface",
            Self::CreateNetworkInterface => "CreateNetworkInterface",
            Self::CreateTags => "CreateTags",
            Self::DeleteNetworkInterface => "DeleteNetworkInterface",
            Self::DescribeInstanceTypes => "DescribeInstanceTypes",
            Self::DescribeInstances => "DescribeInstances",
            Self::DescribeNetworkInterfaces => "DescribeNetworkInterfaces",
            Self::DescribeSubnets => "DescribeSubnets",
            Self::DetachNetworkInterface => "DetachNetworkInterface",
            Self::ModifyNetworkInterfaceAttribute => "ModifyNetworkInterfaceAttribute",
            Self::UnassignPrivateIpAddresses => "UnassignPrivateIpAddresses",
        }
    }
}

/// One request as it reaches EC2.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The node the request comes from, when the door can tell: for counters and for faults aimed at one node.
    pub node: Option<String>,
    /// Ask only whether the call would be allowed.
    pub dry_run: bool,
    /// What is asked.
    pub request: Request,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Give an ENI more addresses or prefixes: all of them or none.
    AssignPrivateIpAddresses {
        /// The ENI.
        eni_id: String,
        /// What it should get.
        wanted: Wanted,
        /// Whether a secondary address of another ENI may be moved.
        allow_reassignment: bool,
    },
    /// Attach an ENI to an instance.
    AttachNetworkInterface {
        /// The ENI.
        eni_id: String,
        /// The instance.
        instance_id: String,
        /// A free number on the card.
        device_index: u32,
        /// The network card, mostly 0.
        network_card: u32,
    },
    /// Make an ENI.
    CreateNetworkInterface(CreateEni),
    /// Set tags on ENIs.
    CreateTags {
        /// What to tag.
        resources: Vec<String>,
        /// Keys and values.
        tags: Vec<(String, String)>,
    },
    /// Remove an ENI that is not attached.
    DeleteNetworkInterface {
        /// The ENI.
        eni_id: String,
    },
    /// Tell instance types' limits.
    DescribeInstanceTypes(Describe),
    /// Tell instances and their ENIs.
    DescribeInstances(Describe),
    /// Tell ENIs.
    DescribeNetworkInterfaces(Describe),
    /// Tell subnets.
    DescribeSubnets(Describe),
    /// Take an ENI off its instance.
    DetachNetworkInterface {
        /// The attachment.
        attachment_id: String,
    },
    /// Change one attribute of an ENI.
    ModifyNetworkInterfaceAttribute {
        /// The ENI.
        eni_id: String,
        /// The attribute.
        change: EniChange,
    },
    /// Take addresses and prefixes off an ENI: all of them or none.
    UnassignPrivateIpAddresses {
        /// The ENI.
        eni_id: String,
        /// Secondary addresses.
        addresses: Vec<Ipv4Addr>,
        /// Prefixes.
        prefixes: Vec<Cidr>,
    },
}

impl Request {
    /// The action this asks for.
    pub fn operation(&self) -> Operation {
        match self {
            Self::AssignPrivateIpAddresses { .. } => Operation::AssignPrivateIpAddresses,
            Self::AttachNetworkInterface { .. } => Operation::AttachNetworkInterface,
            Self::CreateNetworkInterface(_) => Operation::CreateNetworkInterface,
            Self::CreateTags { .. } => Operation::CreateTags,
            Self::DeleteNetworkInterface { .. } => Operation::DeleteNetworkInterface,
            Self::DescribeInstanceTypes(_) => Operation::DescribeInstanceTypes,
            Self::DescribeInstances(_) => Operation::DescribeInstances,
            Self::DescribeNetworkInterfaces(_) => Operation::DescribeNetworkInterfaces,
            Self::DescribeSubnets(_) => Operation::DescribeSubnets,
            Self::DetachNetworkInterface { .. } => Operation::DetachNetworkInterface,
            Self::ModifyNetworkInterfaceAttribute { .. } => {
                Operation::ModifyNetworkInterfaceAttribute
            }
            Self::UnassignPrivateIpAddresses { .. } => Operation::UnassignPrivateIpAddresses,
        }
    }
}

/// A new ENI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateEni {
    /// Where its addresses come from.
    pub subnet_id: String,
    /// Free text.
    pub description: String,
    /// Security groups; the VPC's default group when empty.
    pub groups: Vec<String>,
    /// Tags set together with the ENI.
    pub tags: Vec<(String, String)>,
    /// Makes a repeat of the same request give the same ENI.
    pub client_token: Option<String>,
    /// An explicit primary address.
    pub primary: Option<Ipv4Addr>,
    /// What it holds besides its primary address.
    pub wanted: Wanted,
}

/// Which addresses or prefixes an ENI should get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// None.
    Nothing,
    /// These secondary addresses.
    Addresses(Vec<Ipv4Addr>),
    /// So many secondary addresses, which EC2 picks.
    AddressCount(usize),
    /// These prefixes.
    Prefixes(Vec<Cidr>),
    /// So many prefixes, which EC2 picks.
    PrefixCount(usize),
}

/// One attribute of an ENI, to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EniChange {
    /// Whether the ENI goes when its instance does.
    DeleteOnTermination {
        /// The ENI's attachment.
        attachment_id: String,
        /// The new value.
        value: bool,
    },
    /// Replace the whole set of security groups.
    Groups(Vec<String>),
    /// Replace the description.
    Description(String),
}

/// Which objects a Describe lists. Ids and filters name the objects; a page size and a token cut the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Describe {
    /// Exactly these (for instance types: their names); an unknown one fails the whole call.
    pub ids: Vec<String>,
    /// Each with its alternatives; all filters must match.
    pub filters: Vec<(String, Vec<String>)>,
    /// The page's size.
    pub max_results: Option<usize>,
    /// Where the page begins.
    pub next_token: Option<String>,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Names this request in EC2's books.
    pub request_id: String,
    /// How long after the call the reply leaves. What the call changed has changed at once.
    pub latency_ms: u64,
    /// What EC2 says.
    pub result: Result<Reply, super::ApiError>,
    /// The caller gets no usable answer, though EC2 has given `result`: see `spoilt` for what arrives.
    pub lost: bool,
    /// What arrives instead of the reply when `lost`.
    pub spoilt: Option<Spoilt>,
}

/// What arrives instead of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoilt {
    /// Nothing: the connection breaks after the latency.
    Broken,
    /// The first half of the document, as if that were all.
    Truncated,
    /// The first half of the body; then the connection breaks.
    Short,
    /// A document of another action.
    WrongRoot,
    /// HTTP 502 with a page for people.
    Html,
    /// An error document under HTTP 200.
    ErrorBody,
    /// Noise under HTTP 200.
    Garbage,
}

/// What a successful call says.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Nothing but success.
    Done,
    /// Exactly what the call added.
    Assigned {
        /// The ENI.
        eni_id: String,
        /// Secondary addresses.
        addresses: Vec<Ipv4Addr>,
        /// Prefixes.
        prefixes: Vec<Cidr>,
    },
    /// The ENI is being attached.
    Attached {
        /// The attachment.
        attachment_id: String,
        /// The network card.
        network_card: u32,
    },
    /// The new ENI.
    Created {
        /// The ENI.
        eni: Box<Eni>,
        /// The request's token, or one made up by EC2.
        client_token: String,
    },
    /// A page of ENIs.
    Enis(Page<Eni>),
    /// A page of instances.
    Instances(Page<InstanceView>),
    /// A page of instance types.
    InstanceTypes(Page<InstanceType>),
    /// A page of subnets.
    Subnets(Page<SubnetView>),
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The objects, by id.
    pub items: Vec<T>,
    /// Present when there is more.
    pub next_token: Option<String>,
}

/// An instance as EC2 describes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names are EC2's")]
pub struct InstanceView {
    pub instance_id: String,
    pub name: String,
    pub instance_type: String,
    pub state: InstanceState,
    pub zone: String,
    pub subnet_id: String,
    pub vpc_id: String,
    pub private_address: Option<Ipv4Addr>,
    pub tags: Vec<(String, String)>,
    pub enis: Vec<Eni>,
}

/// A subnet as EC2 describes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names are EC2's")]
pub struct SubnetView {
    pub subnet_id: String,
    pub vpc_id: String,
    pub cidr: Cidr,
    pub zone: String,
    /// Addresses nobody holds; says nothing of how they are scattered.
    pub available_addresses: usize,
    /// Aligned /28 blocks of which nobody holds any address. EC2 does not tell this.
    pub available_prefixes: usize,
    pub tags: Vec<(String, String)>,
}
