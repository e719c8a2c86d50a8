//! Proof that the deciding crates are pure: they compile for a target without an operating system,
//! from `core` and `alloc` alone, so no clock, file, thread or socket can hide in them.

use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::run::{cargo, output, run, target_folder};

/// A target that has `core` and `alloc` and nothing below them.
const TARGET: &str = "wasm32-unknown-unknown";

/// Compiles them.
pub(crate) fn check() -> Result<(), Failure> {
    let mut command = cargo(&[
        "check",
        "--locked",
        "-p",
        "onsen-core",
        "-p",
        "onsen-wiring",
    ]);
    // A folder of its own: another compiler must not throw away what the workspace's has built.
    command
        .arg("--target-dir")
        .arg(target_folder()?.join("purity"))
        .args(["--target", TARGET]);
    if !installed()? {
        let debian = Path::new("/usr/bin/rustc");
        if !debian.is_file() {
            return Err(Failure::Missing(format!(
                "the purity gate needs the target {TARGET}: run `rustup target add {TARGET}`, or on Debian `apt-get install --no-install-recommends rustc-web rust-web-src`"
            )));
        }
        // Debian's compiler comes with the sources of its library.
        command
            .env("RUSTC", debian)
            .env("RUSTC_BOOTSTRAP", "1")
            .arg("-Zbuild-std=core,alloc");
    }
    run(&mut command)
}

/// True when the toolchain has a ready library for the target. One with `std` proves as much: the
/// crates are `no_std`, and `extern crate std` is caught by the check of the sources below.
fn installed() -> Result<bool, Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args(["--print", "target-libdir", "--target", TARGET]);
    Ok(Path::new(output(&mut command)?.trim()).is_dir())
}
