//! Workloads: when pods come to a node and when they leave it.
//!
//! In: a file in YAML that names a few generators, and a seed. Out: a [`Plan`], a list of arrivals and
//! departures in the order of time. docs/workloads.md describes the file.
//!
//! What must hold: the same file and seed give the same plan; no plan holds more pods at a time than
//! the node may run, since the scheduler would place them elsewhere.

mod format;
mod plan;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;

pub use format::{Load, Workload, WorkloadError};
pub use plan::{Change, Plan, Step};
