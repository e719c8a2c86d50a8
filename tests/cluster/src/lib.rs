//! Other projects' programs around a node of the lab: an API server with its etcd, a registry of OCI
//! artifacts, containerd.
//!
//! In: a lab that has no daemons yet, programs out of the folder of tools. Out: a cluster that a daemon can be
//! started into. Must hold: a program that cannot be had is named by `not run:`; all of it lives and
//! dies in the lab's namespaces.

mod api_server;
mod containerd;
mod registry;

use std::io::Write as _;
use std::path::PathBuf;

pub use api_server::{ApiServer, CONFIG_MAP, NAMESPACE};
pub use containerd::Containerd;
pub use registry::{Key, Registry, pull_secret};

use onsen_harness::{HarnessError, Result, programs};

/// Programs of an API server.
pub const API_SERVER: [&str; 3] = ["etcd", "kube-apiserver", "kubectl"];
/// Programs of a container runtime, with what drives it.
const CONTAINERD: [&str; 7] = [
    "containerd",
    "containerd-shim-runc-v2",
    "crictl",
    "ctr",
    "loopback",
    "portmap",
    "runc",
];
/// The program of a registry.
pub const REGISTRY: [&str; 1] = ["docker-registry"];
/// With the one that signs what lies there.
pub const SIGNED_REGISTRY: [&str; 2] = ["docker-registry", "cosign"];

/// Whether all of these programs are there; says which one is not.
pub fn has(test: &str, wanted: &[&str]) -> bool {
    let missing = wanted.iter().find_map(|name| programs::tool(name).err());
    say_why_not(test, missing.as_deref())
}

/// Whether containerd can run here.
pub fn has_containerd(test: &str) -> bool {
    // Devices and mounts of containers need the machine's root, not that of a user namespace.
    let users = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let is_root = users.split_whitespace().eq(["0", "0", "4294967295"]);
    if !is_root {
        return say_why_not(test, Some("containerd needs root"));
    }
    has(test, &CONTAINERD)
}

fn say_why_not(test: &str, why: Option<&str>) -> bool {
    if let Some(why) = why {
        // Not through `println!`: libtest would swallow it.
        drop(writeln!(std::io::stderr(), "not run: {test}: {why}"));
    }
    why.is_none()
}

/// The objects that `deploy/` gives a cluster.
pub fn manifest() -> PathBuf {
    root().join("deploy/kustomize/base/onsen.yaml")
}

/// The conflist that ships, filled in as the image's entry point does it.
pub fn conflist() -> Result<String> {
    let path = root().join("deploy/image/10-aws.conflist");
    let text = std::fs::read_to_string(&path)
        .map_err(HarnessError::io(format!("read {}", path.display())))?;
    Ok(text
        .replace("__VETHPREFIX__", "eni")
        .replace("__MTU__", "9001")
        .replace("__PODSGENFORCINGMODE__", "strict")
        .replace("__PLUGINLOGFILE__", "stderr")
        .replace("__PLUGINLOGLEVEL__", "INFO"))
}

fn root() -> PathBuf {
    // What cargo says now comes first: several checkouts may share one target folder.
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = here
        .ancestors()
        .find(|it| it.join("deploy/kustomize").is_dir());
    root.unwrap_or(&here).to_owned()
}
