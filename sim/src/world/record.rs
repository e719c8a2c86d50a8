//! What is kept of a node's life for figures: how its pool changed, and each EC2 call.
//!
//! In: the pool in numbers after each event, each answer of the account. Out: both as lists in the
//! order of time. A pool that did not change leaves nothing behind.

use onsen_core::status::Summary;
use onsen_core::time::Millis;

use crate::account::{Answer, Operation};

/// The pool from a moment on, until the next sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Since when.
    pub at: Millis,
    /// ENIs that count against the limit.
    pub enis: u32,
    /// Addresses attached: one for each single address, sixteen for each prefix.
    pub addresses: u32,
    /// Of these, held by pods.
    pub assigned: u32,
    /// Of these, cooling.
    pub cooling: u32,
}

/// How a call ended, as the account knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was carried out.
    Done,
    /// Too many calls: nothing was done.
    Throttled,
    /// Refused for another reason.
    Refused,
    /// The answer was lost.
    Lost,
}

/// An EC2 call of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallMade {
    /// When it was sent.
    pub at: Millis,
    /// What it was.
    pub operation: Operation,
    /// How it ended.
    pub ended: Ended,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Record {
    samples: Vec<Sample>,
    calls: Vec<CallMade>,
}

impl Record {
    /// How the pool changed, oldest first.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Each EC2 call, oldest first.
    pub fn calls(&self) -> &[CallMade] {
        &self.calls
    }

    pub(super) fn sample(&mut self, at: Millis, pool: &Summary) {
        let sample = Sample {
            at,
            enis: pool.enis,
            addresses: pool.addresses,
            assigned: pool.assigned,
            cooling: pool.cooling,
        };
        // Of what happened at one moment only the end counts.
        self.samples.pop_if(|last| last.at == at);
        if self
            .samples
            .last()
            .is_none_or(|last| Sample { at, ..*last } != sample)
        {
            self.samples.push(sample);
        }
    }

    pub(super) fn call(&mut self, at: Millis, operation: Operation, answer: &Answer) {
        let ended = match &answer.result {
            Err(error) if error.code == "RequestLimitExceeded" => Ended::Throttled,
            Err(_) => Ended::Refused,
            Ok(_) if answer.lost => Ended::Lost,
            Ok(_) => Ended::Done,
        };
        self.calls.push(CallMade {
            at,
            operation,
            ended,
        });
    }
}
