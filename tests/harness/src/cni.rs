//! Pods, and the plugin called for them the way a container runtime calls it.
//!
//! A runtime makes a network namespace, takes the plugin's object out of the conflist, adds the
//! list's name and version, and runs the plugin with `CNI_*` variables and that object on stdin.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{HarnessError, Result};
use crate::netns::Netns;
use crate::process::line;

/// A pod: a network namespace with names.
#[derive(Debug)]
pub struct Pod {
    /// Kubernetes name.
    pub name: String,
    /// Sandbox id.
    pub container: String,
    /// Where it lives.
    pub netns: Netns,
}

impl Pod {
    /// Makes the namespace of a pod.
    pub fn create(name: &str) -> Result<Self> {
        let netns = Netns::create(&format!("pod-{name}"))?;
        // A runtime gives a sandbox a working loopback.
        netns.tool("ip", &["link", "set", "lo", "up"])?;
        Ok(Self {
            name: name.to_owned(),
            container: format!("sandbox-{name}"),
            netns,
        })
    }
}

/// The verbs of the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Wire a pod.
    Add,
    /// Undo it.
    Del,
    /// Verify it.
    Check,
    /// Which versions are spoken.
    Version,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Version => "VERSION",
        }
    }
}

/// The plugin of one node.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// The binary.
    pub program: PathBuf,
    /// The daemon's socket.
    pub socket: PathBuf,
    /// The node's namespace.
    pub netns: String,
}

/// What a plugin call left behind.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Exit code; absent when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A CNI error object.
#[derive(Clone, Debug, Deserialize)]
pub struct CniError {
    /// CNI's code.
    pub code: u32,
    /// One sentence.
    pub msg: String,
    /// More.
    #[serde(default)]
    pub details: String,
}

/// An ADD's result, as far as checks need it.
#[derive(Clone, Debug)]
pub struct Added {
    /// The pod's address.
    pub address: IpAddr,
    /// The whole result, to be handed back as `prevResult`.
    pub result: Value,
}

impl Plugin {
    /// The object a runtime puts on stdin for CNI version `version`.
    pub fn config(version: &str, previous: Option<&Value>) -> Value {
        let mut config = json!({
            "cniVersion": version,
            "name": "aws-cni",
            "type": "aws-cni",
            "vethPrefix": "eni",
            "mtu": "9001",
            "podSGEnforcingMode": "strict",
            "pluginLogFile": "stderr",
            "pluginLogLevel": "INFO",
            "capabilities": {"io.kubernetes.cri.pod-annotations": true},
        });
        if let (Some(previous), Some(object)) = (previous, config.as_object_mut()) {
            object.insert("prevResult".to_owned(), previous.clone());
        }
        config
    }

    /// Runs the plugin for a pod with any text on stdin.
    pub fn call(&self, verb: Verb, pod: &Pod, stdin: &str) -> Result<Reply> {
        self.call_with_netns(verb, pod, &pod.netns.path().to_string_lossy(), stdin)
    }

    /// As [`Plugin::call`], with another `CNI_NETNS`: runtimes send an empty one on the second DEL.
    pub fn call_with_netns(
        &self,
        verb: Verb,
        pod: &Pod,
        netns: &str,
        stdin: &str,
    ) -> Result<Reply> {
        let mut command = Netns::existing(&self.netns).command(&self.program);
        let bin = self.program.parent().unwrap_or(&self.program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CNI_COMMAND", verb.name())
            .env("CNI_CONTAINERID", &pod.container)
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", bin)
            .env(
                "CNI_ARGS",
                format!(
                    "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID=uid-{}",
                    pod.name, pod.container, pod.name
                ),
            )
            .env("ONSEN_SOCKET", &self.socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| HarnessError::Spawn {
            program: line(&command),
            source,
        })?;
        if let Some(mut input) = child.stdin.take() {
            // A plugin that refuses early may not read it all.
            drop(input.write_all(stdin.as_bytes()));
        }
        let output = child
            .wait_with_output()
            .map_err(HarnessError::io(format!("wait for {}", line(&command))))?;
        Ok(Reply {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// ADD in the version of the shipped conflist.
    pub fn add(&self, pod: &Pod) -> Result<std::result::Result<Added, CniError>> {
        let reply = self.call(Verb::Add, pod, &Self::config("0.4.0", None).to_string())?;
        reply.added(pod)
    }

    /// ADD that must succeed.
    pub fn must_add(&self, pod: &Pod) -> Result<Added> {
        self.add(pod)?.map_err(|error| {
            HarnessError::Protocol(format!(
                "ADD of pod {} was refused with code {}: {} {}",
                pod.name, error.code, error.msg, error.details
            ))
        })
    }

    /// DEL that must succeed, with the result of the ADD as runtimes hand it back.
    pub fn must_del(&self, pod: &Pod, previous: Option<&Value>) -> Result<()> {
        let config = Self::config("0.4.0", previous).to_string();
        self.call(Verb::Del, pod, &config)?.must_succeed("DEL", pod)
    }

    /// CHECK that must succeed.
    pub fn must_check(&self, pod: &Pod, previous: &Value) -> Result<()> {
        let config = Self::config("0.4.0", Some(previous)).to_string();
        self.call(Verb::Check, pod, &config)?
            .must_succeed("CHECK", pod)
    }
}

impl Reply {
    /// The result or the error object of an ADD; anything else breaks the protocol.
    pub fn added(&self, pod: &Pod) -> Result<std::result::Result<Added, CniError>> {
        let what = || format!("the answer to ADD of pod {}", pod.name);
        if self.code != Some(0) {
            return self.error(&what()).map(Err);
        }
        let result: Value =
            serde_json::from_str(&self.stdout).map_err(|source| HarnessError::Json {
                what: what(),
                text: self.stdout.clone(),
                source,
            })?;
        let address = result
            .pointer("/ips/0/address")
            .and_then(Value::as_str)
            .and_then(|text| text.split_once('/'))
            .and_then(|(address, _)| address.parse().ok())
            .ok_or_else(|| {
                HarnessError::Protocol(format!("{} has no address: {result}", what()))
            })?;
        Ok(Ok(Added { address, result }))
    }

    /// The error object of a call that failed.
    pub fn error(&self, what: &str) -> Result<CniError> {
        serde_json::from_str(&self.stdout).map_err(|source| HarnessError::Json {
            what: format!(
                "{what} (exit code {:?}, stderr: {})",
                self.code, self.stderr
            ),
            text: self.stdout.clone(),
            source,
        })
    }

    fn must_succeed(&self, verb: &str, pod: &Pod) -> Result<()> {
        if self.code == Some(0) {
            return Ok(());
        }
        Err(HarnessError::Protocol(format!(
            "{verb} of pod {} ended with {:?}: {}{}",
            pod.name, self.code, self.stdout, self.stderr
        )))
    }
}
