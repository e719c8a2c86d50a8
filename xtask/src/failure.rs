//! Why a task failed, in words that say what to do.

use std::io;

/// A task's failure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A file could not be read or written.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The output of a tool is not what it should be.
    #[error("{0}")]
    Unreadable(String),
    /// The machine lacks something.
    #[error("{0}")]
    Missing(String),
    /// Checks were made and some did not hold; each has been printed.
    #[error("{failed} of {all} checks failed: {names}")]
    Checks {
        /// How many failed.
        failed: usize,
        /// How many there were.
        all: usize,
        /// Which ones.
        names: String,
    },
    /// A command failed, or a policy could not be built.
    #[error(transparent)]
    Build(#[from] onsen_policy_build::BuildError),
    /// A lab could not be run.
    #[error(transparent)]
    Lab(#[from] onsen_harness::HarnessError),
}

impl Failure {
    /// An I/O failure with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The failure and its causes on one line.
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
