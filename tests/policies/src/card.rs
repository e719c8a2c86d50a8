//! The ENIs of one network card, and what is measured on them.
//!
//! In: a snapshot. Out: values that a planned step can change, and the sums that thresholds use.
//! Must hold: counts are signed and wide, so that a difference never wraps.

use onsen_core::cidr::Unit;
use onsen_core::snapshot::{EniPhase, Role, Snapshot};

use crate::rules::{Mode, Rules};

/// What one slot holds.
#[derive(Clone, Debug)]
pub struct Block {
    /// Place in the snapshot's lists; absent when it is planned or on its way.
    pub place: Option<u32>,
    /// Address or prefix.
    pub unit: Unit,
    /// Addresses it holds.
    pub size: i64,
    /// Of them held by pods.
    pub assigned: i64,
    /// Of them neither held nor free to be given now: cooling, or not confirmed.
    pub stuck: i64,
    /// Whether the host would release it.
    pub releasable: bool,
}

/// One ENI.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a condition of its own"
)]
pub struct Eni {
    /// Place in the snapshot.
    pub index: u32,
    /// What it is for.
    pub role: Role,
    /// Neither on its way in nor out.
    pub ready: bool,
    /// On its way out: its blocks are gone for us.
    pub leaving: bool,
    /// Serves no new pod.
    pub excluded: bool,
    /// The host would not detach it.
    pub kept: bool,
    /// Slots that hold nothing.
    pub free_slots: i64,
    /// Blocks asked for and not answered.
    pub in_flight: i64,
    /// What its slots hold.
    pub blocks: Vec<Block>,
    /// An action of this decision is about it.
    pub touched: bool,
}

impl Eni {
    /// Whether a pod holds one of its addresses.
    pub fn carries_pod(&self) -> bool {
        self.blocks.iter().any(|block| block.assigned > 0)
    }

    /// Blocks of this unit, or of both, that the host would release.
    pub fn releasable(&self, unit: Option<Unit>) -> i64 {
        let counts = |b: &&Block| b.releasable && unit.is_none_or(|unit| b.unit == unit);
        self.blocks.iter().filter(counts).count() as i64
    }

    /// Puts planned blocks into free slots.
    pub fn plan(&mut self, unit: Unit, size: i64, count: i64) {
        self.free_slots -= count;
        self.touched = true;
        for _ in 0..count {
            self.blocks.push(Block {
                place: None,
                unit,
                size,
                assigned: 0,
                stuck: 0,
                releasable: false,
            });
        }
    }
}

/// One network card with its own pool.
#[derive(Clone, Debug)]
pub struct Card {
    /// 0, 1, ...
    pub number: u32,
    /// ENIs that it may hold.
    pub limit: i64,
    /// In attach order.
    pub enis: Vec<Eni>,
}

/// Sums over one card.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measures {
    /// Addresses of the active unit on ENIs that are not excluded.
    pub total: i64,
    /// Of them held by pods; in normal mode those that pods wait for as well.
    pub assigned: i64,
    /// Of them neither held nor free to be given now.
    pub stuck: i64,
    /// `total - assigned`; what cools is available.
    pub available: i64,
    /// Prefixes.
    pub prefixes: i64,
    /// Prefixes without a pod.
    pub free_prefixes: i64,
}

/// All managed cards.
pub fn cards(snapshot: &Snapshot, rules: &Rules) -> Vec<Card> {
    let limits = &snapshot.limits;
    let most = std::iter::once(&limits.enis).chain(&limits.other_cards);
    let mut cards: Vec<Card> = (0..)
        .zip(most)
        .map(|(number, limit)| Card {
            number,
            limit: i64::from(*limit),
            enis: Vec::new(),
        })
        .collect();
    cards[0].limit = cards[0].limit.min(rules.max_eni);
    for card in &mut cards[1..] {
        card.limit = card.limit.min(rules.max_eni);
    }
    for (index, eni) in (0..).zip(&snapshot.enis) {
        let leaving = eni.phase == EniPhase::Detaching;
        let mut shown = Eni {
            index,
            role: eni.role,
            ready: eni.phase == EniPhase::Ready,
            leaving,
            excluded: eni.excluded,
            kept: eni.keep.is_some(),
            free_slots: i64::from(eni.free_slots),
            in_flight: i64::from(eni.in_flight),
            blocks: Vec::new(),
            touched: false,
        };
        let places = eni.first_block..eni.first_block + eni.block_count;
        for place in places.filter(|_| !leaving) {
            let mut block = block(snapshot, rules, place);
            // An ENI on its way in counts as there.
            block.stuck *= i64::from(shown.ready);
            shown.blocks.push(block);
        }
        // What is on its way counts as there; upstream waits for each call instead.
        if rules.mode == Mode::Normal && !leaving {
            let free = shown.free_slots;
            shown.plan(rules.unit, rules.size(rules.unit), i64::from(eni.in_flight));
            shown.free_slots = free;
            shown.touched = false;
        }
        if let Some(card) = cards.get_mut(eni.card as usize) {
            card.enis.push(shown);
        }
    }
    cards
}

fn block(snapshot: &Snapshot, rules: &Rules, place: u32) -> Block {
    let (lists, at) = (&snapshot.blocks, place as usize);
    let unit = match lists.length[at] {
        32 | 128 => Unit::Address,
        _ => Unit::Prefix,
    };
    let (size, assigned) = (rules.size(unit), i64::from(lists.assigned[at]));
    Block {
        place: Some(place),
        unit,
        size,
        assigned,
        stuck: size - assigned - i64::from(lists.free[at]),
        releasable: lists.releasable[at],
    }
}

impl Card {
    /// Section "measurements". In normal mode an excluded ENI's prefixes do not count.
    pub fn measure(&self, rules: &Rules) -> Measures {
        let mut sums = Measures::default();
        for eni in &self.enis {
            for block in &eni.blocks {
                let counts = !eni.excluded;
                if counts && block.unit == rules.unit {
                    sums.total += block.size;
                    sums.assigned += block.assigned;
                    sums.stuck += block.stuck;
                }
                if block.unit == Unit::Prefix && (counts || rules.mode == Mode::Strict) {
                    sums.prefixes += 1;
                    sums.free_prefixes += i64::from(block.assigned == 0);
                }
            }
        }
        if rules.mode == Mode::Normal && self.number == 0 {
            sums.assigned += rules.waiting;
        }
        sums.available = sums.total - sums.assigned;
        sums
    }

    /// The same card without one ENI.
    #[must_use]
    pub fn without(&self, index: u32) -> Self {
        let mut rest = self.clone();
        rest.enis.retain(|eni| eni.index != index);
        rest
    }
}
