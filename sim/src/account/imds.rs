//! What the instance metadata service knows of an instance. It lags, and each leaf at its own pace.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{Account, Cidr, Eni, iso8601};

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
    pub vpc_cidr: Cidr,
    /// The address of device 0.
    pub local_ipv4: Ipv4Addr,
    /// The MAC of device 0.
    pub mac: String,
    /// The ENIs that are listed, each with its subnet's block. Their addresses may be older than the list.
    pub enis: Vec<(Eni, Cidr)>,
    /// Names of security groups by id.
    pub group_names: BTreeMap<String, String>,
}

impl Account {
    /// The metadata an instance reads at `now_ms`; none when there is no such instance.
    pub fn imds(&mut self, now_ms: u64, instance_id: &str) -> Option<ImdsView> {
        self.tick(now_ms);
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
            .filter_map(|it| it.in_imds(now_ms, instance_id));
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
            vpc_cidr: self.config.vpc_cidr,
            local_ipv4,
            mac,
            enis,
            group_names: self.groups.iter().cloned().collect(),
        })
    }
}
