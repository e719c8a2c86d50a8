//! A daemon among a real kube-apiserver and etcd: rules by ConfigMap, labels, annotation and events, with the
//! rights that `deploy/` gives it and no more.

use std::time::{Duration, Instant};

use onsen_cluster_tests::{API_SERVER, ApiServer, has, manifest};
use onsen_harness::cni::Pod;
use onsen_harness::node::Node;
use onsen_harness::traffic::Flow;
use onsen_harness::wait::{wait_for, wait_until};
use onsen_harness::{HarnessError, Lab, LabOptions, Result, private_test};
use serde_json::{Value, json};

const NODE: &str = "node-1";
const PATIENCE: Duration = Duration::from_mins(2);
/// An edit of the ConfigMap is in force within this.
const PROMISE: Duration = Duration::from_secs(10);

/// The API server is silent for a minute at a time, when nothing happens; longer, and it is asked again.
const DEAD: Duration = Duration::from_secs(150);

/// An API server with the node's object, and the daemon that runs there.
struct Cluster {
    lab: Lab,
    api: ApiServer,
}

impl Cluster {
    fn start(test: &str, labels: &Value) -> Result<Option<Self>> {
        if !has(test, &API_SERVER) {
            return Ok(None);
        }
        let mut lab = Lab::without_daemons(&LabOptions::default())?;
        let api = ApiServer::start(lab.dir(), &manifest())?;
        api.add_node(NODE, labels)?;
        let node = lab.node();
        api.adopt(node)?;
        node.start()?;
        node.wait_ready()?;
        Ok(Some(Self { lab, api }))
    }

    /// Waits until the API tells that this policy runs by this rule.
    fn told(&self, policy: &str, rule: &str) -> Result<Value> {
        let what = format!("the annotation naming {policy} and {rule}");
        wait_until(&what, PATIENCE, || {
            let told = self.api.annotation(NODE)?;
            let fits = told["name"] == policy && told["rule"] == rule;
            Ok(if fits { Ok(told) } else { Err(told) })
        })
    }

    /// Waits for an event of the node whose reason is this and whose text has these words.
    fn event(&self, reason: &str, words: &str) -> Result<String> {
        let what = format!("an event {reason} with {words}");
        wait_until(&what, PATIENCE, || {
            let events = self.api.events("Node", NODE)?;
            let found = events
                .iter()
                .find(|(is, text)| is == reason && text.contains(words));
            Ok(found.map(|(_, text)| text.clone()).ok_or(events))
        })
    }
}

/// A pod comes and goes.
fn serve(node: &Node, name: &str) -> Result<()> {
    let pod = Pod::create(name)?;
    let added = node.plugin.must_add(&pod)?;
    node.plugin.must_del(&pod, Some(&added.result))
}

/// Pods come and go until something is there.
fn churn<T>(node: &Node, what: &str, mut wanted: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let mut round = 0;
    wait_for(what, PATIENCE, || {
        round += 1;
        serve(node, &format!("churn-{round}"))?;
        wanted()
    })
}

