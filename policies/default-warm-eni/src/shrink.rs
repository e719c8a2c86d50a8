//! The way back: blocks left over from a change of unit, surplus blocks, one ENI.
//!
//! Must hold: the newest ENI first, so that a shrinking node ends with the fewest ENIs; the pool
//! is not low afterwards.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use onsen_policy_sdk::{Block, Draft, EniView, KeepReason, SECOND, Unit, View, counted};

use crate::pool::{Line, Pool};
use crate::targets::{Targets, ceil_div, count};

/// Surplus goes back at most this often.
const RELEASE_PERIOD: u64 = 30 * SECOND;
/// When to look again at what could not be given back yet: upstream's period.
const ROUND: u64 = 5 * SECOND;

/// Plans what goes back; what was found, for people.
pub(crate) fn plan(
    view: &View<'_>,
    targets: &Targets,
    pool: &Pool<'_>,
    draft: &mut Draft,
) -> String {
    let mut budget = view.snapshot.ec2.release_budget;
    let released_at = last_release(&view.snapshot.memo);
    let surplus = targets.surplus(&pool.sums);
    let due = released_at.saturating_add(RELEASE_PERIOD);
    let mut remembered = released_at;
    if surplus > 0 && pool.coming == 0 {
        if view.snapshot.now < due {
            draft.wake_after(due - view.snapshot.now);
        } else {
            let left = release(targets, pool, draft, surplus, &mut budget);
            if left < surplus {
                remembered = view.snapshot.now;
            }
            if left > 0 {
                // It cools, or the budget is used up.
                draft.wake_after(ROUND);
            }
        }
    }
    draft.remember(remembered.to_le_bytes().into());
    if draft.is_empty() && targets.managed && pool.waiting == 0 && should_detach(targets, pool) {
        detach(targets, pool, draft, budget);
    }
    if !draft.is_empty() {
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

/// When blocks last went back; a memo of another shape means never.
fn last_release(memo: &[u8]) -> u64 {
    memo.try_into().map_or(0, u64::from_le_bytes)
}

fn releasable(line: &Line<'_>, unit: Unit, most: u32) -> Vec<u32> {
    line.eni
        .blocks()
        .rev()
        .filter(|block: &Block| block.unit == unit && block.releasable)
        .take(most as usize)
        .map(|block| block.index)
        .collect()
}

/// Gives back the free blocks of the unit that is not in force. They serve no new pods.
pub(crate) fn leftovers(view: &View<'_>, targets: &Targets, pool: &Pool<'_>, draft: &mut Draft) {
    let mut budget = view.snapshot.ec2.release_budget;
    let unit = match targets.unit {
        Unit::Address => Unit::Prefix,
        Unit::Prefix => Unit::Address,
    };
    for line in pool.lines.iter().rev() {
        let blocks = releasable(line, unit, u32::MAX);
        if budget > 0 && !blocks.is_empty() {
            let what = counted(blocks.len() as u32, unit);
            let reason = format!(
                "{what} of {} left from before the change of unit go back.",
                line.eni.name()
            );
            draft.release(line.eni, blocks, reason);
            budget -= 1;
        }
    }
}

/// Releases up to `surplus` blocks; how many are left.
fn release(
    targets: &Targets,
    pool: &Pool<'_>,
    draft: &mut Draft,
    surplus: i64,
    budget: &mut u32,
) -> i64 {
    let mut left = surplus;
    for line in pool.lines.iter().rev() {
        if left <= 0 || *budget == 0 {
            break;
        }
        let blocks = releasable(line, targets.unit, count(left));
        if blocks.is_empty() {
            continue;
        }
        left -= i64::from(blocks.len() as u32);
        *budget -= 1;
        let what = counted(blocks.len() as u32, targets.unit);
        let reason = format!(
            "{}: {what} of {} go back.",
            targets.compare(&pool.sums),
            line.eni.name()
        );
        draft.release(line.eni, blocks, reason);
    }
    left
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

fn detach(targets: &Targets, pool: &Pool<'_>, draft: &mut Draft, budget: u32) {
    let can_go = |line: &&Line<'_>| is_spare(targets, pool, line);
    let spare = pool.lines.iter().rev().filter(can_go);
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
            return;
        }
        if will_be_let_go(eni) {
            draft.wake_after(ROUND);
        }
    }
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
    keeps_warm && keeps_minimum && keeps_prefixes && !targets.is_low(&rest)
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
