//! The fake AWS as a process: started, asked and troubled over its control socket.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{HarnessError, Result};
use crate::process::{Process, log_tail};
use crate::{http, programs};

/// It only builds namespaces; this bound guards against hanging.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// What the fake AWS says when it is ready.
#[derive(Clone, Debug, Deserialize)]
pub struct Ready {
    /// Where the EC2 API answers, seen from a node.
    pub ec2_endpoint: String,
    /// Where instance metadata answers, seen from a node.
    pub imds_endpoint: String,
    /// An address outside the VPC.
    pub internet_address: IpAddr,
    /// The instances.
    pub nodes: Vec<Instance>,
}

/// One instance.
#[derive(Clone, Debug, Deserialize)]
pub struct Instance {
    /// Name in the topology.
    pub name: String,
    /// Its network namespace.
    pub netns: String,
    /// Its id.
    pub instance_id: String,
    /// Its type.
    pub instance_type: String,
    /// Id of its primary ENI.
    pub primary_eni: String,
    /// Address of its primary ENI.
    pub primary_address: IpAddr,
}

/// EC2's view, as far as checks need it.
#[derive(Clone, Debug, Deserialize)]
pub struct State {
    /// All ENIs of the account.
    pub enis: Vec<Eni>,
    /// Packets whose source was not held by the ENI they left by.
    pub dropped_packets: Dropped,
    /// Calls by action.
    pub calls: Calls,
}

/// One ENI in EC2's view.
#[derive(Clone, Debug, Deserialize)]
pub struct Eni {
    /// Its id.
    pub id: String,
    /// Name of the node it is attached to.
    #[serde(default)]
    pub node: Option<String>,
    /// EC2's status.
    pub status: String,
    /// Its own address.
    pub primary: IpAddr,
    /// Its other addresses.
    pub addresses: Vec<IpAddr>,
    /// Its prefixes.
    pub prefixes: Vec<String>,
}

/// The source check's counters.
#[derive(Clone, Debug, Deserialize)]
pub struct Dropped {
    /// All ENIs together.
    pub total: u64,
}

/// Counters of the EC2 API.
#[derive(Clone, Debug, Deserialize)]
pub struct Calls {
    /// Of all nodes, by action.
    pub total: BTreeMap<String, Call>,
}

/// One action's counters.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Call {
    /// Answered with success.
    pub accepted: u64,
    /// Answered with an error.
    pub refused: u64,
}

/// The running fake AWS.
#[derive(Debug)]
pub struct FakeAws {
    process: Process,
    control: PathBuf,
    ready: Ready,
}

impl FakeAws {
    /// Starts it with one subnet and one node per instance type, and waits for its ready line.
    pub fn start(
        dir: &Path,
        instance_types: &[&str],
        latency_scale: f64,
        seed: u64,
    ) -> Result<Self> {
        let nodes: Vec<Value> = instance_types
            .iter()
            .enumerate()
            .map(|(i, kind)| json!({"name": format!("node-{}", i + 1), "instance_type": kind, "subnet": 0}))
            .collect();
        let topology = json!({
            "region": "eu-west-1",
            "zone": "eu-west-1a",
            "vpc_cidr": "10.0.0.0/16",
            "subnets": [{"cidr": "10.0.0.0/22"}],
            "nodes": nodes,
        });
        let file = dir.join("topology.json");
        std::fs::write(&file, topology.to_string())
            .map_err(HarnessError::io("write the topology"))?;
        let control = dir.join("fake-aws.sock");
        let log = dir.join("fake-aws.log");
        let mut command = Command::new(programs::path("fake-aws")?);
        command
            .arg("--topology")
            .arg(&file)
            .arg("--control")
            .arg(&control)
            .args(["--latency-scale", &latency_scale.to_string()])
            .args(["--seed", &seed.to_string()]);
        let (mut process, stdout) = Process::start_piped("fake-aws", &command, &log)?;
        // A pipe has no read timeout: the line is read on a thread, and that thread goes on
        // reading, so that fake-aws can never block on a full pipe.
        let (lines, line) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout)
                .lines()
                .map_while(std::io::Result::ok)
            {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        let Ok(text) = line.recv_timeout(READY_WITHIN) else {
            process.must_run()?;
            return Err(HarnessError::Late {
                what: "the ready line of fake-aws".to_owned(),
                seconds: READY_WITHIN.as_secs(),
                seen: "nothing".to_owned(),
                log: format!("\n{}", log_tail(&log)),
            });
        };
        let ready = serde_json::from_str(&text).map_err(|source| HarnessError::Json {
            what: "the ready line of fake-aws".to_owned(),
            text,
            source,
        })?;
        Ok(Self {
            process,
            control,
            ready,
        })
    }

    /// What it said when it was ready.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// EC2's view now.
    pub fn state(&self) -> Result<State> {
        http::get(&self.control, "/_state")
    }

    /// Everything the control socket says of its state, unread.
    pub fn raw_state(&self) -> Result<Value> {
        http::get(&self.control, "/_state")
    }

    /// Makes EC2 or IMDS misbehave; the document is described by `fake-aws --help`.
    pub fn fault(&self, fault: &Value) -> Result<()> {
        http::request(&self.control, "POST", "/_fault", Some(&fault.to_string())).map(drop)
    }

    /// Ends all faults.
    pub fn heal(&self) -> Result<()> {
        http::request(&self.control, "DELETE", "/_fault", None).map(drop)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// An error unless it runs.
    pub fn must_run(&mut self) -> Result<()> {
        self.process.must_run()
    }

    /// Stops it.
    pub fn stop(&mut self) -> Result<()> {
        self.process.terminate(READY_WITHIN).map(drop)
    }
}