private_test! {
    fn an_edit_of_the_config_map_and_a_change_of_labels_choose_the_policy_of_a_running_node() {
        let Some(mut cluster) = Cluster::start("labels and ConfigMap", &json!({"kind": "general"}))? else {
            return Ok(());
        };
        let started = cluster.lab.node().daemon_id();
        let rules = |warm: u32| format!(concat!(
            "rules:\n",
            "- {{name: dense, nodeSelector: {{kind: dense}}, policy: 'builtin:prefix-frugal'}}\n",
            "- {{name: others, settings: {{WARM_IP_TARGET: {}}}}}\n",
        ), warm);
        cluster.api.set_rules(&rules(3), &[])?;
        let told = cluster.told("default-warm-eni", "2 (others)")?;
        assert_eq!(told["last_error"], Value::Null, "{told}");
        assert!(told["digest"].as_str().is_some_and(|it| it.starts_with("sha256:")), "{told}");

        // The promise, from the edit to the node's own word.
        let edited = Instant::now();
        cluster.api.set_rules(&rules(4), &[])?;
        cluster.lab.node().wait_status("the new setting", PATIENCE, |status| {
            status.policy.settings.get("WARM_IP_TARGET").is_some_and(|warm| warm == "4")
        })?;
        assert!(edited.elapsed() < PROMISE, "the edit took {:?}", edited.elapsed());

        let labelled = Instant::now();
        let labels = ["kind=dense", "eks.amazonaws.com/nodegroup=batch"];
        cluster.api.kubectl(&[&["label", "node", NODE, "--overwrite"][..], &labels].concat())?;
        cluster.lab.node().wait_status("the other rule", PATIENCE, |status| {
            status.policy.name == "prefix-frugal"
        })?;
        assert!(labelled.elapsed() < PROMISE, "the label took {:?}", labelled.elapsed());
        cluster.told("prefix-frugal", "1 (dense)")?;
        cluster.event("PolicySwapped", "builtin:prefix-frugal (sha256:")?;
        // Of the two labels the policy sees the one that it may.
        let shown = json!({"eks.amazonaws.com/nodegroup": "batch"});
        cluster.lab.node().wait_snapshot("the node group", PATIENCE, |it| it["node"]["labels"] == shown)?;
        assert_eq!(cluster.lab.node().daemon_id(), started, "without a restart");

        // What is not a rule is refused with its line and field; the node goes on as it was.
        cluster.api.set_rules("rules:\n- name: x\n  polcy: y\n", &[])?;
        let text = cluster.event("PolicyRefused", "polcy")?;
        assert!(text.contains("the ConfigMap, line 3") && text.contains("rules[0].polcy"), "{text}");
        let told = wait_until("the refusal in the annotation", PATIENCE, || {
            let told = cluster.api.annotation(NODE)?;
            let fits = told["last_error"].as_str().is_some_and(|why| why.contains("polcy"));
            Ok(if fits { Ok(told) } else { Err(told) })
        })?;
        assert_eq!(told["name"], "prefix-frugal");
        serve(cluster.lab.node(), "a")
    }

    fn pods_keep_starting_while_the_api_server_is_away_and_what_changed_meanwhile_counts_when_it_is_back() {
        let Some(mut cluster) = Cluster::start("API server away", &json!({}))? else {
            return Ok(());
        };
        cluster.api.set_rules("rules: [{name: first}]", &[])?;
        cluster.told("default-warm-eni", "1 (first)")?;
        let (a, b) = (Pod::create("a")?, Pod::create("b")?);
        cluster.lab.node().plugin.must_add(&a)?;
        let far = cluster.lab.node().plugin.must_add(&b)?.address;
        let flow = Flow::start(&a.netns, &b.netns, far)?;

        // The node cannot reach it, and it goes on.
        let node = cluster.lab.node();
        node.netns.tool("ip", &["route", "add", "blackhole", "10.100.0.1/32"])?;
        cluster.api.set_rules("rules: [{name: second, settings: {WARM_IP_TARGET: 3}}]", &[])?;
        let until = Instant::now() + Duration::from_secs(20);
        let mut round = 0;
        while Instant::now() < until {
            round += 1;
            serve(cluster.lab.node(), &format!("cut-off-{round}"))?;
        }
        assert_eq!(cluster.lab.node().status()?.policy.rule.as_deref(), Some("1 (first)"));
        cluster.lab.node().netns.tool("ip", &["route", "delete", "blackhole", "10.100.0.1/32"])?;
        cluster.told("default-warm-eni", "1 (second)")?;

        // It is down altogether, also when the daemon starts.
        cluster.api.stop()?;
        serve(cluster.lab.node(), "down")?;
        cluster.lab.node().kill_daemon()?;
        cluster.lab.node().start()?;
        cluster.lab.node().wait_ready()?;
        serve(cluster.lab.node(), "started-without")?;
        cluster.api.resume()?;
        cluster.lab.node().wait_status("the rules again", PATIENCE, |status| {
            status.policy.rule.as_deref() == Some("1 (second)")
        })?;
        cluster.api.set_rules("rules: [{name: third, policy: 'builtin:prefix-frugal'}]", &[])?;
        cluster.told("prefix-frugal", "1 (third)")?;
        assert_eq!(flow.stop()?.lost, 0);
        Ok(())
    }

    fn a_connection_that_died_without_a_word_is_noticed_within_minutes() {
        let Some(mut cluster) = Cluster::start("dead connections", &json!({}))? else {
            return Ok(());
        };
        cluster.api.set_rules("rules: [{name: first}]", &[])?;
        cluster.told("default-warm-eni", "1 (first)")?;
        // As when a load balancer between the two forgets them: nothing comes back on what is open now.
        let netns = &cluster.lab.node().netns;
        let open = netns.tool("ss", &["-Htn", "dst", "10.100.0.1"])?;
        let port = |line: &str| Some(line.split_whitespace().nth(3)?.rsplit_once(':')?.1.to_owned());
        let ports: Vec<_> = open.lines().filter_map(port).collect();
        assert!(!ports.is_empty(), "no connection in {open:?}");
        netns.tool("nft", &[&format!(
            "table ip dead {{ chain input {{ type filter hook input priority -200; ip saddr 10.100.0.1 tcp dport {{ {} }} drop; }}; }}",
            ports.join(", ")
        )])?;
        cluster.api.set_rules("rules: [{name: second}]", &[])?;
        cluster.lab.node().wait_status("the rule that nobody told of", DEAD, |status| {
            status.policy.rule.as_deref() == Some("1 (second)")
        })?;
        Ok(())
    }

    fn a_component_in_the_config_map_that_is_broken_is_refused_and_one_that_does_harm_is_rolled_back() {
        let Some(mut cluster) = Cluster::start("bad components", &json!({}))? else {
            return Ok(());
        };
        cluster.api.set_rules("rules: [{name: good}]", &[])?;
        let before = cluster.told("default-warm-eni", "1 (good)")?;
        let rules = "rules: [{name: mine, policy: 'configmap:mine.wasm'}]";
        let broken = onsen_hostile::idle();
        let half = broken.get(..broken.len() / 2).unwrap_or_default();
        cluster.api.set_rules(rules, &[("mine.wasm", half)])?;
        cluster.event("PolicyRefused", "policy configmap:mine.wasm")?;
        serve(cluster.lab.node(), "a")?;
        cluster.api.set_rules(rules, &[("mine.wasm", &onsen_hostile::endless_loop())])?;
        // Time or fuel is up first.
        cluster.event("PolicyRefused", "it fails on snapshot")?;
        assert_eq!(cluster.api.annotation(NODE)?["digest"], before["digest"]);

        cluster.api.set_rules(rules, &[("mine.wasm", &onsen_hostile::release_everything())])?;
        churn(cluster.lab.node(), "the rollback", || {
            let told = cluster.api.annotation(NODE)?;
            let why = told["last_error"].as_str().unwrap_or_default();
            Ok(why.contains("was rolled back to builtin:default-warm-eni").then_some(()))
        })?;
        let text = cluster.event("PolicyRolledBack", "asked for what breaks a law")?;
        assert!(text.starts_with("configmap:mine.wasm (sha256:"), "{text}");
        assert_eq!(cluster.api.annotation(NODE)?["digest"], before["digest"]);

        // Gone with its ConfigMap: the node runs what its environment says.
        cluster.api.kubectl(&["delete", "configmap", "onsen-policy", "-n", "kube-system"])?;
        cluster.lab.node().wait_status("the environment's policy", PATIENCE, |status| {
            status.policy.rule.is_none() && status.policy.last_error.is_none()
        })?;
        Ok(())
    }

    fn the_pool_keeps_within_the_pods_that_the_kubelet_runs() {
        let Some(mut cluster) = Cluster::start("pods of the kubelet", &json!({}))? else {
            return Ok(());
        };
        let tell = |api: &ApiServer, pods: u32| {
            let patch = json!({"status": {"allocatable": {"pods": pods.to_string()}}}).to_string();
            api.kubectl(&["patch", "node", NODE, "--subresource=status", "--type=merge", "-p", &patch])
        };
        // Nine fit on the primary ENI, which is enough: a second one is not attached for more.
        tell(&cluster.api, 9)?;
        let known = |node: &Node, pods: u32| {
            node.wait_snapshot("a decision that knows it", PATIENCE, |shown| shown["node"]["max_pods"] == pods)
        };
        known(cluster.lab.node(), 9)?;
        let pod = Pod::create("a")?;
        cluster.lab.node().plugin.must_add(&pod)?;
        for round in 0..5 {
            serve(cluster.lab.node(), &format!("b-{round}"))?;
        }
        assert_eq!(cluster.lab.node().status()?.pool.enis, 1);
        tell(&cluster.api, 29)?;
        known(cluster.lab.node(), 29)?;
        cluster.lab.node().wait_status("a second ENI", PATIENCE, |status| status.pool.enis == 2)?;
        Ok(())
    }

    fn the_daemon_may_do_what_it_needs_and_cannot_taint_a_node() {
        let Some(cluster) = Cluster::start("rights", &json!({}))? else {
            return Ok(());
        };
        let may = |verb: &str, what: &str, more: &[&str]| {
            let account = "--as=system:serviceaccount:kube-system:aws-node";
            let asked = cluster.api.kubectl(&[&["auth", "can-i", verb, what, account], more].concat());
            // "no" comes with exit code 1.
            match asked {
                Ok(answer) => Ok(answer.trim() == "yes"),
                Err(HarnessError::Tool { .. }) => Ok(false),
                Err(other) => Err(other),
            }
        };
        assert!(may("watch", "configmaps/onsen-policy", &["-n", "kube-system"])?);
        assert!(may("patch", "nodes", &["--subresource=status"])?);
        for (verb, what) in [
            ("patch", "nodes"),
            ("update", "nodes"),
            ("list", "secrets"),
            ("list", "configmaps"),
            ("list", "pods"),
            ("delete", "events"),
        ] {
            assert!(!may(verb, what, &["-n", "kube-system"])?, "{verb} {what}");
        }
        Ok(())
    }
}
