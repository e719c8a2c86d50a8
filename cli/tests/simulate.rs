//! `onsen simulate` as people and programs call it.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::allow_attributes, reason = "expectations differ by target")]

use std::process::{Command, Output};

use serde_json::Value;

fn simulate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsen"));
    command
        .arg("simulate")
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command.output().unwrap()
}

fn document(arguments: &[&str]) -> Value {
    let output = simulate(&[arguments, &["--format", "json"]].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_promised_keys_are_there() {
    let document = document(&[
        "--policy",
        "default-warm-eni",
        "--instance-type",
        "m5.large",
        "--pods",
        "0",
    ]);
    let last = &document["nodes"][0]["final"];
    assert_eq!(last["enis"], 1);
    assert_eq!(last["addresses"], 9);
    assert_eq!(last["prefixes"], 0);
    assert_eq!(last["assigned"], 0);
    assert_eq!(last["warm"], 9);
    assert_eq!(last["cooling"], 0);
    assert_eq!(last["per_eni"], serde_json::json!([9]));
    assert_eq!(last["ec2_calls"]["AssignPrivateIpAddresses"], 1);
    assert_eq!(last["at_rest"], true);
}

#[test]
fn two_policies_stand_side_by_side() {
    let arguments = [
        "--policy",
        "default-warm-eni",
        "--policy",
        "default-warm-eni",
        "--set",
        "WARM_IP_TARGET=2",
        "--instance-type",
        "m5.large",
        "--pods",
        "4",
        "--seed",
        "3",
    ];
    let document = document(&arguments);
    let runs = document["runs"].as_array().unwrap();
    let addresses = |run: &Value| run["nodes"][0]["final"]["addresses"].as_u64().unwrap();
    assert_eq!((addresses(&runs[0]), addresses(&runs[1])), (18, 6));
    assert_eq!(document["nodes"], runs[0]["nodes"]);
    let idle = |run: &Value| run["scorecard"]["idle_address_hours"].as_f64().unwrap();
    assert!(idle(&runs[1]) < idle(&runs[0]));

    let table = simulate(&arguments);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("B  builtin:default-warm-eni WARM_IP_TARGET=2"),
        "{table}"
    );
    assert!(
        table.contains("B  node-1 at the end: 1 ENI (slots in use: 6), 6 addresses"),
        "{table}"
    );
}

#[test]
fn a_page_is_written_where_it_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    let output = simulate(&[
        "--policy",
        "default-warm-eni",
        "--instance-type",
        "m5.large",
        "--pods",
        "2",
        "--format",
        "html",
        "--output",
        path.to_str().unwrap(),
    ]);
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page.contains("<svg") && page.contains("onsen simulate --policy default-warm-eni"));
}

#[test]
fn every_workload_of_the_project_is_understood_and_its_origin_stated() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/policies/workloads");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# Origin: "), "{}", path.display());
        let workload = onsen_sim::workload::Workload::read(&text).unwrap();
        let plan = workload.plan(1, workload.max_pods);
        assert!(!plan.steps.is_empty(), "{}", path.display());
        names.push(workload.name);
    }
    names.sort();
    names.dedup();
    assert!(names.len() >= 8, "{names:?}");
}

#[test]
fn what_is_wrong_is_said_in_one_sentence() {
    let node = ["--instance-type", "m5.large", "--pods", "1"];
    for (arguments, word) in [
        (&["--policy", "frugal"][..], "builtin:prefix-frugal"),
        (
            &["--policy", "prefix-frugal", "--then-down-to", "2"],
            "--then-down-to 2",
        ),
        (&["--policy", "prefix-frugal", "--set", "A"], "KEY=VALUE"),
        (
            &["--policy", "prefix-frugal", "--subnet", "10.0.0.0/8"],
            "/16 to /28",
        ),
        (&["--set", "A=1"], "--policy"),
        (
            &["--policy", "prefix-frugal", "--workload", "x"],
            "cannot be used with",
        ),
    ] {
        let output = simulate(&[arguments, &node].concat());
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said(&output).contains(word), "{}", said(&output));
    }
}
