//! What must be on the host once, whatever ENIs and pods it has.

use core::net::IpAddr;

use alloc::{string::String, vec::Vec};

use crate::{Cidr, Family, MAIN_TABLE, Rule, network, priority};

/// How source NAT picks ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RandomizeSnat {
    /// From a random number generator (`--random-fully`).
    #[default]
    Prng,
    /// From a hash (`--random`).
    HashRandom,
    /// One after the other.
    None,
}

/// A node and its settings, as far as the host's network shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeWiring {
    /// MAC of the primary ENI's link.
    pub primary_mac: [u8; 6],
    /// The node's own address; its family is the cluster's.
    pub primary_address: IpAddr,
    /// CIDRs of the VPC.
    pub vpc_cidrs: Vec<Cidr>,
    /// Further CIDRs that see pods by their own addresses.
    pub excluded_snat_cidrs: Vec<Cidr>,
    /// MTU of the primary link.
    pub mtu: u32,
    /// What the names of pod links on the host begin with.
    pub veth_prefix: String,
    /// Something outside the node does source NAT, so the node does not.
    pub external_snat: bool,
    /// Answers to `NodePort` traffic must leave by the link it came in on.
    pub node_port: bool,
    /// The bit that marks connections which use the primary ENI.
    pub connmark: u32,
    /// How source NAT picks ports.
    pub randomize_snat: RandomizeSnat,
    /// CIDRs of services outside the VPC that look like inside.
    pub external_service_cidrs: Vec<Cidr>,
}

impl NodeWiring {
    /// The family of the cluster.
    pub const fn family(&self) -> Family {
        Family::of(self.primary_address)
    }

    /// Marked packets leave by the primary ENI. Wanted when anything sets the mark.
    pub fn mark_rule(&self) -> (Rule, bool) {
        let rule = Rule {
            family: self.family(),
            priority: priority::MARKED,
            from: None,
            to: None,
            mark: Some((self.connmark, self.connmark)),
            table: MAIN_TABLE,
        };
        (rule, self.node_port || !self.external_snat)
    }

    /// One rule for each external service CIDR of the cluster's family.
    pub fn external_service_rules(&self) -> Vec<Rule> {
        self.of_family(&self.external_service_cidrs)
            .map(|cidr| Rule::to_main(cidr, priority::EXTERNAL_SERVICE))
            .collect()
    }

    /// The CIDRs among `cidrs` that are of the cluster's family, without host bits.
    pub(crate) fn of_family<'a>(&self, cidrs: &'a [Cidr]) -> impl Iterator<Item = Cidr> + use<'a> {
        let family = self.family();
        cidrs
            .iter()
            .filter(move |cidr| Family::of(cidr.0) == family)
            .map(|&cidr| network(cidr))
    }
}
