//! A second opinion on the warm pool, written from its specification and not from the policy.
//!
//! In: a snapshot and what a policy answered. Out: what is wrong with the answer, in words.
//! Must hold: nothing here knows how the policy works; the functions follow the text, in its order.
//!
//! - [`rules`]: the operator's settings, and the thresholds and steps that follow from them;
//! - [`card`]: the ENIs of one network card, and what is measured on them;
//! - [`ladder`]: what the outcomes of earlier EC2 calls allow next;
//! - [`judge`]: holds a decision against all of these;
//! - [`toy`]: a pool that can be written by hand, shown as a snapshot and advanced by decisions;
//! - [`random`]: legal pools of every kind from a seed; [`shrink`]: a smaller pool that fails alike.
#![expect(
    clippy::cast_possible_wrap,
    reason = "counts of slots, far below the end of their types"
)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")
)]

pub mod card;
pub mod judge;
pub mod ladder;
pub mod random;
pub mod rules;
pub mod shrink;
pub mod toy;
