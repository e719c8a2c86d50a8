//! What EC2's structures mean to the core. Every field of theirs may be absent.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{
    AttachmentStatus, InstanceTypeHypervisor, InstanceTypeInfo, NetworkInterface,
    NetworkInterfaceAttachment,
};
use onsen_core::answer::{Described, Owner, TAG_INSTANCE, TAG_NO_MANAGE};
use onsen_core::cidr::Cidr;
use onsen_core::event::{Attachment, EniFacts};
use onsen_core::ids::{AttachmentId, EniId, Mac};
use onsen_core::snapshot::Limits;

/// What an ENI is to the core, or what its description lacks.
pub(super) fn of(owner: &Owner, eni: &NetworkInterface) -> Result<EniFacts, String> {
    let id = eni
        .network_interface_id()
        .ok_or("a network interface without an id")?;
    let lacks = |what: &str| format!("{id} without {what}");
    let attachment = eni.attachment().map(|attachment| Attachment {
        id: AttachmentId::new(attachment.attachment_id().unwrap_or_default()),
        card: unsigned(attachment.network_card_index()),
        device_index: unsigned(attachment.device_index()),
        detaching: matches!(
            attachment.status(),
            Some(AttachmentStatus::Detaching | AttachmentStatus::Detached)
        ),
        delete_on_termination: attachment.delete_on_termination().unwrap_or(false),
    });
    let mut blocks = BTreeSet::new();
    for address in eni.private_ip_addresses() {
        let text = address
            .private_ip_address()
            .ok_or_else(|| lacks("one of its addresses"))?;
        blocks.insert(
            Cidr::parse(text).ok_or_else(|| lacks(&format!("a readable address, {text:?}")))?,
        );
    }
    for prefix in eni.ipv4_prefixes() {
        let text = prefix
            .ipv4_prefix()
            .ok_or_else(|| lacks("one of its prefixes"))?;
        blocks.insert(
            Cidr::parse(text).ok_or_else(|| lacks(&format!("a readable prefix, {text:?}")))?,
        );
    }
    let tag = |key: &str| {
        eni.tag_set()
            .iter()
            .find(|tag| tag.key() == Some(key))
            .and_then(aws_sdk_ec2::types::Tag::value)
    };
    owner.facts(Described {
        id: EniId::new(id),
        kind: eni
            .interface_type()
            .map(aws_sdk_ec2::types::NetworkInterfaceType::as_str),
        made_by: tag(TAG_INSTANCE),
        no_manage: tag(TAG_NO_MANAGE),
        mac: eni.mac_address().and_then(Mac::parse),
        subnet: eni.subnet_id(),
        primary: eni.private_ip_address().and_then(|text| text.parse().ok()),
        blocks,
        attachment,
    })
}

/// The network card that an ENI is attached to; 0 when EC2 does not say, as for types with one card.
pub(super) fn card(eni: &NetworkInterface) -> u32 {
    unsigned(
        eni.attachment()
            .and_then(NetworkInterfaceAttachment::network_card_index),
    )
}

fn unsigned(number: Option<i32>) -> u32 {
    number
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0)
}

/// Limits of an instance type. EC2's own total counts all cards; ours counts the default one.
pub(super) fn limits(of: &InstanceTypeInfo) -> Option<Limits> {
    let network = of.network_info()?;
    let default_card = network.default_network_card_index().unwrap_or(0);
    let card = network
        .network_cards()
        .iter()
        .find(|card| card.network_card_index() == Some(default_card));
    let enis = card
        .and_then(aws_sdk_ec2::types::NetworkCardInfo::maximum_network_interfaces)
        .or(network.maximum_network_interfaces())?;
    let addresses = network.ipv4_addresses_per_interface()?;
    Some(Limits {
        enis: u32::try_from(enis).ok().filter(|enis| *enis > 0)?,
        // The ENI's own address takes one.
        slots_per_eni: u32::try_from(addresses).ok()?.checked_sub(1)?,
        prefixes: of.bare_metal() == Some(true)
            || of.hypervisor() == Some(&InstanceTypeHypervisor::Nitro),
        addresses_per_prefix: 16,
        // EC2 does not tell; upstream takes a type that it does not know for one that can.
        trunk: true,
        // This version serves pods from card 0.
        other_cards: Vec::new(),
    })
}
