//! A pool that can be written by hand, shown as a snapshot and advanced by decisions.
//!
//! In: ENIs and blocks, what the node is. Out: a legal snapshot; the pool after a decision.
//! Must hold: what the host derives (free slots, reasons to keep, releasable) is derived here in the
//! same way; EC2 is healthy and answers at once; an action that breaks a limit is an error.

use onsen_core::cidr::Unit;
use onsen_core::proposal::Request;
use onsen_core::snapshot::{
    Blocks, EniPhase, Family, KeepReason, Operation, Outcome, Role, Setting, Snapshot, SnapshotEni,
};

/// An ENI younger than this is kept.
pub const MIN_AGE: u64 = 60_000;

/// One slot in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToyBlock {
    /// Address or prefix.
    pub unit: Unit,
    /// Addresses held by pods.
    pub assigned: u32,
    /// Addresses that cool.
    pub cooling: u32,
    /// What stands for the base address; never used twice.
    pub number: u32,
}

/// One ENI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToyEni {
    /// What it is for.
    pub role: Role,
    /// Where it is in its life.
    pub phase: EniPhase,
    /// Network card.
    pub card: u32,
    /// Place of its subnet in the snapshot.
    pub subnet: u32,
    /// Serves no new pod.
    pub excluded: bool,
    /// EC2 has not confirmed it lately.
    pub unconfirmed: bool,
    /// When it was attached.
    pub since: u64,
    /// Blocks asked for and not answered.
    pub in_flight: u32,
    /// What its slots hold.
    pub blocks: Vec<ToyBlock>,
}

impl ToyEni {
    /// An empty ENI, attached and ready.
    pub fn attached(role: Role, card: u32, since: u64) -> Self {
        Self {
            role,
            phase: EniPhase::Ready,
            card,
            subnet: 0,
            excluded: false,
            unconfirmed: false,
            since,
            in_flight: 0,
            blocks: Vec::new(),
        }
    }
}

/// A node with its pool.
#[derive(Clone, Debug)]
pub struct Toy {
    /// All of a snapshot but ENIs and blocks.
    pub node: Snapshot,
    /// In attach order.
    pub enis: Vec<ToyEni>,
    /// Numbers given to blocks so far.
    pub numbers: u32,
}

impl Toy {
    /// An m5.large with its empty primary ENI and these settings.
    pub fn m5_large(unit: Unit, settings: &[(&str, u32)]) -> Self {
        let mut node = Snapshot {
            now: 1_700_000_000_000,
            unit,
            ..Snapshot::default()
        };
        node.limits.enis = 3;
        node.limits.slots_per_eni = 9;
        node.limits.prefixes = true;
        node.limits.addresses_per_prefix = 16;
        node.node.schedulable = true;
        node.ec2.grow_budget = 8;
        node.ec2.release_budget = 8;
        node.settings = settings
            .iter()
            .map(|(key, value)| Setting {
                key: (*key).into(),
                value: value.to_string(),
            })
            .collect();
        Self {
            node,
            enis: vec![ToyEni::attached(Role::Primary, 0, 0)],
            numbers: 0,
        }
    }

    /// Addresses of a block.
    pub fn size(&self, unit: Unit) -> u32 {
        match unit {
            Unit::Address => 1,
            Unit::Prefix => self.node.limits.addresses_per_prefix,
        }
    }

