//! Decides: which address a pod gets, what of a policy's proposal may be done, what follows from
//! what EC2 answered.
//!
//! In: events and the time, by [`node::Node::handle`]. Out: effects, to be performed in order.
//! Must hold: no I/O, no clock, no dice; the same events at the same times give the same effects.
#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

extern crate alloc;

pub mod answer;
mod budget;
mod check;
pub mod cidr;
pub mod config;
mod demand;
pub mod effect;
pub mod event;
pub mod ids;
mod journal;
pub mod laws;
mod life;
pub mod node;
mod observe;
mod outcome;
mod policy;
mod pool;
pub mod proposal;
pub mod recover;
pub mod snapshot;
pub mod status;
pub mod time;
