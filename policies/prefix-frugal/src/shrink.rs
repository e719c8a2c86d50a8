//! The way back: idle prefixes, idle single addresses, an ENI that nobody has used for long.
//!
//! Must hold: what stays is more than growth would ask for; the newest ENI gives first.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use onsen_policy_sdk::{Block, Draft, KeepReason, SECOND, Unit, View, counted};

use crate::growth::QUIET;
use crate::pool::{Line, Pool};
use crate::settings::Settings;

/// Single addresses go back once so many more are free than are wanted, and one of these stays:
/// the next pod shall not bring the others back.
pub(crate) const SLACK: u32 = 3;
/// Single addresses that go back in one call at least, when there are so many.
const BATCH: u32 = 8;
/// When to look again at an ENI that the host keeps for a moment.
const ROUND: u64 = 5 * SECOND;

/// What may still go.
struct Spare {
    singles: u32,
    empty: u32,
}

/// Plans what goes back; what was found, for people.
pub(crate) fn plan(
    view: &View<'_>,
    settings: &Settings,
    pool: &Pool<'_>,
    draft: &mut Draft,
) -> String {
    let mut budget = view.snapshot.ec2.release_budget;
    // What is still on its way may not come.
    let over = pool.supply().checked_sub(pool.on_its_way() + pool.target());
    let here = pool.supply() - pool.on_its_way();
    let lack = pool.target().saturating_sub(here);
    // Where the next pod could only bring a prefix back, some more must be there before one goes.
    let margin = if pool.takes_singles(settings) {
        0
    } else {
        SLACK
    };
    let mut needed = (pool.target() + margin).saturating_sub(here);
    if pool.capped && settings.singles_suffice && settings.pace <= QUIET {
        // Single addresses in its place can only be had once it is gone.
        needed = 0;
    }
    let mut spare = Spare {
        singles: over
            .filter(|over| *over >= SLACK)
            .map_or(0, |over| over - 1),
        empty: pool.empty.saturating_sub(needed),
    };
    for line in pool.lines.iter().rev() {
        if budget == 0 {
            break;
        }
        if detach(view, settings, draft, line)
            || prefixes(view, settings, draft, line, &mut spare)
            || singles(view, settings, draft, line, &mut spare)
        {
            budget -= 1;
        }
    }
    if !draft.is_empty() {
        "more than wanted, some goes back".into()
    } else if pool.on_its_way() > 0 && lack > 0 {
        "enough is on its way".into()
    } else {
        "nothing to do".into()
    }
}

/// An ENI that holds nothing and had no pod for long goes back. Its blocks went before.
fn detach(view: &View<'_>, settings: &Settings, draft: &mut Draft, line: &Line<'_>) -> bool {
    let eni = line.eni.eni;
    let is_bare = eni.block_count == 0 && eni.in_flight == 0;
    if !is_bare || !has_passed(view, draft, eni.idle_since, settings.eni_idle) {
        return false;
    }
    if !line.eni.can_detach() {
        if matches!(
            eni.keep,
            Some(KeepReason::TooYoung | KeepReason::Unconfirmed)
        ) {
            draft.wake_after(ROUND);
        }
        return false;
    }
    let idle = settings.eni_idle / SECOND;
    let reason = format!(
        "{} has held no pod for {idle} s and no block.",
        line.eni.name()
    );
    draft.detach(line.eni, reason);
    true
}

/// Prefixes without a pod.
fn prefixes(
    view: &View<'_>,
    settings: &Settings,
    draft: &mut Draft,
    line: &Line<'_>,
    spare: &mut Spare,
) -> bool {
    let size = settings.per_prefix;
    let mut idle = |block: &Block| {
        let goes = spare.empty >= size && is_idle(view, settings.prefix_idle, draft, block);
        spare.empty -= if goes { size } else { 0 };
        goes
    };
    let blocks = line
        .eni
        .blocks()
        .rev()
        .filter(|block| block.unit == Unit::Prefix);
    let blocks: Vec<u32> = blocks.filter(&mut idle).map(|block| block.index).collect();
    release(draft, line, Unit::Prefix, blocks, settings.prefix_idle)
}

/// Free single addresses, some in one call: those that are idle go once `BATCH` of them can, or all
/// that there are.
fn singles(
    view: &View<'_>,
    settings: &Settings,
    draft: &mut Draft,
    line: &Line<'_>,
    spare: &mut Spare,
) -> bool {
    let blocks = line.eni.blocks().rev();
    let unused: Vec<Block> = blocks
        .filter(|block| block.unit == Unit::Address && block.assigned == 0)
        .collect();
    let enough = BATCH.min(spare.singles).min(unused.len() as u32);
    if enough == 0 {
        return false;
    }
    let mut idle = unused;
    idle.retain(|block| is_idle(view, settings.idle, draft, block));
    idle.truncate(spare.singles as usize);
    let count = idle.len() as u32;
    if count < enough {
        return false;
    }
    spare.singles -= count;
    let blocks = idle.iter().map(|block| block.index).collect();
    release(draft, line, Unit::Address, blocks, settings.idle)
}

fn release(draft: &mut Draft, line: &Line<'_>, unit: Unit, blocks: Vec<u32>, idle: u64) -> bool {
    if blocks.is_empty() {
        return false;
    }
    let what = counted(blocks.len() as u32, unit);
    let reason = format!(
        "Idle for {} s and not wanted: {what} of {} go back.",
        idle / SECOND,
        line.eni.name()
    );
    draft.release(line.eni, blocks, reason);
    true
}

/// Whether it can go and no pod has used it for long enough; if only time is lacking, asks to be
/// woken when it is over.
fn is_idle(view: &View<'_>, patience: u64, draft: &mut Draft, block: &Block) -> bool {
    block.assigned == 0
        && has_passed(
            view,
            draft,
            block
                .idle_since
                .max(block.cooling_until.saturating_sub(patience)),
            patience,
        )
        && block.releasable
}

fn has_passed(view: &View<'_>, draft: &mut Draft, since: u64, patience: u64) -> bool {
    let wait = since
        .saturating_add(patience)
        .saturating_sub(view.snapshot.now);
    if wait > 0 {
        draft.wake_after(wait);
    }
    wait == 0
}
