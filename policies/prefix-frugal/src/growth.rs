//! More addresses: prefixes for many pods that wait, else single ones; for the next pod in time,
//! on the ENIs there are or on a new one.
//!
//! Must hold: no more calls than the budget, one for each ENI. Single addresses leave the slots
//! that are reserved for prefixes, until nothing else is left.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use onsen_policy_sdk::outcomes::{is_growth, is_shortage, retry_at};
use onsen_policy_sdk::{AttachEni, Draft, SECOND, Unit, View, counted};

use crate::pool::{Line, Offer, Pool};
use crate::settings::Settings;

/// How long an attachment limit that EC2 told of is believed.
const ATTACHMENT_LIMIT: u64 = 600 * SECOND;
/// An ENI takes several seconds. One is asked for when what is free and what there are slots for
/// would not last for this part of a minute.
const AHEAD: u32 = 2;

/// So few pods in a minute leave no doubt that single addresses will do.
pub(crate) const QUIET: u32 = 2;
/// How long a pod may wait for the end of a call that is under way, in milliseconds.
const PATIENCE: u64 = 2_000;

/// Growth in the making.
struct Growth<'s, 'v, 'p> {
    view: &'v View<'v>,
    settings: &'s Settings,
    pool: &'s mut Pool<'p>,
    draft: &'s mut Draft,
    /// Calls that may still be planned.
    budget: u32,
}

/// Plans growth; what was found, for people. Absent when nothing could be asked for and nothing
/// is short: what there is may then be looked at for what can go.
pub(crate) fn plan(
    view: &View<'_>,
    settings: &Settings,
    pool: &mut Pool<'_>,
    draft: &mut Draft,
) -> Option<String> {
    let (now, ec2) = (view.snapshot.now, &view.snapshot.ec2);
    let retry = retry_at(&ec2.outcomes, |outcome| !is_shortage(&outcome.code));
    let resume = retry.max(ec2.throttled_until);
    if now < resume {
        draft.wake_after(resume - now);
        let wait = (resume - now).div_ceil(1_000);
        return Some(format!("growth rests {wait} s more after an error of EC2"));
    }
    if pool.capped {
        return (pool.unserved() > 0)
            .then(|| "all addresses that max pods allows are there".into());
    }
    let mut growth = Growth {
        view,
        settings,
        pool,
        draft,
        budget: ec2.grow_budget,
    };
    growth.plan();
    if !draft.is_empty() {
        return Some("more are asked for".into());
    }
    let short = pool.shortage().max(pool.unserved());
    if short == 0 {
        return None;
    }
    if ec2.grow_budget == 0 {
        return Some(format!(
            "{short} are short, but the budget of EC2 calls is used up"
        ));
    }
    if pool.lines.iter().any(|line| line.eni.eni.busy) {
        return Some(format!("{short} are short, and a call is under way"));
    }
    let nothing = pool.offers.iter().filter_map(|offer| match offer {
        Offer::Nothing(until) => Some(*until),
        Offer::Prefixes | Offer::OnePrefix | Offer::Addresses => None,
    });
    Some(match nothing.min() {
        Some(until) => {
            draft.wake_after(until.saturating_sub(now));
            format!("{short} are short, but the subnet has no address left")
        }
        None => format!(
            "{short} are short, but all slots of {} ENIs are taken",
            pool.enis
        ),
    })
}

impl<'p> Growth<'_, '_, 'p> {
    fn plan(&mut self) {
        let crowd = self.pool.unserved();
        let soon = self.room_soon();
        let mut rest = 0;
        if self.room() + soon >= crowd {
            self.singles();
            if self.draft.is_empty() && soon > 0 {
                // The call under way ends within a second or so, and that ENI has slots.
                return;
            }
        } else if self.settings.singles_suffice && crowd < self.slots() {
            // One slot stays for a prefix.
            self.reserved(self.slots() - 1);
        } else {
            // A prefix that is not half full costs more than another call for the rest.
            let half = self.settings.per_prefix / 2;
            let whole = (crowd + half - 1) / self.settings.per_prefix;
            rest = self.prefixes(whole.max(1), "pods wait");
            if self.draft.is_empty() {
                self.singles();
            }
        }
        // What is still missing after a call can be had of the same ENI in the next decision.
        let more = self.draft.is_empty() && (self.pool.shortage() > 0 || self.replaces_a_prefix());
        if rest > 0 || more || self.lasts_not() {
            self.attach(rest);
        }
        let short = self.pool.shortage() > 0 || self.pool.unserved() > 0;
        if self.draft.is_empty() && (short || self.replaces_a_prefix()) {
            self.last_resorts();
        }
    }

