//! Each fault of the catalogue over the wire: a real daemon, EC2 and IMDS on their bad days, and the
//! reaction that docs/faults.md states.

mod bench;

use std::collections::BTreeSet;

use bench::{Bench, GROWTH, PATIENCE, SHRINKAGE};
use onsen_harness::cni::Pod;
use onsen_harness::wait::wait_until;
use onsen_harness::{HarnessError, Lab, LabOptions, Result, private_test};
use serde_json::json;

/// Faults by which a caller gets no usable answer, whether the call was carried out or not.
const DOUBTS: [&str; 13] = [
    "reply-lost",
    "truncated-xml",
    "short-body",
    "wrong-root",
    "html-502",
    "error-body-with-200",
    "garbage",
    "internal-error",
    "internal-error-applied",
    "unavailable",
    "request-lost",
    "slow-reply",
    "hang",
];

/// A node grows and shrinks, and each of its calls meets each of these faults once.
fn every_call_meets(faults: &[&str]) -> Result<()> {
    let mut bench = Bench::start(&[])?;
    for fault in faults {
        println!("{fault}");
        let doubts = bench.reports("ec2-unknown")?;
        let from = bench.calls()?;
        for operation in GROWTH.iter().chain(&SHRINKAGE) {
            bench.once(fault, operation)?;
        }
        bench.grow()?;
        let done = bench.done(from)?;
        for operation in &GROWTH[..3] {
            let times = done.get(*operation).copied().unwrap_or(0);
            // Two would be a repeat of what EC2 had done already; an error after the effect is not `ok`.
            assert!(times <= 1, "{fault}: {operation} was done {times} times");
        }
        bench.shrink()?;
        let struck = bench.lab.aws.struck()?;
        assert_eq!(
            struck, 7,
            "{fault} struck every call of the growth and of the way back"
        );
        let told = bench.reports("ec2-unknown")? - doubts;
        assert!(told >= 7, "{fault}: {told} of 7 doubts were told");
        bench.lab.aws.heal()?;
    }
    assert_eq!(bench.lab.aws.state()?.dropped_packets.total, 0);
    Ok(())
}

private_test! {
    fn a_reply_that_is_lost_or_spoilt_is_followed_by_a_look_and_never_by_a_repeat() {
        every_call_meets(&DOUBTS[..7])
    }

    fn an_error_silence_or_a_late_reply_leaves_a_doubt_that_a_look_settles() {
        every_call_meets(&DOUBTS[7..])
    }

    fn refusals_that_pass_are_tried_again_and_lose_nothing() {
        let mut bench = Bench::start(&[])?;
        let every: Vec<&str> = GROWTH.iter().chain(&SHRINKAGE).copied().collect();
        let rounds: [(&str, &[&str]); 8] = [
            ("throttle", &every),
            ("throttle-400", &every),
            ("credentials-expired", &["AssignPrivateIpAddresses", "DescribeNetworkInterfaces"]),
            ("duplicate-device-index", &["AttachNetworkInterface"]),
            ("eni-stolen-by-neighbour", &["AttachNetworkInterface"]),
            ("not-found-yet", &["AttachNetworkInterface", "ModifyNetworkInterfaceAttribute"]),
            ("assign-returns-known", &["AssignPrivateIpAddresses"]),
            ("delete-in-use", &["DeleteNetworkInterface"]),
        ];
        for (fault, operations) in rounds {
            println!("{fault}");
            for operation in operations {
                bench.once(fault, operation)?;
            }
            bench.grow()?;
            bench.shrink()?;
            let struck = bench.lab.aws.struck()?;
            assert_eq!(struck, operations.len() as u64, "{fault} struck");
            bench.lab.aws.heal()?;
        }
        // An ENI that is said to be full: the address comes from wherever the policy likes, and goes back.
        bench.once("limit-mismatch", "AssignPrivateIpAddresses")?;
        bench.add()?;
        bench.node().wait_status("a warm address again", PATIENCE, |status| {
            status.pool.warm == 1 && status.pool.in_flight == 0
        })?;
        assert_eq!(bench.lab.aws.struck()?, 1, "limit-mismatch struck");
        bench.shrink()?;
        assert_eq!(bench.lab.aws.state()?.dropped_packets.total, 0);
        Ok(())
    }

    fn stale_and_partial_reads_lose_nothing() {
        let mut bench = Bench::start(&[])?;
        for fault in [
            // Older than nothing that the daemon takes for settled.
            json!({"name": "stale-read", "delay_ms": 300}),
            json!({"name": "partial-page"}),
            json!({"name": "throttle", "operation": "DescribeNetworkInterfaces", "probability": 0.5}),
        ] {
            println!("{fault}");
            bench.lab.aws.fault(&fault)?;
            bench.grow()?;
            bench.shrink()?;
            assert!(bench.lab.aws.struck()? > 0, "{fault} struck");
            bench.lab.aws.heal()?;
        }
        Ok(())
    }

    fn a_subnet_without_addresses_is_told_to_the_pod_in_time() {
        let mut bench = Bench::start(&[("ONSEN_ADD_WAIT", "5")])?;
        for name in ["subnet-exhausted", "subnet-too-few"] {
            bench.lab.aws.fault(&json!({"name": name}))?;
        }
        bench.add()?;
        let pod = Pod::create("late")?;
        match bench.node().plugin.add(&pod)? {
            Ok(added) => return Err(HarnessError::Protocol(format!("{added:?} out of nothing"))),
            Err(error) => {
                let text = format!("{} {}", error.msg, error.details);
                assert!(text.contains("subnet"), "the reason is told: {text}");
            }
        }
        bench.node().plugin.must_del(&pod, None)?;
        bench.all_answer()
    }

    fn a_denied_action_is_named_and_what_runs_goes_on() {
        let mut bench = Bench::start(&[])?;
        bench.lab.aws.fault(&json!({"name": "denied", "operation": "AssignPrivateIpAddresses"}))?;
        let before = bench.reports("ec2-denied")?;
        bench.add()?;
        bench.wait_report("ec2-denied", before)?;
        bench.all_answer()?;
        bench.lab.aws.heal()?;
        Ok(())
    }
}

