//! The pool: ENIs, the blocks on them, who holds which address, what cools.
//!
//! In: changes that the node has decided or EC2 has told. Out: answers to "which address", counts.
//! Must hold: an address has at most one holder; a block's counts are those of its addresses; an
//! address that a sandbox holds stays held even when EC2 takes its block away.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::cidr::{Cidr, Unit};
use crate::effect::{Allocation, EniLink, Holding, Saved};
use crate::event::{Attachment, EniFacts};
use crate::ids::{EniId, IntentId, Mac, PodName, SandboxKey, SubnetId};
use crate::proposal::Placement;
use crate::snapshot::{EniPhase, Role};
use crate::time::Millis;

/// Whether the node's side of an ENI is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Absent,
    Configuring,
    Ready,
}

/// What is to become of an ENI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    Keep,
    Leave,
}

/// What fills one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    /// Addresses held by sandboxes.
    pub(crate) assigned: u32,
    /// Addresses cooling.
    pub(crate) cooling: u32,
    /// Since when nobody holds an address of it; 0 while somebody does.
    pub(crate) idle_since: Millis,
    /// When EC2 first said that the ENI has it.
    pub(crate) since: Millis,
    /// When EC2 last said so.
    pub(crate) confirmed_at: Millis,
    /// An unassign of it is under way: nothing of it is given.
    pub(crate) leaving: bool,
    /// Since which look EC2 does not show it any more.
    pub(crate) missing_since: Option<Millis>,
    /// A read shows it here, and newer word does not, or has it on another ENI: it fills a slot and
    /// serves nobody until a later read tells.
    pub(crate) contested: bool,
    /// When the first of the reads was asked for that do not show it. One alone may be older than the block.
    pub(crate) missed_at: Option<Millis>,
}

impl Block {
    /// Whether EC2's word about it is in doubt.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.missing_since.is_some() || self.contested
    }
}

/// One ENI that the daemon manages.
#[derive(Clone, Debug)]
pub(crate) struct Eni {
    pub(crate) id: EniId,
    pub(crate) mac: Mac,
    pub(crate) subnet: SubnetId,
    pub(crate) role: Role,
    pub(crate) ours: bool,
    pub(crate) excluded: bool,
    /// The operator said so: no pod is given an address of it, and nothing of it is given back.
    pub(crate) left_alone: bool,
    pub(crate) primary: IpAddr,
    /// The network card that it is meant for; where it hangs once it is attached.
    pub(crate) card: u32,
    pub(crate) attachment: Option<Attachment>,
    pub(crate) blocks: BTreeMap<Cidr, Block>,
    pub(crate) link: Link,
    pub(crate) goal: Goal,
    /// Blocks that it had, and when EC2 took them back: a read may show them for a while.
    pub(crate) gone: BTreeMap<Cidr, Millis>,
    /// When the daemon came to know it.
    pub(crate) since: Millis,
    /// When a pod last gave an address of it back; when it became known, if none did.
    pub(crate) idle_since: Millis,
    /// Blocks asked for and not answered.
    pub(crate) growing: u32,
    /// What they are.
    pub(crate) growing_unit: Unit,
    /// The EC2 call about it that is under way.
    pub(crate) call: Option<IntentId>,
    /// An outcome was unknown; a look asked for at or after this time settles it.
    pub(crate) doubt: Option<Millis>,
    /// When EC2 last answered a change of it.
    pub(crate) changed_at: Millis,
    /// When EC2 answered the change before that one.
    pub(crate) changed_before: Millis,
    /// When EC2 last said that it hangs on this instance.
    pub(crate) confirmed_at: Millis,
    /// Since which look EC2 does not show it any more.
    pub(crate) missing_since: Option<Millis>,
    /// Nothing is tried before this.
    pub(crate) retry_at: Millis,
    /// Failures in a row of the step it is at.
    pub(crate) tries: u32,
    /// EC2 refused to detach it: not asked again before this.
    pub(crate) stays_until: Millis,
}

