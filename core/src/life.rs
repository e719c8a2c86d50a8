//! The life of ENIs: carries out plans, takes each ENI one step further, and draws the
//! consequences of what EC2 answered.
//!
//! In: steps of a plan, outcomes of EC2 calls, configured links. Out: EC2 calls and link work.
//! Must hold: one call at a time for each ENI; *unknown* is followed by a look, never by a repeat;
//! an ENI that EC2 gave is in the pool until EC2 says it is gone.
//!
//! Steps follow from state, not from a script: an ENI to keep is attached, flagged, configured; an
//! ENI to leave is forgotten, detached, deleted. So a crash, a lost reply or a surprise at any
//! point needs no path of its own.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::budget::{is_denial, is_shortage, is_throttling};
use crate::check::{Plan, Step};
use crate::cidr::{Cidr, Unit};
use crate::effect::{Ec2Request, Effect, Report, Severity};
use crate::event::{Attachment, Ec2Gave, Ec2Outcome, EniFacts};
use crate::ids::{AttachmentId, EniId, IntentId, SubnetId};
use crate::node::{Node, PastOutcome, Refusal};
use crate::pool::{Eni, Goal, Link};
use crate::snapshot::{Operation, Role, Trigger};
use crate::time::Millis;

/// An ENI that was asked for and has no id yet.
#[derive(Clone, Debug)]
pub(crate) struct Create {
    pub(crate) intent: IntentId,
    pub(crate) subnet: SubnetId,
    pub(crate) unit: Unit,
    pub(crate) blocks: u32,
    pub(crate) since: Millis,
    /// The outcome was unknown; a look asked for at or after this time settles it.
    pub(crate) doubt: Option<Millis>,
}

/// After this many failures in a row a new ENI is given up.
const MAX_TRIES: u32 = 3;

impl Node {
    /// Starts what a plan says. Destruction waits for a fresh view when there is none.
    pub(crate) fn execute(&mut self, plan: Plan, now: Millis, out: &mut Vec<Effect>) {
        self.parked.clear();
        for step in plan.into_steps() {
            if step.destroys() && !self.is_confirmed(&step, now) {
                self.parked.push(step);
                self.want_look(now);
            } else {
                self.begin(step, now, out);
            }
        }
    }

    pub(crate) fn begin(&mut self, step: Step, now: Millis, out: &mut Vec<Effect>) {
        match step {
            Step::Attach { subnet, unit, blocks } => {
                self.grow_bucket.take(now);
                let request = Ec2Request::CreateEni {
                    subnet: subnet.clone(),
                    unit,
                    blocks,
                };
                let intent = self.call(request, out);
                self.creates.push(Create {
                    intent,
                    subnet,
                    unit,
                    blocks,
                    since: now,
                    doubt: None,
                });
            }
            Step::Grow { eni, unit, count } => {
                self.grow_bucket.take(now);
                if let Some(eni) = self.pool.eni_mut(&eni) {
                    eni.growing = count;
                }
                self.call(Ec2Request::Assign { eni, unit, count }, out);
            }
            Step::Release { eni, blocks } => {
                self.release_bucket.take(now);
                if let Some(eni) = self.pool.eni_mut(&eni) {
                    for cidr in &blocks {
                        if let Some(block) = eni.blocks.get_mut(cidr) {
                            block.leaving = true;
                        }
                    }
                }
                self.call(Ec2Request::Unassign { eni, blocks }, out);
            }
            Step::Detach { eni } => {
                self.release_bucket.take(now);
                if let Some(eni) = self.pool.eni_mut(&eni) {
                    eni.goal = Goal::Leave;
                    eni.tries = 0;
                }
            }
        }
    }

    /// Whether EC2 has confirmed lately what the step would destroy.
    fn is_confirmed(&self, step: &Step, now: Millis) -> bool {
        let fresh = |at: Millis| now <= at + self.config.times.fresh_view;
        let eni = |id| self.pool.eni(id).filter(|eni| fresh(eni.confirmed_at));
        match step {
            Step::Attach { .. } | Step::Grow { .. } => true,
            Step::Release { eni: id, blocks } => eni(id).is_some_and(|eni| {
                blocks
                    .iter()
                    .all(|cidr| eni.blocks.get(cidr).is_some_and(|block| fresh(block.confirmed_at)))
            }),
            Step::Detach { eni: id } => {
                eni(id).is_some_and(|eni| eni.blocks.values().all(|block| fresh(block.confirmed_at)))
            }
        }
    }

