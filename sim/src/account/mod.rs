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
mod behind;
mod cidr;
mod config;
mod describe;
mod eni;
mod error;
mod fault;
mod imds;
mod interfaces;
mod latency;
mod subnet;
#[cfg(test)]
mod tests;
mod throttle;
mod time;
mod timeline;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::Serialize;

pub use api::{
    Answer, Call, CreateEni, Describe, EniChange, InstanceView, Operation, Page, Reply, Request,
    Spoilt, SubnetView, Wanted,
};
pub use cidr::{BadCidr, Cidr};
pub use config::{Config, ConfigError, NodeConfig, Reservation, ReservationKind, SubnetConfig};
pub use eni::{Attachment, AttachmentStatus, Eni, EniStatus};
pub use error::ApiError;
pub use fault::{ActiveFault, Fault, FaultName, Stage};
pub use imds::{ImdsTrouble, ImdsView};
pub use subnet::PREFIX_LEN;
pub use time::{iso8601, iso8601_ms};
pub use timeline::FabricEvent;
pub use types::InstanceType;

use crate::rng::Rng;
use eni::History;
use fault::Faults;
use interfaces::Lateness;
use latency::Spread;

use subnet::Subnet;
use throttle::Buckets;
use timeline::Due;

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

/// How many calls of an operation were accepted and refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Answered with success, though the reply may have been lost.
    pub accepted: u64,
    /// Answered with an error.
    pub refused: u64,
}

/// The account. See the module.
#[derive(Debug, Clone)]
pub struct Account {
    config: Config,
    /// Ranges that the VPC got since.
    added_cidrs: Vec<Cidr>,
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
    /// What is under way, by the time it comes and the order in which it began.
    queue: BTreeMap<(u64, u64), Due>,
    queued: u64,
    /// What has happened on the network and was not told yet.
    outbox: Vec<FabricEvent>,
    rng: Rng,
}

impl Account {
    /// Answers a call that reaches EC2 at `now_ms`.
    pub fn call(&mut self, now_ms: u64, call: &Call) -> Answer {
        self.tick(now_ms);
        let operation = call.request.operation();
        let mut latency_ms = self.draw(latency::reply(operation));
        let hangs = self.strikes(now_ms, call, FaultName::Hang);
        if hangs.is_some() || self.strikes(now_ms, call, FaultName::RequestLost).is_some() {
            // EC2 has never seen it.
            return Answer {
                request_id: uuid(&mut self.rng),
                latency_ms: hangs.unwrap_or(latency_ms),
                result: Err(ApiError::unavailable()),
                lost: true,
                spoilt: Some(Spoilt::Broken),
            };
        }
        let result = self.outcome(now_ms, call, latency_ms);
        let count = self
            .counts
            .entry((call.node.clone(), operation))
            .or_default();
        let mut spoilt = None;
        if result.is_ok() {
            count.accepted += 1;
            spoilt = self.spoilt(now_ms, call);
            let slower = self.strikes(now_ms, call, FaultName::SlowReply);
            latency_ms = latency_ms.saturating_add(slower.unwrap_or(0));
        } else {
            // Refusals were seen to come twice as fast as successes.
            count.refused += 1;
            latency_ms /= 2;
        }
        Answer {
            request_id: uuid(&mut self.rng),
            latency_ms,
            result,
            lost: spoilt.is_some(),
            spoilt,
        }
    }

    /// What arrives instead of the reply to a call that has taken effect.
    fn spoilt(&mut self, now_ms: u64, call: &Call) -> Option<Spoilt> {
        use FaultName as F;
        let ways = [
            (F::ReplyLost, Spoilt::Broken),
            (F::TruncatedXml, Spoilt::Truncated),
            (F::ShortBody, Spoilt::Short),
            (F::WrongRoot, Spoilt::WrongRoot),
            (F::Html502, Spoilt::Html),
            (F::ErrorBodyWith200, Spoilt::ErrorBody),
            (F::Garbage, Spoilt::Garbage),
        ];
        ways.into_iter()
            .find_map(|(name, spoilt)| self.strikes(now_ms, call, name).map(|_| spoilt))
    }

