//! The whole of a policy's work on IPv6 nodes: one /80 on each ENI, more than any node can use.

use alloc::format;

use crate::{AttachEni, Decision, Draft, EniState, Placement, Role, Unit, View};

/// For each of these network cards, with the number of ENIs that it may hold: a prefix on each ENI
/// that has none, and an ENI where none serves pods, because there is none or all are excluded.
pub fn one_prefix_each(view: &View<'_>, cards: &[(u32, u32)]) -> Decision {
    let mut draft = Draft::default();
    let mut budget = view.snapshot.ec2.grow_budget;
    for (card, most) in cards {
        let enis = || view.enis().filter(|eni| eni.eni.card == *card);
        for eni in enis().filter(|eni| eni.can_grow() && eni.eni.block_count == 0) {
            if budget > 0 {
                let reason = format!("{} has no /80 yet: 1 prefix.", eni.name());
                draft.grow(eni, Unit::Prefix, 1, reason);
                budget -= 1;
            }
        }
        let serves = enis().any(|eni| {
            let leaves = eni.eni.state == EniState::Detaching;
            !eni.eni.excluded && !leaves && eni.eni.role != Role::Trunk
        });
        if budget > 0 && !serves && enis().count() < *most as usize {
            let new = AttachEni {
                subnet: None,
                unit: Unit::Prefix,
                blocks: 1,
                card: *card,
            };
            let reason = format!("Card {card} has no ENI for pods: a new one with a /80.");
            draft.attach(new, reason);
            budget -= 1;
        }
    }
    let reason = if draft.is_empty() {
        "Each ENI has its /80."
    } else {
        "An ENI lacks its /80."
    };
    draft.finish(Placement::Pack, reason.into())
}