impl Eni {
    pub(crate) fn new(facts: EniFacts, now: Millis) -> Self {
        Self {
            id: facts.id,
            mac: facts.mac,
            subnet: facts.subnet,
            role: facts.role,
            ours: facts.ours,
            excluded: facts.excluded || !facts.managed,
            left_alone: !facts.managed,
            primary: facts.primary,
            card: facts
                .attachment
                .as_ref()
                .map_or(0, |attachment| attachment.card),
            attachment: facts.attachment,
            blocks: BTreeMap::new(),
            // Device 0 was there before the daemon, and its set-up is the machine's own.
            link: if facts.role == Role::Primary {
                Link::Ready
            } else {
                Link::Absent
            },
            goal: Goal::Keep,
            gone: BTreeMap::new(),
            since: now,
            idle_since: now,
            growing: 0,
            growing_unit: Unit::Address,
            call: None,
            doubt: None,
            changed_at: 0,
            changed_before: 0,
            confirmed_at: now,
            missing_since: None,
            retry_at: 0,
            tries: 0,
            stays_until: 0,
        }
    }

    /// Whether the daemon puts blocks on it: not on a trunk, nor on an EFA.
    pub(crate) fn holds_blocks(&self) -> bool {
        matches!(self.role, Role::Primary | Role::Secondary)
    }

    /// Whether its addresses may be given to pods.
    pub(crate) fn usable(&self) -> bool {
        self.link == Link::Ready
            && self.goal == Goal::Keep
            && !self.excluded
            && self.holds_blocks()
            && self.missing_since.is_none()
    }

    /// Whether a call is under way or its outcome is not known.
    pub(crate) fn busy(&self) -> bool {
        self.call.is_some() || self.doubt.is_some()
    }

    pub(crate) fn phase(&self) -> EniPhase {
        if self.goal == Goal::Leave {
            EniPhase::Detaching
        } else if self.is_coming_up() {
            EniPhase::Attaching
        } else {
            EniPhase::Ready
        }
    }

    /// Whether more is to be done before pods can have its addresses. For one that is left alone nothing
    /// is done.
    pub(crate) fn is_coming_up(&self) -> bool {
        let ready = self.link == Link::Ready && self.attachment.is_some();
        self.goal == Goal::Keep && !self.left_alone && !ready
    }

    /// Slots that hold nothing and are not asked for.
    pub(crate) fn free_slots(&self, slots: u32) -> u32 {
        if self.holds_blocks() {
            slots.saturating_sub(self.blocks.len() as u32 + self.growing)
        } else {
            0
        }
    }

    pub(crate) fn assigned(&self) -> u32 {
        self.blocks.values().map(|block| block.assigned).sum()
    }

    pub(crate) fn cooling(&self) -> u32 {
        self.blocks.values().map(|block| block.cooling).sum()
    }

    /// Addresses of the block that could be given now.
    pub(crate) fn free(&self, cidr: &Cidr, block: &Block) -> u32 {
        if self.usable() && !block.leaving && !block.is_doubtful() {
            size(cidr).saturating_sub(block.assigned + block.cooling)
        } else {
            0
        }
    }

    pub(crate) fn link_facts(&self) -> EniLink {
        let (card, device_index) = self.device();
        EniLink {
            eni: self.id.clone(),
            mac: self.mac,
            primary: self.primary,
            subnet: self.subnet.clone(),
            card,
            device_index,
        }
    }

    /// Network card and device index; the index is 0 while it is attached to nothing.
    pub(crate) fn device(&self) -> (u32, u32) {
        self.attachment
            .as_ref()
            .map_or((self.card, 0), |attachment| {
                (attachment.card, attachment.device_index)
            })
    }

    /// The network card that it is on, or is meant for.
    pub(crate) fn card(&self) -> u32 {
        self.device().0
    }

    /// Blocks that a read asked for at this time shows; not those which it may only show still.
    pub(crate) fn news(
        &mut self,
        facts: &EniFacts,
        asked_at: Millis,
        consistency: Millis,
    ) -> Vec<Cidr> {
        self.gone.retain(|_, at| asked_at < *at + consistency);
        let shown = facts.blocks.iter().copied();
        shown.filter(|cidr| !self.gone.contains_key(cidr)).collect()
    }

    fn block_of(&self, address: IpAddr) -> Option<Cidr> {
        let (cidr, block) = self.blocks.range(..Cidr::after(address)).next_back()?;
        (cidr.contains(address) && !block.contested).then_some(*cidr)
    }
}

