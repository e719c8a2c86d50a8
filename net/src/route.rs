//! Routes.

use std::net::IpAddr;

use nix::errno::Errno;
use onsen_wiring::{Cidr, Family, Route};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
};

use crate::{Link, Net, NetError, address::family_number, error::absent_is_fine};

/// A route as the kernel lists it, with the link it leads over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) route: Route,
    pub(crate) link: u32,
}

/// What happens when the destination has a route already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Replace,
    Refuse,
}

impl Net {
    /// All unicast routes of a family over a single link, of all tables.
    pub(crate) async fn routes(&self, family: Family) -> Result<Vec<Found>, NetError> {
        let mut question = RouteMessage::default();
        question.header.address_family = family_number(family);
        let answer = self
            .socket
            .dump(RouteNetlinkMessage::GetRoute(question), "list the routes")
            .await?;
        Ok(answer
            .iter()
            .filter_map(|message| to_found(message, family))
            .collect())
    }

    /// Makes a route over a link.
    pub(crate) async fn add_route(
        &self,
        link: &Link,
        route: &Route,
        existing: Existing,
    ) -> Result<(), NetError> {
        let mut message = route_message(route);
        message.header.protocol = RouteProtocol::Boot;
        message.header.kind = RouteType::Unicast;
        message.header.scope = match route.gateway {
            Some(_) => RouteScope::Universe,
            None => RouteScope::Link,
        };
        message.attributes.push(RouteAttribute::Oif(link.index));
        let flag = match existing {
            Existing::Replace => NLM_F_REPLACE,
            Existing::Refuse => NLM_F_EXCL,
        };
        self.socket
            .change(
                RouteNetlinkMessage::NewRoute(message),
                NLM_F_CREATE | flag,
                || format!("make the route {} over {}", route, link.name),
            )
            .await
    }

    /// Deletes a route, over `link` or any.
    ///
    /// Protocol and type stay open, so that it does not matter who made it. The scope cannot: the kernel
    /// takes an open one for that of a gateway.
    pub(crate) async fn delete_route(
        &self,
        link: Option<&Link>,
        route: &Route,
    ) -> Result<(), NetError> {
        let mut message = route_message(route);
        message.header.scope = match route.gateway {
            Some(_) => RouteScope::NoWhere,
            None => RouteScope::Link,
        };
        message
            .attributes
            .extend(link.map(|link| RouteAttribute::Oif(link.index)));
        let deleted = self
            .socket
            .change(RouteNetlinkMessage::DelRoute(message), 0, || {
                format!("delete the route {route}")
            })
            .await;
        absent_is_fine(deleted, Errno::ESRCH)
    }
}

fn route_message(route: &Route) -> RouteMessage {
    let (destination, length) = route.destination;
    let mut message = RouteMessage::default();
    message.header.address_family = family_number(Family::of(destination));
    message.header.destination_prefix_length = length;
    if length > 0 {
        message
            .attributes
            .push(RouteAttribute::Destination(destination.into()));
    }
    if let Some(gateway) = route.gateway {
        message
            .attributes
            .push(RouteAttribute::Gateway(gateway.into()));
    }
    if let Ok(table) = u8::try_from(route.table) {
        message.header.table = table;
    } else {
        message.attributes.push(RouteAttribute::Table(route.table));
    }
    message
}

fn to_found(message: &RouteNetlinkMessage, family: Family) -> Option<Found> {
    let RouteNetlinkMessage::NewRoute(message) = message else {
        return None;
    };
    if message.header.kind != RouteType::Unicast {
        return None;
    }
    let mut destination: Option<Cidr> = None;
    let mut gateway = None;
    let mut link = None;
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        if let RouteAttribute::Destination(address) = attribute {
            destination = to_ip(address).map(|ip| (ip, message.header.destination_prefix_length));
        } else if let RouteAttribute::Gateway(address) = attribute {
            gateway = to_ip(address);
        } else if let RouteAttribute::Oif(index) = attribute {
            link = Some(*index);
        } else if let RouteAttribute::Table(number) = attribute {
            table = *number;
        }
    }
    Some(Found {
        route: Route {
            table,
            destination: destination.unwrap_or_else(|| family.default_destination()),
            gateway,
        },
        link: link?,
    })
}

fn to_ip(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(address) = address {
        Some((*address).into())
    } else if let RouteAddress::Inet6(address) = address {
        Some((*address).into())
    } else {
        None
    }
}
