//! The life of policies on a real node: what is bad is refused or rolled back, what is good outlives
//! the daemon, and pods notice none of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use onsen_harness::cni::Pod;
use onsen_harness::node::{Node, Status};
use onsen_harness::traffic::Flow;
use onsen_harness::wait::wait_until;
use onsen_harness::{HarnessError, Lab, LabOptions, Result, private_test};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(1);
/// What is said of a guest that computes too long.
const FUEL: &str = "units of fuel";

/// A lab whose policies prove good after some seconds.
fn trusting(seconds: &str) -> LabOptions {
    let mut options = LabOptions::default();
    options
        .settings
        .insert("ONSEN_POLICY_WATCH".to_owned(), seconds.to_owned());
    options
}

/// Pods come and go until `wanted` says yes of the status. Each ADD must succeed.
fn churn(node: &Node, what: &str, wanted: impl Fn(&Status) -> bool) -> Result<Status> {
    let mut round = 0;
    wait_until(what, PATIENCE, || {
        round += 1;
        let pod = Pod::create(&format!("churn-{round}"))?;
        let added = node.plugin.must_add(&pod)?;
        node.plugin.must_del(&pod, Some(&added.result))?;
        let status = node.status()?;
        Ok(if wanted(&status) {
            Ok(status)
        } else {
            Err(status.policy)
        })
    })
}

fn held(node: &Node) -> Result<BTreeMap<String, IpAddr>> {
    let pods = node.pods()?.into_iter();
    Ok(pods.map(|pod| (pod.container, pod.address)).collect())
}

/// Waits for the default to have proved good.
fn trusted(node: &mut Node) -> Result<Status> {
    node.set_policy("builtin:default-warm-eni", &[])?;
    // Somebody has to ask for a decision after the time is over.
    churn(node, "the default proving good", |status| {
        status.policy.name == "default-warm-eni" && !status.policy.on_probation
    })
}

