//! Why the command cannot tell what was asked.

use std::io;
use std::path::PathBuf;

use onsen_policy_runner::PolicyError;

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
    #[error("the request cannot be made")]
    Request(#[source] hyper::http::Error),
    #[error("the daemon's answer is not what this version of onsen knows: {text}")]
    Unreadable {
        text: String,
        #[source]
        source: serde_json::Error,
    },
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
    #[error("{} would be refused", path.display())]
    Policy {
        path: PathBuf,
        #[source]
        source: PolicyError,
    },
    #[error("{} would be refused: its own default of {key} is wrong: {message}", path.display())]
    Defaults {
        path: PathBuf,
        key: String,
        message: String,
    },
    #[error("cannot start the policy engine")]
    Engine(#[source] PolicyError),
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
