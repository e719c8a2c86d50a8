//! Links: finding, creating and changing them, and the settings the kernel keeps for each.

use std::{fs, io};

use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};

use crate::{Namespace, Net, NetError, error::Mac};

/// A link of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address, when it has one of six bytes.
    pub mac: Option<[u8; 6]>,
    /// The largest packet it takes.
    pub mtu: u32,
    /// Whether it was set up.
    pub up: bool,
}

/// Both ends of a pod's link, before they exist.
pub(crate) struct VethPair<'a> {
    pub(crate) name: &'a str,
    pub(crate) mtu: u32,
    pub(crate) peer_name: &'a str,
    pub(crate) peer_mac: [u8; 6],
    pub(crate) peer_namespace: &'a Namespace,
}

impl Net {
    /// All links.
    pub async fn links(&self) -> Result<Vec<Link>, NetError> {
        let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answer = self.socket.dump(question, "list the links").await?;
        Ok(answer.iter().filter_map(to_link).collect())
    }

    /// The link with this MAC.
    ///
    /// Where several have it, the first: a VLAN link on top of an ENI's link copies its MAC and is younger.
    pub async fn link_by_mac(&self, mac: [u8; 6]) -> Result<Option<Link>, NetError> {
        let links = self.links().await?;
        Ok(links
            .into_iter()
            .filter(|link| link.mac == Some(mac))
            .min_by_key(|link| link.index))
    }

    /// The link with this name.
    pub async fn link_by_name(&self, name: &str) -> Result<Option<Link>, NetError> {
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::IfName(name.into()));
        let answer = self
            .socket
            .get(RouteNetlinkMessage::GetLink(question), || {
                format!("find the link {name}")
            })
            .await;
        match answer {
            Ok(messages) => Ok(messages.iter().find_map(to_link)),
            Err(error) if error.is(Errno::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn expect_link(&self, name: &str) -> Result<Link, NetError> {
        let link = self.link_by_name(name).await?;
        link.ok_or_else(|| NetError::NoLinkNamed { name: name.into() })
    }

    pub(crate) async fn expect_mac(&self, mac: [u8; 6]) -> Result<Link, NetError> {
        let link = self.link_by_mac(mac).await?;
        link.ok_or(NetError::NoLink { mac: Mac(mac) })
    }

    /// Gives a link this MTU, if it has another.
    pub(crate) async fn set_mtu(&self, link: &Link, mtu: u32) -> Result<(), NetError> {
        if link.mtu == mtu {
            return Ok(());
        }
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        message.attributes.push(LinkAttribute::Mtu(mtu));
        self.socket
            .change(RouteNetlinkMessage::SetLink(message), 0, || {
                format!("set the MTU of {} to {mtu}", link.name)
            })
            .await
    }

    /// Sets a link up, if it is not.
    pub(crate) async fn set_up(&self, link: &Link) -> Result<(), NetError> {
        if link.up {
            return Ok(());
        }
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.socket
            .change(RouteNetlinkMessage::SetLink(message), 0, || {
                format!("set {} up", link.name)
            })
            .await
    }

    /// Deletes a link, and with it its peer.
    pub(crate) async fn delete_link(&self, link: &Link) -> Result<(), NetError> {
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        let deleted = self
            .socket
            .change(RouteNetlinkMessage::DelLink(message), 0, || {
                format!("delete {}", link.name)
            })
            .await;
        crate::error::absent_is_fine(deleted, Errno::ENODEV)
    }

    /// Creates a pair of links, one here and one born in another namespace.
    ///
    /// The peer's MAC is given at birth: of a MAC that the kernel chose itself, udev would think that it
    /// may change it, after pods already have it in their neighbour entry. A queue length of 0
    /// is upstream's; such links have no queue anyway.
    pub(crate) async fn create_veth(&self, pair: VethPair<'_>) -> Result<(), NetError> {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(pair.peer_name.into()),
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::TxQueueLen(0),
            LinkAttribute::Address(pair.peer_mac.to_vec()),
            LinkAttribute::NetNsFd(pair.peer_namespace.raw_fd()),
        ];
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes = vec![
            LinkAttribute::IfName(pair.name.into()),
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::TxQueueLen(0),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        self.socket
            .change(
                RouteNetlinkMessage::NewLink(message),
                NLM_F_CREATE | NLM_F_EXCL,
                || format!("create the links {} and {}", pair.name, pair.peer_name),
            )
            .await
    }
}

/// Writes a network setting of the calling thread's namespace. A missing file means a kernel without
/// that feature, where nothing needs to be set.
pub(crate) fn write_sysctl(path: &str, value: &'static str) -> Result<(), NetError> {
    match fs::write(format!("/proc/sys/{path}"), value) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(NetError::Sysctl {
            path: path.into(),
            value,
            source,
        }),
        _ => Ok(()),
    }
}

/// A random MAC that says it was given by hand and is of one device.
///
/// It is not compared with those of other links: in 46 random bits a second link of a node
/// does not have the same.
pub(crate) fn random_mac() -> Result<[u8; 6], NetError> {
    let mut mac = [0; 6];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| io::Read::read_exact(&mut file, &mut mac))
        .map_err(|source| NetError::Random { source })?;
    mac[0] = mac[0] & 0xfe | 0x02;
    Ok(mac)
}

fn to_link(message: &RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else {
        return None;
    };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
    };
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            link.name.clone_from(name);
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            link.mtu = *mtu;
        } else if let LinkAttribute::Address(address) = attribute {
            link.mac = address.as_slice().try_into().ok();
        }
    }
    Some(link)
}
