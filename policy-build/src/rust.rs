//! Rust guests: a compiler that can build for Wasm, with or without rustup, and its flags.
//!
//! Must hold: no path of the machine reaches a component, for its digest would differ from place
//! to place.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::component::componentise;
use crate::error::BuildError;
use crate::tools::{find, need, output, run};

/// Where guests run: no operating system below them.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// Debian packages that stand in for a target of rustup.
pub const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "lld"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Room for the guest's own stack; less than the linker's megabyte, so that instances are small.
const GUEST_STACK: u32 = 128 * 1024;

/// A compiler that can build guests.
#[derive(Debug)]
pub struct Toolchain {
    /// Absent: cargo's own choice.
    rustc: Option<PathBuf>,
    /// Whether `core` and `alloc` are compiled from their sources, and by which linker.
    build_std: Option<OsString>,
}

impl Toolchain {
    /// What is installed: the active toolchain with the target, or one with its sources.
    pub fn installed() -> Result<Self, BuildError> {
        need("cargo", "install Rust (https://rustup.rs)")?;
        let rustc = std::env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from);
        let ask = |rustc: &Path, what: &str| {
            output(Command::new(rustc).args(["--print", what, "--target", TARGET]))
        };
        if holds_core(Path::new(&ask(&rustc, "target-libdir")?)) {
            return Ok(Self {
                rustc: None,
                build_std: None,
            });
        }
        for (chosen, rustc) in [
            (None, rustc),
            (Some(DEBIAN_RUSTC.into()), DEBIAN_RUSTC.into()),
        ] {
            if chosen.is_some() && !rustc.is_file() {
                continue;
            }
            let sources = Path::new(&ask(&rustc, "sysroot")?).join("lib/rustlib/src/rust/library");
            if sources.join("Cargo.lock").is_file() {
                return Ok(Self {
                    rustc: chosen,
                    build_std: Some(find_linker()?),
                });
            }
        }
        Err(BuildError::MissingTool {
            tool: format!("Rust's library for {TARGET}"),
            how: format!(
                "run `rustup target add {TARGET}`, or on Debian as root `apt-get install \
                 --no-install-recommends {}`",
                DEBIAN_PACKAGES.join(" ")
            ),
        })
    }

    /// Makes a `cargo build` use it, for the guest whose sources lie below `root`.
    pub fn apply(&self, command: &mut Command, root: &Path) {
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
            .env_remove("RUSTFLAGS")
            .args(["--target", TARGET]);
        if let Some(rustc) = &self.rustc {
            command.env("RUSTC", rustc);
        }
        if let Some(linker) = &self.build_std {
            command
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                .arg("-Zbuild-std=core,alloc");
        }
    }
}

fn holds_core(libraries: &Path) -> bool {
    fs::read_dir(libraries).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

/// The linker of a rustup toolchain, or one of LLVM's under any of its Debian names.
fn find_linker() -> Result<OsString, BuildError> {
    let root = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let bundled = Path::new(&root).join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
    if bundled.is_file() {
        return Ok(bundled.into());
    }
    let versions = (14..=30).rev().map(|version| format!("wasm-ld-{version}"));
    std::iter::once("wasm-ld".to_owned())
        .chain(versions)
        .find(|name| find(name).is_some())
        .map(OsString::from)
        .ok_or_else(|| BuildError::MissingTool {
            tool: "a linker for Wasm".to_owned(),
            how: "on Debian, `apt-get install lld`".to_owned(),
        })
}

/// Builds the project in a folder.
pub(crate) fn build(folder: &Path, output_file: &Path) -> Result<(), BuildError> {
    let toolchain = Toolchain::installed()?;
    let root = fs::canonicalize(folder).map_err(BuildError::io("find", folder))?;
    // A place of its own: the same dependencies built with other flags would be built again and
    // again.
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), PathBuf::from)
        .join("policy");
    let mut command = Command::new("cargo");
    command
        .current_dir(&root)
        .args(["build", "--release", "--lib", "--target-dir"])
        .arg(&target);
    toolchain.apply(&mut command, &root);
    run(&mut command)?;
    let manifest = root.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(BuildError::io("read", &manifest))?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("name = "))
        .unwrap_or_default()
        .trim_matches('"')
        .replace('-', "_");
    let module = target.join(TARGET).join("release").join(name + ".wasm");
    let bytes = fs::read(&module).map_err(BuildError::io("read", &module))?;
    let component = componentise(&bytes).map_err(|why| BuildError::Component { module, why })?;
    fs::write(output_file, component).map_err(BuildError::io("write", output_file))
}
