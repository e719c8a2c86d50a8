//! The wall under every policy, and the only maker of a `Plan`.
//!
//! In: a proposal from a stranger, what its indexes meant when it was asked for, and the node as
//! it stands now. Out: steps that break no law, and each dropped action with the reason.
//! Must hold: even if every step and everything already under way succeeds, no limit is passed;
//! nothing assigned, cooling, unknown or too young is destroyed.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::budget;
use crate::cidr::{Cidr, Unit};
use crate::ids::{EniId, SubnetId};
use crate::node::Node;
use crate::policy::Asked;
use crate::pool::{Block, Eni, Goal, Link};
use crate::proposal::{Proposal, Request};
use crate::snapshot::{KeepReason, Operation, Role};
use crate::time::Millis;

/// More actions than this in one proposal are dropped.
const MAX_ACTIONS: usize = 64;
/// A reason longer than this is cut.
const MAX_REASON: usize = 500;

/// One thing that may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Attach {
        subnet: SubnetId,
        unit: Unit,
        blocks: u32,
        card: u32,
    },
    Grow {
        eni: EniId,
        unit: Unit,
        count: u32,
    },
    Release {
        eni: EniId,
        blocks: Vec<Cidr>,
    },
    Detach {
        eni: EniId,
    },
}

impl Step {
    pub(crate) fn destroys(&self) -> bool {
        matches!(self, Self::Release { .. } | Self::Detach { .. })
    }

    /// What kind of work it is, and on which ENI; a new one has no id yet.
    fn operation(&self) -> (Operation, Option<EniId>) {
        match self {
            Self::Attach { .. } => (Operation::AttachEni, None),
            Self::Grow { eni, .. } => (Operation::Grow, Some(eni.clone())),
            Self::Release { eni, .. } => (Operation::Release, Some(eni.clone())),
            Self::Detach { eni } => (Operation::DetachEni, Some(eni.clone())),
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Attach {
                subnet,
                unit,
                blocks,
                card,
            } => {
                let blocks = counted(*blocks, *unit);
                match card {
                    0 => format!("attach an ENI with {blocks} in {subnet}"),
                    card => format!("attach an ENI with {blocks} in {subnet} to card {card}"),
                }
            }
            Self::Grow { eni, unit, count } => format!("{} more on {eni}", counted(*count, *unit)),
            Self::Release { eni, blocks } => {
                let units = blocks.first().map_or(Unit::Address, Cidr::unit);
                format!("release {} of {eni}", counted(blocks.len() as u32, units))
            }
            Self::Detach { eni } => format!("detach {eni}"),
        }
    }
}

fn counted(count: u32, unit: Unit) -> String {
    match (count, unit) {
        (1, unit) => format!("1 {unit}"),
        (count, Unit::Address) => format!("{count} addresses"),
        (count, Unit::Prefix) => format!("{count} prefixes"),
    }
}

/// Steps that may be done, in order. Only this module makes one.
#[derive(Debug, Default)]
pub(crate) struct Plan(Vec<Step>);

impl Plan {
    pub(crate) fn into_steps(self) -> Vec<Step> {
        self.0
    }

    pub(crate) fn grows(&self) -> bool {
        self.0.iter().any(|step| !step.destroys())
    }
}

/// What became of a proposal.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) plan: Plan,
    /// One sentence for each step of the plan.
    pub(crate) accepted: Vec<String>,
    /// What kind of work each of them is, and on which ENI.
    pub(crate) operations: Vec<(Operation, Option<EniId>)>,
    /// The action in words, and why it was dropped.
    pub(crate) dropped: Vec<(String, &'static str)>,
}

/// What the steps admitted so far take of the node's room.
#[derive(Default)]
struct Tally {
    grow_calls: u32,
    release_calls: u32,
    /// ENIs by network card.
    enis: BTreeMap<u32, u32>,
    addresses: u32,
    touched: BTreeSet<EniId>,
}

/// Turns a proposal into a plan.
pub(crate) fn check(node: &Node, asked: &Asked, proposal: &Proposal, now: Millis) -> Checked {
    let mut checked = Checked::default();
    let mut tally = Tally::default();
    for action in proposal.actions.iter().take(MAX_ACTIONS) {
        let step = name(node, asked, &action.request);
        // Indexes that point nowhere have no better words than themselves.
        let words = step
            .as_ref()
            .map_or_else(|_| format!("{:?}", action.request), Step::in_words);
        match step.and_then(|step| admit(node, &mut tally, step, now)) {
            Ok(step) => {
                let sentence = format!("{}: {}", step.in_words(), clipped(&action.reason));
                checked.accepted.push(sentence);
                checked.operations.push(step.operation());
                checked.plan.0.push(step);
            }
            Err(why) => checked.dropped.push((clipped(&words), why)),
        }
    }
    let more = proposal.actions.len().saturating_sub(MAX_ACTIONS);
    if more > 0 {
        // Told once: what is recorded of a decision must not grow with a policy's nonsense.
        let words = format!("{more} more actions");
        checked.dropped.push((words, "too-many-actions"));
    }
    checked
}

