//! Runs Onsen's real programs against the fake AWS, for black-box tests and the demo.
//!
//! In: the built programs and a topology. Out: a [`Lab`] with a router, nodes and pods as network
//! namespaces, with the daemons, plugin calls, traffic and status that a check needs.
//! What must hold: everything happens in namespaces of its own ([`private`]); when the process
//! that made them ends, by whatever means, nothing of it stays on the machine; an error carries
//! the tail of the log of the program that failed.
//!
//! Nothing of ours is linked here: the harness sees what a runtime, an operator and EC2 see.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")
)]

pub mod aws;
pub mod cni;
pub mod error;
pub mod http;
pub mod lab;
pub mod moto;
pub mod netns;
pub mod node;
pub mod private;
pub mod process;
pub mod programs;
pub mod rng;
pub mod traffic;
pub mod wait;

pub use error::{HarnessError, Result};
pub use lab::{Lab, LabOptions};
