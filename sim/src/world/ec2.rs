//! Between the core's requests and the account's API: what the daemon's EC2 client does, without a
//! wire.
//!
//! What must hold: *refused* only when the account surely did nothing; a server error or a lost reply
//! is *unknown*, as the daemon takes it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use onsen_core::answer::{self, Described, TAG_INSTANCE, TAG_NO_MANAGE};
use onsen_core::cidr::{self, Unit};
use onsen_core::effect::Ec2Request;
use onsen_core::event::{Attachment, Ec2Gave, Ec2Outcome, EniFacts, Observation, SubnetFacts};
use onsen_core::ids::{AttachmentId, EniId, IntentId, Mac, SubnetId};

use crate::account::{
    Account, Answer, AttachmentStatus, Cidr, CreateEni, Describe, Eni, EniChange, Reply, Request,
    SubnetView, Wanted,
};

/// The daemon gives up on a reply after this long.
pub(super) const PATIENCE_MS: u64 = 10_000;

/// Whose ENIs they are, and what new ones are made with.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) own: answer::Owner,
    pub(super) subnet: String,
    pub(super) groups: Vec<String>,
}

impl Owner {
    pub(super) fn instance(&self) -> &String {
        &self.own.instance
    }
}

/// A new ENI as the daemon makes it.
pub(super) fn create(
    owner: &Owner,
    subnet: Option<&SubnetId>,
    unit: Unit,
    blocks: u32,
    client_token: Option<String>,
) -> Request {
    Request::CreateNetworkInterface(CreateEni {
        subnet_id: subnet.map_or_else(|| owner.subnet.clone(), ToString::to_string),
        description: format!("aws-K8S-{}", owner.instance()),
        groups: owner.groups.clone(),
        tags: vec![(TAG_INSTANCE.to_owned(), owner.instance().clone())],
        client_token,
        primary: None,
        wanted: wanted(unit, blocks),
    })
}

fn wanted(unit: Unit, count: u32) -> Wanted {
    match (unit, count) {
        (_, 0) => Wanted::Nothing,
        (Unit::Address, count) => Wanted::AddressCount(count as usize),
        (Unit::Prefix, count) => Wanted::PrefixCount(count as usize),
    }
}

pub(super) fn assign(eni: &str, unit: Unit, count: u32) -> Request {
    Request::AssignPrivateIpAddresses {
        eni_id: eni.to_owned(),
        wanted: wanted(unit, count),
        allow_reassignment: false,
    }
}

pub(super) fn keep_with_instance(eni: &str, attachment_id: String) -> Request {
    Request::ModifyNetworkInterfaceAttribute {
        eni_id: eni.to_owned(),
        change: EniChange::DeleteOnTermination {
            attachment_id,
            value: true,
        },
    }
}

/// The core's request as EC2 gets it. `life` tells the tokens of two lives apart.
pub(super) fn request(owner: &Owner, life: u64, intent: IntentId, of: &Ec2Request) -> Request {
    match of {
        Ec2Request::CreateEni {
            subnet,
            unit,
            blocks,
        } => {
            let token = format!("{} {life} {intent}", owner.instance());
            create(owner, Some(subnet), *unit, *blocks, Some(token))
        }
        Ec2Request::AttachEni {
            eni,
            device_index,
            card,
        } => Request::AttachNetworkInterface {
            eni_id: eni.to_string(),
            instance_id: owner.instance().clone(),
            device_index: *device_index,
            network_card: *card,
        },
        Ec2Request::SetDeleteOnTermination { eni, attachment } => {
            keep_with_instance(eni.as_str(), attachment.to_string())
        }
        Ec2Request::DetachEni { attachment, .. } => Request::DetachNetworkInterface {
            attachment_id: attachment.to_string(),
        },
        Ec2Request::DeleteEni { eni } => Request::DeleteNetworkInterface {
            eni_id: eni.to_string(),
        },
        Ec2Request::Assign { eni, unit, count } => assign(eni.as_str(), *unit, *count),
        Ec2Request::Unassign { eni, blocks } => {
            let (singles, prefixes): (Vec<cidr::Cidr>, Vec<cidr::Cidr>) =
                blocks.iter().partition(|it| it.unit() == Unit::Address);
            Request::UnassignPrivateIpAddresses {
                eni_id: eni.to_string(),
                addresses: singles.into_iter().filter_map(|it| v4(it.base())).collect(),
                prefixes: prefixes
                    .into_iter()
                    .filter_map(|it| Cidr::new(v4(it.base())?, it.length()))
                    .collect(),
            }
        }
    }
}

