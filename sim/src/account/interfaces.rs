//! The life of an ENI: create, attach, modify, tag, detach, delete.
//!
//! Each operation checks everything first and changes something only when nothing can fail any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::eni::ImdsTimes;
use super::timeline::Due;
use super::types::LARGEST_IPV4_LIMIT;
use super::{
    Account, ApiError, Attachment, AttachmentStatus, Cidr, CreateEni, Eni, EniChange, EniStatus,
    InstanceState, Reply, id, latency,
};

/// How long a client token is remembered.
const TOKEN_LIFETIME_MS: u64 = 24 * 3_600_000;
const MAX_TAGS: usize = 50;
const MAX_GROUPS: usize = 5;

/// How much later than usual what follows from an attach comes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lateness {
    /// The device; never at the largest number.
    pub(super) device_ms: u64,
    /// The state `attached`.
    pub(super) attached_ms: u64,
}

impl Account {
    pub(super) fn create(&mut self, now_ms: u64, request: &CreateEni) -> Result<Reply, ApiError> {
        self.tokens
            .retain(|_, (used_ms, _, _)| now_ms < *used_ms + TOKEN_LIFETIME_MS);
        let client_token = request
            .client_token
            .clone()
            .unwrap_or_else(|| id(&mut self.rng, "token"));
        if let Some((_, first, eni_id)) = self.tokens.get(&client_token) {
            if first != request {
                let message = format!(
                    "Client token '{client_token}' was used before with different parameters."
                );
                return Err(ApiError::refused("IdempotentParameterMismatch", message));
            }
            let eni = self
                .enis
                .get(eni_id)
                .ok_or_else(|| ApiError::no_eni(eni_id))?;
            return Ok(Reply::Created {
                eni: Box::new(eni.clone()),
                client_token,
            });
        }
        let at = self
            .subnets
            .iter()
            .position(|it| it.id == request.subnet_id);
        let (at, subnet) = at
            .and_then(|at| Some((at, self.subnets.get(at)?)))
            .ok_or_else(|| ApiError::no_subnet(&request.subnet_id))?;
        let groups = self.known_groups(&request.groups)?;
        check_tags(&BTreeMap::new(), &request.tags)?;
        let primary = match request.primary {
            Some(address) if !subnet.cidr.contains(address) || subnet.is_reserved(address) => {
                return Err(ApiError::invalid_value(format!(
                    "Address {address} is not usable in the subnet"
                )));
            }
            Some(address) if !subnet.is_free(address) => {
                let message = format!("Address {address} is in use.");
                return Err(ApiError::refused("InvalidIPAddress.InUse", message));
            }
            Some(address) => address,
            None => {
                let free = subnet.pickable_addresses();
                self.rng
                    .sample(free, 1)
                    .pop()
                    .ok_or_else(ApiError::no_free_addresses)?
            }
        };
        let mut eni = self.blank_eni(at, primary, groups);
        let picked = self.pick(&eni, Some(primary), &request.wanted, false)?;
        if eni.slots_used() + picked.new.len() > LARGEST_IPV4_LIMIT {
            return Err(ApiError::too_many_addresses());
        }
        for block in &picked.new {
            if block.is_address() {
                eni.addresses.insert(block.first());
            } else {
                eni.prefixes.insert(*block);
            }
        }
        eni.description.clone_from(&request.description);
        eni.tags = request.tags.iter().cloned().collect();
        let eni_id = eni.id.clone();
        self.add_eni(now_ms, u64::MAX, eni.clone());
        self.tokens.insert(
            client_token.clone(),
            (now_ms, request.clone(), eni_id.clone()),
        );
        let available_ms = now_ms + self.draw(latency::AVAILABLE);
        self.schedule(available_ms, Due::Available { eni_id });
        Ok(Reply::Created {
            eni: Box::new(eni),
            client_token,
        })
    }

