//! Request throttling: a token bucket for each action, of the whole account.
//!
//! A Describe that neither filters nor pages draws from a smaller bucket of its own. Asking by ids counts
//! as unfiltered: the documentation names only filters and pages, so the stricter reading is modelled.

use std::collections::BTreeMap;

use super::api::{Describe, Operation, Request};

/// Which bucket a request draws from.
type Bucket = (Operation, bool);

#[derive(Debug, Clone, Default)]
pub(super) struct Buckets(BTreeMap<Bucket, Level>);

#[derive(Debug, Clone)]
struct Level {
    tokens: f64,
    at_ms: u64,
}

impl Buckets {
    /// Takes one token for `request`; false when its bucket is empty.
    pub(super) fn take(&mut self, now_ms: u64, request: &Request) -> bool {
        let bucket = (request.operation(), unfiltered(request));
        let (capacity, per_second) = size(bucket);
        let level = self.0.entry(bucket).or_insert(Level {
            tokens: capacity,
            at_ms: now_ms,
        });
        let passed_s = now_ms.saturating_sub(level.at_ms) as f64 / 1000.0;
        level.tokens = (level.tokens + passed_s * per_second).min(capacity);
        level.at_ms = level.at_ms.max(now_ms);
        let enough = level.tokens >= 1.0;
        if enough {
            level.tokens -= 1.0;
        }
        enough
    }
}

/// Capacity and refill per second, by default for an account.
fn size((operation, unfiltered): Bucket) -> (f64, f64) {
    match operation {
        Operation::DescribeInstances | Operation::DescribeNetworkInterfaces if unfiltered => {
            (50.0, 10.0)
        }
        Operation::DescribeInstances
        | Operation::DescribeNetworkInterfaces
        | Operation::DescribeInstanceTypes
        | Operation::DescribeSubnets => (100.0, 20.0),
        Operation::CreateTags => (100.0, 10.0),
        Operation::AssignPrivateIpAddresses
        | Operation::CreateNetworkInterface
        | Operation::DeleteNetworkInterface
        | Operation::ModifyNetworkInterfaceAttribute
        | Operation::UnassignPrivateIpAddresses => (100.0, 5.0),
        Operation::AttachNetworkInterface | Operation::DetachNetworkInterface => (50.0, 5.0),
    }
}

/// Whether the request draws from the small bucket of its action.
fn unfiltered(request: &Request) -> bool {
    let plain = |it: &Describe| {
        it.filters.is_empty() && it.max_results.is_none() && it.next_token.is_none()
    };
    match request {
        Request::DescribeInstances(it) | Request::DescribeNetworkInterfaces(it) => plain(it),
        Request::DescribeInstanceTypes(_)
        | Request::DescribeSubnets(_)
        | Request::AssignPrivateIpAddresses { .. }
        | Request::AttachNetworkInterface { .. }
        | Request::CreateNetworkInterface(_)
        | Request::CreateTags { .. }
        | Request::DeleteNetworkInterface { .. }
        | Request::DetachNetworkInterface { .. }
        | Request::ModifyNetworkInterfaceAttribute { .. }
        | Request::UnassignPrivateIpAddresses { .. } => false,
    }
}