fn v4(address: IpAddr) -> Option<std::net::Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// How a call ended for the daemon, and after how long.
pub(super) fn outcome(owner: &Owner, answer: Answer) -> (u64, Ec2Outcome) {
    let unknown = |message: &str| Ec2Outcome::Unknown {
        message: message.to_owned(),
    };
    if answer.latency_ms > PATIENCE_MS {
        return (PATIENCE_MS, unknown("no answer in time"));
    }
    let outcome = match answer.result {
        _ if answer.lost => unknown("the connection broke"),
        Ok(reply) => gave(owner, reply).map_or_else(|lack| unknown(&lack), Ec2Outcome::Done),
        Err(error) => answer::error(error.status, Some(error.code), &error.message),
    };
    (answer.latency_ms, outcome)
}

fn gave(owner: &Owner, reply: Reply) -> Result<Ec2Gave, String> {
    Ok(match reply {
        Reply::Created { eni, .. } => Ec2Gave::Eni(Box::new(facts(owner, &eni)?)),
        Reply::Attached { attachment_id, .. } => {
            Ec2Gave::Attachment(AttachmentId::new(attachment_id))
        }
        Reply::Assigned {
            addresses,
            prefixes,
            ..
        } => {
            let singles = addresses.iter().map(|it| cidr::Cidr::single((*it).into()));
            Ec2Gave::Blocks(singles.chain(prefixes.iter().copied().map(block)).collect())
        }
        Reply::Done
        | Reply::Enis(_)
        | Reply::Instances(_)
        | Reply::InstanceTypes(_)
        | Reply::Subnets(_) => Ec2Gave::Nothing,
    })
}

/// The account's blocks are aligned, so that the core takes each.
fn block(of: Cidr) -> cidr::Cidr {
    let base = of.first().into();
    cidr::Cidr::new(base, of.length()).unwrap_or_else(|| cidr::Cidr::single(base))
}

/// What an ENI is to the core.
pub(super) fn facts(owner: &Owner, eni: &Eni) -> Result<EniFacts, String> {
    let tag = |key: &str| eni.tags.get(key).map(String::as_str);
    owner.own.facts(Described {
        id: EniId::new(&*eni.id),
        kind: None,
        made_by: tag(TAG_INSTANCE),
        no_manage: tag(TAG_NO_MANAGE),
        mac: Mac::parse(&eni.mac),
        subnet: Some(&eni.subnet_id),
        primary: Some(eni.primary.into()),
        blocks: blocks(eni),
        attachment: eni.attachment.as_ref().map(|it| Attachment {
            id: AttachmentId::new(&*it.id),
            card: it.network_card,
            device_index: it.device_index,
            detaching: it.status == AttachmentStatus::Detaching,
            delete_on_termination: it.delete_on_termination,
        }),
    })
}

fn blocks(eni: &Eni) -> BTreeSet<cidr::Cidr> {
    let singles = eni
        .addresses
        .iter()
        .map(|it| cidr::Cidr::single((*it).into()));
    singles
        .chain(eni.prefixes.iter().copied().map(block))
        .collect()
}

fn subnet_facts(of: &SubnetView) -> SubnetFacts {
    SubnetFacts {
        id: SubnetId::new(&*of.subnet_id),
        free_addresses: of.available_addresses as u32,
    }
}

