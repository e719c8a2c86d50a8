//! The auditor that knows everything: who really runs with which address, and what EC2 really has.
//!
//! In: what the plugins were told, what the nodes sent to EC2, what happened behind their backs. Out:
//! the first law that broke, in words. It keeps books of its own and looks at the account, never into
//! a node; `onsen_core::laws` watches what passes a node's wall, this watches what became of it.
//!
//! Laws: P1 no two live pods of the VPC with one address · P2 an address that is given is on an ENI of
//! this instance whose device is there · P3 never before its cooldown ends · P4 the same again ·
//! E2 nothing that a live pod needs is destroyed · E5 at rest the pools and the account agree.
//! What was taken away behind a node's back is not the node's fault.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use onsen_core::cidr::Cidr;
use onsen_core::effect::Ec2Request;
use onsen_core::ids::EniId;
use onsen_core::status::EniStatus;
use onsen_core::time::Millis;

use super::ec2::{self, Owner};
use crate::account::Account;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    /// Live pods by address: node and place among its pods.
    held: BTreeMap<IpAddr, (usize, usize)>,
    /// When each address was last given back, and to which node.
    released: BTreeMap<IpAddr, (Millis, usize)>,
    /// What was taken from a node behind its back.
    lost: BTreeSet<(usize, IpAddr)>,
}

impl Truth {
    /// A pod runs with an address from the start.
    pub(super) fn runs(&mut self, holder: (usize, usize), address: IpAddr) {
        self.held.insert(address, holder);
    }

    /// A pod was told its address and runs with it from now on.
    pub(super) fn given(
        &mut self,
        (node, pod): (usize, usize),
        (address, eni): (IpAddr, &EniId),
        account: &Account,
        owner: &Owner,
        cooldown: Millis,
        now: Millis,
    ) -> Result<(), String> {
        let lost = self.lost.contains(&(node, address));
        if let Some((other, holder)) = self.held.get(&address)
            && (*other, *holder) != (node, pod)
            && (*other == node || !(lost || self.lost.contains(&(*other, address))))
        {
            return Err(format!(
                "P1: {address} is given to pod {pod} of node {node} while pod {holder} of node {other} runs with it"
            ));
        }
        let really = account.enis().find(|it| it.id == eni.as_str());
        let facts = really.and_then(|it| ec2::facts(owner, it).ok());
        let there = really.is_some_and(|it| it.is_on(owner.instance()))
            && facts.is_some_and(|it| it.blocks.iter().any(|block| block.contains(address)));
        if !there && !lost {
            return Err(format!(
                "P2: {address} is given to pod {pod} of node {node} and is not on {eni} of this instance"
            ));
        }
        if let Some((at, of)) = self.released.get(&address)
            && *of == node
            && now < at + cooldown
            && !lost
        {
            return Err(format!(
                "P3: {address} of node {node} was given back {} ms ago and is given again",
                now - at
            ));
        }
        self.released.remove(&address);
        self.held.insert(address, (node, pod));
        Ok(())
    }

    /// A pod has been deleted: from now on nothing runs with its address.
    pub(super) fn left(&mut self, holder: (usize, usize), address: IpAddr) {
        if self.held.get(&address) == Some(&holder) {
            self.held.remove(&address);
        }
    }

    /// The daemon takes an address back.
    pub(super) fn given_back(&mut self, node: usize, address: IpAddr, now: Millis) {
        self.released.insert(address, (now, node));
    }

    /// E2: a call leaves the node.
    pub(super) fn sent(
        &self,
        node: usize,
        request: &Ec2Request,
        account: &Account,
        owner: &Owner,
    ) -> Result<(), String> {
        let on_eni = |id: &EniId| -> BTreeSet<Cidr> {
            let eni = account.enis().find(|it| it.id == id.as_str());
            eni.and_then(|it| ec2::facts(owner, it).ok())
                .map(|it| it.blocks)
                .unwrap_or_default()
        };
        let blocks: BTreeSet<Cidr> = match request {
            Ec2Request::Unassign { blocks, .. } => blocks.iter().copied().collect(),
            Ec2Request::DetachEni { eni, .. } | Ec2Request::DeleteEni { eni } => on_eni(eni),
            Ec2Request::CreateEni { .. }
            | Ec2Request::AttachEni { .. }
            | Ec2Request::SetDeleteOnTermination { .. }
            | Ec2Request::Assign { .. } => return Ok(()),
        };
        let inside = |address: &IpAddr| blocks.iter().any(|cidr| cidr.contains(*address));
        let mut held = self.held.iter().filter(|(address, (of, _))| {
            *of == node && inside(address) && !self.lost.contains(&(node, **address))
        });
        match held.next() {
            Some((address, (_, pod))) => Err(format!(
                "E2: pod {pod} of node {node} runs with {address} and it is taken away by {request:?}"
            )),
            None => Ok(()),
        }
    }

    /// Something happened behind a node's back: these blocks were its own before and are not now.
    pub(super) fn taken(&mut self, node: usize, blocks: &[Cidr]) {
        for block in blocks {
            self.lost
                .extend(block.addresses().map(|address| (node, address)));
        }
    }

    /// How many live pods have an address that was taken away.
    pub(super) fn stranded(&self) -> usize {
        let held = self.held.iter();
        held.filter(|(address, (node, _))| self.lost.contains(&(*node, **address)))
            .count()
    }

    /// E5: at rest a node's pool holds what the account has for it, and nothing is left over.
    pub(super) fn agrees(
        name: &str,
        pool: &[EniStatus],
        account: &Account,
        owner: &Owner,
    ) -> Result<(), String> {
        // One that the operator has taken out of the daemon's hands may be in the pool for its pods.
        let left_alone: BTreeSet<EniId> = (account.enis())
            .filter_map(|it| ec2::facts(owner, it).ok())
            .filter(|it| !it.managed)
            .map(|it| it.id)
            .collect();
        let known: BTreeMap<&EniId, BTreeSet<Cidr>> = pool
            .iter()
            .filter(|eni| !left_alone.contains(&eni.id))
            .map(|eni| (&eni.id, eni.blocks.iter().map(|it| it.cidr).collect()))
            .collect();
        let facts = account.enis().filter_map(|it| ec2::facts(owner, it).ok());
        let real: BTreeMap<EniId, BTreeSet<Cidr>> = facts
            .filter(|it| it.managed && (it.ours || it.attachment.is_some()))
            .filter(|it| it.ours || is_on(account, &it.id, owner))
            .map(|it| (it.id, it.blocks))
            .collect();
        if known.len() == real.len() && real.iter().all(|(id, it)| known.get(id) == Some(it)) {
            return Ok(());
        }
        let differs = |id: &&EniId| known.get(*id) != real.get(*id);
        let ids: BTreeSet<&EniId> = known.keys().copied().chain(real.keys()).collect();
        let told: Vec<String> = (ids.into_iter().filter(differs))
            .map(|id| {
                let (pool, ec2) = (known.get(id), real.get(id));
                format!("of {id} the pool of {name} has {pool:?} and EC2 {ec2:?}")
            })
            .collect();
        Err(format!("E5: {}", told.join("; ")))
    }
}

fn is_on(account: &Account, id: &EniId, owner: &Owner) -> bool {
    let eni = account.enis().find(|it| it.id == id.as_str());
    eni.is_some_and(|it| it.is_on(owner.instance()))
}
