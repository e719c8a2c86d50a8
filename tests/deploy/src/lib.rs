//! What the tests of `deploy/` share: the files, the tools that render and judge them, objects.
//!
//! The tools are other projects' programs. `cargo xtask setup` puts them into `ONSEN_TOOLS`, which is
//! `~/.cache/onsen/tools` when unset; a test whose tool is missing says `not run:` and which one.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "only tests use it: a failing unwrap is a failing test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Version of Kubernetes that charts are rendered for.
pub const KUBERNETES: &str = "1.34.0";

/// The folder of the project.
pub fn root() -> PathBuf {
    // What cargo says now comes first: several checkouts may share one target folder.
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.ancestors().nth(2).unwrap().to_owned()
}

/// The text of a file of the project.
pub fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A program of the tools' folder, `bin/helm` for one; says that `test` is not run when it is missing.
pub fn tool(test: &str, program: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("ONSEN_TOOLS").map_or_else(
        || {
            let home = std::env::var_os("HOME").unwrap_or_default();
            Path::new(&home).join(".cache/onsen/tools")
        },
        PathBuf::from,
    );
    let path = folder.join(program);
    if path.is_file() {
        return Some(path);
    }
    println!(
        "not run: {test}: {} is missing, cargo xtask setup could not get it",
        path.display()
    );
    None
}

/// Runs a command; its output, whatever came of it.
pub fn run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a command that must succeed; what it printed.
pub fn output(command: &mut Command) -> String {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// `helm template` with values; absent when there is no helm.
pub fn template(test: &str, values: &Value) -> Option<Output> {
    let helm = tool(test, "bin/helm")?;
    let folder = tempfile_folder();
    let file = folder.join(format!("{}.json", test.replace(' ', "-")));
    std::fs::write(&file, values.to_string()).unwrap();
    let mut command = Command::new(helm);
    command
        .args(["template", "aws-node"])
        .arg(root().join("deploy/helm/onsen"))
        .args(["--namespace", "kube-system", "--kube-version", KUBERNETES])
        .arg("--values")
        .arg(&file);
    Some(run(&mut command))
}

/// A folder for files that tools read.
pub fn tempfile_folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("onsen-deploy-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The chart's objects with values; absent when there is no helm.
pub fn chart(test: &str, values: &Value) -> Option<Objects> {
    let output = template(test, values)?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(objects(&String::from_utf8(output.stdout).unwrap()))
}

/// Objects by kind and name.
pub type Objects = BTreeMap<(String, String), Value>;

/// The objects of a YAML text of many documents.
pub fn objects(text: &str) -> Objects {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let mut objects = Objects::new();
    for object in all.into_iter().filter(|object| !object.is_null()) {
        let name = |pointer| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap()
                .to_owned()
        };
        let key = (name("/kind"), name("/metadata/name"));
        assert!(
            objects.insert(key.clone(), object).is_none(),
            "{key:?} is there twice"
        );
    }
    objects
}

/// One object.
pub fn object<'a>(objects: &'a Objects, kind: &str, name: &str) -> &'a Value {
    let key = (kind.to_owned(), name.to_owned());
    objects
        .get(&key)
        .unwrap_or_else(|| panic!("no {key:?} among {:?}", objects.keys()))
}

/// All texts in quotes, in Rust and everything that quotes like it.
pub fn quoted(text: &str) -> BTreeSet<&str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .collect()
}

/// Whether a text looks like the name of an environment variable: `CLUSTER_NAME`, `ENABLE_IPv4`.
pub fn is_variable(text: &str) -> bool {
    text.contains('_')
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && !text.ends_with('_')
        && text
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_' || c == 'v')
}

/// Rust sources below a folder of the project, tests left out.
pub fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut left = vec![root().join(folder)];
    while let Some(next) = left.pop() {
        if next.is_dir() {
            left.extend(std::fs::read_dir(next).unwrap().map(|e| e.unwrap().path()));
        } else if next.extension().is_some_and(|ending| ending == "rs")
            && !next.ends_with("tests.rs")
        {
            let text = std::fs::read_to_string(&next).unwrap();
            // Unit tests close a file.
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            found.push((next, code.to_owned()));
        }
    }
    found.sort();
    found
}
