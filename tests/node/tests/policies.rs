//! Policies are chosen, swapped and refused while pods run.

use std::time::Duration;

use onsen_harness::cni::Pod;
use onsen_harness::traffic::Flow;
use onsen_harness::{HarnessError, Lab, LabOptions, private_test};
use serde_json::json;

const PATIENCE: Duration = Duration::from_mins(1);

private_test! {
    fn a_hot_swap_changes_the_pool_and_no_pod_notices() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        let (a, b) = (Pod::create("a")?, Pod::create("b")?);
        let own = node.plugin.must_add(&a)?.address;
        let far = node.plugin.must_add(&b)?.address;
        let flow = Flow::start(&a.netns, &b.netns, far)?;
        node.wait_status("a full ENI to spare", PATIENCE, |status| status.pool.warm > 5)?;
        node.set_policy("builtin:prefix-frugal", &[("FRUGAL_IDLE_SECONDS", "1")])?;
        node.wait_status("few free addresses", PATIENCE, |status| {
            status.policy.name == "prefix-frugal" && status.pool.warm <= 5
        })?;
        node.set_policy("builtin:default-warm-eni", &[])?;
        node.wait_status("the default again", PATIENCE, |status| {
            status.policy.name == "default-warm-eni"
        })?;
        node.plugin.must_add(&Pod::create("c")?)?;
        let seen = flow.stop()?;
        assert_eq!((seen.lost, seen.sources.into_iter().collect::<Vec<_>>()), (0, vec![own]));
        Ok(())
    }

    fn a_policy_file_that_is_no_component_is_refused_and_the_old_policy_goes_on() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        let before = node.status()?.policy;
        let file = node.dir().join("bad.wasm");
        for bytes in [&b"not wasm at all"[..], b"\0asm\x01\0\0\0", b""] {
            std::fs::write(&file, bytes).map_err(HarnessError::io("write a bad policy"))?;
            node.set_policy(&format!("file:{}", file.display()), &[])?;
            let status = node.wait_status("the refusal", PATIENCE, |status| {
                status.policy.last_error.is_some()
            })?;
            assert_eq!(status.policy.digest, before.digest, "the old policy is in force");
            // Back to the good one, so that the next refusal is a new one.
            node.set_policy("builtin:default-warm-eni", &[])?;
            node.wait_status("the error forgotten", PATIENCE, |status| {
                status.policy.last_error.is_none()
            })?;
        }
        node.plugin.must_add(&Pod::create("a")?)?;
        Ok(())
    }

    fn rules_that_cannot_be_read_are_refused_and_the_old_policy_goes_on() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        node.set_policy("builtin:prefix-frugal", &[])?;
        node.wait_status("prefix-frugal", PATIENCE, |status| {
            status.policy.name == "prefix-frugal"
        })?;
        node.set_rules("{ neither JSON nor YAML")?;
        let status = node.wait_status("the refusal", PATIENCE, |status| {
            status.policy.last_error.is_some()
        })?;
        assert_eq!(status.policy.name, "prefix-frugal");
        node.plugin.must_add(&Pod::create("a")?)?;
        Ok(())
    }

    fn a_setting_in_a_rule_takes_effect_at_once() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        node.set_policy("builtin:default-warm-eni", &[("WARM_IP_TARGET", "12")])?;
        // Nine fit on the primary ENI: twelve warm ones need a second.
        node.wait_status("twelve warm addresses", PATIENCE, |status| {
            status.pool.warm == 12 && status.pool.enis == 2
        })?;
        Ok(())
    }

    fn a_pod_is_told_that_ec2_denies_the_node_its_addresses() {
        let mut lab = Lab::without_daemons(&LabOptions {
            instance_types: vec!["t3.nano"],
            ..LabOptions::default()
        })?;
        for operation in ["AssignPrivateIpAddresses", "CreateNetworkInterface"] {
            lab.aws.fault(&json!({"name": "denied", "operation": operation}))?;
        }
        let node = lab.node();
        node.start()?;
        node.wait_ready()?;
        let pod = Pod::create("a")?;
        let error = node.plugin.add(&pod)?.err().map(|error| error.msg + &error.details);
        assert!(error.as_ref().is_some_and(|text| text.contains("denied")), "{error:?}");
        lab.aws.heal()?;
        lab.node().plugin.must_del(&pod, None)?;
        let again = Pod::create("b")?;
        lab.node().wait_status("recovery", PATIENCE, |status| status.pool.warm > 0)?;
        lab.node().plugin.must_add(&again)?;
        Ok(())
    }
}
