//! Runs the commands that README.md and docs/ show, so that they cannot rot.
//!
//! A fenced block named `sh` is run by `sh -eu` from the root of the workspace with the built
//! programs on the path. A block `sh lab` is run while a lab with one node and one pod is up and
//! `ONSEN_ENDPOINT` names the node's daemon, `ONSEN_LAB` the folder with its `rules.yaml`. A block `sh scratch` is run in an empty folder that all
//! such blocks of one document share, as a reader would in a folder of his own. In all of them lines
//! that start with `cargo xtask` are left out, for CI has run them already. Blocks with other names
//! are not commands.

use std::path::{Path, PathBuf};
use std::process::Command;

use onsen_harness::cni::Pod;
use onsen_harness::{Lab, LabOptions, private};

use crate::failure::Failure;
use crate::run::{root, run, say};
use crate::tools;

/// A block of commands in a document.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    line: usize,
    place: Place,
    commands: String,
}

/// Where a block is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Workspace,
    Lab,
    Scratch,
}

impl Place {
    /// By the name of the block; absent when the block is not run.
    fn named(name: &str) -> Option<Self> {
        match name {
            "sh" => Some(Self::Workspace),
            "sh lab" => Some(Self::Lab),
            "sh scratch" => Some(Self::Scratch),
            _ => None,
        }
    }
}

/// Runs every block of every document, in private namespaces.
pub(crate) fn run_all() -> Result<(), Failure> {
    if !private::is_inside() {
        if let Some(reason) = private::why_not() {
            println!("not run: the documents' commands: {reason}");
            return Ok(());
        }
        let program = std::env::current_exe().map_err(Failure::io("find the running program"))?;
        return Err(private::exec(&program, &["docs"]).into());
    }
    private::prepare()?;
    let mut lab = Lab::start(&LabOptions::default())?;
    let pod = Pod::create("web")?;
    let node = lab.node();
    node.plugin.must_add(&pod)?;
    let endpoint = format!("unix:{}", node.status_socket().display());
    let folder = node.dir().to_owned();
    let path = format!(
        "{}:{}",
        onsen_harness::programs::folder()?.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut ran = 0;
    for document in documents()? {
        let text = std::fs::read_to_string(&document)
            .map_err(Failure::io(format!("read {}", document.display())))?;
        let name = document.strip_prefix(root()).unwrap_or(&document);
        let scratch = tempfile::tempdir().map_err(Failure::io("make a scratch folder"))?;
        for block in blocks(&text) {
            if block.commands.is_empty() {
                continue;
            }
            say(&format!("{}:{}", name.display(), block.line));
            let mut command = Command::new("sh");
            command
                .args(["-euc", &block.commands])
                .current_dir(root())
                .env("PATH", &path)
                .env_remove("ONSEN_ENDPOINT")
                .env_remove("ONSEN_LAB");
            match block.place {
                Place::Workspace => {}
                Place::Lab => {
                    command
                        .env("ONSEN_ENDPOINT", &endpoint)
                        .env("ONSEN_LAB", &folder);
                }
                Place::Scratch => {
                    // Policies that documents build share what they compile with the tests'.
                    command.current_dir(scratch.path());
                    if let Some(tools) = tools::folder() {
                        command.env("CARGO_TARGET_DIR", tools.join("target"));
                    }
                }
            }
            run(&mut command)?;
            ran += 1;
        }
    }
    say(&format!("{ran} blocks of commands ran"));
    Ok(())
}

/// README.md, CONTRIBUTING.md and everything below docs/.
fn documents() -> Result<Vec<PathBuf>, Failure> {
    let mut found = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for path in list(&folder)? {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let what = format!("list {}", folder.display());
    std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(Failure::io(what))
}

fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Option<Block>> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => found.extend(open.take().flatten()),
            (Some(name), None) => {
                open = Some(Place::named(name).map(|place| Block {
                    line: number,
                    place,
                    commands: String::new(),
                }));
            }
            (None, Some(Some(block))) if !line.starts_with("cargo xtask") => {
                block.commands.push_str(line);
                block.commands.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_of_commands_are_run() {
        let text = "x\n```sh\ncargo xtask demo\ntrue\n```\n```text\nfalse\n```\n```sh lab\nonsen status\n```\n";
        let block = |line, place, commands: &str| Block {
            line,
            place,
            commands: commands.to_owned(),
        };
        assert_eq!(
            blocks(text),
            [
                block(2, Place::Workspace, "true\n"),
                block(9, Place::Lab, "onsen status\n")
            ]
        );
    }
}