    /// An ENI that holds nothing but its primary address, not yet part of the account.
    pub(super) fn blank_eni(
        &mut self,
        subnet: usize,
        primary: Ipv4Addr,
        groups: Vec<String>,
    ) -> Eni {
        let (subnet_id, zone) = self
            .subnets
            .get(subnet)
            .map_or_else(Default::default, |it| (it.id.clone(), it.zone.clone()));
        let chance = self.rng.next();
        let byte = |at: u32| (chance >> (8 * at)) & 0xff;
        Eni {
            id: id(&mut self.rng, "eni"),
            description: String::new(),
            subnet_id,
            vpc_id: self.vpc_id.clone(),
            zone,
            mac: format!(
                "02:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}",
                byte(0),
                byte(1),
                byte(2),
                byte(3),
                byte(4)
            ),
            primary,
            addresses: BTreeSet::new(),
            prefixes: BTreeSet::new(),
            groups,
            tags: BTreeMap::new(),
            status: EniStatus::Pending,
            attachment: None,
        }
    }

    /// Makes the ENI part of the account; the instance metadata shows it from `imds_ms` on.
    pub(super) fn add_eni(&mut self, now_ms: u64, imds_ms: u64, eni: Eni) {
        if let Some(subnet) = self.subnets.iter_mut().find(|it| it.id == eni.subnet_id) {
            for block in eni.blocks() {
                subnet.hold(block, &eni.id);
            }
        }
        let imds = ImdsTimes {
            listed: imds_ms,
            blocks: imds_ms,
            groups: imds_ms,
        };
        self.record(now_ms, &eni.id, imds, Some(eni.clone()));
        self.enis.insert(eni.id.clone(), eni);
    }

    /// Takes the ENI out of the account, and frees what it held.
    pub(super) fn remove_eni(&mut self, now_ms: u64, eni_id: &str) {
        let Some(eni) = self.enis.remove(eni_id) else {
            return;
        };
        if let Some(subnet) = self.subnets.iter_mut().find(|it| it.id == eni.subnet_id) {
            for block in eni.blocks() {
                subnet.release(block);
            }
        }
        let ghost = self.strikes_imds(now_ms, super::FaultName::ImdsGhostEni, None);
        let gone_ms = match ghost {
            Some(_) => u64::MAX,
            None => now_ms + self.draw(latency::IMDS_REMOVED),
        };
        let imds = ImdsTimes {
            listed: gone_ms,
            blocks: gone_ms,
            groups: gone_ms,
        };
        self.record(now_ms, eni_id, imds, None);
        self.history.retain(|_, it| !it.is_over(now_ms));
    }

