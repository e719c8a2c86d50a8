//! A policy that prefers prefixes and keeps as few free addresses as demand allows.
//!
//! In: a snapshot. Out: prefixes while addresses are missing, single addresses only where the
//! subnet has no whole prefix left; what is idle and not wanted goes back. README.md beside this
//! crate is the specification.
//!
//! Must hold: the pool comes to rest. What is given back leaves more than what would be asked for
//! again, and a failed try for a prefix is not repeated for half an hour.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")
)]
extern crate alloc;

mod growth;
mod pool;
mod settings;
mod shrink;

use alloc::format;
use alloc::string::String;

use onsen_policy_sdk::{Decision, Draft, Family, Metadata, Placement, Policy, View, ipv6};

use pool::Pool;
use settings::Settings;

/// The policy.
pub struct PrefixFrugal;

impl Policy for PrefixFrugal {
    fn metadata() -> Metadata {
        Metadata {
            name: "prefix-frugal".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            doc:
                "Prefers prefixes, keeps as few free addresses as recent demand allows, and gives \
                  back what is idle."
                    .into(),
            settings: settings::specs(),
        }
    }

    fn decide(view: &View<'_>) -> Result<Decision, String> {
        Ok(decide(view))
    }
}

onsen_policy_sdk::export_policy!(PrefixFrugal);

/// One decision.
pub fn decide(view: &View<'_>) -> Decision {
    let mut draft = Draft::default();
    if view.snapshot.node.terminating {
        return draft.finish(
            Placement::Pack,
            "The node is shutting down: nothing is changed.".into(),
        );
    }
    if view.snapshot.node.family == Family::Ipv6 {
        return ipv6::one_prefix_each(view, &[(0, view.snapshot.limits.enis)]);
    }
    let settings = Settings::read(view);
    let mut pool = Pool::measure(view, &settings);
    let found = pool.in_words();
    draft.pressure(pool.pressure());
    let placement = if pool.filling {
        Placement::Pack
    } else {
        Placement::AddressesFirst
    };
    let growth = if pool.missing() > 0 {
        growth::plan(view, &settings, &mut pool, &mut draft)
    } else {
        None
    };
    let verdict = growth.unwrap_or_else(|| shrink::plan(view, &settings, &pool, &mut draft));
    draft.finish(placement, format!("{found}: {verdict}."))
}

#[cfg(test)]
mod tests;
