//! The part of the round that gives back: release of blocks, detachment of an ENI.
//!
//! In: the card as growth left it, the actions about it. Out: complaints.
//! Must hold: what may go is read from the snapshot; how much is too much, from the rules.

use std::collections::BTreeSet;

use onsen_core::proposal::Request;
use onsen_core::snapshot::Trigger;

use super::Case;
use crate::card::{Card, Eni};
use crate::ladder;
use crate::rules::{Mode, Rules};

impl Case<'_> {
    pub(super) fn release(&mut self, card: &mut Card, requests: &[&Request], low: bool) {
        let taken = self.taken(card, requests);
        let rules = self.rules.clone();
        // Normal mode gives nothing back that pods wait for.
        let awaited = rules.mode == Mode::Normal && rules.waiting > 0 && card.number == 0;
        let over = if low || awaited || !ladder::may_release(self.snapshot) {
            0
        } else {
            rules.too_many(card)
        };
        if over > 0 {
            self.reach("over");
        }
        let start = self.snapshot.trigger == Trigger::Start;
        let both_have: Vec<i64> = card.enis.iter().map(|eni| eni.releasable(None)).collect();
        let stale = |eni: &Eni| {
            let all = eni.releasable(None);
            if rules.serves_none(eni, card.number, start) {
                all
            } else {
                all - eni.releasable(Some(rules.unit))
            }
        };
        let stale_has: Vec<i64> = card.enis.iter().map(stale).collect();
        let active_has: Vec<i64> = both_have
            .iter()
            .zip(&stale_has)
            .map(|(a, b)| a - b)
            .collect();
        let active: Vec<i64> = taken.iter().map(|(active, _)| *active).collect();
        let both: Vec<i64> = taken.iter().map(|(active, stale)| active + stale).collect();
        let leftovers: i64 = stale_has.iter().sum();
        let gone: i64 = taken.iter().map(|(_, stale)| stale).sum();
        let released = requests
            .iter()
            .filter(|r| matches!(r, Request::Release { .. }))
            .count();
        self.release_budget -= released as i64;
        // The host refuses all destruction on a node that goes away, so it need not be asked for.
        let short_of_calls = self.release_budget <= 0 || rules.terminating;
        // What serves no pod goes by itself, or surplus does and it goes with the next decision.
        let by_kind = (gone > 0 && active.iter().all(|n| *n == 0))
            || newest_first(&active, &active_has, over);
        let right = match rules.mode {
            Mode::Strict => {
                // When the last pod of a prefix goes that is left over, the rest of its ENI goes as well.
                let by_itself = start || (leftovers > 0 && !rules.prefixes());
                newest_first(&both, &both_have, over) || (by_itself && gone == leftovers && by_kind)
            }
            Mode::Normal => {
                // Growth comes first where the slots of what goes are of no use to it.
                let all_gone = gone == leftovers || rules.waiting > 0 || short_of_calls || low;
                // Giving up a whole ENI gives up its blocks as well.
                let detaches = requests
                    .iter()
                    .any(|r| matches!(r, Request::DetachEni { .. }));
                // What is on its way counts as there, but need not come; growth may come first.
                let coming = card.enis.iter().any(|eni| eni.in_flight > 0 || !eni.ready);
                let none = (detaches || coming || low) && released == 0;
                none || (all_gone && by_kind)
            }
        };
        if leftovers > 0 {
            self.reach("leftovers");
        }
        let too_many = match rules.mode {
            Mode::Strict => active.iter().sum::<i64>() > over && gone == 0,
            Mode::Normal => active.iter().sum::<i64>() > over,
        };
        if too_many || (!right && !short_of_calls) {
            self.complain(format!(
                "card {}: {over} blocks are over; by ENI {both_have:?} may go ({leftovers} leftovers); \
                 active released {active:?}, in all {both:?}",
                card.number
            ));
        }
        for request in requests {
            if let Request::Release { eni, blocks } = request
                && let Some(eni) = card.enis.iter_mut().find(|known| known.index == *eni)
            {
                eni.touched = true;
                eni.blocks
                    .retain(|b| b.place.is_none_or(|place| !blocks.contains(&place)));
            }
        }
    }

    /// Blocks released of each ENI: those that may serve pods, and those that serve none.
    fn taken(&mut self, card: &Card, requests: &[&Request]) -> Vec<(i64, i64)> {
        let mut taken = vec![(0, 0); card.enis.len()];
        for request in requests {
            let Request::Release { eni, blocks } = request else {
                continue;
            };
            let places: BTreeSet<u32> = blocks.iter().copied().collect();
            if places.len() != blocks.len() || blocks.is_empty() {
                self.complain(format!("ENI {eni}: no block, or one twice: {blocks:?}"));
            }
            let Some(at) = card.enis.iter().position(|known| known.index == *eni) else {
                continue;
            };
            for place in places {
                let block = card.enis[at].blocks.iter().find(|b| b.place == Some(place));
                match block {
                    Some(block) if block.releasable => {
                        let eni = &card.enis[at];
                        let start = self.snapshot.trigger == Trigger::Start;
                        if block.unit == self.rules.unit
                            && !self.rules.serves_none(eni, card.number, start)
                        {
                            taken[at].0 += 1;
                        } else {
                            taken[at].1 += 1;
                        }
                    }
                    Some(_) | None => {
                        self.complain(format!("block {place} of ENI {eni} must not be released"));
                    }
                }
            }
        }
        taken
    }

    pub(super) fn detach(&mut self, before: &Card, card: &Card, requests: &[&Request]) {
        let rules = self.rules.clone();
        let asked: Vec<u32> = requests
            .iter()
            .filter_map(|request| match request {
                Request::DetachEni { eni } => Some(*eni),
                Request::AttachEni { .. } | Request::Grow { .. } | Request::Release { .. } => None,
            })
            .collect();
        // The text has it both ways: the figures from before the first step, or from after it.
        let sure = rules.considers_detach(before) && rules.considers_detach(card);
        let maybe = rules.considers_detach(before) || rules.considers_detach(card);
        let stopped = rules.terminating || rules.cordon_stops() || !maybe;
        let may_go = card
            .enis
            .iter()
            .filter(|eni| !stopped && !eni.touched && rules.may_detach(card, eni));
        let newest = may_go.map(|eni| eni.index).next_back();
        if newest.is_some() {
            self.reach("detach");
        }
        match (&*asked, newest) {
            ([], None) => {}
            ([], Some(newest)) => {
                // Normal mode may first see what became of the other step.
                let busy = !requests.is_empty() || (rules.waiting > 0 && card.number == 0);
                let later =
                    (rules.mode == Mode::Normal && busy) || leftovers_go(before, &rules, requests);
                if self.release_budget > 0 && !later && sure {
                    self.complain(format!("ENI {newest} should be detached"));
                }
            }
            ([one], Some(newest)) if *one == newest => {}
            (asked, newest) => self.complain(format!("detaches {asked:?}, not {newest:?}")),
        }
        self.release_budget -= asked.len() as i64;
    }
}

/// Whether blocks that serve no pod are given back: a decision of its own, others come after.
fn leftovers_go(card: &Card, rules: &Rules, requests: &[&Request]) -> bool {
    let old = |place: &u32| {
        card.enis.iter().any(|eni| {
            let mut blocks = eni.blocks.iter();
            blocks.any(|b| b.place == Some(*place) && (eni.excluded || b.unit != rules.unit))
        })
    };
    requests.iter().any(|request| match request {
        Request::Release { blocks, .. } => blocks.iter().any(old),
        Request::AttachEni { .. } | Request::Grow { .. } | Request::DetachEni { .. } => false,
    })
}

/// Whether exactly `over` blocks were taken, or all there are, from the newest ENI first.
fn newest_first(taken: &[i64], has: &[i64], over: i64) -> bool {
    let mut left = over;
    taken.iter().zip(has).rev().all(|(taken, has)| {
        let right = left.min(*has);
        left -= right;
        *taken == right
    })
}
