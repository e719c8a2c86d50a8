//! What can go wrong when real programs are run, with what a person needs to find the cause.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Result of everything in this crate.
pub type Result<T> = std::result::Result<T, HarnessError>;

/// A failure of the machine, of a program under test, or of a check.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// A program of ours has not been built.
    #[error("program {name} is not in {}: run `cargo xtask build` first", folder.display())]
    NotBuilt {
        /// The program.
        name: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A program could not be started at all.
    #[error("cannot start {program}")]
    Spawn {
        /// The program and its arguments.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A short-lived tool ended with an error.
    #[error("`{command}` failed with {status}: {stderr}")]
    Tool {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// A program that should run has ended.
    #[error("{name} has ended with {status}; the end of its log:\n{log}")]
    Ended {
        /// Which process.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Last lines of its log.
        log: String,
    },
    /// Something that must come has not come.
    #[error("{what} did not happen within {seconds} s; last seen: {seen}{log}")]
    Late {
        /// What was awaited.
        what: String,
        /// How long.
        seconds: u64,
        /// What was there instead.
        seen: String,
        /// Last lines of the log of the program that should have done it, or nothing.
        log: String,
    },
    /// A file, socket or namespace operation failed.
    #[error("cannot {what}")]
    Io {
        /// What was tried, with what.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An HTTP request over a socket of ours got an error status.
    #[error("{request} was answered with {status}: {body}")]
    Http {
        /// Method, path and socket.
        request: String,
        /// The status code.
        status: u16,
        /// The body.
        body: String,
    },
    /// A program answered something that is not what its documents say.
    #[error("{what} is not readable: {text}")]
    Json {
        /// Which answer.
        what: String,
        /// The text.
        text: String,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A program answered in a way that breaks its protocol.
    #[error("{0}")]
    Protocol(String),
}

impl HarnessError {
    /// An I/O failure with what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The error and all its causes on one line.
    pub fn chain(&self) -> String {
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
