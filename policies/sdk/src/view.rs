//! The snapshot dressed up for people: ENIs that know their blocks, blocks as values, totals.
//!
//! In: a snapshot. Out: cheap copies that borrow from it.
//! Must hold: lists that do not fit together give fewer blocks, never a panic.

use alloc::format;
use alloc::string::String;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::{AddAssign, Range};

use crate::{Eni, EniState, Role, Setting, Snapshot, Unit};

/// A snapshot with a memory for its shape.
///
/// ```
/// use onsen_policy_sdk::{Unit, View, testing::Pool};
///
/// let mut node = Pool::new(3, 9, Unit::Address);
/// node.fill(0, Unit::Address, 4);
/// node.add_pod();
/// let snapshot = node.snapshot();
/// let view = View::new(&snapshot);
///
/// let primary = view.enis().next().unwrap();
/// let totals = primary.totals(Unit::Address);
/// assert_eq!((totals.assigned, totals.free, primary.eni.free_slots), (1, 3, 5));
/// assert_eq!(primary.blocks().filter(|block| block.releasable).count(), 3);
/// ```
#[derive(Debug)]
pub struct View<'a> {
    /// What the host sent.
    pub snapshot: &'a Snapshot,
}

impl<'a> View<'a> {
    /// Wraps a snapshot.
    pub fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot }
    }

    /// The ENIs in attach order, the primary first.
    pub fn enis(
        &self,
    ) -> impl DoubleEndedIterator<Item = EniView<'a>> + ExactSizeIterator + use<'a> {
        let snapshot = self.snapshot;
        snapshot
            .enis
            .iter()
            .enumerate()
            .map(move |(index, eni)| EniView {
                index: index as u32,
                eni,
                snapshot,
            })
    }

    /// Settings as the operator wrote them.
    pub fn settings(&self) -> &'a [Setting] {
        &self.snapshot.settings
    }

    /// Pods that wait for an address.
    pub fn waiting(&self) -> u32 {
        self.snapshot.demand.waiting.len() as u32
    }

    /// A block as people write it, for reasons and logs.
    ///
    /// ```
    /// use onsen_policy_sdk::{Unit, View, testing::Pool};
    ///
    /// let mut node = Pool::new(3, 9, Unit::Prefix);
    /// node.fill(0, Unit::Prefix, 2);
    /// let snapshot = node.snapshot();
    /// let view = View::new(&snapshot);
    /// let texts: Vec<_> = view.enis().flat_map(|eni| eni.blocks()).map(|it| view.cidr(it)).collect();
    /// assert_eq!(texts, ["10.0.0.0/28", "10.0.0.16/28"]);
    /// ```
    pub fn cidr(&self, block: Block) -> String {
        let lists = &self.snapshot.blocks;
        let place = block.index as usize;
        let low = lists.base.get(place).copied().unwrap_or(0);
        let length = lists.length.get(place).copied().unwrap_or(0);
        match lists.base_high.get(place) {
            Some(high) => {
                let address = Ipv6Addr::from((u128::from(*high) << 64) | u128::from(low));
                format!("{address}/{length}")
            }
            None => format!("{}/{length}", Ipv4Addr::from(low as u32)),
        }
    }

    /// Addresses that one block of this unit holds.
    pub fn addresses_per(&self, unit: Unit) -> u32 {
        match unit {
            Unit::Address => 1,
            Unit::Prefix => self.snapshot.limits.addresses_per_prefix.max(1),
        }
    }
}

/// One ENI and its blocks.
#[derive(Clone, Copy, Debug)]
pub struct EniView<'a> {
    /// Its place in `snapshot.enis`.
    pub index: u32,
    /// What the host says of it.
    pub eni: &'a Eni,
    snapshot: &'a Snapshot,
}

