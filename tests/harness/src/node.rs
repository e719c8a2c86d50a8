//! One node: its namespace, its daemon, its plugin, and what the daemon says of itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::aws::{Instance, Ready};
use crate::cni::Plugin;
use crate::error::{HarnessError, Result};
use crate::netns::Netns;
use crate::process::{Process, with_log};
use crate::wait::wait_until;
use crate::{http, programs};

/// The daemon starts in under a second; a debug build compiles its policy for some seconds.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// A node of the lab.
#[derive(Debug)]
pub struct Node {
    /// What EC2 says of it.
    pub instance: Instance,
    /// Its network namespace.
    pub netns: Netns,
    /// Its plugin.
    pub plugin: Plugin,
    /// Environment of its daemon; change it before a start.
    pub settings: BTreeMap<String, String>,
    dir: PathBuf,
    daemon: Option<Process>,
}

/// `/onsen/v1/status`, as far as checks need it.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// The policy in force.
    pub policy: Policy,
    /// How its shadow compares.
    pub shadow: Shadow,
    /// What the node may have.
    pub limits: Limits,
    /// The pool in numbers.
    pub pool: Pool,
    /// Calls to EC2.
    pub ec2: Ec2,
    /// What was decided last.
    pub last_decision: Option<Decision>,
}

/// The policy in force.
#[derive(Clone, Debug, Deserialize)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Digest of its bytes.
    pub digest: String,
    /// The rule that chose it.
    pub rule: Option<String>,
    /// Its settings.
    pub settings: BTreeMap<String, String>,
    /// Whether it has yet to prove good.
    pub on_probation: bool,
    /// Why the last change was refused, or undone.
    pub last_error: Option<String>,
    /// Swaps since the daemon started.
    pub swaps: u64,
    /// Wishes refused since then.
    pub refusals: u64,
    /// Swaps undone since then.
    pub rollbacks: u64,
}

/// How a second policy compares.
#[derive(Clone, Debug, Deserialize)]
pub struct Shadow {
    /// Decisions compared.
    pub compared: u64,
    /// Among them those in which the two differed.
    pub differed: u64,
    /// Decisions in which it failed.
    pub failed: u64,
    /// The last one in which the two differed.
    pub last_difference: Option<Value>,
}

/// What the node may have.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Limits {
    /// ENIs.
    pub enis: u32,
    /// Blocks on one ENI.
    pub slots_per_eni: u32,
}

/// The pool in numbers.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct Pool {
    /// ENIs.
    pub enis: u32,
    /// Addresses in blocks.
    pub addresses: u32,
    /// Prefixes among the blocks.
    pub prefixes: u32,
    /// Held by pods.
    pub assigned: u32,
    /// Given back, not usable yet.
    pub cooling: u32,
    /// Can be given now.
    pub warm: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// EC2 calls under way.
    pub in_flight: u32,
}

/// Calls to EC2.
#[derive(Clone, Debug, Deserialize)]
pub struct Ec2 {
    /// By action.
    pub calls: BTreeMap<String, u64>,
}

/// One decision.
#[derive(Clone, Debug, Deserialize)]
pub struct Decision {
    /// Its number.
    pub id: u64,
    /// Why.
    pub reason: String,
    /// What was accepted.
    pub accepted: Vec<String>,
}

/// One ENI of `/onsen/v1/enis`.
#[derive(Clone, Debug, Deserialize)]
pub struct EniStatus {
    /// Its id.
    pub id: String,
    /// Its place in its life.
    pub phase: String,
    /// Its blocks.
    pub blocks: Vec<Block>,
}

/// One block of an ENI.
#[derive(Clone, Debug, Deserialize)]
pub struct Block {
    /// Its range.
    pub cidr: String,
    /// Addresses held by pods.
    pub assigned: u32,
}

