//! Proof that the deciding crates and the SDK of policies are pure: they compile for the guests'
//! target, which has no operating system, so no clock, file, thread or socket can hide in them.
//!
//! Where that target comes with a `std` of its own the proof leans on `#![no_std]`, which is looked
//! for in the sources.

use crate::failure::Failure;
use crate::policies::find_toolchain;
use crate::run::{cargo, root, run, target_folder};

/// Folders and packages.
const PURE: [(&str, &str); 3] = [
    ("core", "onsen-core"),
    ("wiring", "onsen-wiring"),
    ("policies/sdk", "onsen-policy-sdk"),
];

/// Compiles them.
pub(crate) fn check() -> Result<(), Failure> {
    let mut command = cargo(&["check", "--locked", "--profile", "policy"]);
    for (folder, package) in PURE {
        let path = root().join(folder).join("src/lib.rs");
        let text = std::fs::read_to_string(&path)
            .map_err(Failure::io(format!("read {}", path.display())))?;
        if !text.contains("#![no_std]") || text.contains("extern crate std") {
            return Err(Failure::Unreadable(format!(
                "{} must say #![no_std] and not bring std back",
                path.display()
            )));
        }
        command.args(["--package", package]);
    }
    // The folder of the guests, whose compiler and bindings this shares.
    command
        .arg("--target-dir")
        .arg(target_folder()?.join("policies"));
    find_toolchain()?.apply(&mut command, root());
    run(&mut command)
}
