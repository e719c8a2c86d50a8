//! The way back: blocks that serve no new pod, surplus blocks, one ENI of a card.
//!
//! Must hold: the newest ENI first, so that a shrinking node ends with the fewest ENIs; the pool
//! is not low afterwards.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use onsen_policy_sdk::{Block, Draft, EniView, KeepReason, SECOND, Unit, View, counted};

use crate::memo::Memo;
use crate::pool::{Line, Pool};
use crate::targets::{Targets, ceil_div, count};

/// Surplus goes back at most this often.
const RELEASE_PERIOD: u64 = 30 * SECOND;
/// When to look again at what could not be given back yet: upstream's period.
const ROUND: u64 = 5 * SECOND;

/// Plans what goes back; what was found, for people. `memo` is changed when blocks go back.
pub(crate) fn plan(
    view: &View<'_>,
    targets: &Targets,
    pool: &mut Pool<'_>,
    draft: &mut Draft,
    budget: &mut u32,
    memo: &mut Memo,
) -> String {
    let surplus = targets.surplus(&pool.sums);
    let mut released = 0;
    // What pods wait for is no surplus.
    if surplus > 0 && pool.coming == 0 && pool.waiting == 0 {
        let due = memo.released_at.saturating_add(RELEASE_PERIOD);
        if view.snapshot.now < due {
            draft.wake_after(due - view.snapshot.now);
        } else {
            released = release(targets, pool, draft, surplus, budget);
            if released > 0 || targets.strict {
                memo.released_now = true;
            }
            if released < surplus {
                // It cools, or the budget is used up.
                draft.wake_after(ROUND);
            }
        }
    }
    let mut detached = false;
    // Upstream measures anew and may do both in one round.
    if (released == 0 || targets.strict) && pool.waiting == 0 {
        detached = consider_detach(targets, pool, draft, *budget);
    }
    if released > 0 || detached {
        "more than wanted, some goes back".into()
    } else if surplus > 0 {
        format!(
            "{} too many, none can go back yet",
            counted(count(surplus), targets.unit)
        )
    } else {
        "nothing to do".into()
    }
}

/// Detaches one ENI if the pool could do with one less; whether it does.
pub(crate) fn consider_detach(
    targets: &Targets,
    pool: &Pool<'_>,
    draft: &mut Draft,
    budget: u32,
) -> bool {
    targets.managed && should_detach(targets, pool) && detach(targets, pool, draft, budget)
}

fn releasable(line: &Line<'_>, is_meant: impl Fn(Unit) -> bool, most: u32) -> Vec<Block> {
    line.eni
        .blocks()
        .rev()
        .filter(|block: &Block| is_meant(block.unit) && block.releasable)
        .take(most as usize)
        .collect()
}

fn indexes(blocks: &[Block]) -> Vec<u32> {
    blocks.iter().map(|block| block.index).collect()
}

/// Gives back the free blocks that serve no new pod: those of the unit that is not in force, and all
/// of an excluded ENI.
pub(crate) fn leftovers(
    targets: &Targets,
    pool: &Pool<'_>,
    draft: &mut Draft,
    budget: &mut u32,
    is_meant: impl Fn(&Line<'_>) -> bool,
) -> bool {
    let mut found = false;
    for line in pool.lines.iter().rev().filter(|line| is_meant(line)) {
        // Upstream clears excluded ENIs of card 0 only.
        let serves_none = line.eni.eni.excluded && !(targets.strict && targets.card > 0);
        let blocks = releasable(line, |of| serves_none || of != targets.unit, u32::MAX);
        if *budget > 0 && !blocks.is_empty() {
            let why = if serves_none {
                "its subnet is excluded"
            } else {
                "they are left from before the change of unit"
            };
            let reason = format!(
                "{} blocks of {} serve no new pod and go back: {why}.",
                blocks.len(),
                line.eni.name()
            );
            draft.release(line.eni, indexes(&blocks), reason);
            *budget -= 1;
            found = true;
        }
    }
    found
}

/// Releases up to `surplus` blocks; how many.
fn release(
    targets: &Targets,
    pool: &mut Pool<'_>,
    draft: &mut Draft,
    surplus: i64,
    budget: &mut u32,
) -> i64 {
    let found = targets.compare(&pool.sums);
    let mut released = 0;
    let lines = pool.lines.clone();
    for line in lines.iter().rev() {
        if released >= surplus || *budget == 0 {
            break;
        }
        // Upstream takes a leftover of the other unit, and what an excluded ENI holds, for surplus.
        let is_meant = |unit| targets.strict || (unit == targets.unit && !line.eni.eni.excluded);
        let blocks = releasable(line, is_meant, count(surplus - released));
        if blocks.is_empty() {
            continue;
        }
        released += i64::from(blocks.len() as u32);
        *budget -= 1;
        let what = counted(blocks.len() as u32, targets.unit);
        let reason = format!("{found}: {what} of {} go back.", line.eni.name());
        draft.release(line.eni, indexes(&blocks), reason);
        pool.lose(line.eni, &blocks, targets);
    }
    released
}

/// Whether the pool could do with one ENI less.
fn should_detach(targets: &Targets, pool: &Pool<'_>) -> bool {
    if targets.by_address() {
        return true;
    }
    // One ENI's worth above the target, by the target's own measure.
    let enough = targets.per_eni() * (targets.detach_target() + 1);
    let idle = |line: &Line<'_>| line.is_ours() && !line.has_pods();
    pool.sums.available >= enough || (targets.with_prefixes() && pool.lines.iter().any(idle))
}

fn detach(targets: &Targets, pool: &Pool<'_>, draft: &mut Draft, budget: u32) -> bool {
    let can_go = |line: &&Line<'_>| !draft.touches(line.eni) && is_spare(targets, pool, line);
    let spare: Vec<&Line<'_>> = pool.lines.iter().rev().filter(can_go).collect();
    for line in spare {
        let eni = line.eni;
        if eni.can_detach() && budget > 0 {
            let rest = pool.without(line, targets).available.max(0);
            draft.detach(
                eni,
                format!(
                    "{} has no pod and {rest} are available without it.",
                    eni.name()
                ),
            );
            return true;
        }
        if will_be_let_go(eni) {
            draft.wake_after(ROUND);
        }
    }
    false
}

/// Whether the pool is well without this ENI.
fn is_spare(targets: &Targets, pool: &Pool<'_>, line: &Line<'_>) -> bool {
    if !line.is_ours() || line.has_pods() {
        return false;
    }
    let rest = pool.without(line, targets);
    // Whole blocks of the unit.
    let rounded = |target: i64| ceil_div(target, targets.per_block) * targets.per_block;
    let keeps_warm = targets.warm_ip == 0 || rest.available >= rounded(targets.warm_ip);
    let keeps_minimum = targets.minimum_ip == 0 || rest.total >= rounded(targets.minimum_ip);
    let keeps_prefixes = !targets.with_prefixes()
        || targets.warm_prefix == 0
        || rest.free_blocks >= targets.warm_prefix;
    // A pool that would be low at once grows again: upstream goes round in circles there.
    let rests = targets.strict || !targets.is_low(&rest);
    keeps_warm && keeps_minimum && keeps_prefixes && rests
}

fn will_be_let_go(eni: EniView<'_>) -> bool {
    matches!(
        eni.eni.keep,
        Some(
            KeepReason::TooYoung
                | KeepReason::Cooling
                | KeepReason::InFlight
                | KeepReason::Unconfirmed
        )
    )
}