/// One pod of `/onsen/v1/pods`.
#[derive(Clone, Debug, Deserialize)]
pub struct PodStatus {
    /// Kubernetes name.
    pub name: String,
    /// Sandbox id.
    pub container: String,
    /// Its address.
    pub address: IpAddr,
    /// The ENI that carries it.
    pub eni: Option<String>,
}

impl Node {
    /// Describes the daemon of `instance`; its files go into `dir`. It does not run yet.
    pub fn new(
        instance: &Instance,
        ready: &Ready,
        dir: &Path,
        extra: &BTreeMap<String, String>,
    ) -> Result<Self> {
        std::fs::create_dir_all(dir)
            .map_err(HarnessError::io(format!("create {}", dir.display())))?;
        let socket = dir.join("ipamd.sock");
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let mut settings = BTreeMap::from([
            ("MY_NODE_NAME".to_owned(), instance.name.clone()),
            ("ONSEN_SOCKET".to_owned(), text(socket.clone())),
            (
                "AWS_VPC_K8S_CNI_BACKING_STORE".to_owned(),
                text(dir.join("ipam.json")),
            ),
            (
                "INTROSPECTION_BIND_ADDRESS".to_owned(),
                format!("unix:{}", dir.join("status.sock").display()),
            ),
            ("AWS_EC2_ENDPOINT".to_owned(), ready.ec2_endpoint.clone()),
            (
                "AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(),
                ready.imds_endpoint.clone(),
            ),
            ("ONSEN_CACHE_DIR".to_owned(), text(dir.join("cache"))),
            ("ONSEN_POLICY_FILE".to_owned(), text(dir.join("rules.yaml"))),
            (
                "ONSEN_NODE_LABELS_FILE".to_owned(),
                text(dir.join("labels")),
            ),
            ("ONSEN_LOG_FORMAT".to_owned(), "text".to_owned()),
            ("ONSEN_SEED".to_owned(), "1".to_owned()),
            ("CLUSTER_NAME".to_owned(), "lab".to_owned()),
        ]);
        settings.extend(extra.clone());
        Ok(Self {
            instance: instance.clone(),
            netns: Netns::existing(&instance.netns),
            plugin: Plugin {
                program: programs::path("aws-cni")?,
                socket,
                netns: instance.netns.clone(),
            },
            settings,
            dir: dir.to_owned(),
            daemon: None,
        })
    }

    /// The folder with its checkpoint, sockets and log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where its status is served.
    pub fn status_socket(&self) -> PathBuf {
        self.dir.join("status.sock")
    }

    /// The log of its daemon.
    pub fn log(&self) -> PathBuf {
        self.dir.join("onsend.log")
    }

    /// A command that runs the daemon with this node's settings in this node's namespace.
    pub fn daemon_command(&self) -> Result<Command> {
        let mut command = self.netns.command(programs::path("onsend")?);
        command.envs(&self.settings);
        Ok(command)
    }

    /// Starts the daemon; [`Node::wait_ready`] waits for it.
    pub fn start(&mut self) -> Result<()> {
        let name = format!("onsend on {}", self.instance.name);
        let process = Process::start(&name, &self.daemon_command()?, &self.log())?;
        self.daemon = Some(process);
        Ok(())
    }

    /// Waits until the daemon serves pods and answers status.
    pub fn wait_ready(&mut self) -> Result<()> {
        let what = format!("the daemon of {} being ready", self.instance.name);
        let log = self.log();
        wait_until(&what, READY_WITHIN, || {
            self.must_run()?;
            // The socket file may be left from before a kill: only a connection counts.
            let serving = std::os::unix::net::UnixStream::connect(&self.plugin.socket);
            Ok(match (self.status(), serving) {
                (Ok(_), Ok(_)) => Ok(()),
                (Err(error), _) => Err(error.chain()),
                (_, Err(error)) => Err(error.to_string()),
            })
        })
        .map_err(|error| with_log(error, &log))
    }

    /// An error with the end of the log unless the daemon runs.
    pub fn must_run(&mut self) -> Result<()> {
        self.process()?.must_run()
    }

