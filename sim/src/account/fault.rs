//! Faults switched on from outside: by name, for some operation, node, number of calls or time.

use serde::{Deserialize, Serialize};

use super::api::Operation;
use crate::rng::Rng;

/// What goes wrong. The comment says when in the life of a call it acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultName {
    /// Before: `RequestLimitExceeded`, nothing changes.
    Throttle,
    /// Before: `UnauthorizedOperation`, nothing changes.
    Denied,
    /// Before: `InternalError`, nothing changes.
    InternalError,
    /// After: the call has taken effect, and yet the reply is `InternalError`.
    InternalErrorApplied,
    /// After: the call has taken effect, and the connection breaks without a reply.
    ReplyLost,
    /// After: the call has taken effect, and the reply comes `delay_ms` later.
    SlowReply,
    /// Create, Assign: the subnet has no free addresses (and no free prefixes).
    SubnetExhausted,
    /// Create, Assign of prefixes: no aligned /28 is free, though addresses are.
    PrefixFragmented,
    /// Attach: the device shows up `delay_ms` later than usual.
    AttachDeviceLate,
}

/// A fault and when it strikes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub name: FaultName,
    /// Only calls of this operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// Only calls from this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// So many times; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The chance of striking at each fitting call; always when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// For so long from now; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// How much later, for the faults that delay.
    #[serde(default = "default_delay")]
    pub delay_ms: u64,
}

fn default_delay() -> u64 {
    30_000
}

impl Fault {
    /// The fault `name` at every call, until it is cleared.
    pub fn new(name: FaultName) -> Self {
        let delay_ms = default_delay();
        Self {
            name,
            operation: None,
            node: None,
            count: None,
            probability: None,
            duration_ms: None,
            delay_ms,
        }
    }
}

/// A fault that is switched on.
#[derive(Debug, Clone, Serialize)]
pub struct ActiveFault {
    /// As it was asked for; its `count` goes down with each strike.
    #[serde(flatten)]
    pub fault: Fault,
    /// How often it struck.
    pub struck: u32,
    #[serde(skip)]
    until_ms: Option<u64>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Vec<ActiveFault>);

impl Faults {
    pub(super) fn add(&mut self, now_ms: u64, fault: Fault) {
        let until_ms = fault.duration_ms.map(|it| now_ms.saturating_add(it));
        self.0.push(ActiveFault {
            fault,
            struck: 0,
            until_ms,
        });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn active(&self) -> &[ActiveFault] {
        &self.0
    }

    /// Whether fault `name` strikes a call now; if so, the delay it carries.
    pub(super) fn strike(
        &mut self,
        now_ms: u64,
        name: FaultName,
        operation: Operation,
        node: Option<&str>,
        rng: &mut Rng,
    ) -> Option<u64> {
        self.0
            .retain(|it| it.until_ms.is_none_or(|end| now_ms < end) && it.fault.count != Some(0));
        let hit = self.0.iter_mut().find(|ActiveFault { fault, .. }| {
            fault.name == name
                && fault.operation.is_none_or(|it| it == operation)
                && fault.node.as_deref().is_none_or(|it| Some(it) == node)
                && fault.probability.is_none_or(|chance| rng.unit() < chance)
        })?;
        hit.struck += 1;
        hit.fault.count = hit.fault.count.map(|it| it.saturating_sub(1));
        Some(hit.fault.delay_ms)
    }
}