/// Several nodes, each for one thing that is not tried again for minutes.
fn nodes(count: usize) -> Result<Lab> {
    let mut options = LabOptions {
        instance_types: vec!["t3.small"; count],
        ..LabOptions::default()
    };
    for (key, value) in [("WARM_IP_TARGET", "1"), ("ONSEN_LINK_WAIT", "1")] {
        options.settings.insert(key.to_owned(), value.to_owned());
    }
    Lab::start(&options)
}

private_test! {
    fn an_eni_that_cannot_be_had_is_not_asked_for_again_at_once() {
        let mut lab = nodes(2)?;
        let faults = [
            ("node-1", "attachment-limit-early"),
            ("node-2", "attach-device-never"),
        ];
        for (node, name) in faults {
            lab.aws.fault(&json!({"name": name, "node": node}))?;
        }
        let mut pods = Vec::new();
        for node in &lab.nodes {
            for n in 0..3 {
                let pod = Pod::create(&format!("{}-{n}", node.instance.name))?;
                pods.push((node.plugin.must_add(&pod)?, pod));
            }
        }
        for (node, name) in faults {
            let creates = |lab: &Lab| -> Result<usize> {
                let calls = lab.aws.log()?.into_iter();
                let of_node = calls.filter(|call| call.node.as_deref() == Some(node));
                Ok(of_node.filter(|call| call.action == "CreateNetworkInterface").count())
            };
            wait_until(&format!("the ENI of {name} to be deleted again"), PATIENCE, || {
                let calls = lab.aws.log()?.into_iter();
                let deleted = calls.filter(|call| {
                    call.node.as_deref() == Some(node)
                        && call.action == "DeleteNetworkInterface"
                        && call.result == "ok"
                });
                Ok(if deleted.count() > 0 { Ok(()) } else { Err(creates(&lab)?) })
            })?;
            let tried = creates(&lab)?;
            // A minute's worth of the policy's rounds, in the time of this lab.
            std::thread::sleep(std::time::Duration::from_secs(5));
            assert_eq!(creates(&lab)?, tried, "{name}: no further ENI is made");
        }
        for node in &mut lab.nodes {
            node.must_run()?;
        }
        Ok(())
    }

    fn what_happens_behind_the_daemons_back_is_found_and_no_pod_is_taken_down() {
        let mut bench = Bench::start(&[("ONSEN_IMDS_PERIOD", "1")])?;
        bench.grow()?;
        let behind = |bench: &Bench, name: &str| bench.lab.aws.fault(&json!({"name": name}));

        // An ENI goes without the node's doing: its flag is set again.
        behind(&bench, "delete-on-termination-lost")?;
        wait_until("DeleteOnTermination to be set again", PATIENCE, || {
            let enis = bench.lab.aws.state()?.enis;
            let lost = enis.iter().filter(|eni| eni.delete_on_termination != Some(true));
            let lost: Vec<String> = lost.map(|eni| eni.id.clone()).collect();
            Ok(if lost.is_empty() { Ok(()) } else { Err(lost) })
        })?;

        // The operator changes the primary's groups: the others follow.
        behind(&bench, "sg-changed")?;
        wait_until("all ENIs to have the same groups", PATIENCE, || {
            let enis = bench.lab.aws.state()?.enis;
            let groups: BTreeSet<Vec<String>> = enis.into_iter().map(|mut eni| {
                eni.groups.sort();
                eni.groups
            }).collect();
            Ok(if groups.len() == 1 { Ok(()) } else { Err(groups) })
        })?;

        // An ENI is taken out of the daemon's hands and given back: its pods stay. Without pods it leaves
        // the pool, and comes back.
        let told = bench.reports("eni-left-alone")?;
        behind(&bench, "no-manage-toggled")?;
        bench.wait_report("eni-left-alone", told)?;
        bench.all_answer()?;
        behind(&bench, "no-manage-toggled")?;
        bench.at_rest("both ENIs being the daemon's again", 2, 4)?;

        // Somebody attaches an ENI of his own: it is left alone.
        behind(&bench, "foreign-eni-attached")?;
        bench.shrink()?;
        bench.grow()?;

        // The whole ENI goes.
        let told = bench.reports("eni-lost")?;
        behind(&bench, "eni-deleted-by-operator")?;
        wait_until("the loss of an ENI to be told or replaced", PATIENCE, || {
            let (mine, real) = bench.views()?;
            let agree = mine == real;
            Ok(if agree && bench.reports("eni-lost")? > told { Ok(()) } else { Err(mine) })
        })?;
        bench.node().must_run()
    }

    fn an_address_that_is_taken_away_is_told_and_its_pod_keeps_it() {
        let mut bench = Bench::start(&[])?;
        let address = bench.staying();
        let told = bench.reports("block-lost")?;
        // Both addresses of the primary ENI: the pod's and the warm one.
        bench.lab.aws.fault(&json!({"name": "ip-unassigned-behind-us", "count": 2}))?;
        bench.wait_report("block-lost", told)?;
        bench.wait_report("address-lost", 0)?;
        let pods = bench.node().pods()?;
        assert!(pods.iter().any(|pod| pod.address == address), "the pod keeps {address}: {pods:?}");
        // The pool is filled again, and new pods are served.
        bench.add()?;
        Ok(())
    }

    fn metadata_in_trouble_keeps_no_pod_waiting() {
        let mut bench = Bench::start(&[("ONSEN_IMDS_PERIOD", "0.2")])?;
        for name in ["imds-401", "imds-403", "imds-down", "imds-missing-leaf", "imds-ghost-eni"] {
            println!("{name}");
            bench.lab.aws.fault(&json!({"name": name}))?;
            bench.grow()?;
            bench.shrink()?;
            if name != "imds-missing-leaf" {
                assert!(bench.lab.aws.struck()? > 0, "{name} struck");
            }
            bench.lab.aws.heal()?;
        }
        for fault in [json!({"name": "imds-stale", "delay_ms": 20_000}), json!({"name": "imds-slow", "delay_ms": 3_000})] {
            println!("{fault}");
            bench.lab.aws.fault(&fault)?;
            bench.grow()?;
            bench.shrink()?;
            bench.lab.aws.heal()?;
        }
        // A daemon that starts in front of it waits, says so, and serves when it is over.
        bench.lab.aws.fault(&json!({"name": "imds-down"}))?;
        bench.node().kill_daemon()?;
        bench.node().start()?;
        let log = bench.node().log();
        wait_until("a word about it in the log", PATIENCE, || {
            let text = std::fs::read_to_string(&log).map_err(HarnessError::io("read the log"))?;
            Ok(if text.contains("cannot read the node's facts from IMDS") { Ok(()) } else { Err(text.len()) })
        })?;
        bench.lab.aws.heal()?;
        bench.node().wait_ready()?;
        bench.at_rest("the pod that stays", 1, 2)
    }
}
