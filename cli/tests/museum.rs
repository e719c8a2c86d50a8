//! The museum: incidents of upstream, each lived through both ways.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::allow_attributes, reason = "expectations differ by target")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs all exhibits; each with whether it is well, its file and what it told.
fn visit(arguments: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_onsen"))
        .args([
            "policy",
            "test",
            "tests/museum",
            "--policy",
            "default-warm-eni",
        ])
        .args(["--format", "json"])
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["unreadable"], Value::Array(Vec::new()));
    let exhibits = report["scenarios"].as_array().unwrap().clone();
    let wrong: Vec<_> = exhibits.iter().filter(|it| it["ok"] != true).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    exhibits
}

#[test]
fn no_incident_of_upstream_happens_here_and_each_does_under_upstreams_rule() {
    let ours = visit(&[]);
    let theirs = visit(&["--upstream"]);
    assert!(ours.len() >= 18, "{} exhibits", ours.len());
    assert_eq!(theirs.len(), ours.len(), "one names no rule of upstream");
    for exhibit in theirs {
        let told = exhibit["as_upstream"].as_array().unwrap();
        assert!(!told.is_empty(), "{exhibit:#}");
    }
}

#[test]
fn the_guide_tells_of_each_exhibit() {
    let folder = root().join("tests/museum");
    let guide = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let files = std::fs::read_dir(folder).unwrap();
    let names: BTreeSet<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|it| it == "yaml"))
        .collect();
    assert!(names.len() >= 17, "{names:?}");
    for name in names {
        assert!(guide.contains(&format!("]({name})")), "{name} has no story");
    }
}