    /// Sends one call.
    fn call(&mut self, request: Ec2Request, out: &mut Vec<Effect>) -> IntentId {
        self.last_intent += 1;
        let intent = IntentId(self.last_intent);
        if let Some(eni) = request.eni().and_then(|id| self.pool.eni_mut(id)) {
            eni.call = Some(intent);
        }
        self.calls.insert(intent, request.clone());
        out.push(Effect::Ec2 { intent, request });
        intent
    }

    /// Takes each ENI one step towards what is to become of it.
    pub(crate) fn advance(&mut self, now: Millis, out: &mut Vec<Effect>) {
        for place in 0..self.pool.enis.len() {
            let eni = &mut self.pool.enis[place];
            if eni.busy() || eni.missing_since.is_some() || now < eni.retry_at {
                continue;
            }
            if eni.goal == Goal::Leave && eni.link != Link::Absent {
                if eni.link == Link::Configuring {
                    continue;
                }
                eni.link = Link::Absent;
                let link = eni.link_facts();
                out.push(Effect::ForgetEni(link));
            }
            if now >= self.throttle.until
                && let Some(request) = self.next_call(place)
            {
                self.call(request, out);
                continue;
            }
            let eni = &mut self.pool.enis[place];
            if eni.goal == Goal::Keep && eni.link == Link::Absent && eni.attachment.is_some() {
                eni.link = Link::Configuring;
                let link = eni.link_facts();
                out.push(Effect::ConfigureEni(link));
            }
        }
    }

    /// The EC2 call that the ENI needs next.
    fn next_call(&self, place: usize) -> Option<Ec2Request> {
        let eni = &self.pool.enis[place];
        let id = eni.id.clone();
        match (eni.goal, &eni.attachment) {
            (Goal::Keep, None) => Some(Ec2Request::AttachEni {
                eni: id,
                device_index: self.free_device_index(),
                card: 0,
            }),
            (Goal::Keep, Some(attachment)) => (eni.ours
                && eni.role == Role::Secondary
                && !attachment.delete_on_termination)
                .then(|| Ec2Request::SetDeleteOnTermination {
                    eni: id,
                    attachment: attachment.id.clone(),
                }),
            (Goal::Leave, Some(attachment)) if !attachment.detaching => Some(Ec2Request::DetachEni {
                eni: id,
                attachment: attachment.id.clone(),
            }),
            (Goal::Leave, _) => Some(Ec2Request::DeleteEni { eni: id }),
        }
    }

    /// The lowest device index of card 0 that nothing uses, is about to use, or was refused.
    fn free_device_index(&self) -> u32 {
        let attached = self
            .pool
            .enis
            .iter()
            .filter_map(|eni| eni.attachment.as_ref())
            .map(|attachment| (attachment.card, attachment.device_index));
        let coming = self.calls.values().filter_map(|request| match request {
            Ec2Request::AttachEni {
                device_index, card, ..
            } => Some((*card, *device_index)),
            _ => None,
        });
        let used: BTreeSet<(u32, u32)> = attached
            .chain(coming)
            .chain(self.foreign.iter().copied())
            .chain(self.refused_indexes.iter().map(|index| (0, *index)))
            .collect();
        (1..).find(|index| !used.contains(&(0, *index))).unwrap_or(1)
    }

    /// The node's side of an ENI is ready, or is not.
    pub(crate) fn configured(
        &mut self,
        id: &EniId,
        result: Result<(), String>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let Some(eni) = self.pool.eni_mut(id) else {
            return;
        };
        if eni.link != Link::Configuring {
            return;
        }
        let Err(why) = result else {
            eni.link = Link::Ready;
            eni.tries = 0;
            let (blocks, subnet) = (eni.blocks.len() as u32, eni.subnet.clone());
            let unit = eni.blocks.keys().next().map_or(self.config.unit, Cidr::unit);
            if eni.role != Role::Primary {
                self.record(Operation::AttachEni, Some(id), Some(subnet), unit, blocks, blocks, "", now);
            } else {
                self.mind.wake(Trigger::Outcome);
            }
            return;
        };
        eni.link = Link::Absent;
        eni.tries += 1;
        let tries = eni.tries;
        let give_up = tries >= MAX_TRIES && self.give_up(id);
        if !give_up && let Some(eni) = self.pool.eni_mut(id) {
            eni.retry_at = now + self.throttle.backoff(tries);
        }
        let then = if give_up { "it is detached" } else { "it is tried again" };
        report(out, Severity::Error, "eni-not-configured", format!("{id}: {why}; {then}"));
        if give_up {
            self.refuse(Operation::AttachEni, id, 0, "LinkNotReady", &why, now);
        }
    }