    /// At the limit of ENIs: in quiet times single addresses in the reserved slots, where these suffice
    /// for max pods; else a prefix, when a pod waits or the next one would.
    fn last_resorts(&mut self) {
        let crowd = self.pool.unserved();
        if crowd == 0 && self.settings.singles_suffice {
            // In a busier minute one slot stays for a prefix.
            let kept = u32::from(self.settings.pace > QUIET);
            self.reserved(self.slots().saturating_sub(kept));
        }
        if self.draft.is_empty() && (crowd > 0 || self.pool.free() + self.pool.on_its_way() == 0) {
            self.prefixes(1, "no ENI is left");
        }
        if self.draft.is_empty() && crowd > 0 {
            self.reserved(u32::MAX);
        }
        if self.draft.is_empty() && crowd > 0 {
            trade(self.view, self.settings, self.pool, self.draft);
        }
    }

    /// Whether a prefix without pods is all that is free, in quiet times: single addresses in its place
    /// let it go.
    fn replaces_a_prefix(&self) -> bool {
        self.settings.pace <= QUIET && self.pool.empty > 0 && self.pool.missing() > 0
    }

    /// Whether pods come so fast that single addresses have no slot left soon.
    fn lasts_not(&self) -> bool {
        let lines = self.pool.lines.iter();
        let slots: u32 = lines.map(|line| line.room).sum();
        let left = slots + self.pool.free();
        !self.settings.scarce && self.pool.arriving == 0 && left < self.settings.pace / AHEAD
    }