/// Number of addresses, as far as anybody can count pods.
pub(crate) fn size(cidr: &Cidr) -> u32 {
    u32::try_from(cidr.size()).unwrap_or(u32::MAX)
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    /// In attach order, the primary first.
    pub(crate) enis: Vec<Eni>,
    holdings: BTreeMap<SandboxKey, Allocation>,
    holders: BTreeMap<IpAddr, SandboxKey>,
    cooling: BTreeMap<IpAddr, Millis>,
    /// Until then what a read shows may have been given back lately, by a life of the daemon of which
    /// nothing is known.
    news_cool_until: Millis,
    /// Addresses that pods hold and EC2 has put on another ENI, until people are told.
    pub(crate) strayed: Vec<IpAddr>,
}

/// Of a block as large as IPv6's only the lowest addresses can have been in use.
const MAX_IN_USE: usize = 256;

impl Pool {
    pub(crate) fn eni(&self, id: &EniId) -> Option<&Eni> {
        self.enis.iter().find(|eni| eni.id == *id)
    }

    pub(crate) fn eni_mut(&mut self, id: &EniId) -> Option<&mut Eni> {
        self.enis.iter_mut().find(|eni| eni.id == *id)
    }

    /// Takes an ENI in, with its blocks, after the ENIs that came before it.
    pub(crate) fn add_eni(&mut self, mut facts: EniFacts, now: Millis, lag: Millis) {
        let blocks = core::mem::take(&mut facts.blocks);
        let id = facts.id.clone();
        let eni = Eni::new(facts, now);
        let place = self
            .enis
            .iter()
            .position(|other| eni.role == Role::Primary && other.role != Role::Primary);
        self.enis.insert(place.unwrap_or(self.enis.len()), eni);
        for cidr in blocks {
            self.add_block(&id, cidr, now, lag);
        }
    }

    /// Forgets an ENI. What sandboxes hold on it stays held.
    pub(crate) fn remove_eni(&mut self, id: &EniId) {
        self.enis.retain(|eni| eni.id != *id);
    }

    /// Puts a block on an ENI, or confirms it there; true when it is news. `lag` is how old the word may
    /// be: that of a read, or 0 when EC2 has just done it.
    pub(crate) fn add_block(&mut self, id: &EniId, cidr: Cidr, now: Millis, lag: Millis) -> bool {
        // An ENI's own address is the node's, whatever an answer lists among the new ones.
        if (self.eni(id)).is_none_or(|eni| cidr == Cidr::single(eni.primary)) {
            return false;
        }
        let contested = !self.leaves_others(id, cidr, now, lag);
        let inside = |address: &&IpAddr| cidr.contains(**address) && !contested;
        let assigned = self.holders.keys().filter(inside).count() as u32;
        let cooling = self.cooling.keys().filter(inside).count() as u32;
        let Some(eni) = self.eni_mut(id) else {
            return false;
        };
        eni.gone.remove(&cidr);
        let news = !eni.blocks.contains_key(&cidr);
        let block = eni.blocks.entry(cidr).or_insert_with(|| Block {
            since: now,
            idle_since: now,
            ..Block::default()
        });
        block.confirmed_at = block.confirmed_at.max(now);
        if lag == 0 {
            (block.missed_at, block.missing_since) = (None, None);
        }
        if news || block.contested {
            (block.assigned, block.cooling, block.contested) = (assigned, cooling, contested);
            if assigned > 0 {
                block.idle_since = 0;
            }
            if lag > 0 && now < self.news_cool_until && !contested {
                self.let_cool(cidr, self.news_cool_until);
            }
        }
        news
    }

    /// A read that may be old shows a block that is not known: it fills a slot until a later one tells.
    pub(crate) fn hear_of_block(&mut self, id: &EniId, cidr: Cidr, now: Millis) {
        if let Some(eni) = self.eni_mut(id) {
            eni.blocks.entry(cidr).or_insert_with(|| Block {
                idle_since: now,
                since: now,
                confirmed_at: now,
                contested: true,
                ..Block::default()
            });
        }
    }

    /// Whether there are blocks of which it is not known whose they are.
    pub(crate) fn has_contests(&self) -> bool {
        let mut blocks = self.enis.iter().flat_map(|eni| eni.blocks.values());
        blocks.any(|block| block.contested)
    }