    /// Lets an ENI go that is of no use; not one that pods hold addresses of.
    pub(crate) fn give_up(&mut self, id: &EniId) -> bool {
        let restorable = |eni: &Eni| eni.blocks.keys().any(|cidr| self.journal.may_restore(cidr));
        let useless = self.pool.eni(id).is_some_and(|eni| {
            eni.role == Role::Secondary && eni.assigned() == 0 && eni.cooling() == 0 && !restorable(eni)
        });
        if useless && let Some(eni) = self.pool.eni_mut(id) {
            eni.goal = Goal::Leave;
            eni.tries = 0;
        }
        useless
    }

    /// An EC2 call has ended.
    pub(crate) fn ec2_finished(
        &mut self,
        intent: IntentId,
        outcome: Ec2Outcome,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let Some(request) = self.calls.remove(&intent) else {
            return;
        };
        match &outcome {
            Ec2Outcome::Done(_) => self.throttle.relief(),
            Ec2Outcome::Refused { code, message } => {
                if is_throttling(code) || code == "Unreachable" {
                    self.throttle.strike(now);
                } else if is_denial(code) {
                    let message = format!("EC2 refuses {}: {code}: {message}", request.action());
                    report(out, Severity::Error, "ec2-denied", message);
                }
            }
            Ec2Outcome::Unknown { .. } => self.want_look(now),
        }
        let Some(id) = request.eni().cloned() else {
            self.created(intent, outcome, now, out);
            return;
        };
        let settle = now + self.config.times.settle;
        let Some(eni) = self.pool.eni_mut(&id) else {
            return;
        };
        eni.call = None;
        eni.changed_at = now;
        if let Ec2Outcome::Unknown { message } = outcome {
            eni.doubt = Some(settle);
            let message = format!("no usable answer to {} for {id}: {message}", request.action());
            report(out, Severity::Warning, "ec2-unknown", message);
            return;
        }
        match request {
            Ec2Request::Assign { unit, count, .. } => self.assigned(&id, unit, count, outcome, now),
            Ec2Request::Unassign { blocks, .. } => self.unassigned(&id, &blocks, outcome, now),
            Ec2Request::AttachEni {
                device_index, card, ..
            } => self.attached(&id, card, device_index, outcome, now),
            Ec2Request::SetDeleteOnTermination { .. } => self.flagged(&id, outcome, now),
            Ec2Request::DetachEni { .. } => self.detached(&id, outcome, now),
            Ec2Request::DeleteEni { .. } => self.deleted(&id, outcome, now),
            Ec2Request::CreateEni { .. } => {}
        }
    }

    fn created(&mut self, intent: IntentId, outcome: Ec2Outcome, now: Millis, out: &mut Vec<Effect>) {
        let Some(place) = self.creates.iter().position(|create| create.intent == intent) else {
            return;
        };
        match outcome {
            Ec2Outcome::Done(Ec2Gave::Eni(facts)) => {
                self.creates.remove(place);
                self.take_in(*facts, now);
            }
            Ec2Outcome::Refused { code, message } => {
                let create = self.creates.remove(place);
                self.remember_shortage(&create.subnet, create.unit, &code, &message, now);
                self.last_refusal = Some(Refusal {
                    operation: Operation::AttachEni,
                    subnet: create.subnet.clone(),
                    code: code.clone(),
                    shortage: is_shortage(&code, &message),
                });
                let (subnet, unit, blocks) = (Some(create.subnet), create.unit, create.blocks);
                self.record(Operation::AttachEni, None, subnet, unit, blocks, 0, &code, now);
            }
            Ec2Outcome::Done(_) | Ec2Outcome::Unknown { .. } => {
                self.creates[place].doubt = Some(now + self.config.times.settle);
                self.want_look(now);
                let message = String::from("no usable answer to CreateNetworkInterface");
                report(out, Severity::Warning, "ec2-unknown", message);
            }
        }
    }

    /// A new ENI of ours, made by a call or found by a look.
    pub(crate) fn take_in(&mut self, facts: EniFacts, now: Millis) {
        let id = facts.id.clone();
        if self.pool.eni(&id).is_none() {
            self.subnets.entry(facts.subnet.clone()).or_default();
            self.pool.add_eni(facts, now);
        }
        if let Some(eni) = self.pool.eni_mut(&id) {
            eni.changed_at = now;
        }
    }

