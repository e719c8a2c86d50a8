//! Any pool, any settings: no decision breaks a law of the node, and the pool comes to rest.
#![allow(missing_docs, reason = "a test needs none")]
#![allow(clippy::allow_attributes, reason = "expectations differ by target")]

use onsen_policy_default_warm_eni::WarmEni;
use onsen_policy_sdk::strategies::{pools, settings};
use onsen_policy_sdk::{Policy, SettingSpec};
use proptest::prelude::*;

/// All but `STRICT_UPSTREAM`, with which some pools never rest, as upstream's.
fn specs() -> Vec<SettingSpec> {
    let mut specs = WarmEni::metadata().settings;
    specs.retain(|spec| spec.key != "STRICT_UPSTREAM");
    specs
}

proptest! {
    #[test]
    fn every_pool_comes_to_rest_whatever_the_settings_say(
        mut node in pools(),
        settings in settings(&specs()),
    ) {
        node.settings = settings;
        node.rest(WarmEni::decide);
    }
}
