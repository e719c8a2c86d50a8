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
    /// Its security groups.
    pub groups: Vec<String>,
    /// Whether EC2 deletes it with its instance; absent while it is attached to nothing.
    pub delete_on_termination: Option<bool>,
    /// What it says of itself.
    pub description: String,
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

/// One call to EC2.
#[derive(Clone, Debug, Deserialize)]
pub struct LoggedCall {
    /// When it was answered, in Unix milliseconds.
    pub at_ms: u64,
    /// From which node.
    pub node: Option<String>,
    /// What was asked.
    pub action: String,
    /// `ok` or EC2's error code.
    pub result: String,
    /// Whether the caller got no usable reply.
    pub lost: bool,
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

    /// How often faults struck since they were switched on.
    pub fn struck(&self) -> Result<u64> {
        let faults: Value = http::get(&self.control, "/_fault")?;
        let on = faults.get("on").and_then(Value::as_array);
        let struck = on
            .into_iter()
            .flatten()
            .filter_map(|it| it.get("struck")?.as_u64());
        Ok(struck.sum())
    }

    /// The names of all faults there are, with when they act.
    pub fn catalogue(&self) -> Result<BTreeMap<String, String>> {
        let faults: Value = http::get(&self.control, "/_fault")?;
        let all = faults.get("catalogue").and_then(Value::as_array);
        let text = |it: &Value, name: &str| Some(it.get(name)?.as_str()?.to_owned());
        let pairs = all.into_iter().flatten();
        Ok(pairs
            .filter_map(|it| Some((text(it, "name")?, text(it, "stage")?)))
            .collect())
    }

    /// The calls to EC2 so far, at most the last 1000.
    pub fn log(&self) -> Result<Vec<LoggedCall>> {
        http::get(&self.control, "/_log")
    }

    /// Holds the next call of `operation`: before it takes effect, or before its reply.
    pub fn hold(&self, operation: &str, after: bool) -> Result<()> {
        let hold = json!({"operation": operation, "after": after}).to_string();
        http::request(&self.control, "POST", "/_hold", Some(&hold)).map(drop)
    }

    /// How many calls are held now.
    pub fn held(&self) -> Result<usize> {
        http::get::<Vec<Value>>(&self.control, "/_hold").map(|it| it.len())
    }

    /// Lets all held calls go on.
    pub fn let_go(&self) -> Result<()> {
        http::request(&self.control, "DELETE", "/_hold", None).map(drop)
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
