//! More addresses: single ones for a small need, prefixes for a large one, on the ENIs there are;
//! slots traded for prefixes; a new ENI; single addresses where nothing else can be had.
//!
//! Must hold: no more calls than the budget, one for each ENI.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use onsen_policy_sdk::outcomes::{is_growth, is_shortage, retry_at};
use onsen_policy_sdk::{AttachEni, Draft, SECOND, Unit, View, counted};

use crate::pool::{Line, Offer, Pool};
use crate::settings::Settings;
use crate::shrink::SLACK;

/// How long an attachment limit that EC2 told of is believed.
const ATTACHMENT_LIMIT: u64 = 600 * SECOND;
/// Single addresses asked for at least in one call.
const FEW: u32 = 4;

/// Plans growth; what was found, for people.
pub(crate) fn plan(
    view: &View<'_>,
    settings: &Settings,
    pool: &mut Pool<'_>,
    draft: &mut Draft,
) -> String {
    let (now, ec2) = (view.snapshot.now, &view.snapshot.ec2);
    let retry = retry_at(&ec2.outcomes, |outcome| !is_shortage(&outcome.code));
    let resume = retry.max(ec2.throttled_until);
    if now < resume {
        draft.wake_after(resume - now);
        let wait = (resume - now).div_ceil(1_000);
        return format!("growth rests {wait} s more after an error of EC2");
    }
    let mut budget = ec2.grow_budget;
    while budget > 0 && pool.missing() > 0 {
        let grew = a_few(settings, pool, draft)
            || prefixes(settings, pool, draft)
            || attach(view, settings, pool, draft, true)
            || addresses(pool, draft)
            || attach(view, settings, pool, draft, false);
        if !grew {
            break;
        }
        budget -= 1;
    }
    if !draft.is_empty() {
        return "too few, more are asked for".into();
    }
    if trade(view, settings, pool, draft) {
        return "single addresses make room for a prefix".into();
    }
    if ec2.grow_budget == 0 {
        return "too few, but the budget of EC2 calls is used up".into();
    }
    match pool
        .offers
        .iter()
        .filter_map(|offer| match offer {
            Offer::Nothing(until) => Some(*until),
            Offer::Prefixes | Offer::OnePrefix | Offer::Addresses => None,
        })
        .min()
    {
        Some(until) => {
            draft.wake_after(until.saturating_sub(now));
            "too few, but the subnet has no address left".into()
        }
        None => format!("too few, but all slots of {} ENIs are taken", pool.enis),
    }
}

fn growable<'p, 'a>(pool: &'p Pool<'a>, draft: &Draft) -> impl Iterator<Item = &'p Line<'a>> {
    pool.lines
        .iter()
        .filter(|line| line.eni.can_grow() && !draft.touches(line.eni))
}

/// Single addresses for a need that would leave most of a prefix idle, on the first ENI that has
/// slots for them: at most half of an ENI's, so that prefixes find room later.
fn a_few(settings: &Settings, pool: &mut Pool<'_>, draft: &mut Draft) -> bool {
    let missing = pool.missing();
    if missing > settings.per_prefix / 2 {
        return false;
    }
    let room = |line: &Line<'_>| {
        let half = (settings.slots / 2).saturating_sub(line.singles.blocks);
        half.min(line.eni.eni.free_slots)
    };
    let fits = |line: &&Line<'_>| !matches!(line.offer, Offer::Nothing(_)) && room(line) >= missing;
    let Some(line) = growable(pool, draft).find(fits).copied() else {
        return false;
    };
    // A few more than are missing now: the next pod shall not cost a call.
    let count = missing.max(FEW).min(room(&line));
    let what = counted(count, Unit::Address);
    let reason = format!("{missing} more free wanted: {what} on {}.", line.eni.name());
    draft.grow(line.eni, Unit::Address, count, reason);
    pool.expect(count);
    true
}

/// Prefixes on the first ENI that has room and whose subnet has some.
fn prefixes(settings: &Settings, pool: &mut Pool<'_>, draft: &mut Draft) -> bool {
    let is_first = draft.is_empty();
    let most = |line: &Line<'_>| match line.offer {
        Offer::Prefixes => line.eni.eni.free_slots,
        // One call tells whether there is one; a second would only fail with it.
        Offer::OnePrefix => u32::from(is_first),
        Offer::Addresses | Offer::Nothing(_) => 0,
    };
    let Some(line) = growable(pool, draft).find(|line| most(line) > 0).copied() else {
        return false;
    };
    let missing = pool.missing();
    let count = missing.div_ceil(settings.per_prefix).min(most(&line));
    let reason = format!(
        "{missing} more free wanted: {} on {}.",
        counted(count, Unit::Prefix),
        line.eni.name()
    );
    draft.grow(line.eni, Unit::Prefix, count, reason);
    pool.expect(count * settings.per_prefix);
    true
}

