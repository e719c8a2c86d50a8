//! A daemon whose rules name a policy in a real registry, which comes and goes.

use std::time::Duration;

use onsen_cluster_tests::{REGISTRY, Registry, has};
use onsen_harness::cni::Pod;
use onsen_harness::node::Node;
use onsen_harness::{Lab, LabOptions, Result, private_test};

const PATIENCE: Duration = Duration::from_mins(2);

/// A pod comes and goes.
fn serve(node: &Node, name: &str) -> Result<()> {
    let pod = Pod::create(name)?;
    let added = node.plugin.must_add(&pod)?;
    node.plugin.must_del(&pod, Some(&added.result))
}

private_test! {
    fn a_policy_out_of_a_registry_runs_and_outlives_it_and_one_that_cannot_be_fetched_changes_nothing() {
        if !has("policy out of a registry", &REGISTRY) {
            return Ok(());
        }
        let mut options = LabOptions::default();
        options.settings.insert("ONSEN_POLICY_WATCH".to_owned(), "1".to_owned());
        let mut lab = Lab::start(&options)?;
        let netns = lab.node().instance.netns.clone();
        let mut registry = Registry::start(lab.dir(), &netns)?;
        let first = registry.push("first", &onsen_hostile::idle())?;
        let other = registry.push("other", &onsen_hostile::log_flood())?;
        let node = lab.node();
        node.set_policy(&first, &[])?;
        let good = node.wait_status("the policy proving good", PATIENCE, |status| {
            status.policy.swaps == 1 && !status.policy.on_probation
        })?
        .policy;
        serve(node, "a")?;

        // Down: what runs goes on, and the node says what it cannot do.
        registry.stop()?;
        node.set_policy(&other, &[])?;
        let status = node.wait_status("the trouble", PATIENCE, |status| status.policy.last_error.is_some())?;
        let why = status.policy.last_error.unwrap_or_default();
        assert!(why.contains("127.0.0.1:5000/policies/other@sha256:") && why.contains("onnect"), "{why}");
        assert_eq!(status.policy.digest, good.digest);
        serve(node, "b")?;

        // Nor does a start need it, for what has proved good.
        node.set_policy(&first, &[])?;
        node.wait_status("the trouble forgotten", PATIENCE, |status| status.policy.last_error.is_none())?;
        node.kill_daemon()?;
        node.start()?;
        node.wait_ready()?;
        assert_eq!(node.status()?.policy.digest, good.digest);
        serve(node, "c")?;

        // Back: the wish that waited is granted by itself.
        node.set_policy(&other, &[])?;
        node.wait_status("the trouble again", PATIENCE, |status| status.policy.last_error.is_some())?;
        registry.resume()?;
        let status = node.wait_status("the wish granted", PATIENCE, |status| {
            status.policy.last_error.is_none() && status.policy.swaps == 1
        })?;
        assert_ne!(status.policy.digest, good.digest);

        // A digest that the registry does not have is refused, and stays so.
        let absent = first.replace(first.get(first.len() - 8..).unwrap_or_default(), "00000000");
        node.set_policy(&absent, &[])?;
        let refused = node.wait_status("the refusal", PATIENCE, |status| status.policy.last_error.is_some())?;
        let why = refused.policy.last_error.unwrap_or_default();
        assert!(why.contains("cannot get the manifest"), "{why}");
        assert_eq!(refused.policy.digest, status.policy.digest);
        serve(node, "d")
    }
}
