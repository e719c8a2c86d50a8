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

use memo::Memo;
use pool::Pool;
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
        return ipv6::one_prefix_each(view);
    }
    let cards = Targets::of_cards(view);
    if cards.iter().any(|targets| targets.strict) {
        if let Some(why) = between_rounds(view, &memo, &mut draft) {
            draft.remember(memo.write(now));
            return draft.finish(Placement::Pack, why);
        }
        memo.round_at = now;
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
    if pool.waiting == 0
        && now_is_the_time
        && shrink::leftovers(targets, &pool, draft, &mut budgets.release)
    {
        return format!("{start}; blocks of the other unit go back first");
    }
    let calls = budgets.grow;
    let blocked = growth::plan(view, targets, &mut pool, draft, &mut budgets.grow);
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

/// Upstream's loop sleeps between rounds and while its calls are under way. After a call that failed
/// it goes on at once. Why nothing is done now; `None` when a round is due.
fn between_rounds(view: &View<'_>, memo: &Memo, draft: &mut Draft) -> Option<String> {
    let snapshot = view.snapshot;
    if snapshot.ec2.in_flight > 0 {
        draft.wake_after(ROUND);
        return Some("The calls of the last round are under way.".into());
    }
    let last = snapshot.ec2.outcomes.last();
    let on_the_ladder = last.is_some_and(|last| {
        is_growth(last) && !last.code.is_empty() && last.asked > 1 && last.at >= memo.round_at
    });
    let due = memo.round_at.saturating_add(ROUND);
    if snapshot.now >= due || on_the_ladder {
        return None;
    }
    draft.wake_after(due - snapshot.now);
    Some("Upstream's loop sleeps 5 s between two rounds.".into())
}

#[cfg(test)]
mod tests;
