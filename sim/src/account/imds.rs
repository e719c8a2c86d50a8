//! What the instance metadata service knows of an instance. It lags, and each leaf at its own pace.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::eni::OLDEST_READ_MS;
use super::{Account, Cidr, Eni, FaultName, iso8601};

/// The instance metadata at one moment.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are the metadata's")]
pub struct ImdsView {
    pub account_id: String,
    pub region: String,
    pub zone: String,
    pub instance_id: String,
    pub instance_type: String,
    /// When the instance was launched, ISO 8601.
    pub pending_time: String,
    pub vpc_id: String,
    /// The ranges of the VPC, its first one first.
    pub vpc_cidrs: Vec<Cidr>,
    /// The address of device 0.
    pub local_ipv4: Ipv4Addr,
    /// The MAC of device 0.
    pub mac: String,
    /// The ENIs that are listed, each with its subnet's block. Their addresses may be older than the list.
    pub enis: Vec<(Eni, Cidr)>,
    /// Names of security groups by id.
    pub group_names: BTreeMap<String, String>,
    /// The directories of interfaces lack their addresses and device numbers.
    pub missing_leaves: bool,
}

/// What the metadata service answers instead of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImdsTrouble {
    /// This HTTP status.
    Status(u16),
    /// The value, after so many milliseconds.
    Slow(u64),
}

impl Account {
    /// What is wrong with the metadata service at this read, in the eyes of a node.
    pub fn imds_trouble(&mut self, now_ms: u64, node: &str) -> Option<ImdsTrouble> {
        use FaultName as F;
        for (name, status) in [(F::Imds401, 401), (F::Imds403, 403), (F::ImdsDown, 500)] {
            if self.strikes_imds(now_ms, name, Some(node)).is_some() {
                return Some(ImdsTrouble::Status(status));
            }
        }
        self.strikes_imds(now_ms, F::ImdsSlow, Some(node))
            .map(ImdsTrouble::Slow)
    }

    pub(super) fn strikes_imds(
        &mut self,
        now_ms: u64,
        name: FaultName,
        node: Option<&str>,
    ) -> Option<u64> {
        self.faults.strike(now_ms, name, None, node, &mut self.rng)
    }

    /// The metadata an instance reads at `now_ms`; none when there is no such instance.
    pub fn imds(&mut self, now_ms: u64, instance_id: &str) -> Option<ImdsView> {
        self.tick(now_ms);
        let node = self.node_name(instance_id)?.to_owned();
        let stale_ms = self.strikes_imds(now_ms, FaultName::ImdsStale, Some(&node));
        let missing_leaves = self
            .strikes_imds(now_ms, FaultName::ImdsMissingLeaf, Some(&node))
            .is_some();
        let seen_ms = now_ms.saturating_sub(stale_ms.unwrap_or(0).min(OLDEST_READ_MS));
        let instance = self.instances.get(instance_id)?;
        let cidr_of = |eni: &Eni| {
            self.subnets
                .iter()
                .find(|it| it.id == eni.subnet_id)
                .map(|it| it.cidr)
        };
        let listed = self
            .history
            .values()
            .filter_map(|it| it.in_imds(seen_ms, instance_id));
        let enis: Vec<(Eni, Cidr)> = listed
            .filter_map(|it| cidr_of(&it).map(|cidr| (it, cidr)))
            .collect();
        let is_primary = |it: &Eni| {
            it.attachment
                .as_ref()
                .is_some_and(|it| (it.network_card, it.device_index) == (0, 0))
        };
        let (local_ipv4, mac) = enis
            .iter()
            .find(|(it, _)| is_primary(it))
            .map(|(it, _)| (it.primary, it.mac.clone()))?;
        Some(ImdsView {
            account_id: self.id.clone(),
            region: self.config.region.clone(),
            zone: self
                .subnets
                .get(instance.subnet)
                .map(|it| it.zone.clone())?,
            instance_id: instance.id.clone(),
            instance_type: instance.kind.name.clone(),
            pending_time: iso8601(instance.launched_ms),
            vpc_id: self.vpc_id.clone(),
            vpc_cidrs: std::iter::once(self.config.vpc_cidr)
                .chain(self.added_cidrs.iter().copied())
                .collect(),
            local_ipv4,
            mac,
            enis,
            group_names: self.groups.iter().cloned().collect(),
            missing_leaves,
        })
    }
}