    /// `slot` is the network card and the device index on it.
    pub(super) fn attach(
        &mut self,
        now_ms: u64,
        eni_id: &str,
        instance_id: &str,
        slot: (u32, u32),
        lateness: Lateness,
    ) -> Result<Reply, ApiError> {
        let (network_card, device_index) = slot;
        let eni = self.eni(eni_id)?;
        let instance = self
            .instances
            .get(instance_id)
            .ok_or_else(|| ApiError::no_instance(instance_id))?;
        if instance.state != InstanceState::Running {
            let message = format!(
                "The instance '{instance_id}' is not in a state to attach network interfaces."
            );
            return Err(ApiError::refused("IncorrectInstanceState", message));
        }
        if eni.attachment.is_some() {
            return Err(ApiError::refused(
                "InvalidNetworkInterface.InUse",
                format!("Interface: [{eni_id}] in use."),
            ));
        }
        if self
            .subnets
            .get(instance.subnet)
            .is_some_and(|it| it.zone != eni.zone)
        {
            let message = "You may not attach a network interface to an instance if they are not in the same availability zone";
            return Err(ApiError::invalid_combination(message));
        }
        let kind = &instance.kind;
        if network_card >= kind.network_cards {
            let message = format!(
                "Network card index {network_card} exceeds the limit for {}",
                kind.name
            );
            return Err(ApiError::invalid_value(message));
        }
        let on_card =
            |it: &&Attachment| it.instance_id == instance_id && it.network_card == network_card;
        let taken: Vec<u32> = self
            .enis
            .values()
            .filter_map(|it| it.attachment.as_ref())
            .filter(on_card)
            .map(|it| it.device_index)
            .collect();
        if taken.contains(&device_index) {
            return Err(ApiError::index_taken(instance_id, device_index));
        }
        if taken.len() >= kind.enis_per_card as usize {
            return Err(ApiError::too_many_enis(taken.len(), &kind.name));
        }
        if eni.slots_used() > kind.ipv4_per_eni as usize {
            return Err(ApiError::too_many_addresses());
        }
        if !eni.prefixes.is_empty() && !kind.takes_prefixes() {
            return Err(no_prefixes_on(&kind.name));
        }
        let attachment_id = id(&mut self.rng, "eni-attach");
        let attachment = Attachment {
            id: attachment_id.clone(),
            instance_id: instance_id.to_owned(),
            device_index,
            network_card,
            status: AttachmentStatus::Attaching,
            delete_on_termination: false,
            attached_at_ms: now_ms,
        };
        self.change_eni(now_ms, eni_id, |it| {
            it.attachment = Some(attachment);
            it.status = EniStatus::InUse;
        });
        let usual_ms = now_ms + self.draw(latency::DEVICE_APPEARS);
        // A late device does not hold up the attachment: EC2 does not know.
        let attached_ms = (usual_ms + self.draw(latency::ATTACHED_AFTER_DEVICE))
            .saturating_add(lateness.attached_ms);
        let device_ms = usual_ms.saturating_add(lateness.device_ms);
        let eni_id = eni_id.to_owned();
        let attachment_id_again = attachment_id.clone();
        if device_ms < u64::MAX {
            let appears = Due::DeviceAppears {
                eni_id: eni_id.clone(),
                attachment_id: attachment_id.clone(),
            };
            self.schedule(device_ms, appears);
        }
        self.schedule(
            attached_ms,
            Due::Attached {
                eni_id,
                attachment_id: attachment_id_again,
            },
        );
        Ok(Reply::Attached {
            attachment_id,
            network_card,
        })
    }

    /// All comes `late_ms` later than usual.
    pub(super) fn detach(
        &mut self,
        now_ms: u64,
        attachment_id: &str,
        late_ms: u64,
    ) -> Result<Reply, ApiError> {
        let (eni_id, attachment) = self
            .enis
            .values()
            .find_map(|it| {
                it.attachment
                    .as_ref()
                    .filter(|it| it.id == attachment_id)
                    .map(|at| (it.id.clone(), at))
            })
            .ok_or_else(|| ApiError::no_attachment(attachment_id))?;
        if (attachment.network_card, attachment.device_index) == (0, 0) {
            return Err(ApiError::not_detachable());
        }
        if attachment.status == AttachmentStatus::Detaching {
            return Err(ApiError::incorrect_state(format_args!(
                "The attachment '{attachment_id}' is being detached."
            )));
        }
        self.change_eni(now_ms, &eni_id, |it| {
            if let Some(attachment) = &mut it.attachment {
                attachment.status = AttachmentStatus::Detaching;
            }
        });
        let device_ms = (now_ms + late_ms) + self.draw(latency::DEVICE_VANISHES);
        let detached_ms = device_ms + self.draw(latency::DETACHED_AFTER_DEVICE);
        self.schedule(
            device_ms,
            Due::DeviceVanishes {
                eni_id: eni_id.clone(),
            },
        );
        self.schedule(
            detached_ms,
            Due::Detached {
                eni_id,
                attachment_id: attachment_id.to_owned(),
            },
        );
        Ok(Reply::Done)
    }

    pub(super) fn delete(&mut self, now_ms: u64, eni_id: &str) -> Result<Reply, ApiError> {
        if self.eni(eni_id)?.attachment.is_some() {
            return Err(ApiError::in_use(eni_id));
        }
        self.remove_eni(now_ms, eni_id);
        Ok(Reply::Done)
    }

