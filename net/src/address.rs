//! Addresses of links, and static neighbours.

use std::net::IpAddr;

use nix::errno::Errno;
use onsen_wiring::{Cidr, Family};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::RouteType,
};

use crate::{Link, Net, NetError, error::absent_is_fine};

/// An address as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) cidr: Cidr,
    /// Neither loopback nor link-local.
    pub(crate) global: bool,
    /// Duplicate address detection is not through, or found one.
    pub(crate) unusable: bool,
}

pub(crate) const fn family_number(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

impl Net {
    /// The addresses a link has of one family.
    pub(crate) async fn addresses(
        &self,
        link: &Link,
        family: Family,
    ) -> Result<Vec<Found>, NetError> {
        let mut question = AddressMessage::default();
        question.header.family = family_number(family);
        let answer = self
            .socket
            .dump(
                RouteNetlinkMessage::GetAddress(question),
                "list the addresses",
            )
            .await?;
        Ok(answer
            .iter()
            .filter_map(|message| to_found(message, link.index))
            .collect())
    }

    /// Adds an address to a link.
    ///
    /// With `route` false the kernel makes no route to the rest of the CIDR. The message says
    /// nothing of a broadcast address: a pod's single address has none.
    pub(crate) async fn add_address(
        &self,
        link: &Link,
        cidr: Cidr,
        route: bool,
    ) -> Result<(), NetError> {
        let mut message = address_message(link, cidr);
        if !route {
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Noprefixroute));
        }
        self.socket
            .change(
                RouteNetlinkMessage::NewAddress(message),
                NLM_F_CREATE | NLM_F_EXCL,
                || format!("add the address {}/{} to {}", cidr.0, cidr.1, link.name),
            )
            .await
    }

    /// Removes an address from a link.
    pub(crate) async fn delete_address(&self, link: &Link, cidr: Cidr) -> Result<(), NetError> {
        let deleted = self
            .socket
            .change(
                RouteNetlinkMessage::DelAddress(address_message(link, cidr)),
                0,
                || {
                    format!(
                        "remove the address {}/{} from {}",
                        cidr.0, cidr.1, link.name
                    )
                },
            )
            .await;
        absent_is_fine(deleted, Errno::EADDRNOTAVAIL)
    }

    /// Tells a link the MAC behind an address for good, so that nobody needs to be asked.
    pub(crate) async fn set_neighbour(
        &self,
        link: &Link,
        address: IpAddr,
        mac: [u8; 6],
    ) -> Result<(), NetError> {
        let mut message = NeighbourMessage::default();
        message.header.family = family_number(Family::of(address));
        message.header.ifindex = link.index;
        message.header.state = NeighbourState::Permanent;
        message.header.kind = RouteType::Unspec;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::from(address)),
            NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
        ];
        self.socket
            .change(
                RouteNetlinkMessage::NewNeighbour(message),
                NLM_F_CREATE | NLM_F_REPLACE,
                || format!("add the neighbour {address} to {}", link.name),
            )
            .await
    }

    /// The MACs that a link was told for good for an address.
    pub(crate) async fn neighbour(
        &self,
        link: &Link,
        address: IpAddr,
    ) -> Result<Option<[u8; 6]>, NetError> {
        let mut question = NeighbourMessage::default();
        question.header.family = family_number(Family::of(address));
        let answer = self
            .socket
            .dump(
                RouteNetlinkMessage::GetNeighbour(question),
                "list the neighbours",
            )
            .await?;
        let wanted = NeighbourAddress::from(address);
        Ok(answer.iter().find_map(|message| {
            let RouteNetlinkMessage::NewNeighbour(message) = message else {
                return None;
            };
            let of_address = message
                .attributes
                .iter()
                .any(|a| matches!(a, NeighbourAttribute::Destination(d) if *d == wanted));
            if message.header.ifindex != link.index
                || message.header.state != NeighbourState::Permanent
                || !of_address
            {
                return None;
            }
            message.attributes.iter().find_map(|attribute| {
                let NeighbourAttribute::LinkLayerAddress(mac) = attribute else {
                    return None;
                };
                mac.as_slice().try_into().ok()
            })
        }))
    }
}

fn address_message(link: &Link, (address, length): Cidr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family_number(Family::of(address));
    message.header.prefix_len = length;
    message.header.scope = AddressScope::Universe;
    message.header.index = link.index;
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    message
}

fn to_found(message: &RouteNetlinkMessage, index: u32) -> Option<Found> {
    let RouteNetlinkMessage::NewAddress(message) = message else {
        return None;
    };
    if message.header.index != index {
        return None;
    }
    let mut local = None;
    let mut any = None;
    let mut flags = AddressFlags::empty();
    for attribute in &message.attributes {
        if let AddressAttribute::Local(address) = attribute {
            local = Some(*address);
        } else if let AddressAttribute::Address(address) = attribute {
            any = Some(*address);
        } else if let AddressAttribute::Flags(f) = attribute {
            flags = *f;
        }
    }
    // IPv6 has no local address apart unless the link is point to point.
    let address = local.or(any)?;
    Some(Found {
        cidr: (address, message.header.prefix_len),
        global: message.header.scope == AddressScope::Universe && !address.is_loopback(),
        unusable: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
    })
}
