//! Ready-made steps: count what is there, ask for what is missing, give back what is spare.
//!
//! In: a view. Out: actions in a draft, and a word for its reason. A policy that needs something
//! else writes its own; these are what most policies end up with.
//!
//! Must hold: what [`shrink`] gives back never lets [`Supply::missing`] rise above 0 for the same
//! `wanted`; no more calls are asked for than the snapshot allows.

use alloc::format;
use alloc::vec::Vec;

use crate::{AttachEni, Draft, EniState, EniView, Role, SECOND, Unit, View, counted, outcomes};

/// How long nothing is asked for after EC2 refused something.
const RETRY: u64 = 30 * SECOND;
/// How long a subnet that had no whole prefix is asked for single addresses instead.
const NO_PREFIX: u64 = 1_800 * SECOND;

/// What is there and what pods want, in addresses.
///
/// ```
/// use onsen_policy_sdk::{Unit, View, steps::Supply, testing::Pool};
///
/// let mut node = Pool::new(3, 9, Unit::Address);
/// node.fill(0, Unit::Address, 2);
/// let snapshot = node.snapshot();
/// let supply = Supply::of(&View::new(&snapshot));
/// assert_eq!((supply.free, supply.waiting), (2, 0));
/// assert_eq!((supply.missing(5), supply.spare(1)), (3, 1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supply {
    /// Addresses that a pod could get now.
    pub free: u64,
    /// Addresses that will be free again soon.
    pub cooling: u64,
    /// Addresses asked of EC2 and not there yet.
    pub coming: u64,
    /// Addresses held by pods.
    pub assigned: u64,
    /// Pods that wait, and those bound to the node that have not asked yet.
    pub waiting: u64,
    /// Pods the kubelet can still start; absent when unknown.
    room: Option<u64>,
}

impl Supply {
    /// Counts. What lies on an ENI that serves no new pod is only counted when a pod holds it.
    pub fn of(view: &View<'_>) -> Self {
        let snapshot = view.snapshot;
        let mut supply = Self::default();
        for eni in view.enis() {
            let per_block = view.addresses_per(eni.eni.in_flight_unit);
            supply.coming += u64::from(eni.eni.in_flight) * u64::from(per_block);
            for block in eni.blocks() {
                supply.assigned += u64::from(block.assigned);
                if serves_pods(eni) {
                    supply.free += u64::from(block.free);
                    supply.cooling += u64::from(block.cooling);
                }
            }
        }
        supply.waiting = u64::from(view.waiting()) + u64::from(snapshot.demand.scheduled);
        let max_pods = u64::from(snapshot.node.max_pods);
        supply.room = (max_pods > 0).then(|| max_pods.saturating_sub(supply.assigned));
        supply
    }

    /// Addresses that should be free or coming: one for each pod that waits, and those to be kept
    /// for the next ones; never more than pods can still start.
    pub fn wanted(&self, keep: u64) -> u64 {
        let wanted = self.waiting.saturating_add(keep);
        self.room.map_or(wanted, |room| wanted.min(room))
    }

    /// Addresses to ask for. A pod that waits cannot use what cools.
    pub fn missing(&self, wanted: u64) -> u64 {
        let usable = self.free + self.coming;
        let for_waiting = self.waiting.min(wanted).saturating_sub(usable);
        wanted
            .saturating_sub(usable + self.cooling)
            .max(for_waiting)
    }

    /// Addresses that could go.
    pub fn spare(&self, wanted: u64) -> u64 {
        (self.free + self.cooling + self.coming).saturating_sub(wanted)
    }
}

fn serves_pods(eni: EniView<'_>) -> bool {
    eni.eni.state == EniState::Ready && eni.eni.role != Role::Trunk && !eni.eni.excluded
}