    /// An address is on one ENI. What EC2 says last is true: what it took from one ENI without our having
    /// seen that yet may come back on another.
    fn leaves_others(&mut self, id: &EniId, cidr: Cidr, now: Millis, lag: Millis) -> bool {
        let others = || self.enis.iter().filter(|eni| eni.id != *id);
        let mut old = others().flat_map(|eni| eni.blocks.iter().filter(|it| it.0.overlaps(&cidr)));
        let newer = |block: &Block| block.confirmed_at.max(block.since + lag) >= now;
        if old.any(|(_, block)| lag > 0 && !block.contested && newer(block)) {
            return false;
        }
        for eni in self.enis.iter_mut().filter(|eni| eni.id != *id) {
            let Eni { blocks, gone, .. } = eni;
            // What is contested fills a slot until a later read tells whose it is.
            let leaves =
                |it: &Cidr, block: &mut Block| it.overlaps(&cidr) && (lag == 0 || !block.contested);
            for (old, _) in blocks.extract_if(.., leaves) {
                let holders = self.holders.keys().copied();
                self.strayed.extend(holders.filter(|it| old.contains(*it)));
                gone.insert(old, now);
            }
        }
        true
    }

    /// What a sandbox holds.
    pub(crate) fn held(&self, key: &SandboxKey) -> Option<&Allocation> {
        self.holdings.get(key)
    }

    pub(crate) fn allocations(&self) -> impl Iterator<Item = &Allocation> {
        self.holdings.values()
    }

    /// The address and the ENI under it; absent when EC2 took the address away.
    pub(crate) fn holding(&self, allocation: &Allocation) -> Option<Holding> {
        let (eni, _) = self.place_of(allocation.address)?;
        let (card, device_index) = eni.device();
        Some(Holding {
            address: allocation.address,
            eni: eni.id.clone(),
            card,
            device_index,
        })
    }

    /// Gives the sandbox an address, if one is free.
    pub(crate) fn assign(
        &mut self,
        key: &SandboxKey,
        pod: &PodName,
        placement: Placement,
        now: Millis,
    ) -> Option<&Allocation> {
        let address = self.pick(placement)?;
        let allocation = Allocation {
            key: key.clone(),
            address,
            pod: pod.clone(),
            since: now,
        };
        self.hold(allocation);
        self.holdings.get(key)
    }

    /// Records a holding, picked here or found in the checkpoint; false when another sandbox has
    /// the address.
    pub(crate) fn hold(&mut self, allocation: Allocation) -> bool {
        if self
            .holders
            .get(&allocation.address)
            .is_some_and(|key| *key != allocation.key)
        {
            return false;
        }
        if self.holdings.contains_key(&allocation.key) {
            return false;
        }
        self.stop_cooling(allocation.address);
        if let Some(block) = self.block_mut(allocation.address) {
            block.assigned += 1;
            block.idle_since = 0;
        }
        self.holders
            .insert(allocation.address, allocation.key.clone());
        self.holdings.insert(allocation.key.clone(), allocation);
        true
    }

    /// Takes back what the sandbox holds. The address cools until then; not at all when that has
    /// passed.
    pub(crate) fn release(
        &mut self,
        key: &SandboxKey,
        until: Millis,
        now: Millis,
    ) -> Option<Allocation> {
        let allocation = self.holdings.remove(key)?;
        self.holders.remove(&allocation.address);
        if let Some((eni, block)) = self.place_mut(allocation.address) {
            block.assigned = block.assigned.saturating_sub(1);
            if block.assigned == 0 {
                block.idle_since = now;
            }
            *eni = now;
        }
        if until > now {
            self.cool(allocation.address, until);
        }
        Some(allocation)
    }

    /// Lets an address that nobody holds cool.
    pub(crate) fn cool(&mut self, address: IpAddr, until: Millis) {
        if self.holders.contains_key(&address) {
            return;
        }
        if self.cooling.insert(address, until).is_none()
            && let Some(block) = self.block_mut(address)
        {
            block.cooling += 1;
        }
    }

    /// Lets all addresses cool that nobody holds, also those of which the next reads will tell.
    pub(crate) fn let_all_cool(&mut self, until: Millis) {
        self.news_cool_until = until;
        let blocks: Vec<_> = (self.enis.iter())
            .flat_map(|eni| eni.blocks.keys().copied())
            .collect();
        for cidr in blocks {
            self.let_cool(cidr, until);
        }
    }

