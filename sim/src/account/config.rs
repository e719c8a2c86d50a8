//! What the account holds at the start, and setting it up.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::fault::Faults;
use super::subnet::Subnet;
use super::throttle::Buckets;
use super::timeline::Due;
use super::{
    Account, Attachment, AttachmentStatus, Cidr, EniStatus, Instance, InstanceState, InstanceType,
    id,
};
use crate::rng::Rng;

/// What the account holds at the start.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Such as `eu-west-1`.
    pub region: String,
    /// The zone of subnets that name none.
    pub zone: String,
    /// The VPC's block.
    pub vpc_cidr: Cidr,
    /// The VPC's subnets.
    pub subnets: Vec<SubnetConfig>,
    /// The running instances.
    pub nodes: Vec<NodeConfig>,
    /// Multiplies every latency of EC2, of devices and of the instance metadata; 1 is as seen in the field.
    pub latency_scale: f64,
    /// Multiplies the age of what Describe shows; 0 shows every change at once, 1 is as seen in the field.
    pub read_lag_scale: f64,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubnetConfig {
    /// Its block, /16 to /28.
    pub cidr: Cidr,
    /// Its zone, when not the account's.
    #[serde(default)]
    pub zone: Option<String>,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Parts of it that EC2 keeps for a purpose.
    #[serde(default)]
    pub reservations: Vec<Reservation>,
}

/// A part of a subnet that EC2 keeps for a purpose. What is asked for by name is given out of it all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    /// The part.
    pub cidr: Cidr,
    /// What for.
    #[serde(rename = "type")]
    pub kind: ReservationKind,
}

/// What a part of a subnet is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReservationKind {
    /// Prefixes that EC2 picks, and no addresses that it picks.
    Prefix,
    /// Nothing that EC2 picks.
    Explicit,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// What the tests call it.
    pub name: String,
    /// Such as `m5.large`.
    pub instance_type: String,
    /// Which subnet its primary ENI is in, by position.
    #[serde(default)]
    pub subnet: usize,
}

/// Why an account cannot be set up.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ConfigError {
    #[error("subnet {0} is not within the VPC's block {1}")]
    OutsideVpc(Cidr, Cidr),
    #[error("subnet {0} is not /16 to /28")]
    SubnetSize(Cidr),
    #[error("subnets {0} and {1} overlap")]
    Overlap(Cidr, Cidr),
    #[error("reservation {0} is not within its subnet {1}, or overlaps another")]
    Reservation(Cidr, Cidr),
    #[error("node `{0}` is in subnet number {1}, but there are only {2} (counted from 0)")]
    NoSubnet(String, usize, usize),
    #[error("node `{0}` has the unknown instance type `{1}`")]
    NoInstanceType(String, String),
    #[error("two nodes are called `{0}`")]
    SameName(String),
    #[error("subnet {1} has no free address for the primary ENI of node `{0}`")]
    SubnetFull(String, Cidr),
    #[error("{0} is {1}, but must be a finite number of at least 0")]
    Scale(&'static str, f64),
}

impl Account {
    /// Sets the account up. The nodes' primary ENIs are attached; their devices appear at the first
    /// [`Account::advance`].
    pub fn new(config: Config, seed: u64, now_ms: u64) -> Result<Self, ConfigError> {
        check(&config)?;
        let mut rng = Rng::new(seed);
        let vpc_id = id(&mut rng, "vpc");
        let groups = ["default", "nodes"]
            .map(|name| (id(&mut rng, "sg"), name.to_owned()))
            .to_vec();
        let subnets = config.subnets.iter().map(|it| {
            let zone = it.zone.clone().unwrap_or_else(|| config.zone.clone());
            let mut subnet = Subnet::new(id(&mut rng, "subnet"), it.cidr, zone, it.tags.clone());
            subnet.reservations.clone_from(&it.reservations);
            subnet
        });
        let subnets = subnets.collect();
        let mut account = Self {
            id: "123456789012".to_owned(),
            vpc_id,
            groups,
            subnets,
            instances: BTreeMap::new(),
            enis: BTreeMap::new(),
            history: BTreeMap::new(),
            devices: BTreeSet::new(),
            tokens: BTreeMap::new(),
            buckets: Buckets::default(),
            faults: Faults::default(),
            counts: BTreeMap::new(),
            queue: BTreeMap::new(),
            queued: 0,
            outbox: Vec::new(),
            rng,
            added_cidrs: Vec::new(),
            config,
        };
        for node in account.config.nodes.clone() {
            account.launch(now_ms, node)?;
        }
        Ok(account)
    }

