//! What policies cost and gain, measured: lives of nodes in virtual time, as tables in the documents.
//!
//! In: workloads, policies. Out: tables, compared with the documents; `ONSEN_RENEW=1`, which is what
//! `cargo xtask scorecard` sets, writes them.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "a test may panic"
)]

mod built_in;
mod cookbook;
mod document;
mod lived;
