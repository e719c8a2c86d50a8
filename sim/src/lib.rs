//! The world around a node, as a pure function of a seed and of the times it is told.
//!
//! Nothing here reads a clock, throws dice of its own or does I/O: the same seed and the same calls at
//! the same times give the same answers. So one model serves a test that lives through a week in a
//! second, and `fake-aws`, which puts it behind HTTP in real time.

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::wildcard_enum_match_arm,
        reason = "a test fails by panicking"
    )
)]

pub mod account;
pub mod faults;
pub mod max_pods;
pub mod report;
mod rng;
pub mod scenario;
pub mod simulate;
pub mod workload;
pub mod world;