/// Grows or shrinks towards `wanted`, and tells the pressure: 100 while a pod waits, else how much
/// of what is wanted is missing. Gives nothing back while a pod waits.
pub fn settle(view: &View<'_>, wanted: u64, idle_seconds: u32, draft: &mut Draft) -> &'static str {
    let supply = Supply::of(view);
    let missing = supply.missing(wanted);
    if view.waiting() > 0 {
        draft.pressure(100);
    } else if missing > 0 {
        draft.pressure((missing * 100 / wanted.max(1)).min(99) as u8);
    }
    if missing > 0 {
        grow(view, missing, view.snapshot.unit, draft)
    } else if supply.waiting == 0 {
        shrink(view, supply.spare(wanted), idle_seconds, draft)
    } else {
        "enough"
    }
}

/// Asks for everything that is missing in one step: first on ENIs with free slots, then on new
/// ones. Waits while EC2 throttles, and for half a minute after a refusal.
pub fn grow(view: &View<'_>, mut missing: u64, unit: Unit, draft: &mut Draft) -> &'static str {
    let snapshot = view.snapshot;
    let ec2 = &snapshot.ec2;
    if ec2.throttled_until > snapshot.now {
        draft.wake_after(ec2.throttled_until - snapshot.now);
        return "EC2 throttles";
    }
    let last_try = ec2.outcomes.iter().rfind(|it| outcomes::is_growth(it));
    if let Some(failed) = last_try.filter(|outcome| !outcome.code.is_empty())
        && failed.at + RETRY > snapshot.now
    {
        draft.wake_after(failed.at + RETRY - snapshot.now);
        return "waits after a refusal";
    }
    let unit = unit_to_ask_for(view, unit);
    let per_block = u64::from(view.addresses_per(unit));
    let blocks_for = |missing: u64, room: u32| missing.div_ceil(per_block).min(room.into()) as u32;
    let mut calls = ec2.grow_budget;
    for eni in view.enis().filter(EniView::can_grow) {
        if missing == 0 || calls == 0 {
            break;
        }
        let count = blocks_for(missing, eni.eni.free_slots);
        let more = counted(count, unit);
        let reason = format!("{missing} missing: {more} on {}.", eni.name());
        draft.grow(eni, unit, count, reason);
        missing = missing.saturating_sub(u64::from(count) * per_block);
        calls -= 1;
    }
    let limits = &snapshot.limits;
    let mut enis = view.enis().filter(|eni| eni.eni.card == 0).count();
    while missing > 0 && calls > 0 && enis < limits.enis as usize && limits.slots_per_eni > 0 {
        let blocks = blocks_for(missing, limits.slots_per_eni);
        let more = counted(blocks, unit);
        let attach = AttachEni {
            subnet: None,
            unit,
            blocks,
            card: 0,
        };
        let reason = format!("{missing} missing and no slot left: a new ENI with {more}.");
        draft.attach(attach, reason);
        missing = missing.saturating_sub(u64::from(blocks) * per_block);
        calls -= 1;
        enis += 1;
    }
    match (draft.is_empty(), missing) {
        (true, _) => "no room to grow now",
        (false, 0) => "grows",
        (false, _) => "grows as far as it can",
    }
}

fn unit_to_ask_for(view: &View<'_>, unit: Unit) -> Unit {
    let snapshot = view.snapshot;
    let own = snapshot.subnets.iter().find(|subnet| subnet.own);
    let no_prefixes_at = own.map_or(0, |subnet| subnet.no_prefixes_at);
    if no_prefixes_at > 0 && no_prefixes_at + NO_PREFIX > snapshot.now {
        Unit::Address
    } else {
        unit
    }
}

/// Gives back what has been idle for long enough, newest ENI first, as far as it is spare. Asks to
/// be woken when the next block will have been.
pub fn shrink(
    view: &View<'_>,
    mut spare: u64,
    idle_seconds: u32,
    draft: &mut Draft,
) -> &'static str {
    let now = view.snapshot.now;
    let idle = u64::from(idle_seconds) * SECOND;
    let mut calls = view.snapshot.ec2.release_budget;
    for eni in view.enis().rev() {
        if !serves_pods(eni) || eni.eni.busy {
            continue;
        }
        let addresses: u64 = eni.blocks().map(|block| u64::from(block.addresses)).sum();
        let is_idle = |since: u64| since + idle <= now;
        let all_idle = is_idle(eni.eni.idle_since)
            && eni
                .blocks()
                .all(|block| block.releasable && is_idle(block.idle_since));
        if eni.can_detach() && all_idle && addresses <= spare && calls > 0 {
            let name = eni.name();
            let reason = format!("Idle for {idle_seconds} s and not wanted: {name} goes.");
            draft.detach(eni, reason);
            spare -= addresses;
            calls -= 1;
            continue;
        }
        let mut gone = Vec::new();
        for block in eni.blocks().rev() {
            if !block.releasable || u64::from(block.addresses) > spare {
                continue;
            }
            if !is_idle(block.idle_since) {
                draft.wake_after(block.idle_since + idle - now);
            } else if calls > 0 {
                gone.push(block.index);
                spare -= u64::from(block.addresses);
            }
        }
        if !gone.is_empty() {
            let (blocks, name) = (gone.len(), eni.name());
            let reason = format!("Idle for {idle_seconds} s and not wanted: {blocks} of {name}.");
            draft.release(eni, gone, reason);
            calls -= 1;
        }
    }
    if draft.is_empty() {
        "enough"
    } else {
        "gives back"
    }
}
