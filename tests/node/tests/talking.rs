//! Pods get addresses of the VPC and reach each other, their node and the world with them.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::net::IpAddr;

use onsen_harness::cni::{Plugin, Pod};
use onsen_harness::traffic::talk;
use onsen_harness::{HarnessError, Lab, LabOptions, Result, private_test};

/// The pods of one node, each with its address.
type Pods = Vec<(Pod, IpAddr)>;

/// Two nodes with `each` pods on each; every pod with its address.
fn two_nodes(each: usize) -> Result<(Lab, Vec<Pods>)> {
    let lab = Lab::start(&LabOptions {
        instance_types: vec!["m5.large", "m5.large"],
        ..LabOptions::default()
    })?;
    let mut all = Vec::new();
    for node in &lab.nodes {
        let mut pods = Vec::new();
        for i in 0..each {
            let pod = Pod::create(&format!("{}-{i}", node.instance.name))?;
            let address = node.plugin.must_add(&pod)?.address;
            pods.push((pod, address));
        }
        all.push(pods);
    }
    Ok((lab, all))
}

private_test! {
    fn pods_on_two_nodes_talk_with_their_own_addresses() {
        // Twelve pods on an m5.large need a second ENI, so both ways out of a node are tried.
        let (lab, nodes) = two_nodes(12)?;
        let distinct: BTreeSet<IpAddr> = nodes.iter().flatten().map(|(_, a)| *a).collect();
        assert_eq!(distinct.len(), 24, "every pod has an address of its own");
        for (a, b) in nodes[0].iter().zip(&nodes[1]) {
            for ((from, own), (to, target)) in [(a, b), (b, a)] {
                assert!(from.netns.can_ping(*target)?, "{} pings {}", from.name, to.name);
                assert_eq!(talk(&from.netns, &to.netns, *target)?, *own, "{}", from.name);
            }
        }
        assert_eq!(lab.aws.state()?.dropped_packets.total, 0);
        Ok(())
    }

    fn pods_of_one_node_reach_each_other_and_their_node() {
        let (lab, nodes) = two_nodes(11)?;
        let node = &lab.nodes[0];
        let primary = node.instance.primary_address;
        let (first, first_address) = &nodes[0][0];
        for (pod, address) in &nodes[0][1..] {
            assert_eq!(talk(&pod.netns, &first.netns, *first_address)?, *address);
            assert_eq!(talk(&pod.netns, &node.netns, primary)?, *address);
            assert_eq!(talk(&node.netns, &pod.netns, *address)?, primary);
        }
        assert_eq!(lab.aws.state()?.dropped_packets.total, 0);
        Ok(())
    }

    fn a_pod_on_any_eni_reaches_the_internet_behind_the_nodes_address() {
        let (lab, nodes) = two_nodes(11)?;
        let internet = lab.aws.ready().internet_address;
        for (pod, _) in &nodes[0] {
            assert!(pod.netns.can_ping(internet)?, "{} reaches the internet", pod.name);
        }
        Ok(())
    }

    fn check_notices_a_missing_route() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        let pod = Pod::create("a")?;
        let added = node.plugin.must_add(&pod)?;
        node.plugin.must_check(&pod, &added.result)?;
        let address = added.address.to_string();
        node.netns.tool("ip", &["route", "del", &address])?;
        match node.plugin.must_check(&pod, &added.result) {
            Err(HarnessError::Protocol(_)) => Ok(()),
            other => Err(HarnessError::Protocol(format!("CHECK should fail: {other:?}"))),
        }
    }

    fn an_address_given_back_is_not_reachable_any_more() {
        let (lab, nodes) = two_nodes(1)?;
        let (pod, address) = &nodes[0][0];
        let (far, _) = &nodes[1][0];
        assert!(far.netns.can_ping(*address)?);
        let node = &lab.nodes[0];
        node.plugin.must_del(pod, None)?;
        assert!(!far.netns.can_ping(*address)?);
        let rules = node.netns.tool("ip", &["rule"])?;
        assert!(!rules.contains(&format!("{address} ")), "no rule is left:\n{rules}");
        Ok(())
    }

    fn the_result_names_the_plugins_own_version_of_the_protocol() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        for (i, version) in ["0.4.0", "1.0.0", "1.1.0"].into_iter().enumerate() {
            let pod = Pod::create(&format!("v{i}"))?;
            let config = Plugin::config(version, None).to_string();
            let reply = node.plugin.call(onsen_harness::cni::Verb::Add, &pod, &config)?;
            let added = reply.added(&pod)?;
            let result = added.map_err(|error| HarnessError::Protocol(error.msg))?.result;
            assert_eq!(result["cniVersion"], *version);
            // Only the old layout names the family of an address.
            assert_eq!(result["ips"][0].get("version").is_some(), version == "0.4.0");
        }
        Ok(())
    }
}
