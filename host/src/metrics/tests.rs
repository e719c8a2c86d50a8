//! Series as a scrape shows them.

use super::*;
use onsen_policy_runner::recording::{Dropped, Failure};

fn policy() -> PolicyName {
    PolicyName {
        name: "p".into(),
        version: "1".into(),
        digest: format!("sha256:{}", "ab".repeat(32)),
    }
}

fn has(metrics: &Metrics, lines: &[&str]) {
    let text = metrics.text().unwrap();
    for line in lines {
        assert!(
            text.lines().any(|it| it == *line),
            "{line} is not in\n{text}"
        );
    }
}

#[test]
fn what_policies_do_is_counted_under_their_name_and_short_digest() {
    let metrics = Metrics::new().unwrap();
    let decision = Decision {
        trigger: "demand".into(),
        policy: policy(),
        dropped: vec![Dropped {
            action: "detach eni-1".into(),
            why: "assigned".into(),
        }],
        pressure: 40,
        micros: 80,
        fuel: 30_000,
        ..Decision::default()
    };
    metrics.decision(&decision);
    metrics.action(&policy(), Operation::Grow);
    metrics.decision(&Decision {
        failure: Some(Failure {
            kind: "trap".into(),
            message: "it trapped".into(),
        }),
        ..decision
    });
    metrics.put_in_force(&policy(), "file:p.wasm");
    has(
        &metrics,
        &[
            r#"onsen_policy_decisions_total{decider="chosen",digest="abababababab",policy="p",trigger="demand"} 2"#,
            r#"onsen_policy_actions_total{action="grow",digest="abababababab",policy="p"} 1"#,
            r#"onsen_policy_dropped_total{digest="abababababab",policy="p",reason="assigned"} 1"#,
            r#"onsen_policy_failures_total{digest="abababababab",kind="trap",policy="p"} 1"#,
            r#"onsen_policy_fuel_bucket{digest="abababababab",policy="p",le="40000"} 1"#,
            r#"onsen_policy_seconds_count{digest="abababababab",policy="p"} 2"#,
            r#"onsen_policy_in_force{digest="abababababab",policy="p",reference="file:p.wasm",version="1"} 1"#,
            "onsen_policy_pressure 40",
        ],
    );
}

#[test]
fn upstreams_names_are_upstreams() {
    let metrics = Metrics::new().unwrap();
    metrics.add(Duration::from_millis(3), None);
    metrics.add(Duration::from_secs(10), Some("node-full"));
    metrics.del();
    metrics.ec2("AssignPrivateIpAddresses", None, Duration::from_millis(300));
    let code = Some("RequestLimitExceeded");
    metrics.ec2("AssignPrivateIpAddresses", code, Duration::from_millis(9));
    has(
        &metrics,
        &[
            "# TYPE awscni_add_ip_req_count counter",
            "awscni_add_ip_req_count 2",
            r#"awscni_del_ip_req_count{reason="PodDeleted"} 1"#,
            "awscni_no_available_ip_addresses 1",
            r#"awscni_ec2api_req_count{fn="AssignPrivateIpAddresses"} 2"#,
            r#"awscni_aws_api_error_count{api="AssignPrivateIpAddresses",error="RequestLimitExceeded"} 1"#,
            r#"awscni_aws_api_latency_ms_sum{api="AssignPrivateIpAddresses",error="false",status="200"} 300"#,
        ],
    );
}

#[test]
fn the_life_of_policies_and_the_shadow_are_told_as_they_stand() {
    let metrics = Metrics::new().unwrap();
    let status = PolicyStatus {
        swaps: 3,
        rollbacks: 1,
        shadow: Some(crate::policies::Named {
            name: "q".into(),
            reference: "builtin:q".into(),
            digest: format!("sha256:{}", "cd".repeat(32)),
        }),
        ..PolicyStatus::default()
    };
    let figures = Figures {
        compared: 9,
        differed: 2,
        ..Figures::default()
    };
    // A second scrape does not count twice.
    metrics.life(&status, &figures);
    metrics.life(&status, &figures);
    has(
        &metrics,
        &[
            r#"onsen_policy_limit{of="fuel"} 500000000"#,
            r#"onsen_policy_limit{of="compile-ms"} 120000"#,
            r#"onsen_policy_changes_total{result="swapped"} 3"#,
            r#"onsen_policy_changes_total{result="rolled-back"} 1"#,
            r#"onsen_shadow_decisions_total{digest="cdcdcdcdcdcd",policy="q",result="different"} 2"#,
            r#"onsen_shadow_decisions_total{digest="cdcdcdcdcdcd",policy="q",result="alike"} 7"#,
        ],
    );
}

#[test]
fn a_block_that_is_gone_leaves_no_series() {
    let metrics = Metrics::new().unwrap();
    let block = |cidr: &str| onsen_core::status::BlockStatus {
        cidr: onsen_core::cidr::Cidr::parse(cidr).unwrap(),
        assigned: 3,
        cooling: 0,
        free: 13,
        hold: String::new(),
    };
    let eni = |cidr: &str| EniStatus {
        id: onsen_core::ids::EniId::new("eni-1"),
        mac: onsen_core::ids::Mac::default(),
        primary: [10, 0, 0, 9].into(),
        subnet: onsen_core::ids::SubnetId::new("subnet-1"),
        role: onsen_core::snapshot::Role::Primary,
        phase: onsen_core::snapshot::EniPhase::Ready,
        card: 0,
        device_index: 0,
        since: 0,
        free_slots: 0,
        keep: None,
        kept_until: None,
        excluded: false,
        blocks: vec![block(cidr)],
    };
    let summary = Summary {
        assigned: 3,
        ..Summary::default()
    };
    metrics.pool(&summary, &[eni("10.0.0.16/28")], 16, std::iter::empty());
    metrics.pool(&summary, &[eni("10.0.0.32/28")], 16, std::iter::empty());
    has(
        &metrics,
        &[
            r#"awscni_assigned_ip_per_cidr{cidr="10.0.0.32/28"} 3"#,
            r#"awscni_assigned_ip_per_eni{eni="eni-1"} 3"#,
            r#"onsen_pool_addresses{state="assigned"} 3"#,
        ],
    );
    assert!(!metrics.text().unwrap().contains("10.0.0.16/28"));
}
