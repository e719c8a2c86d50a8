//! The EC2 API: carries out one request of the core and says which of three ways it ended, and
//! looks at what EC2 has for this instance.
//!
//! In: `Ec2Request`s with their intents. Out: `Ec2Outcome`s and `Observation`s.
//! Must hold: a change is sent once, whatever happens to its answer (the core decides on a repeat);
//! an answer that is not whole is no answer.

mod facts;
mod groups;
mod outcome;
mod subnets;
mod whole;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::timeout::TimeoutConfig;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};
use aws_sdk_ec2::types::{
    Filter, NetworkInterface, NetworkInterfaceAttachmentChanges, ResourceType, Tag,
    TagSpecification,
};
pub(crate) use onsen_core::answer::{Owner, TAG_INSTANCE};
use onsen_core::cidr::{Cidr, Unit};
use onsen_core::effect::Ec2Request;
use onsen_core::event::{Ec2Gave, Ec2Outcome, Observation};
use onsen_core::ids::{AttachmentId, EniId, IntentId, SubnetId};
use onsen_core::snapshot::Limits;
use sha2::{Digest, Sha256};

use crate::metrics::Metrics;
use outcome::{failed, nothing_in};
pub(crate) use outcome::{request_text, text as outcome_text};

const TAG_CREATED: &str = "node.k8s.amazonaws.com/createdAt";
const TAG_CLUSTER: &str = "cluster.k8s.amazonaws.com/name";

/// Pages of one listing: more would be a listing without an end.
const MAX_PAGES: usize = 200;

/// Where this node's ENIs come from.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The subnet of the primary ENI.
    pub(crate) subnet: SubnetId,
    /// Its VPC.
    pub(crate) vpc: String,
    /// Its zone.
    pub(crate) zone: String,
    /// Whether ENIs may be made in other subnets that are tagged for it.
    pub(crate) discovery: bool,
}

/// What new ENIs are made with.
#[derive(Clone, Debug)]
pub(crate) struct Birthmarks {
    /// Name of the cluster, or empty.
    pub(crate) cluster: String,
    /// The operator's own tags.
    pub(crate) tags: BTreeMap<String, String>,
    /// Differs between two lives of the daemon, so that their client tokens do.
    pub(crate) life: u64,
}

/// Calls so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// By action.
    pub(crate) calls: BTreeMap<&'static str, u64>,
    /// By action and error code; `unknown` when there was no usable answer.
    pub(crate) errors: BTreeMap<&'static str, BTreeMap<String, u64>>,
}

/// EC2 as this node uses it.
#[derive(Debug)]
pub(crate) struct Ec2 {
    /// Sends once.
    changing: Client,
    /// Repeats what failed in passing.
    reading: Client,
    owner: Owner,
    marks: Birthmarks,
    /// Security groups of the primary ENI, which the others get too.
    groups: Mutex<Vec<String>>,
    place: Place,
    counts: Mutex<Counts>,
    metrics: Metrics,
}

