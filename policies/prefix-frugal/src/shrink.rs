//! The way back: an ENI that is not needed, idle prefixes, idle single addresses.
//!
//! Must hold: what stays is more than growth would ask for; the newest ENI gives first.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use onsen_policy_sdk::{Block, Draft, KeepReason, SECOND, Unit, View, counted};

use crate::pool::{Line, Pool};
use crate::settings::Settings;

/// So many free addresses above what is wanted must stay when a block goes back for idleness:
/// the next pod shall not bring it back.
pub(crate) const SLACK: u32 = 4;
/// When to look again at an ENI that the host keeps for a moment.
const ROUND: u64 = 5 * SECOND;

/// Plans what goes back; what was found, for people.
pub(crate) fn plan(
    view: &View<'_>,
    settings: &Settings,
    pool: &Pool<'_>,
    draft: &mut Draft,
) -> String {
    let mut budget = view.snapshot.ec2.release_budget;
    // What is still on its way may not come.
    let mut spare = pool.supply().saturating_sub(pool.coming + pool.target());
    if pool.coming > 0 && spare == 0 {
        return "enough is on its way".into();
    }
    for line in pool.lines.iter().rev() {
        if budget == 0 {
            break;
        }
        if detach(view, settings, pool, draft, line, &mut spare)
            || release_idle(view, settings, draft, line, Unit::Prefix, &mut spare)
            || release_idle(view, settings, draft, line, Unit::Address, &mut spare)
        {
            budget -= 1;
        }
    }
    if draft.is_empty() {
        "nothing to do".into()
    } else {
        "more than wanted, some goes back".into()
    }
}

/// An ENI without pods whose addresses are not wanted goes back as a whole.
fn detach(
    view: &View<'_>,
    settings: &Settings,
    pool: &Pool<'_>,
    draft: &mut Draft,
    line: &Line<'_>,
    spare: &mut u32,
) -> bool {
    let has_pods = line.prefixes.assigned + line.singles.assigned > 0;
    let gone = line.prefixes.addresses + line.singles.addresses;
    // A few single addresses would come back by one call, and an ENI is worth more.
    let kept_back = if gone <= SLACK { gone } else { gone + SLACK };
    if has_pods || *spare < kept_back || pool.coming > 0 {
        return false;
    }
    let mut blocks = line.eni.blocks();
    if !blocks.all(|block| is_idle(view, settings, draft, &block)) {
        return false;
    }
    if !line.eni.can_detach() {
        if matches!(
            line.eni.eni.keep,
            Some(KeepReason::TooYoung | KeepReason::Cooling | KeepReason::Unconfirmed)
        ) {
            draft.wake_after(ROUND);
        }
        return false;
    }
    draft.detach(
        line.eni,
        format!(
            "{} has no pod and its {gone} addresses are not wanted.",
            line.eni.name()
        ),
    );
    *spare -= gone;
    true
}

/// Idle blocks of one kind, as many as can be spared.
fn release_idle(
    view: &View<'_>,
    settings: &Settings,
    draft: &mut Draft,
    line: &Line<'_>,
    unit: Unit,
    spare: &mut u32,
) -> bool {
    let mut blocks = Vec::new();
    for block in line
        .eni
        .blocks()
        .rev()
        .filter(|block| block.unit == unit && block.assigned == 0)
    {
        let size = block.addresses;
        if *spare < size + SLACK || !is_idle(view, settings, draft, &block) || !block.releasable {
            continue;
        }
        *spare -= size;
        blocks.push(block.index);
    }
    if blocks.is_empty() {
        return false;
    }
    let what = counted(blocks.len() as u32, unit);
    let reason = format!(
        "Idle for {} s and not wanted: {what} of {} go back.",
        settings.idle / SECOND,
        line.eni.name()
    );
    draft.release(line.eni, blocks, reason);
    true
}

/// Whether no pod has used it for long enough; if not, asks to be woken when it is.
fn is_idle(view: &View<'_>, settings: &Settings, draft: &mut Draft, block: &Block) -> bool {
    if block.assigned > 0 {
        return false;
    }
    let end = block.idle_since.saturating_add(settings.idle);
    let wait = end.saturating_sub(view.snapshot.now);
    if wait > 0 {
        draft.wake_after(wait);
    }
    wait == 0
}