    /// What a policy sees.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.node.clone();
        snapshot.enis.clear();
        snapshot.blocks = Blocks::default();
        for (place, eni) in (0..).zip(&self.enis) {
            let first_block = snapshot.blocks.base.len() as u32;
            for block in &eni.blocks {
                self.show_block(&mut snapshot.blocks, eni, block);
            }
            snapshot.enis.push(SnapshotEni {
                id: format!("eni-{place}"),
                role: eni.role,
                phase: eni.phase,
                subnet: eni.subnet,
                device_index: place,
                card: eni.card,
                excluded: eni.excluded,
                since: eni.since,
                idle_since: if eni.blocks.iter().any(|block| block.assigned > 0) {
                    0
                } else {
                    eni.since
                },
                free_slots: self.free_slots(eni),
                in_flight: eni.in_flight,
                in_flight_unit: self.node.unit,
                busy: eni.in_flight > 0 || eni.phase != EniPhase::Ready,
                keep: self.keep(eni),
                first_block,
                block_count: eni.blocks.len() as u32,
            });
        }
        snapshot
    }

    fn show_block(&self, blocks: &mut Blocks, eni: &ToyEni, block: &ToyBlock) {
        let ipv6 = self.node.node.family == Family::Ipv6;
        let size = self.size(block.unit);
        let usable = eni.phase == EniPhase::Ready && !eni.excluded && !eni.unconfirmed;
        let held = block.assigned + block.cooling;
        let busy = eni.in_flight > 0 || eni.phase != EniPhase::Ready || eni.unconfirmed;
        if ipv6 {
            blocks
                .base_high
                .push(0x2600_0000_0000_0000 + u64::from(block.number));
            blocks.base.push(0);
        } else {
            blocks.base.push(0x0a00_0000 + u64::from(block.number) * 16);
        }
        blocks.length.push(match (block.unit, ipv6) {
            (Unit::Address, false) => 32,
            (Unit::Prefix, false) => 28,
            (Unit::Address, true) => 128,
            (Unit::Prefix, true) => 80,
        });
        blocks.assigned.push(block.assigned);
        blocks.cooling.push(block.cooling);
        blocks.cooling_until.push(if block.cooling > 0 {
            self.node.now + 10_000
        } else {
            0
        });
        blocks.idle_since.push(if block.assigned > 0 {
            0
        } else {
            self.node.now - 200_000
        });
        blocks
            .free
            .push(if usable { size.saturating_sub(held) } else { 0 });
        blocks.releasable.push(held == 0 && !busy);
    }

    fn free_slots(&self, eni: &ToyEni) -> u32 {
        let used = eni.blocks.len() as u32 + eni.in_flight;
        let usable = eni.phase == EniPhase::Ready && !eni.excluded && !eni.unconfirmed;
        if usable && eni.role != Role::Trunk {
            self.node.limits.slots_per_eni.saturating_sub(used)
        } else {
            0
        }
    }

    fn keep(&self, eni: &ToyEni) -> Option<KeepReason> {
        let reasons = [
            (eni.role == Role::Primary, KeepReason::Primary),
            (eni.role == Role::Trunk, KeepReason::Trunk),
            (eni.role == Role::Efa, KeepReason::Efa),
            (
                eni.blocks.iter().any(|b| b.assigned > 0),
                KeepReason::Assigned,
            ),
            (
                eni.blocks.iter().any(|b| b.cooling > 0),
                KeepReason::Cooling,
            ),
            (
                eni.in_flight > 0 || eni.phase != EniPhase::Ready,
                KeepReason::InFlight,
            ),
            (self.node.now < eni.since + MIN_AGE, KeepReason::TooYoung),
            (eni.unconfirmed, KeepReason::Unconfirmed),
        ];
        reasons
            .into_iter()
            .find(|(holds, _)| *holds)
            .map(|(_, why)| why)
    }

    /// Puts blocks into an ENI without asking anybody.
    pub fn fill(&mut self, eni: usize, unit: Unit, count: u32) {
        for _ in 0..count {
            self.numbers += 1;
            self.enis[eni].blocks.push(ToyBlock {
                unit,
                assigned: 0,
                cooling: 0,
                number: self.numbers,
            });
        }
    }

    /// Carries out a decision at once. An action that the host would refuse is an error.
    pub fn apply(&mut self, requests: &[Request]) -> Result<(), String> {
        let shown = self.snapshot();
        let mut leave = Vec::new();
        for request in requests {
            let refused = |why: &str| Err(format!("{request:?}: {why}"));
            match request {
                Request::AttachEni {
                    unit,
                    blocks,
                    card,
                    subnet,
                } => {
                    if !self.room(*card) || *blocks > self.node.limits.slots_per_eni {
                        return refused("no room");
                    }
                    let mut eni = ToyEni::attached(Role::Secondary, *card, self.node.now);
                    eni.subnet = subnet.unwrap_or(0);
                    self.enis.push(eni);
                    self.fill(self.enis.len() - 1, *unit, *blocks);
                }
                Request::Grow { eni, unit, count } => match shown.enis.get(*eni as usize) {
                    Some(known) if *count > 0 && *count <= known.free_slots => {
                        self.fill(*eni as usize, *unit, *count);
                    }
                    _ => return refused("no free slots"),
                },
                Request::Release { eni, blocks } => {
                    let numbers: Vec<u64> = blocks
                        .iter()
                        .filter_map(|place| {
                            let place = *place as usize;
                            let may = *shown.blocks.releasable.get(place)?;
                            may.then(|| shown.blocks.base[place])
                        })
                        .collect();
                    if numbers.len() != blocks.len() || blocks.is_empty() {
                        return refused("a block is kept");
                    }
                    let at = *eni as usize;
                    self.enis[at]
                        .blocks
                        .retain(|b| !numbers.contains(&(0x0a00_0000 + u64::from(b.number) * 16)));
                    self.note(Operation::Release, Some(*eni), blocks.len() as u32);
                }
                Request::DetachEni { eni } => match shown.enis.get(*eni as usize) {
                    Some(known) if known.keep.is_none() => leave.push(*eni as usize),
                    _ => return refused("it is kept"),
                },
            }
        }
        leave.sort_unstable();
        for place in leave.into_iter().rev() {
            self.drop_eni(place);
        }
        Ok(())
    }

    fn room(&self, card: u32) -> bool {
        let limits = &self.node.limits;
        let most = match (card as usize).checked_sub(1) {
            None => limits.enis,
            Some(place) => limits.other_cards.get(place).copied().unwrap_or(0),
        };
        (self.enis.iter().filter(|eni| eni.card == card).count() as u32) < most
    }

    fn note(&mut self, operation: Operation, eni: Option<u32>, blocks: u32) {
        self.node.ec2.outcomes.push(Outcome {
            at: self.node.now,
            operation,
            eni,
            subnet: Some(0),
            unit: self.node.unit,
            asked: blocks,
            done: blocks,
            code: String::new(),
        });
    }

    /// Takes an ENI out; outcomes that are about it go as well.
    pub fn drop_eni(&mut self, place: usize) {
        self.enis.remove(place);
        let place = place as u32;
        let outcomes = &mut self.node.ec2.outcomes;
        outcomes.retain(|outcome| outcome.eni != Some(place));
        for outcome in outcomes {
            outcome.eni = outcome.eni.map(|eni| eni - u32::from(eni > place));
        }
    }

    /// Time passes: what cools is free again, outcomes older than a quarter of an hour are gone.
    pub fn wait(&mut self, time: u64) {
        self.node.now += time;
        for block in self.enis.iter_mut().flat_map(|eni| &mut eni.blocks) {
            block.cooling = 0;
        }
        let now = self.node.now;
        self.node
            .ec2
            .outcomes
            .retain(|outcome| now - outcome.at < 900_000);
    }

    /// Pods that wait take free addresses of the active unit, first come first served.
    pub fn serve(&mut self) {
        let unit = self.node.unit;
        let size = self.size(unit);
        for eni in self
            .enis
            .iter_mut()
            .filter(|eni| eni.phase == EniPhase::Ready && !eni.excluded && !eni.unconfirmed)
        {
            for block in eni.blocks.iter_mut().filter(|block| block.unit == unit) {
                while block.assigned + block.cooling < size
                    && self.node.demand.waiting.pop().is_some()
                {
                    block.assigned += 1;
                }
            }
        }
    }
}
