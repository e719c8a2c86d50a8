//! What must be in a pod and on its host for one interface of the pod.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use alloc::{string::String, vec::Vec};

use crate::{Family, MAIN_TABLE, Route, Rule, priority, single};

/// One interface of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodWiring {
    /// 0 for the first interface.
    pub index: u32,
    /// The pod's address on it.
    pub address: IpAddr,
    /// Name of the link on the host.
    pub host_link: String,
    /// Name of the link in the pod.
    pub pod_link: String,
    /// MTU of both.
    pub mtu: u32,
    /// Host route table of the ENI that holds the address.
    pub table: u32,
}

impl PodWiring {
    /// The pod's next hop: an address nobody has, reached by a static neighbour entry.
    pub fn gateway(&self) -> IpAddr {
        let last = self.index + 1;
        match self.address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(0xa9fe_0100 + last)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits((0xfe80 << 112) + u128::from(last))),
        }
    }

    /// The table inside the pod that holds the routes of this interface.
    pub const fn pod_table(&self) -> u32 {
        if self.index == 0 {
            MAIN_TABLE
        } else {
            self.index
        }
    }

    /// The pod's route to its gateway.
    pub fn gateway_route(&self) -> Route {
        Route {
            table: self.pod_table(),
            destination: single(self.gateway()),
            gateway: None,
        }
    }

    /// The pod's route to everything else.
    pub fn default_route(&self) -> Route {
        Route {
            table: self.pod_table(),
            destination: Family::of(self.address).default_destination(),
            gateway: Some(self.gateway()),
        }
    }

    /// Inside a pod with several interfaces, what an address sends leaves by its own interface.
    pub fn pod_rule(&self) -> Option<Rule> {
        (self.index > 0)
            .then(|| Rule::from_address(self.address, priority::INSIDE_POD, self.pod_table()))
    }

    /// The host's route to the pod.
    pub const fn host_route(&self) -> Route {
        host_route(self.address)
    }

    /// The host's rules for the pod.
    pub fn host_rules(&self) -> Vec<Rule> {
        let mut rules = Vec::from([to_pod(self.address)]);
        rules.extend(from_pod(self.address, self.table));
        rules
    }
}

/// The host's route to a pod.
pub const fn host_route(address: IpAddr) -> Route {
    Route {
        table: MAIN_TABLE,
        destination: single(address),
        gateway: None,
    }
}

/// What is sent to the pod goes by the main table, where the host's route to it is.
pub const fn to_pod(address: IpAddr) -> Rule {
    Rule::to_main(single(address), priority::TO_POD)
}

/// What the pod sends goes by its ENI's table; nothing is needed when that is the main table.
///
/// Releases of long ago wrote 1 for the main table, and such a number may still come back from a
/// result they left behind.
pub const fn from_pod(address: IpAddr, table: u32) -> Option<Rule> {
    if table <= 1 || table == MAIN_TABLE {
        None
    } else {
        Some(Rule::from_address(address, priority::FROM_POD, table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(address: &str, index: u32, table: u32) -> PodWiring {
        PodWiring {
            index,
            address: address.parse().unwrap(),
            host_link: "eni0d7763386da".into(),
            pod_link: "eth0".into(),
            mtu: 9001,
            table,
        }
    }

    #[test]
    fn gateways_are_those_upstream_uses() {
        let check = |address, index, gateway: &str| {
            assert_eq!(
                pod(address, index, 2).gateway(),
                gateway.parse::<IpAddr>().unwrap()
            );
        };
        check("10.0.0.100", 0, "169.254.1.1");
        check("10.0.0.100", 2, "169.254.1.3");
        check("fd00::5", 0, "fe80::1");
        check("fd00::5", 2, "fe80::3");
    }

    #[test]
    fn a_pod_on_a_second_eni_has_a_rule_for_each_direction() {
        let address = "10.0.0.100".parse().unwrap();
        assert_eq!(
            pod("10.0.0.100", 0, 2).host_rules(),
            [
                Rule::to_main((address, 32), 512),
                Rule::from_address(address, 1536, 2)
            ]
        );
    }

    #[test]
    fn a_pod_on_the_primary_eni_has_no_rule_for_what_it_sends() {
        assert_eq!(pod("10.0.0.100", 0, 254).host_rules().len(), 1);
        assert_eq!(pod("10.0.0.100", 0, 1).host_rules().len(), 1);
        assert_eq!(pod("10.0.0.100", 0, 0).host_rules().len(), 1);
    }

    #[test]
    fn further_interfaces_of_a_pod_have_their_own_table_inside_it() {
        let first = pod("10.0.0.100", 0, 2);
        assert_eq!((first.pod_table(), first.pod_rule()), (254, None));
        let second = pod("10.0.1.100", 1, 10_101);
        assert_eq!(second.pod_table(), 1);
        assert_eq!(
            second.pod_rule(),
            Some(Rule::from_address("10.0.1.100".parse().unwrap(), 1, 1))
        );
    }
}