    /// The daemon's process id.
    pub fn daemon_id(&self) -> Option<u32> {
        self.daemon.as_ref().map(Process::id)
    }

    /// `kill -9` of the daemon.
    pub fn kill_daemon(&mut self) -> Result<()> {
        self.process()?.kill()?;
        self.daemon = None;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub fn stop_daemon(&mut self) -> Result<()> {
        let status = self.process()?.terminate(READY_WITHIN)?;
        self.daemon = None;
        if status.success() {
            return Ok(());
        }
        Err(HarnessError::Ended {
            name: format!("onsend on {}", self.instance.name),
            status,
            log: crate::process::log_tail(&self.log()),
        })
    }

    fn process(&mut self) -> Result<&mut Process> {
        self.daemon.as_mut().ok_or_else(|| {
            HarnessError::Protocol(format!("no daemon was started on {}", self.instance.name))
        })
    }

    /// Names the policy, and settings that differ from the environment's.
    pub fn set_policy(&self, reference: &str, settings: &[(&str, &str)]) -> Result<()> {
        let settings: BTreeMap<_, _> = settings.iter().copied().collect();
        let rule = json!({"policy": reference, "settings": settings});
        self.set_rules(&json!({"rules": [rule]}).to_string())
    }

    /// Writes the rules, YAML or JSON.
    pub fn set_rules(&self, text: &str) -> Result<()> {
        replace(&self.dir.join("rules.yaml"), text.as_bytes())
    }

    /// Puts a component beside the rules, where `configmap:NAME` finds it.
    pub fn put_component(&self, name: &str, bytes: &[u8]) -> Result<()> {
        replace(&self.dir.join(name), bytes)
    }

    /// Gives the node labels, `key=value` with commas between them.
    pub fn set_labels(&self, labels: &str) -> Result<()> {
        replace(&self.dir.join("labels"), labels.as_bytes())
    }

    /// The daemon's view in numbers.
    pub fn status(&self) -> Result<Status> {
        http::get(&self.status_socket(), "/onsen/v1/status")
    }

    /// The whole status document.
    pub fn raw_status(&self) -> Result<Value> {
        http::get(&self.status_socket(), "/onsen/v1/status")
    }

    /// Its ENIs.
    pub fn enis(&self) -> Result<Vec<EniStatus>> {
        http::get(&self.status_socket(), "/onsen/v1/enis")
    }

    /// Its pods.
    pub fn pods(&self) -> Result<Vec<PodStatus>> {
        http::get(&self.status_socket(), "/onsen/v1/pods")
    }

    /// What the policy was shown, out of the ledger, oldest first.
    pub fn snapshots(&self) -> Result<Vec<Value>> {
        let ledger = http::request(&self.status_socket(), "GET", "/onsen/v1/ledger", None)?;
        let records = ledger
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(records
            .filter_map(|mut record| Some(record.get_mut("snapshot")?.take()))
            .collect())
    }

    /// Waits until `wanted` says yes of what the policy was shown last.
    pub fn wait_snapshot(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        wait_until(what, within, || {
            let shown = self.snapshots()?.pop();
            Ok(if shown.as_ref().is_some_and(&wanted) {
                Ok(())
            } else {
                Err(shown)
            })
        })
    }

    /// Waits until `wanted` says yes of the status.
    pub fn wait_status(
        &mut self,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&Status) -> bool,
    ) -> Result<Status> {
        let log = self.log();
        wait_until(what, within, || {
            self.must_run()?;
            let status = self.status()?;
            Ok(if wanted(&status) {
                Ok(status)
            } else {
                Err((status.policy.name, status.pool))
            })
        })
        .map_err(|error| with_log(error, &log))
    }
}

/// Written whole beside it and renamed, as kubelet does with a `ConfigMap`.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, bytes)
        .and_then(|()| std::fs::rename(&fresh, path))
        .map_err(HarnessError::io(format!("write {}", path.display())))
}
