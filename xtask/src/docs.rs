//! Runs the commands that README.md and docs/ show, so that they cannot rot.
//!
//! A fenced block named `sh` is run by `sh -eu` from the root of the workspace with the built
//! programs on the path. A block `sh lab` is run while a lab with one node and one pod is up and
//! `ONSEN_ENDPOINT` names the node's daemon, `ONSEN_LAB` the folder with its `rules.yaml`. A block `sh scratch` is run in an empty folder that all
//! such blocks of one document share, as a reader would in a folder of his own. A block `sh cluster` is run in
//! such a folder too, with a `kubectl` that speaks to a real API server, and an `onsen` that asks a daemon there;
//! the folder has the policies of `tests/hostile` that the document names. In all of them lines that start with
//! `cargo xtask` are left out, for CI has run them already. Blocks with other names are not commands.

use std::path::{Path, PathBuf};
use std::process::Command;

use onsen_cluster_tests::{API_SERVER, ApiServer, has};
use onsen_harness::cni::Pod;
use onsen_harness::node::Node;
use onsen_harness::{Lab, LabOptions, private};
use serde_json::json;

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
    Cluster,
}

impl Place {
    /// By the name of the block; absent when the block is not run.
    fn named(name: &str) -> Option<Self> {
        match name {
            "sh" => Some(Self::Workspace),
            "sh lab" => Some(Self::Lab),
            "sh scratch" => Some(Self::Scratch),
            "sh cluster" => Some(Self::Cluster),
            _ => None,
        }
    }
}

/// Runs every block of every document whose path has `part` in it, in private namespaces.
pub(crate) fn run_all(part: &str) -> Result<(), Failure> {
    if !private::is_inside() {
        if let Some(reason) = private::why_not() {
            println!("not run: the documents' commands: {reason}");
            return Ok(());
        }
        let program = std::env::current_exe().map_err(Failure::io("find the running program"))?;
        return Err(private::exec(&program, &["docs", part]).into());
    }
    private::prepare()?;
    let stage = Stage::set()?;
    let mut ran = 0;
    for document in documents()? {
        let name = document.strip_prefix(root()).unwrap_or(&document);
        if !name.to_string_lossy().contains(part) {
            continue;
        }
        let text = std::fs::read_to_string(&document)
            .map_err(Failure::io(format!("read {}", document.display())))?;
        let scratch = tempfile::tempdir().map_err(Failure::io("make a scratch folder"))?;
        for block in blocks(&text) {
            if block.commands.is_empty() {
                continue;
            }
            let place = format!("{}:{}", name.display(), block.line);
            match stage.command(&block, scratch.path())? {
                Some(mut command) => {
                    say(&place);
                    run(&mut command)?;
                    ran += 1;
                }
                None => println!(
                    "not run: {place}: there is no API server; `cargo xtask setup --all` builds one"
                ),
            }
        }
    }
    say(&format!("{ran} blocks of commands ran"));
    Ok(())
}

/// What the commands are run beside: one node alone and, where there is an API server, one in a cluster.
struct Stage {
    lab: Lab,
    api: Option<ApiServer>,
    path: String,
}

impl Stage {
    fn set() -> Result<Self, Failure> {
        let mut lab = Lab::without_daemons(&LabOptions {
            instance_types: vec!["m5.large"; 2],
            ..LabOptions::default()
        })?;
        let mut path = vec![onsen_harness::programs::folder()?.display().to_string()];
        let mut api = None;
        if has("the documents' commands beside an API server", &API_SERVER) {
            let server = ApiServer::start(lab.dir(), &onsen_cluster_tests::manifest())?;
            for node in lab.nodes.iter_mut().skip(1) {
                server.add_node(&node.instance.name, &json!({}))?;
                server.adopt(node)?;
            }
            path.push(server.kubectl_folder()?.display().to_string());
            api = Some(server);
        }
        path.push(std::env::var("PATH").unwrap_or_default());
        for node in &mut lab.nodes {
            node.start()?;
            node.wait_ready()?;
            node.plugin.must_add(&Pod::create("web")?)?;
        }
        Ok(Self {
            lab,
            api,
            path: path.join(":"),
        })
    }

    /// Absent when what the block needs is not there.
    fn command(&self, block: &Block, scratch: &Path) -> Result<Option<Command>, Failure> {
        let mut command = Command::new("sh");
        command
            .args(["-euc", &block.commands])
            .current_dir(root())
            .env("PATH", &self.path)
            .env_remove("ONSEN_ENDPOINT")
            .env_remove("ONSEN_LAB");
        let endpoint = |node: &Node| format!("unix:{}", node.status_socket().display());
        let [alone, member] = &self.lab.nodes[..] else {
            return Err(Failure::Missing("the lab has two nodes".to_owned()));
        };
        match block.place {
            Place::Workspace => {}
            Place::Lab => {
                command
                    .env("ONSEN_ENDPOINT", endpoint(alone))
                    .env("ONSEN_LAB", alone.dir());
            }
            Place::Scratch => {
                // Policies that documents build share what they compile with the tests', which have
                // fetched it: there is no network in here.
                command
                    .current_dir(scratch)
                    .env("CARGO_NET_OFFLINE", "true");
                if let Some(tools) = tools::folder() {
                    command.env("CARGO_TARGET_DIR", tools.join("target"));
                }
            }
            Place::Cluster if self.api.is_none() => return Ok(None),
            Place::Cluster => {
                let greedy = onsen_hostile::release_everything();
                std::fs::write(scratch.join("greedy.wasm"), greedy)
                    .map_err(Failure::io("write a policy"))?;
                command
                    .current_dir(scratch)
                    .env("ONSEN_ENDPOINT", endpoint(member));
            }
        }
        Ok(Some(command))
    }
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