/// Checks steps again that waited for a fresh view.
pub(crate) fn recheck(node: &Node, steps: Vec<Step>, now: Millis) -> Checked {
    let mut checked = Checked::default();
    let mut tally = Tally::default();
    for step in steps {
        let words = step.in_words();
        match admit(node, &mut tally, step, now) {
            Ok(step) => {
                checked.accepted.push(words);
                checked.operations.push(step.operation());
                checked.plan.0.push(step);
            }
            Err(why) => checked.dropped.push((words, why)),
        }
    }
    checked
}

pub(crate) fn clipped(reason: &str) -> String {
    reason.chars().take(MAX_REASON).collect()
}

/// Turns the indexes of the snapshot into names.
fn name(node: &Node, asked: &Asked, request: &Request) -> Result<Step, &'static str> {
    let eni = |index: u32| asked.enis.get(index as usize).cloned().ok_or("no-such-eni");
    Ok(match request {
        Request::AttachEni {
            subnet,
            unit,
            blocks,
            card,
        } => Step::Attach {
            subnet: match subnet {
                Some(index) => asked
                    .subnets
                    .get(*index as usize)
                    .cloned()
                    .ok_or("no-such-subnet")?,
                None => node.config.own_subnet.clone(),
            },
            unit: *unit,
            blocks: *blocks,
            card: *card,
        },
        Request::Grow {
            eni: index,
            unit,
            count,
        } => Step::Grow {
            eni: eni(*index)?,
            unit: *unit,
            count: *count,
        },
        Request::Release { eni: index, blocks } => {
            let id = eni(*index)?;
            let named: Result<BTreeSet<Cidr>, &'static str> = blocks
                .iter()
                .map(|block| match asked.blocks.get(*block as usize) {
                    Some((owner, cidr)) if owner == index => Ok(*cidr),
                    _ => Err("no-such-block"),
                })
                .collect();
            Step::Release {
                eni: id,
                blocks: named?.into_iter().collect(),
            }
        }
        Request::DetachEni { eni: index } => Step::Detach { eni: eni(*index)? },
    })
}

/// Lets a step through, lowered to what there is room for, or says why not.
fn admit(node: &Node, tally: &mut Tally, step: Step, now: Millis) -> Result<Step, &'static str> {
    let throttle = &node.throttle;
    let rests_until = match &step {
        Step::Attach { .. } => throttle.attach_until(),
        Step::Grow { .. } => throttle.until(budget::ASSIGN),
        Step::Release { .. } => throttle.until(budget::UNASSIGN),
        Step::Detach { .. } => throttle.until(budget::DETACH),
    };
    if now < rests_until {
        return Err("throttled");
    }
    match step {
        Step::Attach {
            subnet,
            unit,
            blocks,
            card,
        } => {
            let blocks = blocks.min(node.config.limits.slots_per_eni);
            may_grow(node, tally, unit, now)?;
            let planned = tally.enis.entry(card).or_insert(0);
            if node.eni_count(card) + *planned >= node.eni_limit(card) {
                return Err("eni-limit");
            }
            *planned += 1;
            tally.grow_calls += 1;
            tally.addresses += blocks.saturating_mul(node.addresses_per(unit));
            Ok(Step::Attach {
                subnet,
                unit,
                blocks,
                card,
            })
        }
        Step::Grow {
            eni: id,
            unit,
            count,
        } => {
            let eni = untouched(node, tally, &id)?;
            may_grow(node, tally, unit, now)?;
            if !eni.usable() {
                return Err("not-ready");
            }
            let count = count.min(eni.free_slots(node.config.limits.slots_per_eni));
            if count == 0 {
                return Err("eni-full");
            }
            tally.grow_calls += 1;
            tally.addresses += count.saturating_mul(node.addresses_per(unit));
            tally.touched.insert(id.clone());
            Ok(Step::Grow {
                eni: id,
                unit,
                count,
            })
        }
        Step::Release { eni: id, blocks } => {
            let eni = untouched(node, tally, &id)?;
            may_destroy(node, tally, now)?;
            if blocks.is_empty() {
                return Err("empty");
            }
            for cidr in &blocks {
                let block = eni.blocks.get(cidr).ok_or("no-such-block")?;
                if let Some(why) = block_keep(node, eni, cidr, block) {
                    return Err(why.word());
                }
            }
            tally.release_calls += 1;
            tally.touched.insert(id.clone());
            Ok(Step::Release { eni: id, blocks })
        }
        Step::Detach { eni: id } => {
            let eni = untouched(node, tally, &id)?;
            may_destroy(node, tally, now)?;
            if let Some(why) = eni_keep(node, eni, now) {
                return Err(why.word());
            }
            tally.release_calls += 1;
            tally.touched.insert(id.clone());
            Ok(Step::Detach { eni: id })
        }
    }
}