    fn let_cool(&mut self, cidr: Cidr, until: Millis) {
        for address in cidr.addresses().take(MAX_IN_USE) {
            self.cool(address, until);
        }
    }

    fn stop_cooling(&mut self, address: IpAddr) {
        if self.cooling.remove(&address).is_some()
            && let Some(block) = self.block_mut(address)
        {
            block.cooling = block.cooling.saturating_sub(1);
        }
    }

    /// Makes free what has cooled long enough.
    pub(crate) fn end_cooling(&mut self, now: Millis) -> bool {
        let done: Vec<_> = self
            .cooling
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(address, _)| *address)
            .collect();
        for address in &done {
            self.stop_cooling(*address);
        }
        !done.is_empty()
    }

    /// When the addresses that cool become free, and which.
    pub(crate) fn cooling(&self) -> &BTreeMap<IpAddr, Millis> {
        &self.cooling
    }

    /// What must outlive the daemon.
    pub(crate) fn saved(&self) -> Saved {
        Saved {
            allocations: self.holdings.values().cloned().collect(),
            cooling: self
                .cooling
                .iter()
                .map(|(address, until)| (*address, *until))
                .collect(),
            coming: Vec::new(),
            leaving: Vec::new(),
        }
    }

    /// Addresses that could be given now.
    pub(crate) fn warm(&self) -> u32 {
        self.free_blocks()
            .map(|(_, _, free)| free)
            .fold(0, u32::saturating_add)
    }

    /// Addresses in blocks of ENIs that may serve pods, whoever holds them.
    pub(crate) fn addresses(&self) -> u32 {
        self.enis
            .iter()
            .filter(|eni| eni.goal == Goal::Keep && eni.holds_blocks() && !eni.excluded)
            .flat_map(|eni| eni.blocks.keys().map(size))
            .fold(0, u32::saturating_add)
    }

    pub(crate) fn place_of(&self, address: IpAddr) -> Option<(&Eni, Cidr)> {
        self.enis
            .iter()
            .find_map(|eni| eni.block_of(address).map(|cidr| (eni, cidr)))
    }

    fn block_mut(&mut self, address: IpAddr) -> Option<&mut Block> {
        self.place_mut(address).map(|(_, block)| block)
    }

    /// Since when the ENI of this address is idle, and the block of it.
    fn place_mut(&mut self, address: IpAddr) -> Option<(&mut Millis, &mut Block)> {
        self.enis.iter_mut().find_map(|eni| {
            let cidr = eni.block_of(address)?;
            Some((&mut eni.idle_since, eni.blocks.get_mut(&cidr)?))
        })
    }

    fn free_blocks(&self) -> impl Iterator<Item = (&Eni, &Cidr, u32)> {
        self.enis.iter().filter(|eni| eni.usable()).flat_map(|eni| {
            eni.blocks
                .iter()
                .map(move |(cidr, block)| (eni, cidr, eni.free(cidr, block)))
                .filter(|(_, _, free)| *free > 0)
        })
    }

    /// Pack: the fullest ENI, on it the fullest block, in it the lowest address, so that whole
    /// blocks and whole ENIs stay free to be given back. Spread: the emptiest ENI first. Addresses
    /// first: a single address wherever there is one, and as pack among these and among prefixes.
    fn pick(&self, placement: Placement) -> Option<IpAddr> {
        let mut best: Option<((bool, u32, u32), &Cidr)> = None;
        for eni in self.enis.iter().filter(|eni| eni.usable()) {
            let assigned = eni.assigned();
            let on_eni = match placement {
                Placement::Pack | Placement::AddressesFirst => assigned,
                Placement::Spread => u32::MAX - assigned,
            };
            for (cidr, block) in &eni.blocks {
                let single = placement == Placement::AddressesFirst && cidr.unit() == Unit::Address;
                let rank = (single, on_eni, block.assigned);
                // The first of equals is the lowest address of the earliest ENI.
                if eni.free(cidr, block) > 0 && best.is_none_or(|(found, _)| rank > found) {
                    best = Some((rank, cidr));
                }
            }
        }
        let (_, cidr) = best?;
        cidr.addresses().find(|address| {
            !self.holders.contains_key(address) && !self.cooling.contains_key(address)
        })
    }
}