    /// Switches a fault on. One that acts behind everybody's back has acted when this returns; it strikes
    /// only when there is something for it to act on.
    pub fn inject(&mut self, now_ms: u64, mut fault: Fault) {
        self.tick(now_ms);
        let behind = fault.name.stage() == Stage::BehindBack;
        let times = fault.count.unwrap_or(1);
        if behind {
            fault.count = Some(times);
        }
        let (name, node) = (fault.name, fault.node.clone());
        self.faults.add(now_ms, fault);
        if behind {
            for _ in 0..times {
                if self.happens_behind_backs(now_ms, name, node.as_deref()) {
                    let node = node.as_deref();
                    self.faults.strike(now_ms, name, None, node, &mut self.rng);
                }
            }
        }
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
        use FaultName as F;
        if self.strikes(now_ms, call, F::CredentialsExpired).is_some() {
            return Err(ApiError::auth_failure());
        }
        let within_limit = self.buckets.take(now_ms, &call.request);
        if !within_limit || self.strikes(now_ms, call, F::Throttle).is_some() {
            return Err(ApiError::throttled());
        }
        if self.strikes(now_ms, call, F::Throttle400).is_some() {
            let status = 400;
            return Err(ApiError {
                status,
                ..ApiError::throttled()
            });
        }
        if self.strikes(now_ms, call, F::Denied).is_some() {
            return Err(ApiError::denied(&self.id, call.request.operation().name()));
        }
        if self.strikes(now_ms, call, F::InternalError).is_some() {
            return Err(ApiError::internal());
        }
        if self.strikes(now_ms, call, F::Unavailable).is_some() {
            return Err(ApiError::unavailable());
        }
        if call.dry_run {
            return Err(ApiError::dry_run());
        }
        self.instead(now_ms, call)?;
        let reply = self.apply(now_ms, call, latency_ms)?;
        if self
            .strikes(now_ms, call, FaultName::InternalErrorApplied)
            .is_some()
        {
            return Err(ApiError::internal());
        }
        Ok(reply)
    }

    /// The faults by which EC2 refuses what it would grant on a better day.
    fn instead(&mut self, now_ms: u64, call: &Call) -> Result<(), ApiError> {
        use FaultName as F;
        match &call.request {
            Request::AssignPrivateIpAddresses { wanted, .. } => {
                self.shortage(now_ms, call, wanted, false)?;
                if self.strikes(now_ms, call, F::LimitMismatch).is_some() {
                    return Err(ApiError::too_many_addresses());
                }
            }
            Request::CreateNetworkInterface(it) => {
                self.shortage(now_ms, call, &it.wanted, true)?;
            }
            Request::AttachNetworkInterface {
                eni_id,
                instance_id,
                device_index,
                ..
            } => {
                if self.strikes(now_ms, call, F::NotFoundYet).is_some() {
                    return Err(ApiError::no_eni(eni_id));
                }
                if self
                    .strikes(now_ms, call, F::EniStolenByNeighbour)
                    .is_some()
                {
                    self.remove_eni(now_ms, eni_id);
                }
                if self
                    .strikes(now_ms, call, F::DuplicateDeviceIndex)
                    .is_some()
                {
                    return Err(ApiError::index_taken(instance_id, *device_index));
                }
                if self
                    .strikes(now_ms, call, F::AttachmentLimitEarly)
                    .is_some()
                {
                    let kind = self.instances.get(instance_id).map(|it| &it.kind);
                    return Err(ApiError::too_many_enis(
                        kind.map_or(0, |it| it.enis_per_card as usize),
                        kind.map_or("", |it| &it.name),
                    ));
                }
            }
            Request::ModifyNetworkInterfaceAttribute { eni_id, .. } => {
                if self.strikes(now_ms, call, F::NotFoundYet).is_some() {
                    return Err(ApiError::no_eni(eni_id));
                }
            }
            Request::DeleteNetworkInterface { eni_id } => {
                if self.strikes(now_ms, call, F::DeleteInUse).is_some() {
                    return Err(ApiError::in_use(eni_id));
                }
            }
            Request::DetachNetworkInterface { .. } => {
                if self.strikes(now_ms, call, F::DetachRefused).is_some() {
                    return Err(ApiError::not_detachable());
                }
            }
            Request::CreateTags { .. }
            | Request::DescribeInstanceTypes(_)
            | Request::DescribeInstances(_)
            | Request::DescribeNetworkInterfaces(_)
            | Request::DescribeSubnets(_)
            | Request::UnassignPrivateIpAddresses { .. } => {}
        }
        Ok(())
    }

