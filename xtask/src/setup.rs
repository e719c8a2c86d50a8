//! Makes the machine ready: finds the programs that building and testing need, installs what is
//! missing on Debian as root, else lists it with the command to run.

use std::path::Path;
use std::process::Command;

use onsen_policy_build::tools::find;

use crate::failure::Failure;
use crate::run::{run, say};

/// Programs and the Debian package of each.
const NEEDED: [(&str, &str); 10] = [
    ("cc", "gcc"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("mount", "mount"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("ping", "iputils-ping"),
    ("setpriv", "util-linux"),
    ("sysctl", "procps"),
    ("unshare", "util-linux"),
];

/// Installs or lists what is missing.
pub(crate) fn setup() -> Result<(), Failure> {
    let missing = missing();
    if missing.is_empty() {
        say("setup: every program is there");
        return Ok(());
    }
    let list = missing.join(" ");
    if !has("apt-get") || !is_root() {
        return Err(Failure::Missing(format!(
            "these Debian packages are missing: {list}. As root run: apt-get update && apt-get install --no-install-recommends {list}"
        )));
    }
    say(&format!("setup: installing {list}"));
    install(&missing)
}

/// Installs Debian packages; for root.
pub(crate) fn install(packages: &[&str]) -> Result<(), Failure> {
    run(apt().arg("update"))?;
    run(apt()
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages))
}

/// Debian packages whose programs are not found.
fn missing() -> Vec<&'static str> {
    let mut packages: Vec<_> = NEEDED
        .iter()
        .filter(|(program, _)| !has(program))
        .map(|(_, package)| *package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// True when a program is on the path, or where Debian keeps those of root.
pub(crate) fn has(program: &str) -> bool {
    find(program).is_some()
        || ["/usr/local/sbin", "/usr/sbin", "/sbin"]
            .iter()
            .any(|folder| Path::new(folder).join(program).is_file())
}

/// True when this process may install packages.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // The owner of /proc/self is the effective user.
    std::fs::metadata("/proc/self").is_ok_and(|data| data.uid() == 0)
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args([
        "-q",
        "-o",
        "Acquire::http::Timeout=20",
    ]);
    command
}
