//! What the core shows of itself: numbers and lists for status pages and metrics. Plain values,
//! made anew on each call.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::check::{eni_keep, eni_kept_until};
use crate::cidr::{Cidr, Unit};
use crate::effect::Allocation;
use crate::ids::{EniId, Mac, SubnetId};
use crate::node::Node;
use crate::snapshot::{EniPhase, KeepReason, Limits, Role};
use crate::time::Millis;

/// The pool in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// ENIs that count against the limit, unmanaged ones left out.
    pub enis: u32,
    /// What the node may have, unmanaged ENIs taken off.
    pub limits: Limits,
    /// What new blocks are by default.
    pub unit: Unit,
    /// Addresses in blocks of ready ENIs.
    pub addresses: u32,
    /// Prefixes among the blocks.
    pub prefixes: u32,
    /// Held by sandboxes.
    pub assigned: u32,
    /// Given back and not yet usable.
    pub cooling: u32,
    /// Could be given now.
    pub warm: u32,
    /// Requests that wait for an address.
    pub waiting: u32,
    /// EC2 calls under way.
    pub in_flight: u32,
    /// Nothing is sent before this; 0 when EC2 does not throttle.
    pub throttled_until: Millis,
}

/// One ENI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EniStatus {
    /// Its id.
    pub id: EniId,
    /// Its hardware address.
    pub mac: Mac,
    /// Its own address.
    pub primary: IpAddr,
    /// Its subnet.
    pub subnet: SubnetId,
    /// What it is for.
    pub role: Role,
    /// Where it is in its life.
    pub phase: EniPhase,
    /// Network card.
    pub card: u32,
    /// Device index; 0 while it is attached to nothing.
    pub device_index: u32,
    /// Since when the daemon knows it.
    pub since: Millis,
    /// Slots that hold nothing and are not asked for.
    pub free_slots: u32,
    /// Why it cannot be detached now.
    pub keep: Option<KeepReason>,
    /// When that reason ends by itself, if it does.
    pub kept_until: Option<Millis>,
    /// Whether its addresses serve no new pod.
    pub excluded: bool,
    /// Its blocks, lowest first.
    pub blocks: Vec<BlockStatus>,
}

/// One block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockStatus {
    /// Its range.
    pub cidr: Cidr,
    /// Addresses held.
    pub assigned: u32,
    /// Addresses cooling.
    pub cooling: u32,
    /// Addresses that could be given now.
    pub free: u32,
    /// Why none can be given although some are not held: `leaving`, `suspect`; empty when usable.
    pub hold: String,
}

/// One address held by a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldingStatus {
    /// Who holds what since when.
    pub allocation: Allocation,
    /// The ENI that carries it; absent when EC2 took it away.
    pub eni: Option<EniId>,
    /// Network card of that ENI.
    pub card: u32,
    /// Device index of that ENI.
    pub device_index: u32,
}

impl Node {
    /// The pool in numbers.
    pub fn summary(&self, now: Millis) -> Summary {
        let blocks = self.pool.enis.iter().flat_map(|eni| eni.blocks.keys());
        Summary {
            enis: self.eni_count(0),
            limits: self.limits(),
            unit: self.config.unit,
            addresses: self.pool.addresses(),
            prefixes: blocks.filter(|cidr| cidr.unit() == Unit::Prefix).count() as u32,
            assigned: self.pool.allocations().count() as u32,
            cooling: self.pool.cooling().len() as u32,
            warm: self.pool.warm(),
            waiting: self.waiting.0.len() as u32,
            in_flight: self.calls.len() as u32,
            throttled_until: Some(self.throttle.grow_until())
                .filter(|until| *until > now)
                .unwrap_or(0),
        }
    }

    /// Each ENI with its blocks.
    pub fn enis(&self, now: Millis) -> Vec<EniStatus> {
        self.pool
            .enis
            .iter()
            .map(|eni| {
                let (card, device_index) = eni.device();
                let blocks = eni.blocks.iter().map(|(cidr, block)| BlockStatus {
                    cidr: *cidr,
                    assigned: block.assigned,
                    cooling: block.cooling,
                    free: eni.free(cidr, block),
                    hold: match (block.leaving, block.is_doubtful()) {
                        (true, _) => "leaving".into(),
                        (false, true) => "suspect".into(),
                        (false, false) => String::new(),
                    },
                });
                EniStatus {
                    id: eni.id.clone(),
                    mac: eni.mac,
                    primary: eni.primary,
                    subnet: eni.subnet.clone(),
                    role: eni.role,
                    phase: eni.phase(),
                    card,
                    device_index,
                    since: eni.since,
                    free_slots: eni.free_slots(self.config.limits.slots_per_eni),
                    keep: eni_keep(self, eni, now),
                    kept_until: eni_kept_until(self, eni, now),
                    excluded: eni.excluded,
                    blocks: blocks.collect(),
                }
            })
            .collect()
    }

    /// Addresses that cool, lowest first, and until when.
    pub fn cooling(&self) -> Vec<(IpAddr, Millis)> {
        let cooling = self.pool.cooling().iter();
        cooling.map(|(address, until)| (*address, *until)).collect()
    }

    /// Each address held by a sandbox.
    pub fn holdings(&self) -> Vec<HoldingStatus> {
        self.pool
            .allocations()
            .map(|allocation| {
                let holding = self.pool.holding(allocation);
                HoldingStatus {
                    allocation: allocation.clone(),
                    card: holding.as_ref().map_or(0, |holding| holding.card),
                    device_index: holding.as_ref().map_or(0, |holding| holding.device_index),
                    eni: holding.map(|holding| holding.eni),
                }
            })
            .collect()
    }
}
