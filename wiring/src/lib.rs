//! What must be on a node for a pod, for an ENI and for the node itself, as plain values.
//!
//! In: addresses, MACs, device numbers, CIDRs. Out: link names, route tables, routes, rules and
//! firewall rules. Nothing here asks or changes the kernel; `onsen-net` does that. Names and numbers are
//! an outside contract: upstream's daemon and plugin, Calico and the network policy agent compute
//! the same ones, so a node can be switched over while its pods run.
//!
//! Deliberately absent: branch ENIs (VLAN links), the egress plugin, the move of the local rule for
//! strict security groups.
#![no_std]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")
)]

extern crate alloc;

mod eni;
mod firewall;
mod names;
mod node;
mod pod;

use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

pub use eni::EniWiring;
pub use firewall::{Backend, Chain, ChainRule, Firewall, NftTable};
pub use names::{host_link, pod_link, suffix};
pub use node::{NodeWiring, RandomizeSnat};
pub use pod::{PodWiring, from_pod, host_route, to_pod};

/// An address and a prefix length.
pub type Cidr = (IpAddr, u8);

/// The route table every packet ends in unless a rule says otherwise.
pub const MAIN_TABLE: u32 = 254;

/// Priorities of the rules, in the order the kernel asks them. 0, 32766 and 32767 are the kernel's own.
pub mod priority {
    /// `from POD lookup N`, inside a pod with several interfaces.
    pub const INSIDE_POD: u32 = 1;
    /// `to POD lookup main`.
    pub const TO_POD: u32 = 512;
    /// `fwmark MARK/MARK lookup main`.
    pub const MARKED: u32 = 1024;
    /// `to CIDR lookup main`, for services outside the VPC that look like inside.
    pub const EXTERNAL_SERVICE: u32 = 1535;
    /// `from POD lookup TABLE`.
    pub const FROM_POD: u32 = 1536;
    /// `from PRIMARY lookup TABLE`, for what an ENI's own address sends.
    pub const FROM_ENI: u32 = 32765;
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The prefix length of a single address: 32 or 128.
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// `0.0.0.0/0` or `::/0`.
    pub const fn default_destination(self) -> Cidr {
        match self {
            Self::V4 => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            Self::V6 => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
        }
    }
}

/// An address as the CIDR that holds only it.
pub const fn single(address: IpAddr) -> Cidr {
    (address, Family::of(address).bits())
}

/// A policy routing rule. Fields left out match everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which family's rules it belongs to; cannot be told from a rule without addresses.
    pub family: Family,
    /// The kernel asks rules from low to high.
    pub priority: u32,
    /// Source addresses.
    pub from: Option<Cidr>,
    /// Destination addresses.
    pub to: Option<Cidr>,
    /// Firewall mark and the mask it is compared under.
    pub mark: Option<(u32, u32)>,
    /// The table to look the destination up in.
    pub table: u32,
}

impl Rule {
    /// What one address sends goes by a table.
    pub const fn from_address(address: IpAddr, priority: u32, table: u32) -> Self {
        Self {
            family: Family::of(address),
            priority,
            from: Some(single(address)),
            to: None,
            mark: None,
            table,
        }
    }

    /// What is sent to a CIDR goes by the main table.
    pub const fn to_main(destination: Cidr, priority: u32) -> Self {
        Self {
            family: Family::of(destination.0),
            priority,
            from: None,
            to: Some(destination),
            mark: None,
            table: MAIN_TABLE,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.priority)?;
        if let Some((address, length)) = self.from {
            write!(f, " from {address}/{length}")?;
        }
        if let Some((address, length)) = self.to {
            write!(f, " to {address}/{length}")?;
        }
        if let Some((mark, mask)) = self.mark {
            write!(f, " fwmark {mark:#x}/{mask:#x}")?;
        }
        write!(f, " lookup {}", self.table)
    }
}

/// A route. The device is whichever link the wiring belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which table holds it.
    pub table: u32,
    /// Where it leads.
    pub destination: Cidr,
    /// The next hop. Without one the destination is on the link itself (scope link).
    pub gateway: Option<IpAddr>,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.destination.0, self.destination.1)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        write!(f, " in table {}", self.table)
    }
}

/// The network address of a CIDR: the bits beyond the prefix cleared.
pub fn network((address, length): Cidr) -> Cidr {
    let address = match address {
        IpAddr::V4(a) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(length.min(32)))
                .unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & mask))
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(length.min(128)))
                .unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & mask))
        }
    };
    (address, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_of_a_cidr_has_no_host_bits() {
        let check = |cidr: (&str, u8), expected: &str| {
            let got = network((cidr.0.parse().unwrap(), cidr.1)).0;
            assert_eq!(got, expected.parse::<IpAddr>().unwrap(), "{cidr:?}");
        };
        check(("10.1.2.3", 24), "10.1.2.0");
        check(("10.1.2.3", 0), "0.0.0.0");
        check(("10.1.2.3", 32), "10.1.2.3");
        check(("10.1.2.3", 200), "10.1.2.3");
        check(("fd00::ff", 120), "fd00::");
        check(("fd00::ff", 0), "::");
    }
}
