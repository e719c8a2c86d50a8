//! Puts the templates of policy projects, the Rust SDK and the contract into this crate.
//!
//! In: `policies/examples/`, `policies/sdk/`, `wit/`. Out: a table of paths and texts. The SDK's
//! manifest is made independent of the workspace, for it is copied into projects outside of it.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// What building leaves behind, by name.
const NOT_SOURCES: [&str; 7] = [
    "__pycache__",
    ".venv",
    "build",
    "Cargo.lock",
    "node_modules",
    "package-lock.json",
    "target",
];
/// What is written into a project when it is made, by path in the project.
const GENERATED: [&str; 8] = [
    "onsen/internal/component",
    "onsen/internal/onsen_policy_log",
    "onsen/internal/onsen_policy_policy",
    "onsen/internal/onsen_policy_types",
    "onsen/ipam_policy.c",
    "onsen/ipam_policy.h",
    "onsen/sdk",
    "wit",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("..");
    let mut table = String::from("static FILES: &[(&str, &str, &str)] = &[\n");
    for project in ["common", "rust", "go", "js", "python", "c"] {
        add_folder(
            &mut table,
            project,
            &root.join("policies/examples").join(project),
        )?;
    }
    add_folder(&mut table, "sdk", &root.join("policies/sdk/src"))?;
    table.push_str("];\n");
    let contract = fs::read_to_string(root.join("wit/policy.wit"))?;
    writeln!(table, "static CONTRACT: &str = {contract:?};")?;
    let manifest = alone(
        &fs::read_to_string(root.join("policies/sdk/Cargo.toml"))?,
        &fs::read_to_string(root.join("Cargo.toml"))?,
    )?;
    writeln!(table, "static SDK_MANIFEST: &str = {manifest:?};")?;
    for watched in ["wit", "policies/sdk", "policies/examples", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("files.rs"), table)?;
    Ok(())
}

fn add_folder(table: &mut String, group: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut folders = vec![PathBuf::new()];
    let mut files = Vec::new();
    while let Some(inside) = folders.pop() {
        for entry in fs::read_dir(folder.join(&inside))? {
            let entry = entry?;
            let path = inside.join(entry.file_name());
            let is_left_out = NOT_SOURCES.contains(&&*entry.file_name().to_string_lossy())
                || GENERATED.contains(&&*path.to_string_lossy());
            if is_left_out {
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    for path in files {
        let text = fs::read_to_string(folder.join(&path))?;
        writeln!(
            table,
            "    ({group:?}, {:?}, {text:?}),",
            path.to_string_lossy()
        )?;
    }
    Ok(())
}

/// Writes out what the manifest takes from the workspace.
fn alone(manifest: &str, workspace: &str) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    for line in manifest.lines() {
        if line == "[lints]" || line == "workspace = true" {
            continue;
        }
        let Some(key) = line.strip_suffix(".workspace = true") else {
            writeln!(text, "{line}")?;
            continue;
        };
        let start = format!("{key} = ");
        let line = workspace
            .lines()
            .find(|line| line.starts_with(&start))
            .ok_or_else(|| format!("the workspace's manifest has no {key}"))?;
        writeln!(text, "{line}")?;
    }
    Ok(text)
}
