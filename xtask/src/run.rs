//! Running commands where people can see them, and finding the folders of the workspace.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use onsen_policy_build::tools;
use serde_json::Value;

use crate::failure::Failure;

/// The platform that ships.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// The folder of the workspace.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        // What cargo says now comes first: with a target folder that several checkouts share, this
        // program may have been compiled in another one.
        let here = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        // xtask/ lies directly in it.
        here.parent().unwrap_or(Path::new(".")).to_owned()
    })
}

/// A progress line: on stderr, for stdout belongs to results.
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// A cargo command in the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    command
}

/// Runs a command to its end; its output goes to our stderr.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    say(&format!("+ {}", tools::line(command)));
    Ok(tools::run(command)?)
}

/// What `cargo metadata` says of the workspace; with its dependencies when `all`.
pub(crate) fn metadata(all: bool) -> Result<Value, Failure> {
    let mut command = cargo(&["metadata", "--format-version", "1", "--locked"]);
    if all {
        // What the other platforms would need is neither linked nor downloaded.
        command.args(["--filter-platform", PLATFORM]);
    } else {
        command.arg("--no-deps");
    }
    let text = tools::output(&mut command)?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::Unreadable(format!("cargo metadata is not JSON: {error}")))
}

/// The folder into which cargo builds.
pub(crate) fn target_folder() -> Result<PathBuf, Failure> {
    let metadata = metadata(false)?;
    metadata
        .get("target_directory")
        .and_then(Value::as_str)
        .map(PathBuf::from)
        .ok_or_else(|| Failure::Unreadable("cargo metadata names no target_directory".to_owned()))
}