impl<'a> EniView<'a> {
    /// Its blocks, lowest address first.
    pub fn blocks(&self) -> impl DoubleEndedIterator<Item = Block> + use<'a> {
        let snapshot = self.snapshot;
        self.range().map(move |place| Block::read(snapshot, place))
    }

    fn range(&self) -> Range<usize> {
        let lists = &self.snapshot.blocks;
        let known = [
            lists.base.len(),
            lists.length.len(),
            lists.assigned.len(),
            lists.cooling.len(),
            lists.cooling_until.len(),
            lists.idle_since.len(),
            lists.free.len(),
            lists.releasable.len(),
        ];
        let known = known.into_iter().min().unwrap_or(0);
        let first = (self.eni.first_block as usize).min(known);
        let end = first
            .saturating_add(self.eni.block_count as usize)
            .min(known);
        first..end
    }

    /// Sums over its blocks of one unit.
    pub fn totals(&self, unit: Unit) -> Totals {
        let mut totals = Totals::default();
        for block in self.blocks().filter(|block| block.unit == unit) {
            totals += Totals::from(block);
        }
        totals
    }

    /// Whether more blocks can be asked for on it now.
    pub fn can_grow(&self) -> bool {
        self.eni.state == EniState::Ready
            && self.eni.role != Role::Trunk
            && self.eni.free_slots > 0
            && !self.eni.busy
            && !self.eni.excluded
    }

    /// Whether the host would let it go.
    pub fn can_detach(&self) -> bool {
        self.eni.keep.is_none() && self.eni.state == EniState::Ready
    }

    /// Its id, or a word for an ENI that has none yet.
    pub fn name(&self) -> &'a str {
        if self.eni.id.is_empty() {
            "a new ENI"
        } else {
            &self.eni.id
        }
    }
}

/// One block as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its place in the lists of `snapshot.blocks`.
    pub index: u32,
    /// An address or a prefix.
    pub unit: Unit,
    /// Addresses it holds.
    pub addresses: u32,
    /// Addresses held by pods.
    pub assigned: u32,
    /// Addresses that cool.
    pub cooling: u32,
    /// When the last of them is free again; 0 when none cools.
    pub cooling_until: u64,
    /// Since when no pod holds an address of it; 0 while one does.
    pub idle_since: u64,
    /// Addresses that a pod could get now.
    pub free: u32,
    /// Whether the host would release it now.
    pub releasable: bool,
}

impl Block {
    /// The caller has checked the place against all lists.
    fn read(snapshot: &Snapshot, place: usize) -> Self {
        let lists = &snapshot.blocks;
        let single = matches!(lists.length[place], 32 | 128);
        Self {
            index: place as u32,
            unit: if single { Unit::Address } else { Unit::Prefix },
            addresses: if single {
                1
            } else {
                snapshot.limits.addresses_per_prefix.max(1)
            },
            assigned: lists.assigned[place],
            cooling: lists.cooling[place],
            cooling_until: lists.cooling_until[place],
            idle_since: lists.idle_since[place],
            free: lists.free[place],
            releasable: lists.releasable[place],
        }
    }
}

/// Sums over some blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Blocks.
    pub blocks: u32,
    /// Blocks without an assigned address; cooling ones count.
    pub unused_blocks: u32,
    /// Addresses.
    pub addresses: u32,
    /// Addresses held by pods.
    pub assigned: u32,
    /// Addresses that cool.
    pub cooling: u32,
    /// Addresses that a pod could get now.
    pub free: u32,
}

impl From<Block> for Totals {
    fn from(block: Block) -> Self {
        Self {
            blocks: 1,
            unused_blocks: u32::from(block.assigned == 0),
            addresses: block.addresses,
            assigned: block.assigned,
            cooling: block.cooling,
            free: block.free,
        }
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.unused_blocks += other.unused_blocks;
        self.addresses = self.addresses.saturating_add(other.addresses);
        self.assigned = self.assigned.saturating_add(other.assigned);
        self.cooling = self.cooling.saturating_add(other.cooling);
        self.free = self.free.saturating_add(other.free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Pool;

    #[test]
    fn blocks_of_ipv6_are_written_as_such() {
        let mut node = Pool::new(3, 9, Unit::Prefix);
        node.fill(0, Unit::Prefix, 1);
        let mut snapshot = node.snapshot();
        snapshot.blocks.base_high = [0x2001_0db8_0000_0001].into();
        snapshot.blocks.base[0] = 0x0000_abcd_0000_0000;
        snapshot.blocks.length[0] = 80;
        let view = View::new(&snapshot);
        let block = view.enis().next().unwrap().blocks().next().unwrap();
        assert_eq!(view.cidr(block), "2001:db8:0:1:0:abcd::/80");
    }
}
