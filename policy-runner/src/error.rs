//! What can go wrong with a policy, in words for the operator who wrote or chose it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a policy cannot be loaded, or why its answer does not count.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The bytes are no Wasm component.
    #[error("not a Wasm component: {found}")]
    NotAComponent {
        /// What they are instead, and what to do.
        found: &'static str,
    },
    /// They are too many.
    #[error("the component has {bytes} bytes; {limit} are allowed")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What it may have.
        limit: usize,
    },
    /// It does not export what this host calls.
    #[error(
        "the component does not fit: this host calls {wanted}; {found}: build it against the contract that \
         `onsen policy new` puts into a project"
    )]
    WrongWorld {
        /// The interface of the contract.
        wanted: String,
        /// What it exports, or where the types differ.
        found: String,
    },
    /// It speaks another version of the contract.
    #[error(
        "the policy was made for version {made_for} of the contract; this host speaks {spoken}: take \
         an Onsen that speaks {made_for}, or build the policy against a version that this host speaks"
    )]
    WrongVersion {
        /// The version that the component exports.
        made_for: String,
        /// The versions of this host, the newest first.
        spoken: String,
    },
    /// It wants to call something that policies must not call.
    #[error("the component imports {0}; a policy may import only onsen:policy/log")]
    UnknownImport(String),
    /// It is damaged, or uses features of Wasm that are switched off.
    #[error(
        "the component does not compile: {0}; the file is damaged or cut short, or uses features of Wasm \
         that policies do not have: build it again"
    )]
    Compile(String),
    /// The directory for compiled components cannot be used.
    #[error("cannot use {path:?} as the cache of compiled policies: {why}")]
    Cache {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The machine refused what the engine needs.
    #[error("cannot start the Wasm engine: {0}")]
    Engine(String),
    /// A thread for the deadline could not be started.
    #[error("cannot start the thread that watches deadlines")]
    Ticker(#[source] io::Error),
    /// The policy's code stopped itself, by a panic or a forbidden access.
    #[error("the policy trapped: {0}")]
    Trap(String),
    /// It computed too long, counted in instructions.
    #[error("the policy used up its {limit} units of fuel without an answer; it may loop for ever")]
    OutOfFuel {
        /// What it was given.
        limit: u64,
    },
    /// It wanted more memory than it may have.
    #[error("the policy wanted {wanted} bytes of memory; it may have {limit}")]
    OutOfMemory {
        /// What it would have had.
        wanted: usize,
        /// What it may have.
        limit: usize,
    },
    /// It computed too long, by the clock.
    #[error("the policy did not answer within {0:?}")]
    Deadline(Duration),
    /// The answer is too big or breaks the rules of its types.
    #[error("the policy's answer cannot be read: {0}")]
    BadOutput(String),
    /// The policy itself said that it cannot decide.
    #[error("the policy refused to decide: {0}")]
    Refused(String),
}

impl PolicyError {
    /// One word of a closed set, for metrics and records.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotAComponent { .. } => "not-a-component",
            Self::TooLarge { .. } => "too-large",
            Self::WrongWorld { .. } => "wrong-world",
            Self::WrongVersion { .. } => "wrong-version",
            Self::UnknownImport(_) => "unknown-import",
            Self::Compile(_) => "compile",
            Self::Cache { .. } => "cache",
            Self::Engine(_) => "engine",
            Self::Ticker(_) => "ticker",
            Self::Trap(_) => "trap",
            Self::OutOfFuel { .. } => "out-of-fuel",
            Self::OutOfMemory { .. } => "out-of-memory",
            Self::Deadline(_) => "deadline",
            Self::BadOutput(_) => "bad-output",
            Self::Refused(_) => "refused",
        }
    }
}
