//! What must be on the host for one ENI that is not the primary one.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use alloc::vec::Vec;

use crate::{Cidr, Family, MAIN_TABLE, Route, Rule, network, priority, single};

/// One ENI as the host must carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EniWiring {
    /// MAC of the link.
    pub mac: [u8; 6],
    /// The ENI's own address.
    pub primary: IpAddr,
    /// The subnet it is in.
    pub subnet: Cidr,
    /// Network card it is attached to.
    pub card: u32,
    /// Device index on that card.
    pub device_index: u32,
    /// MTU of the link.
    pub mtu: u32,
}

impl EniWiring {
    /// The route table of an attachment; 254 (main) for the primary ENI.
    ///
    /// Cards above 0 use the numbers of amazon-ec2-net-utils, which sets such ENIs up before we start.
    pub const fn table_of(card: u32, device_index: u32) -> u32 {
        match (card, device_index) {
            (0, 0) => MAIN_TABLE,
            (0, device) => device + 1,
            (card, device) => 10_000 + 100 * card + device,
        }
    }

    /// The route table of this ENI.
    pub const fn table(&self) -> u32 {
        Self::table_of(self.card, self.device_index)
    }

    /// Whether this is the node's primary ENI, which the machine image sets up and we leave alone.
    pub const fn is_primary(&self) -> bool {
        self.table() == MAIN_TABLE
    }

    /// The address the link carries: the ENI's own, with the length of the subnet.
    pub const fn address(&self) -> Cidr {
        (self.primary, self.subnet.1)
    }

    /// The router of the subnet. In IPv6 every subnet has it at one link-local address.
    pub fn gateway(&self) -> IpAddr {
        match network(self.subnet).0 {
            IpAddr::V4(base) => IpAddr::V4(Ipv4Addr::from_bits(base.to_bits().saturating_add(1))),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xfe80, 0xec2, 0, 0, 0, 0, 0, 1)),
        }
    }

    /// The routes of the ENI's table, in the order they must be made: a gateway must be reachable first.
    pub fn routes(&self) -> Vec<Route> {
        let table = self.table();
        let gateway = self.gateway();
        [
            Route {
                table,
                destination: single(gateway),
                gateway: None,
            },
            Route {
                table,
                destination: Family::of(gateway).default_destination(),
                gateway: Some(gateway),
            },
        ]
        .into()
    }

    /// The route the kernel makes by itself when the address is added, which must not be there: in the
    /// main table it would pull the subnet's traffic away from the primary ENI.
    pub fn unwanted_route(&self) -> Route {
        Route {
            table: MAIN_TABLE,
            destination: network(self.subnet),
            gateway: None,
        }
    }

    /// What the ENI's own address sends leaves by the ENI.
    pub const fn rule(&self) -> Rule {
        Rule::from_address(self.primary, priority::FROM_ENI, self.table())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_those_upstream_computes() {
        let check = |card, device, table| assert_eq!(EniWiring::table_of(card, device), table);
        check(0, 0, 254);
        check(0, 1, 2);
        check(0, 3, 4);
        check(1, 0, 10_100);
        check(1, 1, 10_101);
        check(2, 1, 10_201);
    }

    #[test]
    fn a_second_eni_gets_its_own_table_with_a_route_to_the_gateway_first() {
        let eni = EniWiring {
            mac: [2, 0, 0, 0, 0, 2],
            primary: "10.0.0.20".parse().unwrap(),
            subnet: ("10.0.0.0".parse().unwrap(), 24),
            card: 0,
            device_index: 1,
            mtu: 9001,
        };
        let gateway: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(
            eni.routes(),
            [
                Route {
                    table: 2,
                    destination: (gateway, 32),
                    gateway: None
                },
                Route {
                    table: 2,
                    destination: ("0.0.0.0".parse().unwrap(), 0),
                    gateway: Some(gateway)
                },
            ]
        );
        assert_eq!(
            eni.rule(),
            Rule::from_address("10.0.0.20".parse().unwrap(), 32765, 2)
        );
        assert_eq!(
            eni.unwanted_route().destination,
            ("10.0.0.0".parse().unwrap(), 24)
        );
    }

    #[test]
    fn an_ipv6_subnet_is_left_by_the_fixed_router_address() {
        let eni = EniWiring {
            mac: [2, 0, 0, 0, 0, 2],
            primary: "2600:1f14::20".parse().unwrap(),
            subnet: ("2600:1f14::".parse().unwrap(), 64),
            card: 1,
            device_index: 1,
            mtu: 9001,
        };
        assert_eq!(eni.gateway(), "fe80:ec2::1".parse::<IpAddr>().unwrap());
        assert_eq!(eni.routes()[0].destination.1, 128);
    }
}