    /// The faults which pretend that a subnet has nothing left. `primary`: a primary address is needed too.
    fn shortage(
        &mut self,
        now_ms: u64,
        call: &Call,
        wanted: &Wanted,
        primary: bool,
    ) -> Result<(), ApiError> {
        use FaultName as F;
        let prefixes = matches!(wanted, Wanted::Prefixes(_) | Wanted::PrefixCount(_));
        if self.strikes(now_ms, call, F::SubnetExhausted).is_some() {
            return Err(if prefixes && !primary {
                ApiError::no_free_prefixes()
            } else {
                ApiError::no_free_addresses()
            });
        }
        let counts = matches!(wanted, Wanted::AddressCount(_) | Wanted::PrefixCount(_));
        if counts && self.strikes(now_ms, call, F::SubnetTooFew).is_some() {
            return Err(ApiError::fewer_than_asked());
        }
        if prefixes && self.strikes(now_ms, call, F::PrefixFragmented).is_some() {
            return Err(ApiError::no_free_prefixes());
        }
        Ok(())
    }

    /// An assign, as it is asked for or less of it.
    fn assign_some(
        &mut self,
        now_ms: u64,
        call: &Call,
        latency_ms: u64,
        (eni_id, wanted, allow_reassignment): (&str, &Wanted, bool),
    ) -> Result<Reply, ApiError> {
        let mut wanted = wanted.clone();
        if let Wanted::AddressCount(count) | Wanted::PrefixCount(count) = &mut wanted
            && *count > 1
            && self
                .strikes(now_ms, call, FaultName::PartialAssign)
                .is_some()
        {
            *count -= 1;
        }
        let times = (now_ms, now_ms + latency_ms);
        let mut reply = self.assign(times, eni_id, &wanted, allow_reassignment)?;
        if let Reply::Assigned {
            addresses,
            prefixes,
            ..
        } = &mut reply
            && self
                .strikes(now_ms, call, FaultName::AssignReturnsKnown)
                .is_some()
        {
            let eni = self.eni(eni_id)?;
            *addresses = std::iter::once(eni.primary)
                .chain(eni.addresses.iter().copied())
                .collect();
            *prefixes = eni.prefixes.iter().copied().collect();
        }
        Ok(reply)
    }

    fn apply(&mut self, now_ms: u64, call: &Call, latency_ms: u64) -> Result<Reply, ApiError> {
        match &call.request {
            Request::AssignPrivateIpAddresses {
                eni_id,
                wanted,
                allow_reassignment,
            } => self.assign_some(
                now_ms,
                call,
                latency_ms,
                (eni_id, wanted, *allow_reassignment),
            ),
            Request::AttachNetworkInterface {
                eni_id,
                instance_id,
                device_index,
                network_card,
            } => {
                let late = self.strikes(now_ms, call, FaultName::AttachDeviceLate);
                let never = self.strikes(now_ms, call, FaultName::AttachDeviceNever);
                let stuck = self.strikes(now_ms, call, FaultName::AttachStuck);
                let lateness = Lateness {
                    device_ms: never.map(|_| u64::MAX).or(late).unwrap_or(0),
                    attached_ms: stuck.unwrap_or(0),
                };
                let slot = (*network_card, *device_index);
                self.attach(now_ms, eni_id, instance_id, slot, lateness)
            }
            Request::CreateNetworkInterface(request) => self.create(now_ms, request),
            Request::CreateTags { resources, tags } => self.tag(now_ms, resources, tags),
            Request::DeleteNetworkInterface { eni_id } => self.delete(now_ms, eni_id),
            Request::DescribeInstanceTypes(it) => self.describe_instance_types(now_ms, it),
            Request::DescribeInstances(it) => self.describe_instances(now_ms, it),
            Request::DescribeNetworkInterfaces(it) => {
                let stale = self.strikes(now_ms, call, FaultName::StaleRead);
                let cut = self.strikes(now_ms, call, FaultName::PartialPage).is_some();
                self.describe_enis(now_ms, it, stale.unwrap_or(0), cut)
            }
            Request::DescribeSubnets(it) => self.describe_subnets(now_ms, it),
            Request::DetachNetworkInterface { attachment_id } => {
                let stuck = self.strikes(now_ms, call, FaultName::DetachStuck);
                self.detach(now_ms, attachment_id, stuck.unwrap_or(0))
            }
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
            Some(call.request.operation()),
            call.node.as_deref(),
            &mut self.rng,
        )
    }

    fn draw(&mut self, spread: Spread) -> u64 {
        latency::draw(&mut self.rng, spread, self.config.latency_scale)
    }
}

/// A request's id in EC2's books.
fn uuid(rng: &mut Rng) -> String {
    let (a, b) = (rng.next(), rng.next());
    let (node, clock) = (b & 0xffff_ffff_ffff, b >> 48);
    format!(
        "{:08x}-{:04x}-{:04x}-{clock:04x}-{node:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xffff
    )
}

/// An id of EC2's long form.
fn id(rng: &mut Rng, kind: &str) -> String {
    format!("{kind}-0{:016x}", rng.next())
}
