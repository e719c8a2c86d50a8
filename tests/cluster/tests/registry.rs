//! A daemon whose rules name a policy in a real registry, which comes and goes.

use std::path::Path;
use std::time::Duration;

use onsen_cluster_tests::{
    API_SERVER, ApiServer, Key, REGISTRY, Registry, SIGNED_REGISTRY, has, manifest, pull_secret,
};
use onsen_harness::cni::Pod;
use onsen_harness::node::Node;
use onsen_harness::wait::wait_until;
use onsen_harness::{HarnessError, Lab, LabOptions, Result, private_test};
use serde_json::json;

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

    fn a_node_with_a_public_key_runs_what_its_holder_signed_and_tells_of_the_rest() {
        if !has("signed policies", &SIGNED_REGISTRY) {
            return Ok(());
        }
        // The rules come as a cluster tells them where there is an API server, else out of a file.
        let with_api = has("the event of an unsigned policy", &API_SERVER);
        let mut lab = Lab::without_daemons(&LabOptions::default())?;
        let netns = lab.node().instance.netns.clone();
        let mut registry = Registry::start(lab.dir(), &netns)?;
        let (ours, stranger) = (Key::generate(lab.dir(), "ours")?, Key::generate(lab.dir(), "stranger")?);
        let api = with_api
            .then(|| {
                let api = ApiServer::start(lab.dir(), &manifest())?;
                api.add_node("node-1", &json!({}))?;
                api.adopt(lab.node())?;
                Ok::<_, HarnessError>(api)
            })
            .transpose()?;
        let node = lab.node();
        node.settings.insert("ONSEN_POLICY_WATCH".to_owned(), "1".to_owned());
        trust(node, &ours);
        node.start()?;
        node.wait_ready()?;
        let before = node.status()?.policy.digest;
        // Another setting is another wish, which is tried at once.
        let mut round = 0;
        let mut ask = |node: &Node, policy: &str| {
            round += 1;
            let rules = json!({"rules": [{"policy": policy, "settings": {"ROUND": round}}]}).to_string();
            match &api {
                Some(api) => api.set_rules(&rules, &[]),
                None => node.set_rules(&rules),
            }
        };

        let policy = registry.push("new", &onsen_hostile::idle())?;
        for (signer, words) in [
            (None, "no bundle refers to it and there is no 127.0.0.1:5000/policies/new:sha256-"),
            (Some(&stranger), "it has 1 signatures, none by that key for that digest"),
        ] {
            if let Some(key) = signer {
                registry.sign(&policy, key, false)?;
            }
            let refusals = node.status()?.policy.refusals;
            ask(node, &policy)?;
            let refused = node.wait_status("the refusal", PATIENCE, |status| status.policy.refusals > refusals)?;
            let why = refused.policy.last_error.unwrap_or_default();
            assert!(why.contains(" is not signed with the key: ") && why.contains(words), "{why}");
            assert_eq!(refused.policy.digest, before);
            serve(node, &format!("refused-{refusals}"))?;
            if let Some(api) = &api {
                wait_until("the event", PATIENCE, || {
                    let events = api.events("Node", "node-1")?;
                    let told = events.iter().any(|(reason, text)| reason == "PolicyRefused" && text.contains(words));
                    Ok(if told { Ok(()) } else { Err(events) })
                })?;
            }
        }

        // As cosign signs today, and as it did.
        let other = registry.push("old", &onsen_hostile::log_flood())?;
        for (reference, as_before) in [(&policy, false), (&other, true)] {
            registry.sign(reference, &ours, as_before)?;
            let swaps = node.status()?.policy.swaps;
            ask(node, reference)?;
            node.wait_status("the policy proving good", PATIENCE, |status| {
                status.policy.swaps > swaps && !status.policy.on_probation
            })?;
        }
        let good = node.status()?.policy.digest;
        assert_ne!(good, before);

        // It was checked once: a start needs no registry for it, while the key is the same.
        registry.stop()?;
        node.kill_daemon()?;
        node.start()?;
        node.wait_ready()?;
        assert_eq!(node.status()?.policy.digest, good);
        registry.resume()?;
        node.kill_daemon()?;
        trust(node, &stranger);
        node.start()?;
        node.wait_ready()?;
        assert_eq!(node.status()?.policy.digest, before, "the holder of the new key has not signed it");
        node.wait_status("the refusal", PATIENCE, |status| {
            let why = status.policy.last_error.as_deref().unwrap_or_default();
            why.contains("policies/old@") && why.contains("is not signed with the key")
        })?;
        serve(node, "after")
    }
}

fn trust(node: &mut Node, key: &Key) {
    let path = key.public.display().to_string();
    node.settings.insert("ONSEN_POLICY_KEY".to_owned(), path);
}
