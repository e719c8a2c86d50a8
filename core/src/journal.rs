//! Durable before the reply leaves: gathers changes into one write, holds their replies back, and
//! knows how to undo them. EC2 calls of which the next life of the daemon must know wait likewise.
//!
//! In: changes already made to the pool. Out: batches to write, replies and calls to send, undone
//! changes.
//! Must hold: at most one write is under way; when it fails, all that is not durable is undone,
//! newest first.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::cidr::Cidr;
use crate::effect::{Allocation, NoAddress, Reply};
use crate::ids::{IntentId, RequestId, SandboxKey};
use crate::pool::Pool;
use crate::time::Millis;

/// A change of the pool that is not durable yet.
#[derive(Clone, Debug)]
enum Change {
    Assigned(SandboxKey),
    Released(Allocation),
}

#[derive(Clone, Debug, Default)]
struct Batch {
    changes: Vec<Change>,
    replies: Vec<(RequestId, Reply)>,
    calls: Vec<IntentId>,
    rest_changed: bool,
    /// Something of the checkpoint changed for which nobody waits.
    dirty: bool,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.replies.is_empty() && !self.dirty
    }
}

/// How a write ended: what was held back for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    /// To be sent now.
    pub(crate) replies: Vec<(RequestId, Reply)>,
    /// Calls that may leave now, or that must not.
    pub(crate) calls: Vec<IntentId>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    generation: u64,
    writing: Option<Batch>,
    queued: Batch,
    /// Addresses whose release was undone. A write that failed may have reached the disk all the same, where
    /// nobody holds them: until a later one is durable they are written down as cooling, too.
    undone: Vec<IpAddr>,
}

impl Journal {
    /// Addresses that are held, and that the next life of the daemon may find free.
    pub(crate) fn perhaps_free(&self) -> &[IpAddr] {
        &self.undone
    }

    pub(crate) fn assigned(&mut self, key: &SandboxKey) {
        self.queued.changes.push(Change::Assigned(key.clone()));
    }

    /// A sandbox gave back what it held. It may never have been told that it holds it: a reply
    /// that is still held back becomes a refusal, since no write will show the address as its own.
    pub(crate) fn released(&mut self, allocation: Allocation, cools: bool) {
        for (_, reply) in &mut self.queued.replies {
            if matches!(reply, Reply::Assigned(holding) if holding.address == allocation.address) {
                *reply = Reply::NoAddress(NoAddress::Cancelled);
            }
        }
        self.queued.rest_changed |= cools;
        self.queued.changes.push(Change::Released(allocation));
    }

    /// The checkpoint differs from the pool though no request is behind it.
    pub(crate) fn touch(&mut self) {
        self.queued.dirty = true;
        self.queued.rest_changed = true;
    }

    /// Sends the reply once everything recorded so far is durable.
    pub(crate) fn reply(&mut self, request: RequestId, reply: Reply) {
        self.queued.replies.push((request, reply));
    }

    /// Lets a call wait until what is known now is durable.
    pub(crate) fn call(&mut self, intent: IntentId) {
        self.queued.calls.push(intent);
        self.touch();
    }

    /// Whether a call waits.
    pub(crate) fn holds_calls(&self) -> bool {
        let mut batches = self.writing.iter().chain([&self.queued]);
        batches.any(|batch| !batch.calls.is_empty())
    }

    /// Whether a sandbox may yet get an address of this block back, should a write fail.
    pub(crate) fn may_restore(&self, cidr: &Cidr) -> bool {
        self.writing
            .iter()
            .chain([&self.queued])
            .flat_map(|batch| &batch.changes)
            .any(|change| matches!(change, Change::Released(allocation) if cidr.contains(allocation.address)))
    }

    /// Whether all of the pool is durable.
    pub(crate) fn is_settled(&self) -> bool {
        self.writing.is_none() && self.queued.is_empty()
    }

    /// The next write: its generation and whether more than the allocations changed.
    pub(crate) fn next_write(&mut self) -> Option<(u64, bool)> {
        if self.writing.is_some() || self.queued.is_empty() {
            return None;
        }
        let batch = core::mem::take(&mut self.queued);
        self.generation += 1;
        let rest_changed = batch.rest_changed;
        self.writing = Some(batch);
        Some((self.generation, rest_changed))
    }

    /// A write has ended. A write nobody asked for is ignored.
    pub(crate) fn written(
        &mut self,
        generation: u64,
        durable: bool,
        pool: &mut Pool,
        now: Millis,
    ) -> Written {
        if generation != self.generation {
            return Written::default();
        }
        let Some(batch) = self.writing.take() else {
            return Written::default();
        };
        if durable {
            self.undone.clear();
            return Written {
                replies: batch.replies,
                calls: batch.calls,
            };
        }
        let later = core::mem::take(&mut self.queued);
        // What the failed write was to say beside the allocations, the next one must.
        self.queued.rest_changed = batch.rest_changed || later.rest_changed;
        for change in later.changes.iter().rev().chain(batch.changes.iter().rev()) {
            if let Change::Released(allocation) = change {
                self.undone.push(allocation.address);
            }
            undo(change, pool, now);
        }
        let replies = batch.replies.into_iter().chain(later.replies);
        Written {
            replies: replies
                .map(|(request, _)| (request, Reply::NotDurable))
                .collect(),
            calls: batch.calls.into_iter().chain(later.calls).collect(),
        }
    }
}

fn undo(change: &Change, pool: &mut Pool, now: Millis) {
    match change {
        // No pod ever saw it: it need not cool.
        Change::Assigned(key) => {
            pool.release(key, 0, now);
        }
        Change::Released(allocation) => {
            pool.hold(allocation.clone());
        }
    }
}