/// The account's own truth about a node, sorted as the core sorts it: what a daemon would know that
/// starts when nothing has changed for long.
pub(super) fn everything(account: &Account, owner: &Owner) -> Observation {
    let attached = account.enis().filter(|it| it.is_on(owner.instance()));
    // The account's ENIs lack nothing.
    let mut attached: Vec<_> = attached.filter_map(|it| facts(owner, it).ok()).collect();
    attached.sort_by_key(|it| it.attachment.as_ref().map(|it| (it.card, it.device_index)));
    Observation {
        attached,
        detached: Vec::new(),
        subnets: account.subnets().map(|it| subnet_facts(&it)).collect(),
    }
}

/// A look, call by call: attached ENIs, then ENIs of ours attached to nothing, then the subnet.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    stage: Stage,
    attempts: u32,
    next_token: Option<String>,
    found: Observation,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Attached,
    Detached,
    Subnets,
}

/// What a look does next.
pub(super) enum Looked {
    /// Another call, after so long.
    Goes(u64),
    /// It is complete, after so long.
    Complete(u64, Observation),
    /// It cannot be completed; known after so long.
    Failed(u64, String),
}

/// ENIs asked for at once.
const PAGE: usize = 1_000;
/// The client of reads tries so often.
const ATTEMPTS: u32 = 3;
const BACKOFF_MS: u64 = 500;

impl Look {
    pub(super) fn request(&self, owner: &Owner) -> Request {
        let filter = |name: &str, value: &str| (name.to_owned(), vec![value.to_owned()]);
        let listing = |filters: Vec<(String, Vec<String>)>| {
            Request::DescribeNetworkInterfaces(Describe {
                filters,
                max_results: Some(PAGE),
                next_token: self.next_token.clone(),
                ..Describe::default()
            })
        };
        match self.stage {
            Stage::Attached => listing(vec![filter("attachment.instance-id", owner.instance())]),
            Stage::Detached => listing(vec![
                filter(&format!("tag:{TAG_INSTANCE}"), owner.instance()),
                filter("status", "available"),
            ]),
            Stage::Subnets => Request::DescribeSubnets(Describe {
                ids: vec![owner.subnet.clone()],
                ..Describe::default()
            }),
        }
    }

    /// Takes an answer in.
    pub(super) fn answer(&mut self, owner: &Owner, answer: Answer) -> Looked {
        let after = answer.latency_ms.min(PATIENCE_MS);
        let late = answer.latency_ms > PATIENCE_MS;
        let result = match answer.result {
            _ if late || answer.lost => Err("no answer".to_owned()),
            result => result.map_err(|error| error.to_string()),
        };
        match (result, self.stage) {
            (Ok(Reply::Enis(page)), stage) => {
                let enis: Result<Vec<_>, _> =
                    page.items.iter().map(|it| facts(owner, it)).collect();
                let found = match stage {
                    Stage::Attached => &mut self.found.attached,
                    Stage::Detached | Stage::Subnets => &mut self.found.detached,
                };
                match enis {
                    Ok(enis) => found.extend(enis),
                    Err(lack) => return Looked::Failed(after, lack),
                }
                self.attempts = 0;
                self.next_token = page.next_token;
                if self.next_token.is_some() {
                    return Looked::Goes(after);
                }
                if stage == Stage::Detached {
                    return self.goes_on(Stage::Subnets, after);
                }
                match owner.own.check_view(&self.found.attached) {
                    Ok(()) => self.goes_on(Stage::Detached, after),
                    Err(why) => Looked::Failed(after, why),
                }
            }
            (Ok(Reply::Subnets(page)), _) => {
                self.found.subnets = page.items.iter().map(subnet_facts).collect();
                Looked::Complete(after, std::mem::take(&mut self.found))
            }
            (Ok(_), _) => Looked::Failed(after, "an answer to something else".to_owned()),
            (Err(_), _) if self.attempts + 1 < ATTEMPTS => {
                self.attempts += 1;
                Looked::Goes(after + (BACKOFF_MS << self.attempts))
            }
            // The count of free addresses is good to have and not needed.
            (Err(_), Stage::Subnets) => Looked::Complete(after, std::mem::take(&mut self.found)),
            (Err(why), _) => Looked::Failed(after, why),
        }
    }

    fn goes_on(&mut self, stage: Stage, after: u64) -> Looked {
        self.stage = stage;
        Looked::Goes(after)
    }
}
