//! Requests as runtimes really send them: twice, at once, malformed, for containers nobody knows.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::BTreeSet;

use onsen_harness::cni::{Plugin, Pod, Verb};
use onsen_harness::{Lab, LabOptions, private_test};
use serde_json::json;

private_test! {
    fn two_adds_at_once_for_one_container_give_one_address() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        let pod = Pod::create("twin")?;
        let replies = std::thread::scope(|scope| {
            let one = scope.spawn(|| node.plugin.add(&pod));
            let two = scope.spawn(|| node.plugin.add(&pod));
            [one.join().unwrap(), two.join().unwrap()]
        });
        let mut addresses = BTreeSet::new();
        for reply in replies {
            // The slower one may find the pod wired already; it must not bring another address.
            addresses.extend(reply?.ok().map(|added| added.address));
        }
        assert_eq!(addresses.len(), 1, "one address: {addresses:?}");
        let pods = node.pods()?;
        assert_eq!(pods.len(), 1);
        assert!(addresses.contains(&pods[0].address));
        assert!(node.netns.can_ping(pods[0].address)?, "the pod is reachable");
        Ok(())
    }

    fn malformed_input_gets_a_cni_error_and_takes_no_address() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        let pod = Pod::create("odd")?;
        let good = Plugin::config("0.4.0", None);
        let mut unknown_version = good.clone();
        unknown_version["cniVersion"] = json!("9.9.9");
        let mut long_prefix = good.clone();
        long_prefix["vethPrefix"] = json!("longer than four");
        for stdin in [
            String::new(),
            "{".to_owned(),
            "[]".to_owned(),
            "\u{0}\u{0}".to_owned(),
            good.to_string()[..40].to_owned(),
            unknown_version.to_string(),
            long_prefix.to_string(),
        ] {
            let reply = node.plugin.call(Verb::Add, &pod, &stdin)?;
            assert_eq!(reply.code, Some(1), "{stdin:?}: {reply:?}");
            let error = reply.error("a malformed ADD")?;
            assert!(error.code > 0 && !error.msg.is_empty(), "{stdin:?}: {error:?}");
        }
        assert_eq!(node.status()?.pool.assigned, 0);
        node.plugin.must_add(&pod)?;
        Ok(())
    }

    fn del_of_an_unknown_container_succeeds() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        let pod = Pod::create("stranger")?;
        node.plugin.must_del(&pod, None)?;
        Ok(())
    }

    fn del_twice_as_runtimes_send_it_succeeds_and_frees_one_address() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        let pod = Pod::create("a")?;
        let other = Pod::create("b")?;
        let added = node.plugin.must_add(&pod)?;
        let kept = node.plugin.must_add(&other)?;
        node.plugin.must_del(&pod, Some(&added.result))?;
        // The second one comes after the namespace is gone: no CNI_NETNS, no prevResult.
        let config = Plugin::config("0.4.0", None).to_string();
        let reply = node.plugin.call_with_netns(Verb::Del, &pod, "", &config)?;
        assert_eq!(reply.code, Some(0), "{reply:?}");
        let pods = node.pods()?;
        assert_eq!(pods.len(), 1);
        assert_eq!(pods[0].address, kept.address);
        assert!(node.netns.can_ping(kept.address)?);
        Ok(())
    }

    fn add_again_for_the_same_container_gives_the_same_address_until_del() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        let pod = Pod::create("again")?;
        let first = node.plugin.must_add(&pod)?.address;
        // Whether the plugin calls the second ADD a success or says that the interface is there
        // already, the daemon must not have given a second address.
        let second = node.plugin.add(&pod)?;
        if let Ok(added) = second {
            assert_eq!(added.address, first);
        }
        let pods = node.pods()?;
        assert_eq!(pods.len(), 1);
        assert_eq!(pods[0].address, first);
        assert!(node.netns.can_ping(first)?, "the pod is still reachable");
        Ok(())
    }

    fn a_full_node_says_so_and_takes_pods_again_after_a_cooldown() {
        let mut lab = Lab::start(&LabOptions {
            // 2 ENIs with 1 address each.
            instance_types: vec!["t3.nano"],
            ..LabOptions::default()
        })?;
        let node = lab.node();
        let mut pods = Vec::new();
        for i in 0..2 {
            let pod = Pod::create(&format!("p{i}"))?;
            let added = node.plugin.must_add(&pod)?;
            pods.push((pod, added));
        }
        let late = Pod::create("late")?;
        let error = node.plugin.add(&late)?.err().map(|error| error.msg + &error.details);
        assert!(error.as_ref().is_some_and(|text| text.contains("node-full")), "{error:?}");
        node.plugin.must_del(&late, None)?;
        let (gone, added) = pods.swap_remove(0);
        node.plugin.must_del(&gone, Some(&added.result))?;
        let again = node.plugin.must_add(&late)?;
        assert_eq!(again.address, added.address, "the freed address is used again");
        Ok(())
    }

    fn version_lists_what_is_spoken() {
        let mut lab = Lab::without_daemons(&LabOptions::default())?;
        let node = lab.node();
        let pod = Pod::create("v")?;
        let reply = node.plugin.call(Verb::Version, &pod, r#"{"cniVersion":"0.4.0"}"#)?;
        assert_eq!(reply.code, Some(0), "{reply:?}");
        for version in ["0.4.0", "1.0.0", "1.1.0"] {
            assert!(reply.stdout.contains(version), "{version} in {}", reply.stdout);
        }
        Ok(())
    }

    fn an_add_without_a_daemon_fails_clearly_and_its_del_succeeds() {
        let mut lab = Lab::without_daemons(&LabOptions::default())?;
        let node = lab.node();
        let pod = Pod::create("early")?;
        let error = node.plugin.add(&pod)?.err();
        assert!(error.as_ref().is_some_and(|error| !error.msg.is_empty()), "{error:?}");
        node.plugin.must_del(&pod, None)?;
        Ok(())
    }
}
