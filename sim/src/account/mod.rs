//! One EC2 account in one region: a VPC, its subnets, instances and ENIs.
//!
//! In: [`Call`]s at times that never go back. Out: an [`Answer`] for each, and [`FabricEvent`]s, which are
//! what happens later on the network: a device shows up or vanishes, an address starts or stops being
//! delivered. A call changes the account at once; its reply leaves after a latency. Times are Unix
//! milliseconds.
//!
//! Must hold: an address has at most one holder; no limit of an instance type is exceeded; a refused call
//! changes nothing but its token bucket; the same seed, calls and times give the same answers.

mod addresses;
mod api;
mod cidr;
mod describe;
mod eni;
mod error;
mod fault;
mod imds;
mod interfaces;
mod latency;
mod rng;
mod subnet;
#[cfg(test)]
mod tests;
mod throttle;
mod time;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

pub use api::{
    Answer, Call, CreateEni, Describe, EniChange, InstanceView, Operation, Page, Reply, Request,
    SubnetView, Wanted,
};
pub use cidr::{BadCidr, Cidr};
pub use eni::{Attachment, AttachmentStatus, Eni, EniStatus};
pub use error::ApiError;
pub use fault::{ActiveFault, Fault, FaultName};
pub use imds::ImdsView;
pub use subnet::PREFIX_LEN;
pub use time::{iso8601, iso8601_ms};
pub use types::InstanceType;

use eni::{History, ImdsTimes};
use fault::Faults;
use latency::Spread;
use rng::Rng;
use subnet::Subnet;
use throttle::Buckets;

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

/// What happens on the network, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum FabricEvent {
    /// The ENI's device shows up in the instance; what the ENI holds is delivered from now on.
    DeviceAppears {
        /// The node's name.
        node: String,
        /// The ENI as it is now.
        eni: Box<Eni>,
    },
    /// The ENI's device is gone, and nothing is delivered through it any more.
    DeviceVanishes {
        /// The ENI.
        eni_id: String,
    },
    /// Blocks are delivered to the ENI from now on, and may be sent from it.
    Routed {
        /// The ENI.
        eni_id: String,
        /// Addresses (as /32) and prefixes.
        blocks: Vec<Cidr>,
    },
    /// Blocks are no longer delivered to the ENI, nor may they be sent from it.
    Unrouted {
        /// The ENI.
        eni_id: String,
        /// Addresses (as /32) and prefixes.
        blocks: Vec<Cidr>,
    },
}

/// The state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// In service.
    Running,
    /// Gone for good.
    Terminated,
}

#[derive(Debug, Clone)]
struct Instance {
    id: String,
    name: String,
    kind: InstanceType,
    subnet: usize,
    state: InstanceState,
    launched_ms: u64,
}

/// A change that is under way.
#[derive(Debug, Clone)]
enum Due {
    Available {
        eni_id: String,
    },
    DeviceAppears {
        eni_id: String,
        attachment_id: String,
    },
    Attached {
        eni_id: String,
        attachment_id: String,
    },
    DeviceVanishes {
        eni_id: String,
    },
    Detached {
        eni_id: String,
        attachment_id: String,
    },
    Routed {
        eni_id: String,
        blocks: Vec<Cidr>,
    },
    Unrouted {
        eni_id: String,
        blocks: Vec<Cidr>,
    },
}

/// How many calls of an operation were accepted and refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Took effect, even when the reply was lost.
    pub accepted: u64,
    /// Refused with an error.
    pub refused: u64,
}

