//! The whole of a policy's work on IPv6 nodes: one /80 on each ENI, more than any node can use.

use alloc::format;

use crate::{Decision, Draft, Placement, Unit, View};

/// Asks for a prefix on each ENI that has none.
pub fn one_prefix_each(view: &View<'_>) -> Decision {
    let mut draft = Draft::default();
    let budget = view.snapshot.ec2.grow_budget as usize;
    let bare = view
        .enis()
        .filter(|eni| eni.can_grow() && eni.eni.block_count == 0);
    for eni in bare.take(budget) {
        let reason = format!("{} has no /80 yet: 1 prefix.", eni.name());
        draft.grow(eni, Unit::Prefix, 1, reason);
    }
    let reason = if draft.is_empty() {
        "Each ENI has its /80."
    } else {
        "An ENI lacks its /80."
    };
    draft.finish(Placement::Pack, reason.into())
}