    fn assigned(&mut self, id: &EniId, unit: Unit, asked: u32, outcome: Ec2Outcome, now: Millis) {
        let settle = now + self.config.times.settle;
        match outcome {
            Ec2Outcome::Done(Ec2Gave::Blocks(blocks)) if !blocks.is_empty() => {
                let mut added = 0;
                for cidr in blocks {
                    added += u32::from(self.pool.add_block(id, cidr, now));
                }
                let subnet = self.grown(id, now);
                self.record(Operation::Grow, Some(id), subnet, unit, asked, added, "", now);
            }
            Ec2Outcome::Refused { code, message } => {
                let subnet = self.grown(id, now);
                if let Some(subnet) = &subnet {
                    self.remember_shortage(subnet, unit, &code, &message, now);
                }
                if code == "PrivateIpAddressLimitExceeded" || code.ends_with(".NotFound") {
                    // Our view of the ENI is wrong.
                    self.want_look(now);
                }
                self.refuse_as(Operation::Grow, id, unit, asked, &code, &message, now);
            }
            // Success that names no block says nothing about what was done.
            Ec2Outcome::Done(_) | Ec2Outcome::Unknown { .. } => {
                if let Some(eni) = self.pool.eni_mut(id) {
                    eni.doubt = Some(settle);
                }
                self.want_look(now);
            }
        }
    }

    /// The ENI waits for no more blocks. Gives its subnet.
    fn grown(&mut self, id: &EniId, now: Millis) -> Option<SubnetId> {
        let eni = self.pool.eni_mut(id)?;
        eni.growing = 0;
        eni.confirmed_at = now;
        Some(eni.subnet.clone())
    }

    fn unassigned(&mut self, id: &EniId, blocks: &[Cidr], outcome: Ec2Outcome, now: Millis) {
        let settle = now + self.config.times.settle;
        let unit = blocks.first().map_or(Unit::Address, Cidr::unit);
        let asked = blocks.len() as u32;
        let Some(eni) = self.pool.eni_mut(id) else {
            return;
        };
        match outcome {
            Ec2Outcome::Done(_) => {
                eni.blocks.retain(|cidr, _| !blocks.contains(cidr));
                self.record(Operation::Release, Some(id), None, unit, asked, asked, "", now);
            }
            Ec2Outcome::Refused { code, message } => {
                if code == "InvalidParameterValue" {
                    // Some of them are not on the ENI: only a look can tell which.
                    eni.doubt = Some(settle);
                    self.want_look(now);
                } else {
                    for block in eni.blocks.values_mut() {
                        block.leaving = false;
                    }
                }
                self.refuse_as(Operation::Release, id, unit, asked, &code, &message, now);
            }
            Ec2Outcome::Unknown { .. } => {}
        }
    }

    fn attached(&mut self, id: &EniId, card: u32, index: u32, outcome: Ec2Outcome, now: Millis) {
        let pause = self.throttle.backoff(0);
        let settle = now + self.config.times.settle;
        let Some(eni) = self.pool.eni_mut(id) else {
            return;
        };
        match outcome {
            Ec2Outcome::Done(Ec2Gave::Attachment(attachment)) => {
                eni.attachment = Some(new_attachment(attachment, card, index));
                eni.confirmed_at = now;
                eni.tries = 0;
            }
            Ec2Outcome::Refused { code, message } => {
                eni.tries += 1;
                let again = eni.tries < MAX_TRIES;
                if is_throttling(&code) || code == "Unreachable" {
                    return;
                }
                if code == "InvalidNetworkInterface.InUse" {
                    // Perhaps ours: an attach whose answer was lost.
                    eni.doubt = Some(settle);
                    self.want_look(now);
                } else if code == "InvalidParameterValue" && message.contains("device index") && again {
                    self.refused_indexes.insert(index);
                } else if code.ends_with(".NotFound") && again {
                    // EC2 forgets for a moment what it has just made.
                    eni.retry_at = now + pause;
                } else {
                    eni.retry_at = now + pause;
                    self.give_up(id);
                    self.want_look(now);
                    self.refuse(Operation::AttachEni, id, 0, &code, &message, now);
                }
            }
            Ec2Outcome::Done(_) | Ec2Outcome::Unknown { .. } => {
                eni.doubt = Some(settle);
                self.want_look(now);
            }
        }
    }

    fn flagged(&mut self, id: &EniId, outcome: Ec2Outcome, now: Millis) {
        let Some(eni) = self.pool.eni_mut(id) else {
            return;
        };
        match outcome {
            Ec2Outcome::Done(_) => {
                if let Some(attachment) = &mut eni.attachment {
                    attachment.delete_on_termination = true;
                }
            }
            Ec2Outcome::Refused { code, message } => {
                if is_throttling(&code) || code == "Unreachable" {
                    return;
                }
                eni.tries += 1;
                let tries = eni.tries;
                eni.retry_at = now + self.throttle.backoff(tries);
                // Without the flag the ENI would outlive its node.
                if tries >= MAX_TRIES && self.give_up(id) {
                    self.refuse(Operation::AttachEni, id, 0, &code, &message, now);
                } else {
                    self.want_look(now);
                }
            }
            Ec2Outcome::Unknown { .. } => {}
        }
    }

