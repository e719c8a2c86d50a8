//! Collects a decision.
//!
//! Must hold: never more actions than the contract allows; the earliest wish to be asked again wins.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::bindings::onsen::policy::types::{Grow, Release};
use crate::{Action, AttachEni, Decision, EniView, Placement, Request, Unit};

/// Actions the host reads of one decision.
const MAX_ACTIONS: usize = 64;

/// A decision in the making.
///
/// ```
/// use onsen_policy_sdk::{Draft, Placement, SECOND, Unit, View, testing::Pool};
///
/// let snapshot = Pool::new(3, 9, Unit::Address).snapshot();
/// let view = View::new(&snapshot);
/// let mut draft = Draft::default();
/// if let Some(eni) = view.enis().find(|eni| eni.can_grow()) {
///     draft.grow(eni, Unit::Address, 2, "two for the next pods".into());
///     assert!(draft.touches(eni));
/// }
/// draft.wake_after(30 * SECOND);
/// let decision = draft.finish(Placement::Pack, "2 free are wanted, 0 are there.".into());
/// assert_eq!((decision.actions.len(), decision.wake_after), (1, Some(30_000)));
/// ```
#[derive(Debug, Default)]
pub struct Draft {
    actions: Vec<Action>,
    wake_after: Option<u64>,
    memo: Vec<u8>,
    pressure: u8,
}

impl Draft {
    /// Asks for more blocks on an ENI.
    pub fn grow(&mut self, eni: EniView<'_>, unit: Unit, count: u32, reason: String) {
        self.push(
            Request::Grow(Grow {
                eni: eni.index,
                unit,
                count,
            }),
            reason,
        );
    }

    /// Asks for a new ENI.
    pub fn attach(&mut self, attach: AttachEni, reason: String) {
        self.push(Request::AttachEni(attach), reason);
    }

    /// Gives blocks back.
    pub fn release(&mut self, eni: EniView<'_>, blocks: Vec<u32>, reason: String) {
        self.push(
            Request::Release(Release {
                eni: eni.index,
                blocks,
            }),
            reason,
        );
    }

    /// Gives an ENI back.
    pub fn detach(&mut self, eni: EniView<'_>, reason: String) {
        self.push(Request::DetachEni(eni.index), reason);
    }

    fn push(&mut self, request: Request, reason: String) {
        if self.actions.len() < MAX_ACTIONS {
            self.actions.push(Action { request, reason });
        }
    }

    /// Whether nothing has been asked for yet.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Whether an action on this ENI is part of the draft; the host takes one for each ENI.
    pub fn touches(&self, eni: EniView<'_>) -> bool {
        self.actions.iter().any(|action| match &action.request {
            Request::AttachEni(_) => false,
            Request::Grow(grow) => grow.eni == eni.index,
            Request::Release(release) => release.eni == eni.index,
            Request::DetachEni(index) => *index == eni.index,
        })
    }

    /// Blocks that the draft asks for on this ENI.
    pub fn more_on(&self, eni: EniView<'_>) -> u32 {
        let of = |action: &Action| match &action.request {
            Request::Grow(grow) if grow.eni == eni.index => grow.count,
            Request::Grow(_)
            | Request::AttachEni(_)
            | Request::Release(_)
            | Request::DetachEni(_) => 0,
        };
        self.actions.iter().map(of).sum()
    }

    /// Asks to be called again after this long, or earlier if somebody asked for earlier.
    pub fn wake_after(&mut self, wait: u64) {
        self.wake_after = Some(self.wake_after.map_or(wait, |earlier| earlier.min(wait)));
    }

    /// What the next snapshot shall carry.
    pub fn remember(&mut self, memo: Vec<u8>) {
        self.memo = memo;
    }

    /// How close the node is to failing a pod; the highest that was told counts.
    pub fn pressure(&mut self, pressure: u8) {
        self.pressure = self.pressure.max(pressure.min(100));
    }

    /// The decision.
    pub fn finish(self, placement: Placement, reason: String) -> Decision {
        Decision {
            actions: self.actions,
            reason,
            wake_after: self.wake_after,
            memo: self.memo,
            placement,
            pressure: self.pressure,
        }
    }
}

/// `1 address`, `3 prefixes`.
pub fn counted(count: u32, unit: Unit) -> String {
    match (unit, count) {
        (Unit::Address, 1) => "1 address".into(),
        (Unit::Prefix, 1) => "1 prefix".into(),
        (Unit::Address, _) => format!("{count} addresses"),
        (Unit::Prefix, _) => format!("{count} prefixes"),
    }
}
