//! What EC2's answers mean: which of three ways a call ended, and what an ENI is to the node.
//!
//! In: codes, statuses and descriptions, taken off the wire by the daemon or from a model by the
//! simulator. Out: outcomes and facts, as both feed them to the node.
//! Must hold: *refused* is said only when EC2 surely did nothing; whatever leaves a doubt is
//! *unknown*, and is followed by a look.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use core::net::IpAddr;

use crate::budget::is_throttling;
use crate::cidr::Cidr;
use crate::event::{Attachment, Ec2Outcome, EniFacts};
use crate::ids::{EniId, Mac, SubnetId};
use crate::snapshot::Role;

/// Tag of ENIs that a node has made: the id of its instance.
pub const TAG_INSTANCE: &str = "node.k8s.amazonaws.com/instance_id";
/// The operator's tag: an ENI that bears it with the word `true` is left alone.
pub const TAG_NO_MANAGE: &str = "node.k8s.amazonaws.com/no_manage";

/// EC2 was in trouble while it may have been at work, whatever the status says.
const TROUBLE: [&str; 6] = [
    "InternalError",
    "InternalFailure",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "Unavailable",
];

/// How a call ended that EC2 answered with an error. Throttling is answered with a status of 5xx,
/// yet surely before any work; every other 5xx leaves a doubt.
pub fn error(status: u16, code: Option<&str>, message: &str) -> Ec2Outcome {
    match code {
        Some(code) if is_throttling(code) || (status < 500 && !TROUBLE.contains(&code)) => {
            Ec2Outcome::Refused {
                code: code.into(),
                message: message.into(),
            }
        }
        Some(code) => Ec2Outcome::Unknown {
            message: format!("status {status}, {code}: {message}"),
        },
        None => Ec2Outcome::Unknown {
            message: format!("status {status} without an error code: {message}"),
        },
    }
}

/// Whose ENIs are looked at.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Id of this instance.
    pub instance: String,
    /// The primary ENI, as IMDS tells it.
    pub primary: EniId,
    /// Whether ENIs that bear nobody's tag are ours to use.
    pub manage_untagged: bool,
}

/// An ENI as EC2 describes it, whatever the wire.
#[derive(Clone, Debug)]
pub struct Described<'a> {
    /// Its id.
    pub id: EniId,
    /// EC2's word for its kind: `trunk`, `efa`, `efa-only`, `interface`.
    pub kind: Option<&'a str>,
    /// The value of [`TAG_INSTANCE`].
    pub made_by: Option<&'a str>,
    /// The value of [`TAG_NO_MANAGE`].
    pub no_manage: Option<&'a str>,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// Its subnet.
    pub subnet: Option<&'a str>,
    /// Its own address.
    pub primary: Option<IpAddr>,
    /// Addresses and prefixes, its own address perhaps among them.
    pub blocks: BTreeSet<Cidr>,
    /// Absent when it is attached to nothing.
    pub attachment: Option<Attachment>,
}

impl Owner {
    /// What an ENI is to the node, or what its description lacks.
    pub fn facts(&self, eni: Described<'_>) -> Result<EniFacts, String> {
        let id = eni.id;
        let lacks = |what: &str| format!("{id} without {what}");
        let role = match eni.kind {
            _ if id == self.primary => Role::Primary,
            Some("trunk") => Role::Trunk,
            Some("efa" | "efa-only") => Role::Efa,
            Some(_) | None => Role::Secondary,
        };
        let primary = match eni.primary {
            Some(primary) => primary,
            // An EFA may have no address at all; nothing is ever asked of it.
            None if role == Role::Efa => IpAddr::from([0, 0, 0, 0]),
            None => return Err(lacks("an address")),
        };
        let mut blocks = eni.blocks;
        blocks.remove(&Cidr::single(primary));
        let ours = eni.made_by == Some(self.instance.as_str());
        // The operator's word first, then whose tag it bears, then what holds for ENIs without one.
        let managed = match eni.no_manage {
            Some(word) => word != "true",
            None => ours || self.manage_untagged,
        };
        Ok(EniFacts {
            mac: eni.mac.ok_or_else(|| lacks("a MAC address"))?,
            subnet: SubnetId::new(eni.subnet.ok_or_else(|| lacks("a subnet"))?),
            role,
            managed: role == Role::Primary || (role != Role::Efa && managed),
            ours,
            excluded: false,
            primary,
            blocks,
            attachment: eni.attachment,
            id,
        })
    }

    /// A view without the primary ENI is not a view of this instance: says what is wrong with it.
    pub fn check_view(&self, attached: &[EniFacts]) -> Result<(), String> {
        if attached.iter().any(|eni| eni.id == self.primary) {
            return Ok(());
        }
        Err(format!(
            "DescribeNetworkInterfaces: EC2 told of {} interfaces of {} and not of its primary one, {}",
            attached.len(),
            self.instance,
            self.primary
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> bool {
        matches!(
            error(status, Some(code), "words"),
            Ec2Outcome::Refused { .. }
        )
    }

    #[test]
    fn only_an_error_that_came_before_any_work_is_a_refusal() {
        assert!(refused(400, "InsufficientFreeAddressesInSubnet"));
        assert!(refused(403, "UnauthorizedOperation"));
        assert!(refused(503, "RequestLimitExceeded"));
        assert!(refused(400, "RequestLimitExceeded"));
        assert!(!refused(500, "InternalError"));
        assert!(!refused(400, "InternalError"));
        assert!(!refused(503, "SomethingNew"));
        assert!(matches!(
            error(502, None, "<html>"),
            Ec2Outcome::Unknown { .. }
        ));
    }
}
