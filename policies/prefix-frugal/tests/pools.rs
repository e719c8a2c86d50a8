//! Any pool, any settings: no decision breaks a law of the node, and the pool comes to rest.
#![allow(missing_docs, reason = "a test needs none")]
#![allow(clippy::allow_attributes, reason = "expectations differ by target")]

use onsen_policy_prefix_frugal::PrefixFrugal;
use onsen_policy_sdk::Policy;
use onsen_policy_sdk::strategies::{pools, settings};
use proptest::prelude::*;

proptest! {
    #[test]
    fn every_pool_comes_to_rest_whatever_the_settings_say(
        mut node in pools(),
        settings in settings(&PrefixFrugal::metadata().settings),
    ) {
        node.settings = settings;
        node.rest(PrefixFrugal::decide);
    }
}
