//! What an operator, another controller or EC2 itself does to a node without telling it.
//!
//! In: a fault that acts behind everybody's back. Out: a changed account, or nothing when there is nothing
//! to act on. What must hold: the account's own laws; chance decides which ENI and which address.

use super::{
    Account, Attachment, AttachmentStatus, Cidr, Eni, EniStatus, FaultName, InstanceState, Wanted,
};

/// An ENI with this tag and the word `true` is to be left alone.
const TAG_NO_MANAGE: &str = "node.k8s.amazonaws.com/no_manage";

/// The description of ENIs that no node made.
const SOMEBODY: &str = "somebody else's";

impl Account {
    /// Acts once; false when there is nothing to act on.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most faults do not act behind backs"
    )]
    pub(super) fn happens_behind_backs(
        &mut self,
        now_ms: u64,
        name: FaultName,
        node: Option<&str>,
    ) -> bool {
        use FaultName as F;
        match name {
            F::EniDeleted => self.any_secondary(node).is_some_and(|eni| {
                self.vanish(&eni.id);
                self.remove_eni(now_ms, &eni.id);
                true
            }),
            F::ForeignEni => self.attach_foreign(now_ms, node, true),
            F::UntaggedEni => self.attach_foreign(now_ms, node, false),
            F::NoManageToggled => self.left_alone_or_any(node).is_some_and(|eni| {
                self.change_eni(now_ms, &eni.id, |it| {
                    if it.tags.remove(TAG_NO_MANAGE).is_none() {
                        it.tags.insert(TAG_NO_MANAGE.to_owned(), "true".to_owned());
                    }
                });
                true
            }),
            F::AddressUnassigned => self.take_any(now_ms, node, Cidr::is_address).is_some(),
            F::PrefixUnassigned => self.take_any(now_ms, node, |it| !it.is_address()).is_some(),
            F::AddressMoved => self.move_any(now_ms, node),
            F::DeleteOnTerminationLost => self.any_secondary(node).is_some_and(|eni| {
                self.change_eni(now_ms, &eni.id, |it| {
                    if let Some(attachment) = &mut it.attachment {
                        attachment.delete_on_termination = false;
                    }
                });
                true
            }),
            F::GroupsChanged => {
                let every: Vec<String> = self.groups.iter().map(|(id, _)| id.clone()).collect();
                let primary = self.any(node, |_, it| it.device_index == 0);
                primary.is_some_and(|eni| {
                    self.change_eni(now_ms, &eni.id, |it| {
                        it.groups = match it.groups.len() {
                            1 => every,
                            _ => every.into_iter().rev().take(1).collect(),
                        };
                    });
                    true
                })
            }
            F::VpcCidrAdded => {
                // 100.64.0.0/16 and on, where VPCs grow.
                let base = std::net::Ipv4Addr::new(100, 64 + self.added_cidrs.len() as u8, 0, 0);
                let added = Cidr::new(base, 16).filter(|_| self.added_cidrs.len() < 64);
                self.added_cidrs.extend(added);
                added.is_some()
            }
            // All others are about calls, answers and reads.
            _ => false,
        }
    }

    /// What was moved to ENIs of somebody else's comes back to the subnets.
    pub fn strangers_leave(&mut self, now_ms: u64) {
        let theirs = self.enis.values().filter(|it| it.description == SOMEBODY);
        let loose = theirs.filter(|it| it.attachment.is_none());
        let loose: Vec<String> = loose.map(|it| it.id.clone()).collect();
        for eni_id in loose {
            self.remove_eni(now_ms, &eni_id);
        }
    }

    /// Some attached ENI of some node.
    fn any(&mut self, node: Option<&str>, fits: impl Fn(&Eni, &Attachment) -> bool) -> Option<Eni> {
        let of_node = |eni: &Eni, it: &Attachment| {
            node.is_none_or(|name| self.node_name(&it.instance_id) == Some(name)) && fits(eni, it)
        };
        let found = self
            .enis
            .values()
            .filter(|eni| (eni.attachment.as_ref()).is_some_and(|it| of_node(eni, it)));
        let found: Vec<Eni> = found.cloned().collect();
        self.rng.sample(found, 1).pop()
    }

    /// Some secondary ENI that is not somebody else's.
    fn any_secondary(&mut self, node: Option<&str>) -> Option<Eni> {
        self.any(node, |eni, it| {
            (it.network_card, it.device_index) != (0, 0)
                && it.status != AttachmentStatus::Detaching
                && eni.description != SOMEBODY
        })
    }

    /// An ENI that is to be left alone, or some secondary one when there is none.
    fn left_alone_or_any(&mut self, node: Option<&str>) -> Option<Eni> {
        self.any(node, |eni, _| eni.tags.contains_key(TAG_NO_MANAGE))
            .or_else(|| self.any_secondary(node))
    }

    /// Takes some fitting block off some ENI of a node. Gives both.
    fn take_any(
        &mut self,
        now_ms: u64,
        node: Option<&str>,
        fits: impl Fn(Cidr) -> bool,
    ) -> Option<(Eni, Cidr)> {
        let on = |it: &Eni| {
            let attachment = it.attachment.as_ref()?;
            Some(node.is_none_or(|name| self.node_name(&attachment.instance_id) == Some(name)))
        };
        let mut held = Vec::new();
        for eni in self.enis.values().filter(|it| on(it) == Some(true)) {
            let secondary = eni.blocks().skip(1).filter(|it| fits(*it));
            held.extend(secondary.map(|block| (eni.id.clone(), block)));
        }
        let (eni_id, block) = self.rng.sample(held, 1).pop()?;
        let eni = self.enis.get(&eni_id)?.clone();
        self.take_away(now_ms, &eni_id, &[block]);
        Some((eni, block))
    }

    /// Moves some secondary address to an ENI of somebody else's.
    fn move_any(&mut self, now_ms: u64, node: Option<&str>) -> bool {
        let Some((eni, block)) = self.take_any(now_ms, node, Cidr::is_address) else {
            return false;
        };
        let Some(mut other) = self.somebodys_eni(&eni.subnet_id) else {
            return false;
        };
        other.addresses.insert(block.first());
        self.add_eni(now_ms, u64::MAX, other);
        true
    }

    /// A new ENI of somebody else's, not yet part of the account.
    fn somebodys_eni(&mut self, subnet_id: &str) -> Option<Eni> {
        let at = self.subnets.iter().position(|it| it.id == subnet_id)?;
        let free = self.subnets.get(at)?.pickable_addresses();
        let primary = self.rng.sample(free, 1).pop()?;
        let groups = self.groups.first().map(|(id, _)| id.clone());
        let mut eni = self.blank_eni(at, primary, groups.into_iter().collect());
        SOMEBODY.clone_into(&mut eni.description);
        eni.status = EniStatus::Available;
        Some(eni)
    }

    /// Attaches an ENI that no daemon made at the lowest free device index.
    fn attach_foreign(&mut self, now_ms: u64, node: Option<&str>, tagged: bool) -> bool {
        let running: Vec<String> = self
            .instances
            .values()
            .filter(|it| it.state == InstanceState::Running)
            .filter(|it| node.is_none_or(|name| it.name == name))
            .map(|it| it.id.clone())
            .collect();
        let Some(instance_id) = self.rng.sample(running, 1).pop() else {
            return false;
        };
        let taken: Vec<u32> = self
            .enis
            .values()
            .filter(|it| it.is_on(&instance_id))
            .filter_map(|it| it.attachment.as_ref())
            .filter(|it| it.network_card == 0)
            .map(|it| it.device_index)
            .collect();
        let instance = self.instances.get(&instance_id);
        let room = instance.is_some_and(|it| taken.len() < it.kind.enis_per_card as usize);
        let subnet_id = instance
            .and_then(|it| self.subnets.get(it.subnet))
            .map(|it| it.id.clone());
        let Some(mut eni) = subnet_id
            .filter(|_| room)
            .and_then(|it| self.somebodys_eni(&it))
        else {
            return false;
        };
        if tagged {
            eni.tags.insert(TAG_NO_MANAGE.to_owned(), "true".to_owned());
        } else {
            let primary = Some(eni.primary);
            let picked = self.pick(&eni, primary, &Wanted::AddressCount(2), false);
            let blocks = picked.map(|it| it.new).unwrap_or_default();
            eni.addresses.extend(blocks.into_iter().map(Cidr::first));
        }
        let eni_id = eni.id.clone();
        let device_index = (1..u32::MAX).find(|it| !taken.contains(it)).unwrap_or(1);
        self.add_eni(now_ms, u64::MAX, eni);
        let attached = self.attach(
            now_ms,
            &eni_id,
            &instance_id,
            (0, device_index),
            super::Lateness::default(),
        );
        if attached.is_err() {
            self.remove_eni(now_ms, &eni_id);
        }
        attached.is_ok()
    }
}
