//! Step 8: a node is asked why things went as they did.

use std::path::PathBuf;
use std::process::Command;

use onsen_harness::{http, programs};
use serde_json::Value;

use super::steps::Stage;
use crate::failure::Failure;

/// Lines of an answer that fit the screen.
const LINES: usize = 4;

/// Explains a pod that was refused, and replays what was decided.
pub(super) fn why(stage: &mut Stage) -> Result<(), Failure> {
    stage.screen.step("8  Why?");
    let socket = stage.node(0).status_socket();
    let ledger = http::request(&socket, "GET", "/onsen/v1/ledger", None)?;
    let refused = ledger
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .rfind(|record| record["refused"] == "node-full");
    let Some(pod) = refused.as_ref().and_then(|record| record["pod"].as_str()) else {
        return Err(Failure::Missing(
            "the ledger remembers no refused pod".to_owned(),
        ));
    };
    let told = onsen(stage, &["explain", "pod", pod])?;
    stage.check(
        "a pod that was refused can be explained long after",
        told.contains("node-full"),
    );
    let recording = onsen(stage, &["record", "--past", "--for", "0s"])?;
    let file: PathBuf = stage.node(0).dir().join("node.onsenrec");
    std::fs::write(&file, recording).map_err(Failure::io(format!("write {}", file.display())))?;
    let file = file.to_string_lossy().into_owned();
    let told = onsen(
        stage,
        &[
            "policy",
            "replay",
            &file,
            "--policy",
            "builtin:default-warm-eni",
        ],
    )?;
    stage.check(
        "what the node decided can be replayed with another policy",
        told.contains("decisions would differ"),
    );
    Ok(())
}

/// Runs `onsen` against the first node and shows how its answer begins.
fn onsen(stage: &mut Stage, arguments: &[&str]) -> Result<String, Failure> {
    stage
        .screen
        .say(&format!("  $ onsen {}", arguments.join(" ")));
    let socket = stage.node(0).status_socket();
    let output = Command::new(programs::path("onsen")?)
        .args(arguments)
        .env("ONSEN_ENDPOINT", format!("unix:{}", socket.display()))
        .output()
        .map_err(Failure::io("run onsen"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // A recording is for programs.
    if !text.starts_with('{') {
        for line in text.lines().take(LINES) {
            stage.screen.say(&format!("    {line}"));
        }
    }
    Ok(text)
}