/// The account. See the module.
#[derive(Debug, Clone)]
pub struct Account {
    config: Config,
    id: String,
    vpc_id: String,
    /// Id and name; the first is the VPC's default group, the second the nodes'.
    groups: Vec<(String, String)>,
    subnets: Vec<Subnet>,
    instances: BTreeMap<String, Instance>,
    enis: BTreeMap<String, Eni>,
    history: BTreeMap<String, History>,
    /// Whose device is in its instance.
    devices: BTreeSet<String>,
    /// Client tokens of Create: when used, for what, and what came of it.
    tokens: BTreeMap<String, (u64, CreateEni, String)>,
    buckets: Buckets,
    faults: Faults,
    counts: BTreeMap<(Option<String>, Operation), Count>,
    queue: BTreeMap<(u64, u64), Due>,
    queued: u64,
    outbox: Vec<FabricEvent>,
    rng: Rng,
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
            Subnet::new(id(&mut rng, "subnet"), it.cidr, zone, it.tags.clone())
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
            config,
        };
        for node in account.config.nodes.clone() {
            account.launch(now_ms, node)?;
        }
        Ok(account)
    }

    /// Answers a call that reaches EC2 at `now_ms`.
    pub fn call(&mut self, now_ms: u64, call: &Call) -> Answer {
        self.tick(now_ms);
        let operation = call.request.operation();
        let mut latency_ms = self.draw(latency::reply(operation));
        let result = self.outcome(now_ms, call, latency_ms);
        let count = self
            .counts
            .entry((call.node.clone(), operation))
            .or_default();
        let mut lost = false;
        if result.is_ok() {
            count.accepted += 1;
            lost = self.strikes(now_ms, call, FaultName::ReplyLost).is_some();
            let slower = self.strikes(now_ms, call, FaultName::SlowReply);
            latency_ms = latency_ms.saturating_add(slower.unwrap_or(0));
        } else {
            // Refusals were seen to come twice as fast as successes.
            count.refused += 1;
            latency_ms /= 2;
        }
        let request_id = format!("{:016x}-{:08x}", self.rng.next(), self.queued);
        Answer {
            request_id,
            latency_ms,
            result,
            lost,
        }
    }

    /// Lets time pass until `now_ms` and tells what happened on the network since the last time.
    pub fn advance(&mut self, now_ms: u64) -> Vec<FabricEvent> {
        self.tick(now_ms);
        std::mem::take(&mut self.outbox)
    }

    /// When [`Account::advance`] will next have something to do.
    pub fn next_event_ms(&self) -> Option<u64> {
        if self.outbox.is_empty() {
            self.queue.keys().next().map(|(at, _)| *at)
        } else {
            Some(0)
        }
    }

    /// Switches a fault on.
    pub fn inject(&mut self, now_ms: u64, fault: Fault) {
        self.faults.add(now_ms, fault);
    }

    /// Switches all faults off.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// The faults that are on, or were until the last call.
    pub fn faults(&self) -> &[ActiveFault] {
        self.faults.active()
    }

    /// Every ENI as it is now, by id.
    pub fn enis(&self) -> impl Iterator<Item = &Eni> {
        self.enis.values()
    }

    /// Every subnet as it is now, in the order of the configuration.
    pub fn subnets(&self) -> impl Iterator<Item = SubnetView> {
        self.subnets.iter().map(|it| self.view_subnet(it))
    }

    /// Every instance as it is now, by id.
    pub fn instances(&self) -> impl Iterator<Item = InstanceView> {
        self.instances.values().map(|it| self.view_instance(it))
    }

    /// The calls so far, by node and operation.
    pub fn counts(&self) -> impl Iterator<Item = (Option<&str>, Operation, Count)> {
        self.counts
            .iter()
            .map(|((node, operation), count)| (node.as_deref(), *operation, *count))
    }

    /// The name of a running instance.
    pub fn node_name(&self, instance_id: &str) -> Option<&str> {
        self.instances.get(instance_id).map(|it| it.name.as_str())
    }

    /// The instance to which packets for `address` are delivered.
    pub fn instance_at(&self, address: Ipv4Addr) -> Option<&str> {
        let holder = self.subnets.iter().find_map(|it| it.holder(address))?;
        self.enis
            .get(holder)?
            .attachment
            .as_ref()
            .map(|it| it.instance_id.as_str())
    }

    /// Ends an instance, as an operator would: its ENIs go with it or are left behind, as their
    /// `DeleteOnTermination` says.
    pub fn terminate(&mut self, now_ms: u64, instance_id: &str) -> Result<(), ApiError> {
        self.tick(now_ms);
        let instance = self
            .instances
            .get_mut(instance_id)
            .ok_or_else(|| ApiError::no_instance(instance_id))?;
        instance.state = InstanceState::Terminated;
        let attached: Vec<Eni> = self
            .enis
            .values()
            .filter(|it| it.is_on(instance_id))
            .cloned()
            .collect();
        for eni in attached {
            self.vanish(&eni.id);
            if eni.attachment.is_some_and(|it| it.delete_on_termination) {
                self.remove_eni(now_ms, &eni.id);
            } else {
                self.change_eni(now_ms, &eni.id, |it| {
                    it.attachment = None;
                    it.status = EniStatus::Available;
                });
            }
        }
        Ok(())
    }

    fn outcome(&mut self, now_ms: u64, call: &Call, latency_ms: u64) -> Result<Reply, ApiError> {
        let within_limit = self.buckets.take(now_ms, &call.request);
        if !within_limit || self.strikes(now_ms, call, FaultName::Throttle).is_some() {
            return Err(ApiError::throttled());
        }
        if self.strikes(now_ms, call, FaultName::Denied).is_some() {
            return Err(ApiError::denied(&self.id, call.request.operation().name()));
        }
        if self
            .strikes(now_ms, call, FaultName::InternalError)
            .is_some()
        {
            return Err(ApiError::internal());
        }
        if call.dry_run {
            return Err(ApiError::dry_run());
        }
        self.shortage(now_ms, call)?;
        let reply = self.apply(now_ms, call, latency_ms)?;
        if self
            .strikes(now_ms, call, FaultName::InternalErrorApplied)
            .is_some()
        {
            return Err(ApiError::internal());
        }
        Ok(reply)
    }

    /// The faults which pretend that a subnet has nothing left.
    fn shortage(&mut self, now_ms: u64, call: &Call) -> Result<(), ApiError> {
        let (wanted, primary) = match &call.request {
            Request::AssignPrivateIpAddresses { wanted, .. } => (wanted, false),
            Request::CreateNetworkInterface(it) => (&it.wanted, true),
            Request::AttachNetworkInterface { .. }
            | Request::CreateTags { .. }
            | Request::DeleteNetworkInterface { .. }
            | Request::DescribeInstanceTypes(_)
            | Request::DescribeInstances(_)
            | Request::DescribeNetworkInterfaces(_)
            | Request::DescribeSubnets(_)
            | Request::DetachNetworkInterface { .. }
            | Request::ModifyNetworkInterfaceAttribute { .. }
            | Request::UnassignPrivateIpAddresses { .. } => return Ok(()),
        };
        let prefixes = matches!(wanted, Wanted::Prefixes(_) | Wanted::PrefixCount(_));
        if self
            .strikes(now_ms, call, FaultName::SubnetExhausted)
            .is_some()
        {
            return Err(if prefixes && !primary {
                ApiError::no_free_prefixes()
            } else {
                ApiError::no_free_addresses()
            });
        }
        if prefixes
            && self
                .strikes(now_ms, call, FaultName::PrefixFragmented)
                .is_some()
        {
            return Err(ApiError::no_free_prefixes());
        }
        Ok(())
    }

    fn apply(&mut self, now_ms: u64, call: &Call, latency_ms: u64) -> Result<Reply, ApiError> {
        match &call.request {
            Request::AssignPrivateIpAddresses {
                eni_id,
                wanted,
                allow_reassignment,
            } => self.assign(
                (now_ms, now_ms + latency_ms),
                eni_id,
                wanted,
                *allow_reassignment,
            ),
            Request::AttachNetworkInterface {
                eni_id,
                instance_id,
                device_index,
                network_card,
            } => {
                let late = self
                    .strikes(now_ms, call, FaultName::AttachDeviceLate)
                    .unwrap_or(0);
                self.attach(
                    now_ms,
                    eni_id,
                    instance_id,
                    (*network_card, *device_index),
                    late,
                )
            }
            Request::CreateNetworkInterface(request) => self.create(now_ms, request),
            Request::CreateTags { resources, tags } => self.tag(now_ms, resources, tags),
            Request::DeleteNetworkInterface { eni_id } => self.delete(now_ms, eni_id),
            Request::DescribeInstanceTypes(it) => self.describe_instance_types(now_ms, it),
            Request::DescribeInstances(it) => self.describe_instances(now_ms, it),
            Request::DescribeNetworkInterfaces(it) => self.describe_enis(now_ms, it),
            Request::DescribeSubnets(it) => self.describe_subnets(now_ms, it),
            Request::DetachNetworkInterface { attachment_id } => self.detach(now_ms, attachment_id),
            Request::ModifyNetworkInterfaceAttribute { eni_id, change } => {
                self.modify(now_ms, eni_id, change)
            }
            Request::UnassignPrivateIpAddresses {
                eni_id,
                addresses,
                prefixes,
            } => self.unassign(now_ms, eni_id, addresses, prefixes),
        }
    }

    fn strikes(&mut self, now_ms: u64, call: &Call, name: FaultName) -> Option<u64> {
        self.faults.strike(
            now_ms,
            name,
            call.request.operation(),
            call.node.as_deref(),
            &mut self.rng,
        )
    }

    fn draw(&mut self, spread: Spread) -> u64 {
        latency::draw(&mut self.rng, spread, self.config.latency_scale)
    }

    fn schedule(&mut self, at_ms: u64, due: Due) {
        self.queued += 1;
        self.queue.insert((at_ms, self.queued), due);
    }

    fn tick(&mut self, now_ms: u64) {
        while let Some(entry) = self.queue.first_entry().filter(|it| it.key().0 <= now_ms) {
            let ((at_ms, _), due) = entry.remove_entry();
            self.happen(at_ms, due);
        }
    }

    fn happen(&mut self, at_ms: u64, due: Due) {
        match due {
            Due::Available { eni_id } => self.change_eni(at_ms, &eni_id, |it| {
                if it.status == EniStatus::Pending {
                    it.status = EniStatus::Available;
                }
            }),
            Due::DeviceAppears {
                eni_id,
                attachment_id,
            } => {
                let Some(eni) = self.enis.get(&eni_id) else {
                    return;
                };
                let Some(attachment) = &eni.attachment else {
                    return;
                };
                // A detach that came first wins: the device never shows up.
                if attachment.id == attachment_id
                    && attachment.status != AttachmentStatus::Detaching
                {
                    let Some(node) = self.node_name(&attachment.instance_id) else {
                        return;
                    };
                    self.outbox.push(FabricEvent::DeviceAppears {
                        node: node.to_owned(),
                        eni: Box::new(eni.clone()),
                    });
                    self.devices.insert(eni_id);
                }
            }
            Due::Attached {
                eni_id,
                attachment_id,
            } => self.change_eni(at_ms, &eni_id, |it| {
                let attachment = it.attachment.as_mut().filter(|it| it.id == attachment_id);
                if let Some(attachment) =
                    attachment.filter(|it| it.status == AttachmentStatus::Attaching)
                {
                    attachment.status = AttachmentStatus::Attached;
                }
            }),
            Due::DeviceVanishes { eni_id } => self.vanish(&eni_id),
            Due::Detached {
                eni_id,
                attachment_id,
            } => self.change_eni(at_ms, &eni_id, |it| {
                if it
                    .attachment
                    .as_ref()
                    .is_some_and(|it| it.id == attachment_id)
                {
                    it.attachment = None;
                    it.status = EniStatus::Available;
                }
            }),
            Due::Routed { eni_id, mut blocks } => {
                blocks.retain(|block| self.enis.get(&eni_id).is_some_and(|it| it.holds(*block)));
                if self.devices.contains(&eni_id) && !blocks.is_empty() {
                    self.outbox.push(FabricEvent::Routed { eni_id, blocks });
                }
            }
            Due::Unrouted { eni_id, mut blocks } => {
                blocks.retain(|block| !self.enis.get(&eni_id).is_some_and(|it| it.holds(*block)));
                if self.devices.contains(&eni_id) && !blocks.is_empty() {
                    self.outbox.push(FabricEvent::Unrouted { eni_id, blocks });
                }
            }
        }
    }

    fn vanish(&mut self, eni_id: &str) {
        if self.devices.remove(eni_id) {
            self.outbox.push(FabricEvent::DeviceVanishes {
                eni_id: eni_id.to_owned(),
            });
        }
    }

    /// Changes an ENI, if it still exists, and records what readers will see of that and when.
    fn change_eni(&mut self, now_ms: u64, eni_id: &str, change: impl FnOnce(&mut Eni)) {
        let Some(eni) = self.enis.get_mut(eni_id) else {
            return;
        };
        let before = eni.clone();
        change(eni);
        let after = eni.clone();
        if before != after {
            let removed = before.slots_used() > after.slots_used() || after.attachment.is_none();
            let spread = if removed {
                latency::IMDS_REMOVED
            } else {
                latency::IMDS_ADDED
            };
            let mut imds = ImdsTimes {
                listed: now_ms + self.draw(spread),
                blocks: now_ms + self.draw(spread),
                groups: now_ms + self.draw(spread),
            };
            if before.attachment.is_none() && after.attachment.is_some() {
                // The directory first, with the primary address only; the rest follows.
                imds.listed = now_ms + self.draw(latency::IMDS_ENI);
                imds.blocks = imds.listed + self.draw(latency::IMDS_ADDED);
                imds.groups = imds.listed;
            }
            self.record(now_ms, eni_id, imds, Some(after));
        }
    }

    fn record(&mut self, now_ms: u64, eni_id: &str, imds: ImdsTimes, eni: Option<Eni>) {
        self.history
            .entry(eni_id.to_owned())
            .or_default()
            .push(now_ms, imds, eni);
    }

    fn launch(&mut self, now_ms: u64, node: NodeConfig) -> Result<(), ConfigError> {
        let kind = InstanceType::find(&node.instance_type).ok_or_else(|| {
            ConfigError::NoInstanceType(node.name.clone(), node.instance_type.clone())
        })?;
        let subnet = self.subnets.get(node.subnet).ok_or_else(|| {
            ConfigError::NoSubnet(node.name.clone(), node.subnet, self.subnets.len())
        })?;
        let free = subnet.free_addresses();
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
    for (at, SubnetConfig { cidr, .. }) in config.subnets.iter().enumerate() {
        if !config.vpc_cidr.covers(*cidr) {
            return Err(ConfigError::OutsideVpc(*cidr, config.vpc_cidr));
        }
        if !(16..=28).contains(&cidr.length()) {
            return Err(ConfigError::SubnetSize(*cidr));
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

/// An id of EC2's long form.
fn id(rng: &mut Rng, kind: &str) -> String {
    format!("{kind}-0{:016x}", rng.next())
}
