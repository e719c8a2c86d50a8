//! A daemon whose rules name a policy in a real registry, which comes and goes.

use std::path::Path;
use std::time::Duration;

use onsen_cluster_tests::{REGISTRY, Registry, has, pull_secret};
use onsen_harness::cni::Pod;
use onsen_harness::node::Node;
use onsen_harness::{HarnessError, Lab, LabOptions, Result, private_test};

const PATIENCE: Duration = Duration::from_mins(2);

/// A pod comes and goes.
fn serve(node: &Node, name: &str) -> Result<()> {
    let pod = Pod::create(name)?;
    let added = node.plugin.must_add(&pod)?;
    node.plugin.must_del(&pod, Some(&added.result))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(HarnessError::io(format!("write {}", path.display())))
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

    fn a_private_registry_opens_to_the_right_pull_secret_only_and_pods_wait_for_none() {
        if !has("pull secrets", &REGISTRY) {
            return Ok(());
        }
        let mut lab = Lab::without_daemons(&LabOptions::default())?;
        let netns = lab.node().instance.netns.clone();
        let registry = Registry::start_private(lab.dir(), &netns)?;
        let policy = registry.push("private", &onsen_hostile::idle())?;
        let secret = lab.dir().join("pull-secret.json");
        let node = lab.node();
        node.settings.insert("ONSEN_REGISTRY_CONFIG".to_owned(), secret.display().to_string());
        node.start()?;
        node.wait_ready()?;
        let before = node.status()?.policy.digest;
        let refused = |node: &mut Node, round: &str, words: &[&str]| {
            // Another setting is another wish, which is tried at once.
            let refusals = node.status()?.policy.refusals;
            node.set_policy(&policy, &[("ROUND", round)])?;
            let status = node.wait_status(round, PATIENCE, |status| status.policy.refusals > refusals)?;
            let why = status.policy.last_error.unwrap_or_default();
            assert!(words.iter().all(|words| why.contains(words)), "{round}: {why}");
            assert_eq!(status.policy.digest, before, "{round}");
            serve(node, round)
        };
        let place = policy.trim_start_matches("oci:");
        refused(node, "no-secret", &["pull-secret.json cannot be read"])?;
        write(&secret, "{\"auths\": {}}")?;
        refused(node, "no-password", &[place, "uthori"])?;
        write(&secret, &pull_secret("cold-and-wrong"))?;
        refused(node, "wrong-password", &[place, "uthori"])?;

        // What is right later is tried without being asked for.
        write(&secret, &pull_secret("warm"))?;
        let status = node.wait_status("the wish granted", PATIENCE, |status| status.policy.swaps == 1)?;
        assert_ne!(status.policy.digest, before);
        assert_eq!(status.policy.last_error, None);
        serve(node, "right-password")?;
        let log = std::fs::read_to_string(node.log()).map_err(HarnessError::io("read the log"))?;
        assert!(log.contains(place) && !log.contains("cold-and-wrong"), "a password is in the log");
        Ok(())
    }
}
