//! An ENI, and the history of what others may still see of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::Serialize;

use super::Cidr;

/// An elastic network interface.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names are EC2's")]
pub struct Eni {
    pub id: String,
    pub description: String,
    pub subnet_id: String,
    pub vpc_id: String,
    pub zone: String,
    /// Colon-separated, lower case.
    pub mac: String,
    pub primary: Ipv4Addr,
    /// Secondary addresses; the primary is not among them.
    pub addresses: BTreeSet<Ipv4Addr>,
    pub prefixes: BTreeSet<Cidr>,
    pub groups: Vec<String>,
    pub tags: BTreeMap<String, String>,
    pub status: EniStatus,
    pub attachment: Option<Attachment>,
}

/// Where an ENI stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EniStatus {
    /// Just made.
    Pending,
    /// Not attached.
    Available,
    /// There is an attachment, whatever its state.
    InUse,
}

impl EniStatus {
    /// As EC2 writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::InUse => "in-use",
        }
    }
}

/// The tie between an ENI and an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are EC2's")]
pub struct Attachment {
    pub id: String,
    pub instance_id: String,
    pub device_index: u32,
    pub network_card: u32,
    pub status: AttachmentStatus,
    pub delete_on_termination: bool,
    pub attached_at_ms: u64,
}

/// Where an attachment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachmentStatus {
    /// The device may not be there yet.
    Attaching,
    /// Done.
    Attached,
    /// The device may still be there.
    Detaching,
}

impl AttachmentStatus {
    /// As EC2 writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attaching => "attaching",
            Self::Attached => "attached",
            Self::Detaching => "detaching",
        }
    }
}

impl Eni {
    /// Whether the ENI is attached to `instance_id`, in any state.
    pub fn is_on(&self, instance_id: &str) -> bool {
        self.attachment
            .as_ref()
            .is_some_and(|it| it.instance_id == instance_id)
    }

    /// All it holds: the primary, the secondary addresses, the prefixes.
    pub fn blocks(&self) -> impl Iterator<Item = Cidr> {
        let primary = std::iter::once(Cidr::address(self.primary));
        primary
            .chain(self.addresses.iter().map(|it| Cidr::address(*it)))
            .chain(self.prefixes.iter().copied())
    }

    /// Whether it holds `block` as such, not only as a part of a prefix.
    pub fn holds(&self, block: Cidr) -> bool {
        self.blocks().any(|it| it == block)
    }

    /// How many places of its limit are taken: a prefix takes one, like an address.
    pub fn slots_used(&self) -> usize {
        1 + self.addresses.len() + self.prefixes.len()
    }
}

/// No reader sees a state that ended longer ago, but for the metadata, which keeps its own times.
pub(super) const OLDEST_READ_MS: u64 = 30_000;

/// When a change shows in the instance metadata, in Unix milliseconds; its leaves follow each at its own time.
#[derive(Debug, Clone, Copy)]
pub(super) struct ImdsTimes {
    pub(super) listed: u64,
    pub(super) blocks: u64,
    pub(super) groups: u64,
}

/// The ENI as it was from `at_ms` on; none once deleted.
#[derive(Debug, Clone)]
struct Version {
    at_ms: u64,
    imds: ImdsTimes,
    eni: Option<Eni>,
}

impl Version {
    /// Whether every reader has caught up with this version at `now_ms`.
    fn settled(&self, now_ms: u64) -> bool {
        let ImdsTimes {
            listed,
            blocks,
            groups,
        } = self.imds;
        self.at_ms.max(listed).max(blocks).max(groups) <= now_ms
    }
}

/// The recent versions of one ENI, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct History(Vec<Version>);

impl History {
    /// Adds a version, and forgets those which nobody can see any more.
    pub(super) fn push(&mut self, at_ms: u64, imds: ImdsTimes, eni: Option<Eni>) {
        self.0.push(Version { at_ms, imds, eni });
        // Reads are at most this old, and the metadata has caught up with a version when all its times are past.
        let horizon = at_ms.saturating_sub(OLDEST_READ_MS);
        if let Some(last_settled) = self.0.iter().rposition(|it| it.settled(horizon)) {
            self.0.drain(..last_settled);
        }
    }

    /// Whether the ENI is gone in everybody's eyes.
    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        let last = self.0.last();
        last.is_none_or(|it| it.eni.is_none() && it.settled(now_ms.saturating_sub(OLDEST_READ_MS)))
    }

    /// The ENI as a reader sees it whose view was taken at `at_ms`.
    pub(super) fn at(&self, at_ms: u64) -> Option<&Eni> {
        self.latest(|it| it.at_ms <= at_ms)
    }

    /// Whether the ENI's directory is listed on `instance_id` at `now_ms`, and what fills it.
    pub(super) fn in_imds(&self, now_ms: u64, instance_id: &str) -> Option<Eni> {
        let mut eni = self
            .latest(|it| it.imds.listed <= now_ms)
            .filter(|it| it.is_on(instance_id))?
            .clone();
        let here = |it: &Version| it.eni.as_ref().is_some_and(|eni| eni.is_on(instance_id));
        let seen = self.latest(|it| here(it) && it.imds.blocks <= now_ms);
        let seen = seen.map(|it| (it.addresses.clone(), it.prefixes.clone()));
        (eni.addresses, eni.prefixes) = seen.unwrap_or_default();
        if let Some(seen) = self.latest(|it| here(it) && it.imds.groups <= now_ms) {
            eni.groups.clone_from(&seen.groups);
        }
        Some(eni)
    }

    fn latest(&self, wanted: impl Fn(&Version) -> bool) -> Option<&Eni> {
        self.0
            .iter()
            .rev()
            .find(|it| wanted(it))
            .and_then(|it| it.eni.as_ref())
    }
}