impl Ec2 {
    /// Nothing is sent yet.
    #[expect(
        clippy::too_many_arguments,
        reason = "made in one place, and each is needed"
    )]
    pub(crate) fn new(
        config: &SdkConfig,
        endpoint: Option<&str>,
        owner: Owner,
        place: Place,
        groups: Vec<String>,
        marks: Birthmarks,
        timeout: Duration,
        metrics: Metrics,
    ) -> Self {
        let client = |retries: RetryConfig, attempt: Duration, whole: Duration| {
            let mut builder = aws_sdk_ec2::config::Builder::from(config)
                .retry_config(retries)
                .timeout_config(
                    TimeoutConfig::builder()
                        .operation_attempt_timeout(attempt)
                        .operation_timeout(whole)
                        .build(),
                )
                .interceptor(whole::WholeReply);
            if let Some(endpoint) = endpoint {
                builder = builder.endpoint_url(endpoint);
            }
            Client::from_conf(builder.build())
        };
        let often = RetryConfig::standard()
            .with_max_attempts(3)
            .with_initial_backoff(Duration::from_millis(500))
            .with_max_backoff(Duration::from_secs(10));
        Self {
            changing: client(
                RetryConfig::standard().with_max_attempts(1),
                timeout,
                timeout,
            ),
            reading: client(often, timeout, timeout * 2),
            owner,
            marks,
            groups: Mutex::new(groups),
            place,
            counts: Mutex::default(),
            metrics,
        }
    }

    /// Calls so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sends one request once.
    pub(crate) async fn perform(&self, intent: IntentId, request: &Ec2Request) -> Ec2Outcome {
        let started = Instant::now();
        let result = match request {
            Ec2Request::CreateEni {
                subnet,
                unit,
                blocks,
            } => self.create(intent, subnet, *unit, *blocks).await,
            Ec2Request::AttachEni {
                eni,
                device_index,
                card,
            } => self.attach(eni, *device_index, *card).await,
            Ec2Request::SetDeleteOnTermination { eni, attachment } => {
                self.set_delete_on_termination(eni, attachment).await
            }
            Ec2Request::DetachEni { attachment, .. } => {
                let call = self.changing.detach_network_interface();
                nothing(call.attachment_id(attachment.as_str()).send().await)
            }
            Ec2Request::DeleteEni { eni } => {
                let call = self.changing.delete_network_interface();
                nothing(call.network_interface_id(eni.as_str()).send().await)
            }
            Ec2Request::Assign { eni, unit, count } => self.assign(eni, *unit, *count).await,
            Ec2Request::Unassign { eni, blocks } => self.unassign(eni, blocks).await,
        };
        let outcome = result.map_or_else(|failure| failure, Ec2Outcome::Done);
        self.note(request.action(), &outcome, started, &request_text(request));
        outcome
    }

    async fn create(
        &self,
        intent: IntentId,
        subnet: &SubnetId,
        unit: Unit,
        blocks: u32,
    ) -> Result<Ec2Gave, Ec2Outcome> {
        let count = (blocks > 0).then(|| small(blocks));
        let (addresses, prefixes) = match unit {
            Unit::Address => (count, None),
            Unit::Prefix => (None, count),
        };
        let reply = self
            .changing
            .create_network_interface()
            .client_token(self.client_token(intent))
            .subnet_id(subnet.as_str())
            .description(format!("aws-K8S-{}", self.owner.instance))
            .set_groups(Some(self.groups()))
            .set_secondary_private_ip_address_count(addresses)
            .set_ipv4_prefix_count(prefixes)
            .tag_specifications(self.tags())
            .send()
            .await
            .map_err(|error| failed(&error))?;
        let eni = reply
            .network_interface()
            .ok_or_else(|| nothing_in("no network interface"))?;
        // Without its id the ENI is out of reach; a look by its tags will find it.
        let mut facts = facts::of(&self.owner, eni).map_err(|missing| nothing_in(&missing))?;
        (facts.ours, facts.managed) = (true, true); // whether or not the reply repeats our tags
        Ok(Ec2Gave::Eni(Box::new(facts)))
    }

    async fn attach(
        &self,
        eni: &EniId,
        device_index: u32,
        card: u32,
    ) -> Result<Ec2Gave, Ec2Outcome> {
        let reply = self
            .changing
            .attach_network_interface()
            .network_interface_id(eni.as_str())
            .instance_id(&self.owner.instance)
            .device_index(small(device_index))
            // Said also when it is 0: EC2 once checked a defaulted card against all cards.
            .network_card_index(small(card))
            .send()
            .await
            .map_err(|error| failed(&error))?;
        match reply.attachment_id() {
            Some(id) => Ok(Ec2Gave::Attachment(AttachmentId::new(id))),
            None => Err(nothing_in("no attachment id")),
        }
    }

    async fn set_delete_on_termination(
        &self,
        eni: &EniId,
        attachment: &AttachmentId,
    ) -> Result<Ec2Gave, Ec2Outcome> {
        let change = NetworkInterfaceAttachmentChanges::builder()
            .attachment_id(attachment.as_str())
            .delete_on_termination(true)
            .build();
        let call = self.changing.modify_network_interface_attribute();
        nothing(
            call.network_interface_id(eni.as_str())
                .attachment(change)
                .send()
                .await,
        )
    }

    async fn assign(&self, eni: &EniId, unit: Unit, count: u32) -> Result<Ec2Gave, Ec2Outcome> {
        let (addresses, prefixes) = match unit {
            Unit::Address => (Some(small(count)), None),
            Unit::Prefix => (None, Some(small(count))),
        };
        let reply = self
            .changing
            .assign_private_ip_addresses()
            .network_interface_id(eni.as_str())
            .set_secondary_private_ip_address_count(addresses)
            .set_ipv4_prefix_count(prefixes)
            .send()
            .await
            .map_err(|error| failed(&error))?;
        let texts = (reply.assigned_private_ip_addresses().iter())
            .map(|address| address.private_ip_address())
            .chain(
                reply
                    .assigned_ipv4_prefixes()
                    .iter()
                    .map(|prefix| prefix.ipv4_prefix()),
            );
        let blocks: Option<Vec<Cidr>> = texts.map(|text| Cidr::parse(text?)).collect();
        match blocks {
            Some(blocks) if !blocks.is_empty() => Ok(Ec2Gave::Blocks(blocks)),
            Some(_) => Err(nothing_in("no new address")),
            None => Err(nothing_in("an address that is none")),
        }
    }

    async fn unassign(&self, eni: &EniId, blocks: &[Cidr]) -> Result<Ec2Gave, Ec2Outcome> {
        let mut call = self
            .changing
            .unassign_private_ip_addresses()
            .network_interface_id(eni.as_str());
        for block in blocks {
            call = match block.unit() {
                Unit::Address => call.private_ip_addresses(block.base().to_string()),
                Unit::Prefix => call.ipv4_prefixes(block.to_string()),
            };
        }
        nothing(call.send().await)
    }

    /// The same for a repeat of the same intent by the same daemon, never the same otherwise.
    fn client_token(&self, intent: IntentId) -> String {
        let text = format!("{} {:016x} {intent}", self.owner.instance, self.marks.life);
        let mut token = String::with_capacity(64); // the longest that EC2 takes
        for byte in Sha256::digest(text.as_bytes()) {
            let _ = write!(token, "{byte:02x}"); // writing to a String cannot fail
        }
        token
    }

    fn tags(&self) -> TagSpecification {
        let created = DateTime::from(std::time::SystemTime::now());
        // Cut to seconds: the leak scan of other nodes reads RFC 3339.
        let created = DateTime::from_secs(created.secs())
            .fmt(DateTimeFormat::DateTime)
            .unwrap_or_default();
        let mut tags = self.marks.tags.clone();
        tags.insert(TAG_INSTANCE.into(), self.owner.instance.clone());
        tags.insert(TAG_CREATED.into(), created);
        if !self.marks.cluster.is_empty() {
            tags.insert(TAG_CLUSTER.into(), self.marks.cluster.clone());
            tags.insert("eks:eni:owner".into(), "amazon-vpc-cni".into());
        }
        let tags = tags
            .into_iter()
            .map(|(key, value)| Tag::builder().key(key).value(value).build())
            .collect();
        TagSpecification::builder()
            .resource_type(ResourceType::NetworkInterface)
            .set_tags(Some(tags))
            .build()
    }

    /// What EC2 has for this instance, all pages, or why that is not known.
    pub(crate) async fn look(&self) -> Result<Observation, String> {
        let attached = self
            .describe(&[("attachment.instance-id", &self.owner.instance)])
            .await?;
        let mut observation = Observation::default();
        for eni in &attached {
            // ENIs on further cards are nobody's here: this version serves pods from card 0.
            if facts::card(eni) == 0 {
                observation.attached.push(facts::of(&self.owner, eni)?);
            }
        }
        self.owner.check_view(&observation.attached)?;
        let tag = format!("tag:{TAG_INSTANCE}");
        for eni in self
            .describe(&[(&tag, &self.owner.instance), ("status", "available")])
            .await?
        {
            observation.detached.push(facts::of(&self.owner, &eni)?);
        }
        observation.subnets = self.subnets().await;
        Ok(observation)
    }

    async fn describe(&self, filters: &[(&str, &str)]) -> Result<Vec<NetworkInterface>, String> {
        const ACTION: &str = "DescribeNetworkInterfaces";
        let filters: Vec<Filter> = filters
            .iter()
            .map(|(name, value)| Filter::builder().name(*name).values(*value).build())
            .collect();
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let started = Instant::now();
            let reply = self
                .reading
                .describe_network_interfaces()
                .set_filters(Some(filters.clone()))
                .max_results(1000)
                .set_next_token(token)
                .send()
                .await;
            let reply = self.noted(ACTION, started, reply)?;
            found.extend_from_slice(reply.network_interfaces());
            match reply.next_token() {
                Some(next) if !next.is_empty() => token = Some(next.to_owned()),
                _ => return Ok(found),
            }
        }
        Err(format!(
            "{ACTION}: the list has no end after {MAX_PAGES} pages"
        ))
    }

    /// What an instance type can hold on its default network card.
    pub(crate) async fn limits(&self, instance_type: &str) -> Result<Limits, String> {
        let started = Instant::now();
        let reply = self
            .reading
            .describe_instance_types()
            .instance_types(instance_type.into())
            .send()
            .await;
        let reply = self.noted("DescribeInstanceTypes", started, reply)?;
        let found = reply
            .instance_types()
            .iter()
            .find(|found| {
                found
                    .instance_type()
                    .is_some_and(|found| found.as_str() == instance_type)
            })
            .ok_or_else(|| {
                format!("DescribeInstanceTypes: EC2 does not tell of instance type {instance_type}")
            })?;
        facts::limits(found).ok_or_else(|| {
            format!("DescribeInstanceTypes: EC2 tells no network limits for {instance_type}")
        })
    }

    fn noted<T, E>(
        &self,
        action: &'static str,
        started: Instant,
        reply: Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<T, String>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let (outcome, reply) = match reply {
            Ok(reply) => (Ec2Outcome::Done(Ec2Gave::Nothing), Ok(reply)),
            Err(error) => {
                let outcome = failed(&error);
                let text = format!("{action}: {}", outcome::text(&outcome));
                (outcome, Err(text))
            }
        };
        self.note(action, &outcome, started, "");
        reply
    }

    /// Counts a call and logs it.
    fn note(&self, action: &'static str, outcome: &Ec2Outcome, started: Instant, request: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.calls.entry(action).or_default() += 1;
        let code = match outcome {
            Ec2Outcome::Done(_) => None,
            Ec2Outcome::Refused { code, .. } => Some(code.as_str()),
            Ec2Outcome::Unknown { .. } => Some("unknown"),
        };
        if let Some(code) = code {
            *counts
                .errors
                .entry(action)
                .or_default()
                .entry(code.into())
                .or_default() += 1;
        }
        drop(counts);
        self.metrics.ec2(action, code, started.elapsed());
        let millis = crate::clock::millis(started.elapsed());
        let outcome_text = outcome::text(outcome);
        match code {
            None if request.is_empty() => tracing::debug!(action, millis, "EC2 answered"),
            None => tracing::info!(action, millis, request, gave = outcome_text, "EC2 did it"),
            Some(code) => tracing::warn!(
                action,
                millis,
                request,
                code,
                "EC2 call failed: {outcome_text}"
            ),
        }
    }
}

/// A call whose success says nothing more.
fn nothing<T, E>(reply: Result<T, SdkError<E, HttpResponse>>) -> Result<Ec2Gave, Ec2Outcome>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match reply {
        Ok(_) => Ok(Ec2Gave::Nothing),
        Err(error) => Err(failed(&error)),
    }
}

/// EC2's wire has signed counts; ours are far below where that matters.
fn small(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
