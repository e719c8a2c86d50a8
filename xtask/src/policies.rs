//! Builds the Rust policies to Wasm components, `policies/built/<name>.wasm`.
//!
//! In: the folders `wit/` and `policies/`, a Rust toolchain that can build for wasm32. Out: one
//! component for each policy, which imports nothing but the log.
//! Must hold: an unchanged policy is not rewritten (programs embed the file and would be rebuilt);
//! no step waits for a network without a bound.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use wit_component::{ComponentEncoder, DecodedWasm};

use crate::failure::Failure;
use crate::run::{cargo, output, run, say, target_folder};

/// Folder below `policies/`, and part of the package's name.
const NAMES: [&str; 2] = ["default-warm-eni", "prefix-frugal"];
/// Where guests run: no operating system below them.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "lld"];
/// A policy may import these, whatever their version. `types` holds no function.
const ALLOWED_IMPORTS: [&str; 2] = ["onsen:policy/log@", "onsen:policy/types@"];
/// Room for the guest's own stack; less than the linker's megabyte, so that instances are small.
const GUEST_STACK: u32 = 128 * 1024;
/// How long `rustup target add` may take; on a closed network it would hang.
const RUSTUP_PATIENCE: Duration = Duration::from_secs(20);

/// A compiler that can build guests.
pub(crate) struct Toolchain {
    /// Absent: cargo's own choice.
    rustc: Option<PathBuf>,
    /// Whether `core` and `alloc` are compiled from their sources.
    build_std: bool,
}

impl Toolchain {
    /// Makes a cargo command use it.
    pub(crate) fn apply(&self, command: &mut Command) {
        if let Some(rustc) = &self.rustc {
            command.env("RUSTC", rustc);
        }
        if self.build_std {
            command
                .env("RUSTC_BOOTSTRAP", "1")
                .arg("-Zbuild-std=core,alloc");
        }
    }
}

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
        let component = componentise(&module)?;
        let file = built.join(format!("{name}.wasm"));
        if fs::read(&file).ok().as_deref() != Some(&component) {
            fs::write(&file, &component)
                .map_err(Failure::io(format!("write {}", file.display())))?;
        }
        say(&format!("policy {name}: {} bytes", component.len()));
    }
    fs::File::create(&stamp)
        .and_then(|file| file.set_modified(started))
        .map_err(Failure::io(format!("write {}", stamp.display())))
}

/// Whether all components are there and no input is newer than the last build.
fn is_fresh(root: &Path, built: &Path, stamp: &Path) -> Result<bool, Failure> {
    let complete = NAMES
        .iter()
        .all(|name| built.join(format!("{name}.wasm")).is_file());
    let Ok(built_at) = fs::metadata(stamp).and_then(|facts| facts.modified()) else {
        return Ok(false);
    };
    let mut newest = SystemTime::UNIX_EPOCH;
    for input in [
        "wit",
        "policies",
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
    if let Some(toolchain) = installed()? {
        return Ok(toolchain);
    }
    if is_on_path("rustup") && !is_offline() {
        say("no Rust library for wasm32 is installed; asking rustup for it");
        let mut command = Command::new("rustup");
        run_bounded(command.args(["target", "add", TARGET]), RUSTUP_PATIENCE)?;
        if let Some(toolchain) = installed()? {
            return Ok(toolchain);
        }
    }
    let root = fs::metadata("/proc/self").is_ok_and(|facts| {
        use std::os::unix::fs::MetadataExt;
        facts.uid() == 0
    });
    if root && is_on_path("apt-get") && !is_offline() {
        say("installing Debian's Rust library for Wasm");
        run(Command::new("apt-get").args(["-o", "Acquire::http::Timeout=20", "update"]))?;
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args([
            "-o",
            "Acquire::http::Timeout=20",
            "install",
            "-y",
            "--no-install-recommends",
        ]);
        run(command.args(DEBIAN_PACKAGES))?;
        if let Some(toolchain) = installed()? {
            return Ok(toolchain);
        }
    }
    Err(Failure::Missing(format!(
        "no Rust library for {TARGET}: run `rustup target add {TARGET}`, or on Debian as root \
         `apt-get install --no-install-recommends {}`",
        DEBIAN_PACKAGES.join(" ")
    )))
}

/// A toolchain that needs no download: the active one with the target, or one with its sources.
fn installed() -> Result<Option<Toolchain>, Failure> {
    let rustc = || std::env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from);
    let mut ask = Command::new(rustc());
    ask.args(["--print", "target-libdir", "--target", TARGET]);
    let libraries = PathBuf::from(output(&mut ask)?.trim());
    if holds_core(&libraries) {
        return Ok(Some(Toolchain {
            rustc: None,
            build_std: false,
        }));
    }
    if has_sources(&rustc())? {
        return Ok(Some(Toolchain {
            rustc: None,
            build_std: true,
        }));
    }
    let debian = PathBuf::from(DEBIAN_RUSTC);
    if debian.is_file() && has_sources(&debian)? {
        return Ok(Some(Toolchain {
            rustc: Some(debian),
            build_std: true,
        }));
    }
    Ok(None)
}