    fn detached(&mut self, id: &EniId, outcome: Ec2Outcome, now: Millis) {
        let pause = self.throttle.backoff(1);
        let Some(eni) = self.pool.eni_mut(id) else {
            return;
        };
        match outcome {
            Ec2Outcome::Done(_) => {
                if let Some(attachment) = &mut eni.attachment {
                    attachment.detaching = true;
                }
                eni.tries = 0;
                eni.retry_at = now + pause;
            }
            Ec2Outcome::Refused { code, message } => {
                if is_throttling(&code) || code == "Unreachable" {
                    return;
                }
                if code.ends_with(".NotFound") || code == "IncorrectState" {
                    if let Some(attachment) = &mut eni.attachment {
                        attachment.detaching = true;
                    }
                    eni.retry_at = now + pause;
                } else {
                    // EC2 keeps it: so do we.
                    eni.goal = Goal::Keep;
                    self.refuse(Operation::DetachEni, id, 0, &code, &message, now);
                }
                self.want_look(now);
            }
            Ec2Outcome::Unknown { .. } => {}
        }
    }

    fn deleted(&mut self, id: &EniId, outcome: Ec2Outcome, now: Millis) {
        let gone = match outcome {
            Ec2Outcome::Done(_) => true,
            Ec2Outcome::Refused { code, .. } => code.ends_with(".NotFound"),
            Ec2Outcome::Unknown { .. } => false,
        };
        if gone {
            self.pool.remove_eni(id);
            self.refused_indexes.clear();
            let unit = self.config.unit;
            self.record(Operation::DetachEni, None, None, unit, 0, 0, "", now);
        } else if let Some(eni) = self.pool.eni_mut(id) {
            // "Currently in use": the detach has not ended yet.
            eni.tries += 1;
            let tries = eni.tries;
            eni.retry_at = now + self.throttle.backoff(tries);
        }
    }

    fn refuse(&mut self, operation: Operation, id: &EniId, asked: u32, code: &str, message: &str, now: Millis) {
        let unit = self.config.unit;
        self.refuse_as(operation, id, unit, asked, code, message, now);
    }

    #[expect(clippy::too_many_arguments, reason = "one outcome has that many facts")]
    fn refuse_as(
        &mut self,
        operation: Operation,
        id: &EniId,
        unit: Unit,
        asked: u32,
        code: &str,
        message: &str,
        now: Millis,
    ) {
        let subnet = self.pool.eni(id).map(|eni| eni.subnet.clone());
        if matches!(operation, Operation::AttachEni | Operation::Grow) {
            self.last_refusal = Some(Refusal {
                operation,
                subnet: subnet.clone().unwrap_or_default(),
                code: String::from(code),
                shortage: is_shortage(code, message),
            });
        }
        self.record(operation, Some(id), subnet, unit, asked, 0, code, now);
    }

    /// Notes an outcome for the policy and wakes it.
    #[expect(clippy::too_many_arguments, reason = "one outcome has that many facts")]
    pub(crate) fn record(
        &mut self,
        operation: Operation,
        eni: Option<&EniId>,
        subnet: Option<SubnetId>,
        unit: Unit,
        asked: u32,
        done: u32,
        code: &str,
        now: Millis,
    ) {
        if done > 0 && matches!(operation, Operation::AttachEni | Operation::Grow) {
            self.last_refusal = None;
        }
        self.outcomes.push_back(PastOutcome {
            at: now,
            operation,
            eni: eni.cloned(),
            subnet,
            unit,
            asked,
            done,
            code: code.into(),
        });
        self.mind.wake(Trigger::Outcome);
    }

    fn remember_shortage(&mut self, subnet: &SubnetId, unit: Unit, code: &str, message: &str, now: Millis) {
        if !is_shortage(code, message) {
            return;
        }
        let memory = self.subnets.entry(subnet.clone()).or_default();
        match unit {
            Unit::Prefix => memory.no_prefixes_at = now,
            Unit::Address => memory.no_addresses_at = now,
        }
    }
}

pub(crate) fn new_attachment(id: AttachmentId, card: u32, device_index: u32) -> Attachment {
    Attachment {
        id,
        card,
        device_index,
        detaching: false,
        delete_on_termination: false,
    }
}

pub(crate) fn report(out: &mut Vec<Effect>, severity: Severity, code: &'static str, message: String) {
    out.push(Effect::Report(Report {
        severity,
        code,
        message,
    }));
}