/// Single addresses on the first ENI that has room, when prefixes cannot be had there.
fn addresses(pool: &mut Pool<'_>, draft: &mut Draft) -> bool {
    let missing = pool.missing();
    let fits = |line: &&Line<'_>| !matches!(line.offer, Offer::Nothing(_));
    let Some(line) = growable(pool, draft).find(fits).copied() else {
        return false;
    };
    let count = missing.min(line.eni.eni.free_slots);
    let what = counted(count, Unit::Address);
    let reason = format!(
        "{missing} more free wanted and no prefix to be had: {what} on {}.",
        line.eni.name()
    );
    draft.grow(line.eni, Unit::Address, count, reason);
    pool.expect(count);
    true
}

/// A new ENI, with prefixes or with single addresses.
fn attach(
    view: &View<'_>,
    settings: &Settings,
    pool: &mut Pool<'_>,
    draft: &mut Draft,
    with_prefixes: bool,
) -> bool {
    let missing = pool.missing();
    if pool.enis >= settings.max_enis || is_refused(view) {
        return false;
    }
    let Some((subnet, offer)) = choose(view, pool, with_prefixes) else {
        return false;
    };
    if offer == Offer::OnePrefix && !draft.is_empty() {
        return false;
    }
    let (unit, per_block) = match offer {
        Offer::Prefixes | Offer::OnePrefix => (Unit::Prefix, settings.per_prefix),
        Offer::Addresses | Offer::Nothing(_) => (Unit::Address, 1),
    };
    let most = if offer == Offer::OnePrefix {
        1
    } else {
        settings.slots.max(1)
    };
    let count = missing.div_ceil(per_block).min(most);
    let reason = format!(
        "{missing} more free wanted and no slot is left: a new ENI with {}.",
        counted(count, unit)
    );
    let attach = AttachEni {
        subnet,
        unit,
        blocks: count,
        card: 0,
    };
    draft.attach(attach, reason);
    pool.enis += 1;
    pool.expect(count * per_block);
    true
}

/// EC2 said that no more can be attached.
fn is_refused(view: &View<'_>) -> bool {
    let snapshot = view.snapshot;
    snapshot.ec2.outcomes.iter().any(|outcome| {
        is_growth(outcome)
            && outcome.code == "AttachmentLimitExceeded"
            && snapshot.now < outcome.at.saturating_add(ATTACHMENT_LIMIT)
    })
}

/// The node's own subnet if it has what is wanted, else the first that has.
fn choose(view: &View<'_>, pool: &Pool<'_>, with_prefixes: bool) -> Option<(Option<u32>, Offer)> {
    let fits = |offer: Offer| match offer {
        Offer::Prefixes | Offer::OnePrefix => with_prefixes,
        Offer::Addresses => !with_prefixes,
        Offer::Nothing(_) => false,
    };
    if pool.offers.is_empty() {
        let unknown = if view.snapshot.limits.prefixes {
            Offer::Prefixes
        } else {
            Offer::Addresses
        };
        return fits(unknown).then_some((None, unknown));
    }
    let fitting = || {
        (0u32..)
            .zip(&pool.offers)
            .filter(|(_, offer)| fits(**offer))
    };
    let own = |index: u32| {
        view.snapshot
            .subnets
            .get(index as usize)
            .is_some_and(|subnet| subnet.own)
    };
    fitting()
        .find(|(index, _)| own(*index))
        .or_else(|| fitting().next())
        .map(|(index, offer)| (Some(index), *offer))
}

/// Gives back free single addresses, so that prefixes can take their slots. Where the subnet
/// lacked a prefix before, only those that would not be missed: or the trade might be undone and
/// made again.
fn trade(view: &View<'_>, settings: &Settings, pool: &Pool<'_>, draft: &mut Draft) -> bool {
    let prefixes = pool.missing().div_ceil(settings.per_prefix);
    let spared = pool.target().saturating_add(prefixes + SLACK);
    let would_not_be_missed = pool.supply() >= spared;
    for line in &pool.lines {
        let subnet = view.snapshot.subnets.get(line.eni.eni.subnet as usize);
        let never_lacked = subnet.is_none_or(|subnet| subnet.no_prefixes_at == 0);
        let safe = never_lacked || would_not_be_missed;
        if line.offer != Offer::Prefixes || !safe || view.snapshot.ec2.release_budget == 0 {
            continue;
        }
        let single = line
            .eni
            .blocks()
            .rev()
            .filter(|block| block.unit == Unit::Address && block.releasable);
        let blocks: Vec<u32> = single
            .take(prefixes as usize)
            .map(|block| block.index)
            .collect();
        if !blocks.is_empty() {
            let what = counted(blocks.len() as u32, Unit::Address);
            let reason = format!(
                "No slot is free for a prefix: {what} of {} go back first.",
                line.eni.name()
            );
            draft.release(line.eni, blocks, reason);
            return true;
        }
    }
    false
}