    /// ENIs that can take more and are not spoken for, where the subnet has something.
    fn lines(&self) -> Vec<Line<'p>> {
        let fits = |line: &&Line<'p>| {
            line.eni.can_grow()
                && !self.draft.touches(line.eni)
                && !matches!(line.offer, Offer::Nothing(_))
        };
        self.pool.lines.iter().filter(fits).copied().collect()
    }

    /// Single addresses that could be had at once, reserved slots left free.
    fn room(&self) -> u32 {
        self.lines().iter().map(|line| line.room).sum()
    }

    /// Slots that are free now, reserved ones too.
    fn slots(&self) -> u32 {
        let lines = self.lines();
        lines.iter().map(|line| line.eni.eni.free_slots).sum()
    }

    /// Room for single addresses on ENIs with a call under way, unless a pod has waited too long for that.
    fn room_soon(&self) -> u32 {
        let oldest = self.view.snapshot.demand.waiting.first();
        if oldest.is_some_and(|waited| *waited > PATIENCE) {
            return 0;
        }
        let lines = self.pool.lines.iter();
        let busy =
            lines.filter(|line| line.eni.eni.busy && !matches!(line.offer, Offer::Nothing(_)));
        busy.map(|line| line.room).sum()
    }

    /// What is missing, and a few more in a busy minute: the next pod shall not cost a call.
    fn batch(&self) -> u32 {
        let pace = self.settings.pace;
        let more = match self.pool.unserved() {
            _ if self.settings.scarce => 0,
            0 => 1 + (pace / 3).min(7),
            _ => 1 + (pace / 2).min(7),
        };
        self.pool.missing() + more
    }

    /// Single addresses on the ENIs there are, reserved slots left free.
    fn singles(&mut self) {
        let mut rest = self.batch();
        for line in self.lines() {
            let missing = self.pool.missing();
            if missing == 0 || self.budget == 0 {
                return;
            }
            let count = rest.min(line.room);
            if count > 0 {
                rest -= count;
                self.grow(
                    &line,
                    Unit::Address,
                    count,
                    &format!("{missing} more free wanted"),
                );
            }
        }
    }

    /// So many single addresses at most, in reserved slots.
    fn reserved(&mut self, most: u32) {
        let mut rest = most.min(self.pool.missing());
        for line in self.lines() {
            let count = rest.min(line.eni.eni.free_slots);
            if count == 0 || self.budget == 0 {
                return;
            }
            rest -= count;
            let missing = self.pool.missing();
            let why = format!("{missing} more free wanted and no ENI is left");
            self.grow(&line, Unit::Address, count, &why);
        }
    }

    /// So many prefixes on the ENIs there are, the emptiest first; how many found no place.
    fn prefixes(&mut self, count: u32, why: &str) -> u32 {
        let mut rest = count;
        let mut lines = self.lines();
        lines.sort_by_key(|line| core::cmp::Reverse(line.eni.eni.free_slots));
        for line in lines {
            let most = match line.offer {
                Offer::Prefixes => line.eni.eni.free_slots,
                // One call tells whether there is one; a second would only fail with it.
                Offer::OnePrefix => u32::from(self.draft.is_empty()),
                Offer::Addresses | Offer::Nothing(_) => 0,
            };
            let some = rest.min(most);
            if some == 0 || self.budget == 0 {
                continue;
            }
            rest -= some;
            let missing = self.pool.missing();
            self.grow(
                &line,
                Unit::Prefix,
                some,
                &format!("{missing} more free wanted and {why}"),
            );
        }
        rest
    }

    fn grow(&mut self, line: &Line<'p>, unit: Unit, count: u32, why: &str) {
        let what = counted(count, unit);
        self.draft.grow(
            line.eni,
            unit,
            count,
            format!("{why}: {what} on {}.", line.eni.name()),
        );
        self.pool.expect(count * self.view.addresses_per(unit));
        self.budget -= 1;
    }

    /// A new ENI, with prefixes when some are asked for and can be had, else with single addresses.
    fn attach(&mut self, prefixes: u32) {
        if self.budget == 0 || self.pool.enis >= self.settings.max_enis || is_refused(self.view) {
            return;
        }
        let Some((subnet, offer)) = choose(self.view, self.pool, prefixes > 0) else {
            return;
        };
        let (unit, count) = match offer {
            Offer::Prefixes if prefixes > 0 => (Unit::Prefix, prefixes),
            Offer::OnePrefix if prefixes > 0 => (Unit::Prefix, 1),
            Offer::Addresses => (Unit::Address, self.batch()),
            Offer::Prefixes | Offer::OnePrefix | Offer::Nothing(_) => (
                Unit::Address,
                self.batch()
                    .min(self.settings.slots - self.settings.reserve.min(self.settings.slots - 1)),
            ),
        };
        let blocks = count.min(self.settings.slots);
        let missing = self.pool.missing();
        let what = counted(blocks, unit);
        let reason =
            format!("{missing} more free wanted and no slot is left: a new ENI with {what}.");
        self.draft.attach(
            AttachEni {
                subnet,
                unit,
                blocks,
                card: 0,
            },
            reason,
        );
        self.pool.expect_eni(blocks * self.view.addresses_per(unit));
        self.budget -= 1;
    }
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

/// Where a new ENI goes: to the node's own subnet before others, and where prefixes are wanted, to
/// one that has some before one that has none.
fn choose(view: &View<'_>, pool: &Pool<'_>, with_prefixes: bool) -> Option<(Option<u32>, Offer)> {
    if pool.offers.is_empty() {
        return Some((None, pool.offer(view, 0)));
    }
    let places = (0u32..).zip(view.snapshot.subnets.iter().zip(&pool.offers));
    places
        .filter(|(_, (_, offer))| !matches!(offer, Offer::Nothing(_)))
        .min_by_key(|(_, (subnet, offer))| {
            (with_prefixes && **offer == Offer::Addresses, !subnet.own)
        })
        .map(|(index, (_, offer))| (Some(index), *offer))
}

/// Gives back free single addresses, so that prefixes can take their slots. Where the subnet
/// lacked a prefix lately it is not risked.
fn trade(view: &View<'_>, settings: &Settings, pool: &Pool<'_>, draft: &mut Draft) {
    let prefixes = pool.unserved().div_ceil(settings.per_prefix);
    for line in &pool.lines {
        let subnet = view.snapshot.subnets.get(line.eni.eni.subnet as usize);
        let never_lacked = subnet.is_none_or(|subnet| subnet.no_prefixes_at == 0);
        if line.offer != Offer::Prefixes || !never_lacked || view.snapshot.ec2.release_budget == 0 {
            continue;
        }
        let blocks = line.eni.blocks().rev();
        let free = blocks.filter(|block| block.unit == Unit::Address && block.releasable);
        let blocks: Vec<u32> = free
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
            return;
        }
    }
}
