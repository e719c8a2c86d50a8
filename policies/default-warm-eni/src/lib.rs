//! The default policy: the warm pool of the Amazon VPC CNI.
//!
//! In: a snapshot with the settings that operators of `aws-node` know. Out: growth, else release,
//! else detachment of one ENI. README.md beside this crate is the specification.
//!
//! Must hold: the pool comes to rest. A step back is never taken when the pool would be low after
//! it, so no allocation is followed by a release of the same thing while demand stands still.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")
)]
extern crate alloc;

mod brakes;
mod growth;
mod memo;
mod pool;
mod shrink;
mod targets;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use onsen_policy_sdk::outcomes::is_growth;
use onsen_policy_sdk::{
    Decision, Draft, Family, Metadata, Placement, Policy, SECOND, Trigger, View, ipv6,
};

use brakes::Brakes;
use memo::Memo;
use pool::{Line, Pool};
use targets::Targets;

/// The policy.
pub struct WarmEni;

impl Policy for WarmEni {
    fn metadata() -> Metadata {
        Metadata {
            name: "default-warm-eni".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            doc: "Keeps addresses warm as the Amazon VPC CNI does: by whole ENIs, by prefixes or \
                  by numbers of addresses."
                .into(),
            settings: targets::specs(),
        }
    }

    fn decide(view: &View<'_>) -> Result<Decision, String> {
        Ok(decide(view))
    }
}

onsen_policy_sdk::export_policy!(WarmEni);

/// Time between two rounds of upstream.
const ROUND: u64 = 5 * SECOND;

/// One decision: what upstream's loop does in one round, with as many growth steps as it takes.
pub fn decide(view: &View<'_>) -> Decision {
    let mut draft = Draft::default();
    let mut memo = Memo::read(&view.snapshot.memo);
    let now = view.snapshot.now;
    if view.snapshot.node.terminating {
        draft.remember(memo.write(now));
        return draft.finish(
            Placement::Pack,
            "The node is shutting down: nothing is changed.".into(),
        );
    }
    if view.snapshot.node.family == Family::Ipv6 {
        return on_ipv6(view);
    }
    let cards = Targets::of_cards(view);
    let mut goes_on = false;
    if cards.iter().any(|targets| targets.strict) {
        match round(view, &cards, &memo) {
            Round::NotBefore(due, why) => {
                draft.wake_after(due.saturating_sub(now));
                draft.remember(memo.write(now));
                return draft.finish(Placement::Pack, why.into());
            }
            Round::GoesOn => goes_on = true,
            Round::Begins => memo.round_at = now,
        }
        draft.wake_after(ROUND);
    }
    let mut budgets = Budgets {
        grow: view.snapshot.ec2.grow_budget,
        release: view.snapshot.ec2.release_budget,
    };
    let mut reasons = Vec::with_capacity(cards.len());
    for targets in &cards {
        let found = one_card(view, targets, &mut draft, &mut budgets, &mut memo);
        reasons.push(match targets.card {
            0 => format!("{found}."),
            card => format!("Card {card}: {found}."),
        });
    }
    if goes_on && budgets.grow == view.snapshot.ec2.grow_budget {
        // Nothing is left to try: the round is over.
        memo.round_at = now;
    }
    draft.remember(memo.write(now));
    draft.finish(Placement::Pack, reasons.join(" "))
}

/// EC2 calls that this decision may still cause.
struct Budgets {
    grow: u32,
    release: u32,
}

/// Growth, else release, then detachment on one card; what was found, for people.
fn one_card(
    view: &View<'_>,
    targets: &Targets,
    draft: &mut Draft,
    budgets: &mut Budgets,
    memo: &mut Memo,
) -> String {
    let mut pool = Pool::measure(view, targets);
    let sums = pool.sums;
    let start = sums.in_words(&pool);
    // Before growth: what is left over holds slots that growth needs. Upstream only does it when it
    // starts, and when the last pod of a leftover prefix goes.
    let now_is_the_time = !targets.strict || view.snapshot.trigger == Trigger::Start;
    let is_quiet = pool.waiting == 0 && now_is_the_time;
    let may_wait = !targets.strict && targets.is_low(&sums);
    let is_meant = |line: &Line<'_>| !(may_wait && line.eni.eni.excluded);
    if is_quiet && shrink::leftovers(targets, &pool, draft, &mut budgets.release, is_meant) {
        return format!("{start}; blocks that serve no new pod go back first");
    }
    let calls = budgets.grow;
    let brakes = Brakes::new(view, targets, memo);
    let blocked = growth::plan(view, targets, &mut pool, draft, &brakes, &mut budgets.grow);
    let grows = budgets.grow < calls;
    draft.pressure(match (pool.unserved(), targets.is_low(&sums), &blocked) {
        (1.., _, _) => 100,
        (_, true, Some(_)) => 80,
        (_, true, None) => 40,
        (_, false, _) => 0,
    });
    let verdict = match blocked {
        Some(why) => why,
        None if grows => "the pool is low and grows".into(),
        None if targets.strict && targets.is_low(&sums) => {
            "the pool is low, and a cordoned node does not grow".into()
        }
        None => {
            let found = shrink::plan(view, targets, &mut pool, draft, &mut budgets.release, memo);
            return format!("{start}; {}: {found}", targets.in_words());
        }
    };
    if targets.strict {
        // Upstream considers it in each round, whatever came of growth.
        shrink::consider_detach(targets, &pool, draft, budgets.release);
    }
    format!("{start}; {}: {verdict}", targets.in_words())
}

/// IPv6: an ENI on each card, a /80 on each ENI. Upstream adds ENIs only when it starts.
fn on_ipv6(view: &View<'_>) -> Decision {
    let cards = Targets::of_cards(view);
    let most = |targets: &Targets| {
        let adds = !targets.strict || view.snapshot.trigger == Trigger::Start;
        let most = if adds { targets.max_enis } else { 0 };
        (targets.card, most)
    };
    let cards: Vec<_> = cards.iter().map(most).collect();
    ipv6::one_prefix_each(view, &cards)
}

/// Where upstream's loop stands.
enum Round {
    /// It sleeps, or its calls are under way; why, for people.
    NotBefore(u64, &'static str),
    /// A call was refused, and the same round tries the next thing.
    GoesOn,
    /// A new round is due.
    Begins,
}

/// Upstream's loop sleeps 5 s after each round, and waits for its calls.
fn round(view: &View<'_>, cards: &[Targets], memo: &Memo) -> Round {
    let snapshot = view.snapshot;
    if snapshot.ec2.in_flight > 0 {
        let why = "The calls of the last round are under way.";
        return Round::NotBefore(snapshot.now.saturating_add(ROUND), why);
    }
    let calls = snapshot.ec2.outcomes.iter();
    let last = calls
        .rev()
        .find(|it| is_growth(it) && it.at >= memo.round_at);
    let discovery = cards.iter().any(|targets| targets.subnet_discovery);
    if last.is_some_and(|last| brakes::goes_on(last, discovery)) {
        return Round::GoesOn;
    }
    let end = last.map_or(memo.round_at, |last| last.at);
    let due = end.saturating_add(ROUND);
    if snapshot.now >= due || memo.round_at == 0 {
        return Round::Begins;
    }
    Round::NotBefore(due, "Upstream's loop sleeps 5 s between two rounds.")
}

#[cfg(test)]
mod tests;
