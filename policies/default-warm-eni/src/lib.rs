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
mod pool;
mod shrink;
mod targets;

use alloc::format;
use alloc::string::String;

use onsen_policy_sdk::{Decision, Draft, Family, Metadata, Placement, Policy, View, ipv6};

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

/// One decision: what upstream's loop does in one round, with as many growth steps as it takes.
pub fn decide(view: &View<'_>) -> Decision {
    let mut draft = Draft::default();
    if view.snapshot.node.terminating {
        keep_memo(view, &mut draft);
        return draft.finish(
            Placement::Pack,
            "The node is shutting down: nothing is changed.".into(),
        );
    }
    if view.snapshot.node.family == Family::Ipv6 {
        return ipv6::one_prefix_each(view);
    }
    let targets = Targets::read(view);
    let mut pool = Pool::measure(view, &targets);
    let start = pool.sums;
    if pool.waiting == 0 {
        // Before growth: what is left over holds slots that growth needs.
        shrink::leftovers(view, &targets, &pool, &mut draft);
    }
    if !draft.is_empty() {
        keep_memo(view, &mut draft);
        let reason = format!(
            "{}; blocks of the other unit go back first.",
            start.in_words(&pool)
        );
        return draft.finish(Placement::Pack, reason);
    }
    let blocked = growth::plan(view, &targets, &mut pool, &mut draft);
    draft.pressure(match (pool.unserved(), targets.is_low(&start), &blocked) {
        (1.., _, _) => 100,
        (_, true, Some(_)) => 80,
        (_, true, None) => 40,
        (_, false, _) => 0,
    });
    let verdict = blocked.unwrap_or_else(|| {
        if draft.is_empty() {
            shrink::plan(view, &targets, &pool, &mut draft)
        } else {
            keep_memo(view, &mut draft);
            "the pool is low and grows".into()
        }
    });
    let reason = format!(
        "{}; {}: {verdict}.",
        start.in_words(&pool),
        targets.in_words()
    );
    draft.finish(Placement::Pack, reason)
}

fn keep_memo(view: &View<'_>, draft: &mut Draft) {
    draft.remember(view.snapshot.memo.clone());
}

#[cfg(test)]
mod tests;