fn holds_core(libraries: &Path) -> bool {
    fs::read_dir(libraries).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

fn has_sources(rustc: &Path) -> Result<bool, Failure> {
    Ok(sysroot(rustc)?
        .join("lib/rustlib/src/rust/library/Cargo.lock")
        .is_file())
}

fn sysroot(rustc: &Path) -> Result<PathBuf, Failure> {
    let text = output(Command::new(rustc).args(["--print", "sysroot"]))?;
    Ok(PathBuf::from(text.trim()))
}

fn compile(root: &Path, toolchain: &Toolchain, target: &Path) -> Result<(), Failure> {
    let mut command = cargo(&[
        "build",
        "--locked",
        "--profile",
        "policy",
        "--target",
        TARGET,
    ]);
    for name in NAMES {
        command.arg("--package").arg(format!("onsen-policy-{name}"));
    }
    command.arg("--target-dir").arg(target);
    // No path of this machine may reach a component: its digest would differ from place to place.
    let mut flags = vec![
        format!("-Clink-arg=-zstack-size={GUEST_STACK}"),
        format!("--remap-path-prefix={}=onsen", root.display()),
    ];
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    if let Some(home) = home {
        flags.push(format!("--remap-path-prefix={}=cargo", home.display()));
    }
    command
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env_remove("RUSTFLAGS");
    toolchain.apply(&mut command);
    if toolchain.build_std {
        command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", find_linker()?);
    }
    run(&mut command)
}

/// The linker of a rustup toolchain, or one of LLVM's under any of its Debian names.
fn find_linker() -> Result<OsString, Failure> {
    let root = sysroot(Path::new("rustc"))?;
    let bundled = root.join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
    if bundled.is_file() {
        return Ok(bundled.into());
    }
    let versions = (14..=30).rev().map(|version| format!("wasm-ld-{version}"));
    std::iter::once("wasm-ld".to_owned())
        .chain(versions)
        .find(|name| is_on_path(name))
        .map(OsString::from)
        .ok_or_else(|| {
            Failure::Missing("no linker for Wasm: on Debian, `apt-get install lld`".to_owned())
        })
}

/// Wraps a core module as a component and checks what it imports.
fn componentise(module: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = fs::read(module).map_err(Failure::io(format!("read {}", module.display())))?;
    let unusable = |why: String| {
        Failure::Unreadable(format!("{} makes no component: {why}", module.display()))
    };
    let component = ComponentEncoder::default()
        .module(&bytes)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| unusable(format!("{error:#}")))?;
    let decoded =
        wit_component::decode(&component).map_err(|error| unusable(format!("{error:#}")))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(unusable("it decodes as a package".to_owned()));
    };
    for key in resolve.worlds[world].imports.keys() {
        let name = resolve.name_world_key(key);
        if !ALLOWED_IMPORTS
            .iter()
            .any(|allowed| name.starts_with(allowed))
        {
            return Err(unusable(format!(
                "it imports {name}; a policy may import only the log"
            )));
        }
    }
    Ok(component)
}

fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
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
