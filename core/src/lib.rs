//! Decides.
extern crate alloc;
pub mod cidr;
pub mod ids;
pub mod proposal;
pub mod snapshot;
pub mod time;