    pub(super) fn modify(
        &mut self,
        now_ms: u64,
        eni_id: &str,
        change: &EniChange,
    ) -> Result<Reply, ApiError> {
        let eni = self.eni(eni_id)?;
        match change {
            EniChange::DeleteOnTermination {
                attachment_id,
                value,
            } => {
                if eni
                    .attachment
                    .as_ref()
                    .is_none_or(|it| it.id != *attachment_id)
                {
                    return Err(ApiError::no_attachment(attachment_id));
                }
                self.change_eni(now_ms, eni_id, |it| {
                    if let Some(attachment) = &mut it.attachment {
                        attachment.delete_on_termination = *value;
                    }
                });
            }
            EniChange::Groups(groups) => {
                let groups = self.known_groups(groups)?;
                self.change_eni(now_ms, eni_id, |it| it.groups = groups);
            }
            EniChange::Description(text) => {
                self.change_eni(now_ms, eni_id, |it| it.description.clone_from(text));
            }
        }
        Ok(Reply::Done)
    }

    pub(super) fn tag(
        &mut self,
        now_ms: u64,
        resources: &[String],
        tags: &[(String, String)],
    ) -> Result<Reply, ApiError> {
        for eni_id in resources {
            check_tags(&self.eni(eni_id)?.tags, tags)?;
        }
        for eni_id in resources {
            self.change_eni(now_ms, eni_id, |it| it.tags.extend(tags.iter().cloned()));
        }
        Ok(Reply::Done)
    }

    pub(super) fn eni(&self, eni_id: &str) -> Result<&Eni, ApiError> {
        self.enis
            .get(eni_id)
            .ok_or_else(|| ApiError::no_eni(eni_id))
    }

    /// The blocks in the subnet that a new or existing ENI would take: see [`Account::assign`].
    pub(super) fn limit_of(&self, eni: &Eni, blocks: &[Cidr]) -> Result<(), ApiError> {
        let instance = eni
            .attachment
            .as_ref()
            .and_then(|it| self.instances.get(&it.instance_id));
        let limit = instance.map_or(LARGEST_IPV4_LIMIT, |it| it.kind.ipv4_per_eni as usize);
        if eni.slots_used() + blocks.len() > limit {
            return Err(ApiError::too_many_addresses());
        }
        match instance {
            Some(it) if !it.kind.takes_prefixes() && blocks.iter().any(|it| !it.is_address()) => {
                Err(no_prefixes_on(&it.kind.name))
            }
            _ => Ok(()),
        }
    }

    fn known_groups(&self, wanted: &[String]) -> Result<Vec<String>, ApiError> {
        if let Some(unknown) = wanted
            .iter()
            .find(|id| !self.groups.iter().any(|(known, _)| known == *id))
        {
            return Err(ApiError::no_group(unknown));
        }
        if wanted.len() > MAX_GROUPS {
            let message = "You have exceeded the maximum number of security groups allowed per network interface.";
            return Err(ApiError::refused(
                "SecurityGroupsPerInterfaceLimitExceeded",
                message,
            ));
        }
        let default = || {
            self.groups
                .first()
                .map(|(id, _)| id.clone())
                .into_iter()
                .collect()
        };
        Ok(if wanted.is_empty() {
            default()
        } else {
            wanted.to_vec()
        })
    }
}

fn no_prefixes_on(instance_type: &str) -> ApiError {
    ApiError::invalid_value(format!(
        "Prefixes are not supported on instances of type {instance_type}"
    ))
}

fn check_tags(
    present: &BTreeMap<String, String>,
    new: &[(String, String)],
) -> Result<(), ApiError> {
    for (key, value) in new {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(ApiError::invalid_value(
                "Tag keys have 1 to 128 characters, tag values at most 256",
            ));
        }
        if key.starts_with("aws:") {
            return Err(ApiError::invalid_value(
                "Tag keys starting with 'aws:' are reserved for internal use",
            ));
        }
    }
    let keys: BTreeSet<&String> = present
        .keys()
        .chain(new.iter().map(|(key, _)| key))
        .collect();
    if keys.len() > MAX_TAGS {
        return Err(ApiError::refused(
            "TagLimitExceeded",
            "More than 50 tags specified",
        ));
    }
    Ok(())
}
