//! Builds the Rust policies to Wasm components, `policies/built/<name>.wasm`.
//!
//! In: the folders `wit/` and `policies/`, a Rust toolchain that can build for wasm32. Out: one
//! component for each policy, which imports nothing but the log. The template of Rust is among them:
//! it is built as an author would, in a project outside of this workspace.
//! Must hold: an unchanged policy is not rewritten (programs embed the file and would be rebuilt);
//! no step waits for a network without a bound.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use onsen_policy_build::rust::{DEBIAN_PACKAGES, TARGET, Toolchain};
use onsen_policy_build::{Language, componentise, create};

use crate::failure::Failure;
use crate::run::{cargo, run, say, target_folder};
use crate::setup;

/// Names of components, and parts of their packages' names.
const NAMES: [&str; 6] = [
    "default-warm-eni",
    "prefix-frugal",
    "burst-ready",
    "gpu-few-pods",
    "office-hours",
    "scarce-subnet",
];
/// The policy that the templates hold.
const TEMPLATE: &str = "keep-n-free";
/// How long `rustup target add` may take; on a closed network it would hang.
const RUSTUP_PATIENCE: Duration = Duration::from_secs(20);

/// Builds what has changed.
pub(crate) fn build(root: &Path) -> Result<(), Failure> {
    let built = root.join("policies/built");
    let stamp = built.join(".stamp");
    if is_fresh(root, &built, &stamp)? {
        return Ok(());
    }
    // What changes while the build runs is newer than the stamp.
    let started = SystemTime::now();
    let toolchain = find_toolchain()?;
    let target = target_folder()?.join("policies");
    compile(root, &toolchain, &target)?;
    fs::create_dir_all(&built).map_err(Failure::io(format!("create {}", built.display())))?;
    for name in NAMES {
        let module = target
            .join(TARGET)
            .join("policy")
            .join(format!("onsen_policy_{}.wasm", name.replace('-', "_")));
        let bytes = fs::read(&module).map_err(Failure::io(format!("read {}", module.display())))?;
        let component = componentise(&bytes).map_err(|why| {
            Failure::Unreadable(format!("{} makes no component: {why}", module.display()))
        })?;
        keep(&built, name, &component)?;
    }
    keep(&built, TEMPLATE, &template(root, &target)?)?;
    fs::File::create(&stamp)
        .and_then(|file| file.set_modified(started))
        .map_err(Failure::io(format!("write {}", stamp.display())))
}

fn keep(built: &Path, name: &str, component: &[u8]) -> Result<(), Failure> {
    let file = built.join(format!("{name}.wasm"));
    if fs::read(&file).ok().as_deref() != Some(component) {
        fs::write(&file, component).map_err(Failure::io(format!("write {}", file.display())))?;
    }
    say(&format!("policy {name}: {} bytes", component.len()));
    Ok(())
}

/// Makes a project of the template and builds it, with this workspace's versions of what it uses.
fn template(root: &Path, target: &Path) -> Result<Vec<u8>, Failure> {
    let project = target.join(TEMPLATE);
    if project.exists() {
        fs::remove_dir_all(&project).map_err(Failure::io("remove the last build's project"))?;
    }
    create(&project, TEMPLATE, Language::Rust)?;
    fs::copy(root.join("Cargo.lock"), project.join("Cargo.lock"))
        .map_err(Failure::io("copy Cargo.lock"))?;
    let component = onsen_policy_build::build(&project)?;
    fs::read(&component).map_err(Failure::io(format!("read {}", component.display())))
}

/// Whether all components are there and no input is newer than the last build.
fn is_fresh(root: &Path, built: &Path, stamp: &Path) -> Result<bool, Failure> {
    let complete = NAMES
        .iter()
        .chain([&TEMPLATE])
        .all(|name| built.join(format!("{name}.wasm")).is_file());
    let Ok(built_at) = fs::metadata(stamp).and_then(|facts| facts.modified()) else {
        return Ok(false);
    };
    let mut newest = SystemTime::UNIX_EPOCH;
    for input in [
        "wit",
        "policies/sdk",
        "policies/default-warm-eni",
        "policies/prefix-frugal",
        "policies/cookbook",
        "policies/examples/common",
        "policies/examples/rust",
        "policy-build/src",
        "Cargo.toml",
        "Cargo.lock",
        "xtask/src/policies.rs",
    ] {
        newest = newest.max(newest_below(&root.join(input), built)?);
    }
    Ok(complete && newest < built_at)
}

fn newest_below(path: &Path, except: &Path) -> Result<SystemTime, Failure> {
    if path == except {
        return Ok(SystemTime::UNIX_EPOCH);
    }
    let what = || format!("look at {}", path.display());
    let facts = fs::metadata(path).map_err(Failure::io(what()))?;
    if facts.is_file() {
        return facts.modified().map_err(Failure::io(what()));
    }
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(path).map_err(Failure::io(what()))? {
        let entry = entry.map_err(Failure::io(what()))?;
        newest = newest.max(newest_below(&entry.path(), except)?);
    }
    Ok(newest)
}

/// What is on the machine first; then what can be fetched.
pub(crate) fn find_toolchain() -> Result<Toolchain, Failure> {
    let missing = match Toolchain::installed() {
        Ok(toolchain) => return Ok(toolchain),
        Err(missing) => missing,
    };
    if setup::has("rustup") && !is_offline() {
        say("no Rust library for wasm32 is installed; asking rustup for it");
        let mut command = Command::new("rustup");
        run_bounded(command.args(["target", "add", TARGET]), RUSTUP_PATIENCE)?;
        if let Ok(toolchain) = Toolchain::installed() {
            return Ok(toolchain);
        }
    }
    if setup::is_root() && setup::has("apt-get") && !is_offline() {
        say("installing Debian's Rust library for Wasm");
        setup::install(&DEBIAN_PACKAGES)?;
        return Ok(Toolchain::installed()?);
    }
    Err(missing.into())
}

fn compile(root: &Path, toolchain: &Toolchain, target: &Path) -> Result<(), Failure> {
    let mut command = cargo(&["build", "--locked", "--profile", "policy"]);
    for name in NAMES {
        command.arg("--package").arg(format!("onsen-policy-{name}"));
    }
    command.arg("--target-dir").arg(target);
    toolchain.apply(&mut command, root);
    run(&mut command)
}

fn is_offline() -> bool {
    std::env::var("CARGO_NET_OFFLINE").is_ok_and(|value| value == "true" || value == "1")
}

/// Runs a command that may hang; a failure or a time-out is only told.
fn run_bounded(command: &mut Command, patience: Duration) -> Result<(), Failure> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .spawn()
        .map_err(Failure::io("start rustup"))?;
    let end = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().map_err(Failure::io("wait for rustup"))? {
            if !status.success() {
                say(&format!("rustup ended with {status}"));
            }
            return Ok(());
        }
        if Instant::now() >= end {
            say(&format!(
                "rustup did not end in {} s; going on without it",
                patience.as_secs()
            ));
            child.kill().map_err(Failure::io("end rustup"))?;
            child.wait().map_err(Failure::io("wait for rustup"))?;
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
