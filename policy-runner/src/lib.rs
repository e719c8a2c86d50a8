//! Runs policies: loads a Wasm component, gives it a snapshot, brings back a proposal.
//!
//! In: the bytes of a component, a snapshot. Out: a proposal that nobody has checked yet, or a
//! typed error. The daemon, the simulator and the command line use this one door to Wasm.
//!
//! Must hold, whatever the component does:
//! - it reaches nothing but the log: any other import is refused when it is loaded;
//! - it ends: fuel decides (exact, the same on every machine), the deadline guards the host;
//! - it stays small: linear memory, log and answer are bounded;
//! - no call leaves a trace: each runs in an instance of its own, since a trap poisons a store.
//!
//! Calls are synchronous and use up to [`Limits::stack_bytes`] of the calling thread's stack for
//! the guest. The caller must run them on a thread with at least 2 MiB of stack, which threads
//! of `std` and the blocking threads of tokio have unless told otherwise; with less, a deep
//! recursion of the guest ends the process instead of the call.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::wildcard_enum_match_arm,
        reason = "a test may panic"
    )
)]

mod bindings;
pub mod builtin;
mod cache;
mod call;
mod convert;
pub mod documents;
mod engine;
mod error;
mod policy;
pub mod recording;
pub mod reference;
pub mod rules;
mod versions;

pub use engine::{Engine, Limits};
pub use error::PolicyError;
pub use policy::{
    Decided, LogLevel, LogLine, Metadata, Policy, Problem, SettingKind, SettingSpec, digest,
};

/// The contract that this host speaks, in its newest version.
pub const CONTRACT: &str = "onsen:policy/policy@0.1.0";
