//! Why the command cannot tell what was asked.

use std::io;
use std::path::PathBuf;

use onsen_policy_runner::PolicyError;
use onsen_policy_runner::documents::DocumentError;
use onsen_policy_runner::recording::RecordingError;
use onsen_policy_runner::reference::ReferenceError;
use onsen_registry::RegistryError;
use onsen_sim::account::InstanceType;
use onsen_sim::max_pods::Impossible;
use onsen_sim::scenario::WriteError;
use onsen_sim::workload::WorkloadError;
use onsen_sim::world::WorldError;

/// A failure of the command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("`{0}` is not an endpoint: write http://HOST:PORT or unix:PATH")]
    Endpoint(String),
    #[error(
        "no daemon answers at {endpoint}: is onsend running on this node, and is --endpoint right?"
    )]
    Connect {
        endpoint: String,
        #[source]
        source: io::Error,
    },
    #[error("the connection to {endpoint} broke")]
    Exchange {
        endpoint: String,
        #[source]
        source: hyper::Error,
    },
    #[error("{endpoint} did not answer within {seconds} s")]
    Silent { endpoint: String, seconds: u64 },
    #[error("{endpoint}{path} was answered with {status}: {body}")]
    Status {
        endpoint: String,
        path: String,
        status: u16,
        body: String,
    },
    #[error("a law is broken")]
    Law(#[source] Box<onsen_sim::faults::Broken>),
    #[error("the request cannot be made")]
    Request(#[source] hyper::http::Error),
    #[error("the daemon's answer is not what this version of onsen knows: {text}")]
    Unreadable {
        text: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("the daemon's ledger cannot be read")]
    Ledger(#[source] RecordingError),
    #[error("recording {}", path.display())]
    Recording {
        path: PathBuf,
        #[source]
        source: RecordingError,
    },
    #[error("there is no decision {id} with an answer in {}", path.display())]
    NoDecision { id: u64, path: PathBuf },
    #[error("the recording makes no scenario")]
    Scenario(#[source] WriteError),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} would be refused: its own default of {key} is wrong: {message}", path.display())]
    Defaults {
        path: PathBuf,
        key: String,
        message: String,
    },
    #[error("cannot start the policy engine")]
    Engine(#[source] PolicyError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error("{policy} does not decide")]
    Undecided {
        policy: String,
        #[source]
        source: PolicyError,
    },
    #[error("snapshot {from}")]
    Snapshot {
        from: String,
        #[source]
        source: DocumentError,
    },
    #[error("there is no scenario: look at the paths and at --filter")]
    NoScenario,
    #[error("cannot write a document")]
    Document(#[source] serde_json::Error),
    #[error("`{0}` is not a known instance type{like}", like = like(.0))]
    InstanceType(String),
    #[error(transparent)]
    Build(#[from] onsen_policy_build::BuildError),
    #[error(transparent)]
    MaxPods(#[from] Impossible),
    #[error("--format html is for `onsen simulate`; here it is table or json")]
    NoPage,
    #[error("workload {}", path.display())]
    Workload {
        path: PathBuf,
        #[source]
        source: WorkloadError,
    },
    #[error("--then-down-to {left} is more than the {pods} pods that come")]
    DownTo { pods: u32, left: u32 },
    #[error("the simulation cannot go on")]
    World(#[from] WorldError),
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Types of the same family, for somebody who wrote a size that does not exist.
fn like(name: &str) -> String {
    let family = name.split_once('.').map_or(name, |(family, _)| family);
    let known: Vec<_> = InstanceType::all()
        .filter(|kind| {
            kind.name
                .split_once('.')
                .is_some_and(|(it, _)| it == family)
        })
        .map(|kind| kind.name)
        .collect();
    if known.is_empty() {
        String::new()
    } else {
        format!("; there are {}", known.join(", "))
    }
}

impl CliError {
    /// The error and its causes on one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
