//! What people and programs can see of a node: explanations, recordings, metrics, upstream's pages.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use onsen_harness::cni::Pod;
use onsen_harness::error::Result;
use onsen_harness::node::Node;
use onsen_harness::{HarnessError, Lab, LabOptions, http, private_test, programs};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(1);

/// Runs `onsen` against a node.
fn onsen(node: &Node, arguments: &[&str]) -> Result<Output> {
    Command::new(programs::path("onsen")?)
        .args(arguments)
        .env(
            "ONSEN_ENDPOINT",
            format!("unix:{}", node.status_socket().display()),
        )
        .output()
        .map_err(HarnessError::io("run onsen"))
}

/// What it says when it ends well.
fn told(node: &Node, arguments: &[&str]) -> Result<String> {
    let output = onsen(node, arguments)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "onsen {arguments:?}: {errors}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

fn record(node: &Node, file: &Path, more: &[&str]) -> Result<String> {
    let mut arguments = vec!["record", "--past", "--for", "0s"];
    arguments.extend(more);
    let text = told(node, &arguments)?;
    std::fs::write(file, &text).map_err(HarnessError::io("write a recording"))?;
    Ok(text)
}

private_test! {
    fn what_a_pod_an_eni_and_an_address_go_through_is_explained() {
        let mut lab = Lab::start(&LabOptions {
            // 2 ENIs with 1 address each.
            instance_types: vec!["t3.nano"],
            ..LabOptions::default()
        })?;
        let node = lab.node();
        let (first, second, late) =
            (Pod::create("first")?, Pod::create("second")?, Pod::create("late")?);
        let added = node.plugin.must_add(&first)?;
        node.plugin.must_add(&second)?;
        let error = node.plugin.add(&late)?.err().unwrap();
        let error = error.msg + &error.details;
        has(&error, &["node-full: all 2 addresses", "[decision "]);
        // The decision that the pod's event names can be asked for.
        let id = error.split("[decision ").nth(1).and_then(|it| it.split(']').next()).unwrap();
        has(&told(node, &["explain", "decision", id])?, &["Its reason: ", "units of fuel"]);

        has(
            &told(node, &["explain", "pod", "first"])?,
            &["Pod default/first has had", &added.address.to_string()],
        );
        has(
            &told(node, &["explain", "pod", "default/late"])?,
            &["Pod default/late holds no address.", "It was refused", "node-full"],
        );
        has(&told(node, &["explain", "pod", "elsewhere"])?, &["has asked for an address here"]);

        let enis = node.enis()?;
        let other = enis.iter().find(|eni| eni.id != lab_primary(node)).unwrap();
        has(
            &told(node, &["explain", "eni", &other.id])?,
            &["It must stay, for pods hold addresses of it: default/second", "It was made for this: Decision"],
        );
        has(&told(node, &["explain", "eni", &lab_primary(node)])?, &["it never goes"]);

        node.plugin.must_del(&first, Some(&added.result))?;
        let address = added.address.to_string();
        has(
            &told(node, &["explain", "address", &address])?,
            &["cools: no pod gets it before that ends", "Pod default/first gave it back"],
        );
        has(&told(node, &["decisions", "--last", "100"])?, &["#1 by default-warm-eni on ", "ec2   "]);
        Ok(())
    }

    fn a_recording_of_a_live_node_replays_to_the_byte_also_across_a_kill() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        let pods: Vec<Pod> = (0..3)
            .map(|i| Pod::create(&format!("secret-{i}")))
            .collect::<Result<_>>()?;
        node.wait_status("a warm pool", PATIENCE, |status| status.pool.warm > 2)?;
        let added = node.plugin.must_add(&pods[0])?;
        node.plugin.must_add(&pods[1])?;
        node.plugin.must_del(&pods[0], Some(&added.result))?;
        let before = node.status()?.last_decision.unwrap().id;
        node.kill_daemon()?;
        node.start()?;
        node.wait_ready()?;
        node.plugin.must_add(&pods[2])?;
        node.wait_status("a decision of the second life", PATIENCE, |status| {
            status.last_decision.as_ref().is_some_and(|it| it.id > before)
        })?;

        let file = node.dir().join("node.onsenrec");
        let path = file.to_string_lossy().into_owned();
        let text = record(node, &file, &[])?;
        assert!(!text.contains("secret-"), "names of pods have left the node");
        has(&text, &["\"pod-1\"", "\"kind\":\"start\"", "\"kind\":\"call\""]);
        let ids: Vec<u64> = (text.lines().skip(1))
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|record| record["kind"] == "decision")
            .map(|record| record["id"].as_u64().unwrap())
            .collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "numbers go on: {ids:?}");

        has(
            &told(node, &["policy", "replay", &path, "--policy", "default-warm-eni"])?,
            &["decisions are the recorded ones, byte for byte"],
        );
        // Another policy is asked too, whatever it would have done.
        let other = onsen(node, &["policy", "replay", &path, "--policy", "prefix-frugal"])?;
        has(&String::from_utf8_lossy(&other.stdout), &["decisions would differ"]);

        let scenario = told(node, &["policy", "replay", &path, "--to-scenario"])?;
        let yaml = node.dir().join("life.yaml");
        std::fs::write(&yaml, scenario).map_err(HarnessError::io("write a scenario"))?;
        let yaml = yaml.to_string_lossy().into_owned();
        told(node, &["policy", "test", &yaml, "--policy", "default-warm-eni"])?;

        has(&record(node, &file, &["--pod-names"])?, &["default/secret-1"]);
        // The ledger on disk is a recording as well.
        let ledger = node.dir().join("onsen-ledger/current.onsenrec");
        let ledger = ledger.to_string_lossy().into_owned();
        told(node, &["policy", "replay", &ledger, "--policy", "default-warm-eni"])?;
        Ok(())
    }

    fn metrics_are_there_under_upstreams_names_and_our_own() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        let pod = Pod::create("a")?;
        let added = node.plugin.must_add(&pod)?;
        node.wait_status("the second ENI", PATIENCE, |status| {
            (status.pool.enis, status.pool.in_flight) == (2, 0)
        })?;
        let scrape = || http::request(&node.status_socket(), "GET", "/metrics", None);
        let text = scrape()?;
        has(
            &text,
            &[
                "awscni_add_ip_req_count 1\n",
                "awscni_assigned_ip_addresses 1\n",
                "awscni_eni_allocated 2\n",
                "awscni_eni_max 3\n",
                "awscni_ip_max 27\n",
                "awscni_ec2api_req_count{fn=\"CreateNetworkInterface\"} 1\n",
                "onsen_policy_decisions_total{decider=\"chosen\",",
                "onsen_policy_actions_total{action=\"attach-eni\",",
                "onsen_policy_in_force{",
                "onsen_pool_addresses{state=\"assigned\"} 1\n",
                "onsen_pod_wait_seconds_count{result=\"assigned\"} 1\n",
            ],
        );
        node.plugin.must_del(&pod, Some(&added.result))?;
        has(
            &scrape()?,
            &["awscni_del_ip_req_count{reason=\"PodDeleted\"} 1\n", "onsen_pool_addresses{state=\"cooling\"} 1\n"],
        );
        // Where Prometheus looks: upstream's port, from outside of the daemon's socket.
        let script = "exec 3<>/dev/tcp/127.0.0.1/61678 && printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3";
        let output = node
            .netns
            .command("bash")
            .args(["-c", script])
            .output()
            .map_err(HarnessError::io("scrape port 61678"))?;
        let answer = String::from_utf8_lossy(&output.stdout);
        has(&answer, &["200 OK", "text/plain; version=0.0.4", "awscni_total_ip_addresses "]);
        Ok(())
    }

    fn upstreams_introspection_pages_have_upstreams_shapes() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        let added = node.plugin.must_add(&Pod::create("web")?)?;
        let get = |path: &str| http::get::<Value>(&node.status_socket(), path);
        let pool = &get("/v1/enis")?["0"];
        assert_eq!(pool["AssignedIPs"], 1);
        let primary = &pool["ENIs"][lab_primary(node)];
        assert_eq!((&primary["IsPrimary"], &primary["RouteTableID"]), (&json!(true), &json!(254)));
        let address = added.address.to_string();
        let held = &primary["AvailableIPv4Cidrs"][format!("{address}/32")]["IPAddresses"][&address];
        assert_eq!(held["IPAMMetadata"]["k8sPodName"], "web");
        assert_eq!(held["IPAMKey"]["containerID"], "");
        assert_eq!(get("/v1/ipamd-env-settings")?["WARM_ENI_TARGET"], 1);
        assert_eq!(get("/v1/networkutils-env-settings")?["AWS_VPC_K8S_CNI_CONNMARK"], 128);
        let paths = get("/v1/pods")?["AvailableCommands"].clone();
        assert!(paths.as_array().unwrap().contains(&json!("/v1/enis")), "{paths}");
        Ok(())
    }
}

fn lab_primary(node: &Node) -> String {
    node.instance.primary_eni.clone()
}