private_test! {
    fn a_guest_that_cannot_decide_is_refused_and_pods_keep_coming() {
        let mut lab = Lab::start(&trusting("1"))?;
        let node = lab.node();
        let (a, b) = (Pod::create("a")?, Pod::create("b")?);
        node.plugin.must_add(&a)?;
        let far = node.plugin.must_add(&b)?.address;
        let flow = Flow::start(&a.netns, &b.netns, far)?;
        let before = trusted(node)?.policy;
        let holding = held(node)?;
        let mut huge = onsen_hostile::idle();
        huge.resize(100 << 20, 0);
        for (name, component, words) in [
            ("endless-loop", onsen_hostile::endless_loop(), FUEL),
            ("endless-recursion", onsen_hostile::endless_recursion(), "trapped"),
            ("memory-bomb", onsen_hostile::memory_bomb(), "bytes of memory"),
            ("huge-output", onsen_hostile::huge_output(), "answer cannot be read"),
            ("trap", onsen_hostile::trap(), "trapped"),
            ("trap-every-seventh", onsen_hostile::trap_every_seventh(), "trapped"),
            ("endless-start", onsen_hostile::endless_start(), FUEL),
            ("forbidden-import", onsen_hostile::forbidden_import(), "imports wasi:cli/environment"),
            ("wrong-world", onsen_hostile::wrong_world(), "example:other/thing"),
            ("100-megabytes", huge, "more than the 67108864 bytes"),
        ] {
            let refusals = node.status()?.policy.refusals;
            node.put_component(name, &component)?;
            node.set_policy(&format!("configmap:{name}"), &[])?;
            let status = churn(node, "the refusal", |status| status.policy.refusals > refusals)?;
            let why = status.policy.last_error.unwrap_or_default();
            // Where the machine is slow, time is up before the fuel is.
            let named = why.contains(words) || words == FUEL && why.contains("did not answer within");
            assert!(why.contains(name) && named, "{name}: {why}");
            assert_eq!(status.policy.digest, before.digest, "{name}: the old policy is in force");
            assert_eq!(status.policy.swaps, before.swaps, "{name}");
            assert_eq!(held(node)?, holding, "{name}: nothing in use is touched");
        }
        assert_eq!(flow.stop()?.lost, 0);
        Ok(())
    }

    fn a_guest_that_does_harm_is_rolled_back_and_pods_keep_coming() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        let (a, b) = (Pod::create("a")?, Pod::create("b")?);
        node.plugin.must_add(&a)?;
        let far = node.plugin.must_add(&b)?.address;
        let flow = Flow::start(&a.netns, &b.netns, far)?;
        let before = node.status()?.policy;
        let holding = held(node)?;
        for (name, component) in [
            ("out-of-range", onsen_hostile::out_of_range()),
            ("release-everything", onsen_hostile::release_everything()),
            ("thrash", onsen_hostile::thrash()),
        ] {
            let rollbacks = node.status()?.policy.rollbacks;
            node.put_component(name, &component)?;
            node.set_policy(&format!("configmap:{name}"), &[])?;
            let status = churn(node, "the rollback", |status| status.policy.rollbacks > rollbacks)?;
            let why = status.policy.last_error.unwrap_or_default();
            assert!(why.contains(name) && why.contains("rolled back to builtin:default-warm-eni"), "{why}");
            assert_eq!(status.policy.digest, before.digest);
            assert_eq!(held(node)?, holding, "{name}: nothing in use is touched");
        }
        assert_eq!(flow.stop()?.lost, 0);
        Ok(())
    }

    fn a_guest_that_only_talks_is_harmless() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        node.put_component("flood", &onsen_hostile::log_flood())?;
        node.set_policy("configmap:flood", &[])?;
        let swapped = |status: &Status| status.policy.swaps == 1;
        let digest = node.wait_status("the swap", PATIENCE, swapped)?.policy.digest;
        for round in 0..20 {
            let pod = Pod::create(&format!("p{round}"))?;
            let added = node.plugin.must_add(&pod)?;
            node.plugin.must_del(&pod, Some(&added.result))?;
        }
        let status = node.status()?;
        assert_eq!((status.policy.digest, status.policy.rollbacks), (digest, 0));
        Ok(())
    }

    fn what_was_rolled_back_stays_out_across_a_restart_until_something_else_is_asked_for() {
        let mut lab = Lab::start(&trusting("5"))?;
        let node = lab.node();
        node.set_policy("builtin:prefix-frugal", &[])?;
        let good = churn(node, "prefix-frugal proving good", |status| {
            status.policy.name == "prefix-frugal" && !status.policy.on_probation
        })?
        .policy;
        // It is good enough on all this node has seen, and fails from one of the next decisions on.
        let last = node.status()?.last_decision.map_or(0, |decision| decision.id);
        node.put_component("later", &onsen_hostile::trap_from(last + 8))?;
        node.set_policy("configmap:later", &[("A", "1")])?;
        let status = churn(node, "the rollback", |status| status.policy.rollbacks > 0)?;
        assert_eq!(status.policy.digest, good.digest, "the last good policy, not the built-in");
        node.kill_daemon()?;
        node.start()?;
        node.wait_ready()?;
        let status = node.status()?.policy;
        assert_eq!(status.digest, good.digest);
        let why = status.last_error.unwrap_or_default();
        assert!(why.contains("was rolled back before: 3 of its last"), "{why}");
        // The same component with another setting is another wish, which is tried on its own merits.
        node.set_policy("configmap:later", &[("A", "2")])?;
        node.wait_status("another verdict", PATIENCE, |status| {
            let why = status.policy.last_error.as_ref();
            why.is_some_and(|why| why.contains("it fails on snapshot"))
        })?;
        Ok(())
    }

    fn a_daemon_whose_policy_is_gone_starts_with_the_last_good_one() {
        let mut lab = Lab::start(&trusting("1"))?;
        let node = lab.node();
        node.put_component("own.wasm", &onsen_hostile::idle())?;
        node.set_policy("configmap:own.wasm", &[("A", "1")])?;
        let good = churn(node, "it proving good", |status| {
            status.policy.swaps == 1 && !status.policy.on_probation
        })?
        .policy;
        node.stop_daemon()?;
        node.put_component("own.wasm", b"no component any more")?;
        node.start()?;
        node.wait_ready()?;
        let status = node.status()?.policy;
        assert_eq!(status.digest, good.digest);
        assert_eq!(status.settings, good.settings);
        assert!(status.last_error.is_some_and(|why| why.contains("own.wasm")));
        node.plugin.must_add(&Pod::create("a")?)?;
        Ok(())
    }

    fn a_node_that_changes_its_labels_runs_another_rule_without_a_restart() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        node.set_rules(concat!(
            "rules:\n",
            "- name: dense\n",
            "  nodeSelector: {kind: dense}\n",
            "  policy: builtin:prefix-frugal\n",
            "- name: the rest\n",
            "  settings: {WARM_IP_TARGET: 3}\n",
        ))?;
        node.wait_status("the second rule", PATIENCE, |status| {
            status.policy.rule.as_deref() == Some("2 (the rest)")
        })?;
        let started = node.daemon_id();
        node.set_labels("zone=a,kind=dense")?;
        let status = node.wait_status("the first rule", PATIENCE, |status| {
            status.policy.name == "prefix-frugal"
        })?;
        assert_eq!(status.policy.rule.as_deref(), Some("1 (dense)"));
        assert_eq!(node.daemon_id(), started);
        node.set_rules("rules:\n- name: x\n  polcy: y\n")?;
        let status = node.wait_status("the refusal", PATIENCE, |status| status.policy.last_error.is_some())?;
        let why = status.policy.last_error.unwrap_or_default();
        assert!(why.contains("line 3") && why.contains("field rules[0].polcy"), "{why}");
        assert_eq!(status.policy.name, "prefix-frugal");
        Ok(())
    }

    fn a_policy_sees_the_labels_that_the_operator_names_and_their_changes_and_no_others() {
        let mut options = LabOptions::default();
        options.settings.insert("ONSEN_POLICY_LABELS".to_owned(), "kind,team.example.com/*".to_owned());
        let mut lab = Lab::without_daemons(&options)?;
        let node = lab.node();
        node.set_labels("zone=a,kind=dense,team.example.com/name=blue")?;
        node.start()?;
        node.wait_ready()?;
        let labels = |shown: &Value| shown.pointer("/node/labels").cloned();
        let first = Some(json!({"kind": "dense", "team.example.com/name": "blue"}));
        node.wait_snapshot("the labels", PATIENCE, |shown| labels(shown) == first)?;
        assert_eq!(node.snapshots()?.first().and_then(labels), first, "from the first decision on");

        // A change is a reason to ask the policy, unless it is of what no policy sees.
        let changes = |node: &Node| -> Result<usize> {
            let all = node.snapshots()?;
            Ok(all.iter().filter(|shown| shown.get("trigger") == Some(&json!("change"))).count())
        };
        let before = changes(node)?;
        node.set_labels("zone=b,kind=dense,team.example.com/name=blue")?;
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(changes(node)?, before);
        node.set_labels("zone=b,kind=sparse")?;
        let second = Some(json!({"kind": "sparse"}));
        node.wait_snapshot("the change", PATIENCE, |shown| labels(shown) == second)?;
        assert_eq!(changes(node)?, before + 1);
        Ok(())
    }

    fn a_shadow_is_compared_and_changes_nothing() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        node.put_component("wants-more", &onsen_hostile::asking(&[onsen_hostile::Ask::Grow(0, 3)]))?;
        node.set_rules("rules: [{shadow: {policy: 'configmap:wants-more'}}]")?;
        let status = churn(node, "a difference", |status| status.shadow.differed > 3)?;
        assert!(status.shadow.compared >= status.shadow.differed);
        let difference = status.shadow.last_difference.unwrap_or_default();
        assert!(difference["shadow"][0].as_str().is_some_and(|words| words.starts_with('3')), "{difference}");
        assert_eq!((status.policy.swaps, status.policy.refusals), (0, 0));
        // A shadow that cannot run is no reason to refuse the rule.
        node.set_rules("rules: [{settings: {WARM_IP_TARGET: 2}, shadow: {policy: 'configmap:absent'}}]")?;
        node.wait_status("the settings", PATIENCE, |status| {
            status.policy.settings.get("WARM_IP_TARGET").is_some_and(|value| value == "2")
        })?;
        let told = node.raw_status()?;
        let why = told["policy"]["shadow_error"].as_str().unwrap_or_default();
        if !why.contains("absent") {
            return Err(HarnessError::Protocol(format!("no word of the shadow: {told}")));
        }
        Ok(())
    }
}
