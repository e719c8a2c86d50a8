//! containerd calls the plugin, with the conflist that ships, while policies change.

use std::time::Duration;

use onsen_cluster_tests::{API_SERVER, ApiServer, Containerd, has, has_containerd};
use onsen_harness::node::Node;
use onsen_harness::wait::wait_until;
use onsen_harness::{HarnessError, Lab, LabOptions, Result, private_test};
use serde_json::json;

const PATIENCE: Duration = Duration::from_mins(2);
/// Fifty pods: so many times so many at once, as a kubelet asks for them.
const BATCHES: usize = 10;
const AT_ONCE: usize = 5;

private_test! {
    fn fifty_pods_of_containerd_come_and_go_while_the_policy_changes_and_none_fails() {
        if !has_containerd("containerd while the policy changes") {
            return Ok(());
        }
        // With a real API server the edits are of a real ConfigMap, else of the mounted file.
        let with_api = has("containerd beside an API server: the mounted file is edited instead", &API_SERVER);
        let mut lab = Lab::without_daemons(&LabOptions::default())?;
        let api = if with_api {
            let api = ApiServer::start(lab.dir(), &onsen_cluster_tests::manifest())?;
            api.add_node("node-1", &json!({}))?;
            api.adopt(lab.node())?;
            Some(api)
        } else {
            None
        };
        lab.node().start()?;
        lab.node().wait_ready()?;
        let dir = lab.dir().to_owned();
        let node = lab.node();
        let containerd = Containerd::start(&dir, node, &onsen_cluster_tests::conflist()?)?;
        let policies = [
            "{policy: 'builtin:prefix-frugal'}",
            "{settings: {WARM_IP_TARGET: 4}}",
            "{policy: 'configmap:absent.wasm'}",
            "{policy: 'builtin:default-warm-eni', shadow: {policy: 'builtin:prefix-frugal'}}",
            "{polcy: misspelt}",
        ];
        let mut edits = policies.iter().cycle();
        let mut there = Vec::new();
        for batch in 0..BATCHES {
            if let Some(rule) = edits.next() {
                let rules = format!("rules: [{rule}]");
                match &api {
                    Some(api) => api.set_rules(&rules, &[])?,
                    None => node.set_rules(&rules)?,
                }
            }
            let names = (0..AT_ONCE).map(|pod| format!("pod-{batch}-{pod}"));
            let made = at_once(names, |name| {
                let made = containerd.run_pod(&name)?;
                let id = made.map_err(|why| HarnessError::Protocol(format!("{name}: {why}")))?;
                Ok((containerd.address(&id)?, id))
            })?;
            let pods = node.pods()?;
            for (address, id) in &made {
                let known = pods.iter().any(|it| it.container == *id && it.address.to_string() == *address);
                assert!(known, "{id} with {address} is not the daemon's");
            }
            let before = std::mem::replace(&mut there, made);
            at_once(before, |(_, id)| containerd.remove_pod(&id))?;
        }
        at_once(there, |(_, id)| containerd.remove_pod(&id))?;
        let status = node.status()?.policy;
        // Each edit that is good is a swap, each that is bad a refusal; two edits may come so close that the
        // first is never seen.
        assert!(status.swaps >= 3 && status.refusals >= 2, "{status:?}");
        assert_eq!(node.status()?.pool.assigned, 0);
        Ok(())
    }

    fn a_pod_without_an_address_tells_the_runtime_the_reason_and_the_decision() {
        if !has_containerd("the reason in containerd's words") {
            return Ok(());
        }
        // Two ENIs of two addresses each, of which the first is the ENI's own: two pods fit.
        let mut lab = Lab::start(&LabOptions {
            instance_types: vec!["t3.nano"],
            ..LabOptions::default()
        })?;
        let dir = lab.dir().to_owned();
        let node = lab.node();
        let containerd = Containerd::start(&dir, node, &onsen_cluster_tests::conflist()?)?;
        let refused = fill(&containerd)?;
        // The kubelet puts this into the event FailedCreatePodSandBox of the pod.
        let reason = refused.find("failed to assign an IP address to container: node-full: ");
        assert!(reason.is_some(), "{refused}");
        let decision: u64 = refused
            .split_once("[decision ")
            .and_then(|(_, rest)| rest.split_once(']'))
            .and_then(|(id, _)| id.parse().ok())
            .ok_or_else(|| HarnessError::Protocol(format!("no decision is named: {refused}")))?;
        explained(node, decision)
    }
}

/// Does all of it on threads of their own, and waits.
fn at_once<T: Send, R: Send>(
    all: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = all
            .into_iter()
            .map(|one| scope.spawn(move || work(one)))
            .collect();
        let ended = threads.into_iter().map(|thread| {
            let panicked = |_| HarnessError::Protocol("a thread of the test panicked".to_owned());
            thread.join().map_err(panicked)?
        });
        ended.collect()
    })
}

/// Runs pods until one is refused.
fn fill(containerd: &Containerd) -> Result<String> {
    let mut number = 0;
    wait_until("a full node", PATIENCE, || {
        number += 1;
        let made = containerd.run_pod(&format!("fill-{number}"))?;
        Ok(match made {
            Ok(id) => Err(id),
            Err(why) => Ok(why),
        })
    })
}

/// `onsen` knows the decision, and the pod.
fn explained(node: &Node, decision: u64) -> Result<()> {
    let endpoint = format!("unix:{}", node.status_socket().display());
    let onsen = onsen_harness::programs::path("onsen")?;
    let ask = |arguments: &[&str]| {
        let program = onsen.to_string_lossy();
        onsen_harness::process::tool(
            &program,
            &[&["--endpoint", &endpoint, "explain"], arguments].concat(),
        )
    };
    let text = ask(&["decision", &decision.to_string()])?;
    assert!(
        text.starts_with(&format!("Decision {decision} was put ")),
        "{text}"
    );
    let pods = node.pods()?;
    let refused = format!("default/fill-{}", pods.len() + 1);
    let text = ask(&["pod", &refused])?;
    assert!(text.contains("node-full"), "{text}");
    Ok(())
}
