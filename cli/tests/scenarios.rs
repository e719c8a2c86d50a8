//! The scenario files of this repository, run by the program that people run.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::allow_attributes, reason = "expectations differ by target")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn onsen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_onsen"))
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .unwrap()
}

/// Runs the scenarios of a built-in policy; how many there were.
fn all_hold(policy: &str) -> u64 {
    let folder = format!("tests/policies/scenarios/{policy}");
    let output = onsen(&[
        "policy", "test", &folder, "--policy", policy, "--format", "json",
    ]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let scenarios = report["scenarios"].as_array().unwrap();
    let failed: Vec<&Value> = scenarios.iter().filter(|it| it["ok"] != true).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(report["unreadable"], Value::Array(Vec::new()));
    assert_eq!(output.status.code(), Some(0));
    report["ok"].as_u64().unwrap()
}

#[test]
fn the_default_policy_does_what_its_scenarios_say() {
    let ran = all_hold("default-warm-eni");
    assert!(ran > 150, "only {ran} scenarios were found");
}

#[test]
fn prefix_frugal_does_what_its_scenarios_say() {
    let ran = all_hold("prefix-frugal");
    assert!(ran >= 5, "only {ran} scenarios were found");
}

#[test]
fn exit_codes_tell_a_failure_from_a_file_that_is_not_understood() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let wrong = write(
        "wrong.yaml",
        "name: x\nsteps: [{rest: 10m, expect: {pool: {enis: 7}}}]\n",
    );
    let output = onsen(&["policy", "test", &wrong, "--policy", "default-warm-eni"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("pool.enis  7         1"), "{text}");
    assert!(
        !text.contains('\u{1b}'),
        "colours without a terminal: {text}"
    );
    let garbage = write("garbage.yaml", "name: x\nsteps: 5\n");
    let output = onsen(&["policy", "test", &garbage, "--policy", "default-warm-eni"]);
    assert_eq!(output.status.code(), Some(2));
}