fn untouched<'a>(node: &'a Node, tally: &Tally, id: &EniId) -> Result<&'a Eni, &'static str> {
    let eni = node.pool.eni(id).ok_or("no-such-eni")?;
    if eni.busy() || tally.touched.contains(id) {
        return Err("in-flight");
    }
    Ok(eni)
}

fn may_grow(node: &Node, tally: &Tally, unit: Unit, now: Millis) -> Result<(), &'static str> {
    if node.config.node.terminating {
        return Err("terminating");
    }
    if unit == Unit::Prefix && !node.config.limits.prefixes {
        return Err("prefixes-not-supported");
    }
    if tally.grow_calls >= node.grow_bucket.available(now, node.kept_for_pods()) {
        return Err("call-budget");
    }
    let max_pods = node.config.node.max_pods;
    // What cools may be on blocks that are gone.
    let usable = (node.addresses_coming() + tally.addresses)
        .saturating_sub(node.pool.cooling().len() as u32);
    if max_pods > 0 && usable >= max_pods {
        return Err("max-pods");
    }
    Ok(())
}

fn may_destroy(node: &Node, tally: &Tally, now: Millis) -> Result<(), &'static str> {
    if node.config.node.terminating {
        return Err("terminating");
    }
    if tally.release_calls >= node.release_bucket.available(now, 0) {
        return Err("call-budget");
    }
    Ok(())
}

/// Why a block must not be released now.
pub(crate) fn block_keep(node: &Node, eni: &Eni, cidr: &Cidr, block: &Block) -> Option<KeepReason> {
    if block.assigned > 0 {
        Some(KeepReason::Assigned)
    } else if block.cooling > 0 || node.journal.may_restore(cidr) {
        Some(KeepReason::Cooling)
    } else if block.leaving || eni.busy() || eni.goal == Goal::Leave || eni.link != Link::Ready {
        Some(KeepReason::InFlight)
    } else if block.is_doubtful() || eni.missing_since.is_some() || eni.left_alone {
        // An ENI that the operator took out of the daemon's hands is not known to be ours to change.
        Some(KeepReason::Unconfirmed)
    } else {
        None
    }
}

/// When the reason to keep an ENI ends by itself; absent when that depends on others.
pub(crate) fn eni_kept_until(node: &Node, eni: &Eni, now: Millis) -> Option<Millis> {
    match eni_keep(node, eni, now)? {
        KeepReason::TooYoung => Some(eni.since + node.config.times.min_eni_age),
        KeepReason::Cooling => (node.pool.cooling().iter())
            .filter(|(address, _)| eni.blocks.keys().any(|cidr| cidr.contains(**address)))
            .map(|(_, until)| *until)
            .max(),
        KeepReason::Primary
        | KeepReason::Trunk
        | KeepReason::Efa
        | KeepReason::Assigned
        | KeepReason::InFlight
        | KeepReason::Unconfirmed => None,
    }
}

/// Why an ENI must not be detached now.
pub(crate) fn eni_keep(node: &Node, eni: &Eni, now: Millis) -> Option<KeepReason> {
    match eni.role {
        Role::Primary => return Some(KeepReason::Primary),
        Role::Trunk => return Some(KeepReason::Trunk),
        Role::Efa => return Some(KeepReason::Efa),
        Role::Secondary => {}
    }
    if eni.assigned() > 0 {
        Some(KeepReason::Assigned)
    } else if eni.cooling() > 0 || eni.blocks.keys().any(|cidr| node.journal.may_restore(cidr)) {
        Some(KeepReason::Cooling)
    } else if eni.busy() || eni.goal == Goal::Leave || eni.link != Link::Ready {
        Some(KeepReason::InFlight)
    } else if now < eni.since + node.config.times.min_eni_age || now < eni.stays_until {
        Some(KeepReason::TooYoung)
    } else if eni.missing_since.is_some()
        || eni.left_alone
        || eni.blocks.values().any(|block| block.contested)
    {
        Some(KeepReason::Unconfirmed)
    } else {
        None
    }
}