    fn launch(&mut self, now_ms: u64, node: NodeConfig) -> Result<(), ConfigError> {
        let kind = InstanceType::find(&node.instance_type).ok_or_else(|| {
            ConfigError::NoInstanceType(node.name.clone(), node.instance_type.clone())
        })?;
        let subnet = self.subnets.get(node.subnet).ok_or_else(|| {
            ConfigError::NoSubnet(node.name.clone(), node.subnet, self.subnets.len())
        })?;
        let free = subnet.pickable_addresses();
        let cidr = subnet.cidr;
        let primary = self
            .rng
            .sample(free, 1)
            .pop()
            .ok_or(ConfigError::SubnetFull(node.name.clone(), cidr))?;
        let instance_id = id(&mut self.rng, "i");
        let attachment = Attachment {
            id: id(&mut self.rng, "eni-attach"),
            instance_id: instance_id.clone(),
            device_index: 0,
            network_card: 0,
            status: AttachmentStatus::Attached,
            delete_on_termination: true,
            attached_at_ms: now_ms,
        };
        let groups = self
            .groups
            .get(1)
            .map(|(id, _)| id.clone())
            .into_iter()
            .collect();
        let mut eni = self.blank_eni(node.subnet, primary, groups);
        eni.status = EniStatus::InUse;
        let attachment_id = attachment.id.clone();
        eni.attachment = Some(attachment);
        let eni_id = eni.id.clone();
        self.add_eni(now_ms, now_ms, eni);
        self.schedule(
            now_ms,
            Due::DeviceAppears {
                eni_id,
                attachment_id,
            },
        );
        let (name, subnet) = (node.name, node.subnet);
        let state = InstanceState::Running;
        let instance = Instance {
            id: instance_id.clone(),
            name,
            kind,
            subnet,
            state,
            launched_ms: now_ms,
        };
        self.instances.insert(instance_id, instance);
        Ok(())
    }
}

fn check(config: &Config) -> Result<(), ConfigError> {
    for (name, scale) in [
        ("the latency scale", config.latency_scale),
        ("the read lag scale", config.read_lag_scale),
    ] {
        if !scale.is_finite() || scale < 0.0 {
            return Err(ConfigError::Scale(name, scale));
        }
    }
    for (at, subnet) in config.subnets.iter().enumerate() {
        let SubnetConfig {
            cidr, reservations, ..
        } = subnet;
        if !config.vpc_cidr.covers(*cidr) {
            return Err(ConfigError::OutsideVpc(*cidr, config.vpc_cidr));
        }
        if !(16..=28).contains(&cidr.length()) {
            return Err(ConfigError::SubnetSize(*cidr));
        }
        for (place, part) in reservations.iter().enumerate() {
            let mut others = reservations.iter().take(place);
            if others.any(|it| it.cidr.overlaps(part.cidr)) || !cidr.covers(part.cidr) {
                return Err(ConfigError::Reservation(part.cidr, *cidr));
            }
        }
        if let Some(other) = config
            .subnets
            .iter()
            .take(at)
            .find(|it| it.cidr.overlaps(*cidr))
        {
            return Err(ConfigError::Overlap(other.cidr, *cidr));
        }
    }
    for (at, node) in config.nodes.iter().enumerate() {
        if config.nodes.iter().take(at).any(|it| it.name == node.name) {
            return Err(ConfigError::SameName(node.name.clone()));
        }
    }
    Ok(())
}
