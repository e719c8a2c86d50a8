//! The consequences of what EC2 and the node's links answered.
//!
//! In: outcomes of EC2 calls, configured links. Out: a changed pool, outcomes for the policy.
//! Must hold: a refusal changes nothing but memory; *unknown* raises a doubt that only a look
//! settles.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::budget::{asks_for_rest, is_denial, is_shortage, remembered};
use crate::cidr::{Cidr, Unit};
use crate::effect::{Ec2Request, Effect, Severity};
use crate::event::{Attachment, Ec2Gave, Ec2Outcome, EniFacts};
use crate::ids::{AttachmentId, EniId, IntentId, SubnetId};
use crate::life::{MAX_TRIES, report};
use crate::node::{Node, PastOutcome, Refusal};
use crate::pool::{Eni, Goal, Link};
use crate::snapshot::{Operation, Trigger};
use crate::time::Millis;

impl Node {
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
            let unit = eni
                .blocks
                .keys()
                .next()
                .map_or(self.config.unit, Cidr::unit);
            self.record(PastOutcome {
                eni: Some(id.clone()),
                subnet: Some(subnet),
                asked: blocks,
                done: blocks,
                ..PastOutcome::of(Operation::AttachEni, unit, now)
            });
            return;
        };
        eni.link = Link::Absent;
        eni.tries += 1;
        let tries = eni.tries;
        let give_up = tries >= MAX_TRIES && self.give_up(id);
        if !give_up && let Some(eni) = self.pool.eni_mut(id) {
            eni.retry_at = now + self.throttle.backoff(tries);
        }
        let then = if give_up {
            "it is detached"
        } else {
            "it is tried again"
        };
        report(
            out,
            Severity::Error,
            "eni-not-configured",
            format!("{id}: {why}; {then}"),
        );
        if give_up {
            let card = self.pool.eni(id).map_or(0, Eni::card);
            self.mistrust_room(card, id, now);
            self.refuse(Operation::AttachEni, id, 0, "LinkNotReady", &why, now);
        }
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
            Ec2Outcome::Done(_) => self.throttle.relief(request.action()),
            Ec2Outcome::Refused { code, message } => {
                if asks_for_rest(code) {
                    self.throttle.strike(request.action(), code, now);
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
        let settle = match &request {
            // Taken for still there, the blocks would be given to pods: only a read that cannot be
            // older than the call tells.
            Ec2Request::Unassign { .. } => now + self.config.times.consistency,
            Ec2Request::CreateEni { .. }
            | Ec2Request::AttachEni { .. }
            | Ec2Request::SetDeleteOnTermination { .. }
            | Ec2Request::DetachEni { .. }
            | Ec2Request::DeleteEni { .. }
            | Ec2Request::Assign { .. } => now + self.config.times.settle,
        };
        let Some(eni) = self.pool.eni_mut(&id) else {
            return;
        };
        eni.call = None;
        // A refusal changed nothing: a read that follows it is no staler for it.
        if !matches!(outcome, Ec2Outcome::Refused { .. }) {
            eni.changed_before = core::mem::replace(&mut eni.changed_at, now);
        }
        if let Ec2Outcome::Unknown { message } = outcome {
            eni.doubt = Some(settle);
            let message = format!(
                "no usable answer to {} for {id}: {message}",
                request.action()
            );
            report(out, Severity::Warning, "ec2-unknown", message);
            return;
        }
        match request {
            Ec2Request::Assign { unit, count, .. } => {
                if let Ec2Outcome::Done(Ec2Gave::Blocks(blocks)) = &outcome {
                    self.compare(&id, count, blocks.len(), now, out);
                }
                self.assigned(&id, unit, count, outcome, now);
            }
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

    fn created(
        &mut self,
        intent: IntentId,
        outcome: Ec2Outcome,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let Some(place) = self
            .creates
            .iter()
            .position(|create| create.intent == intent)
        else {
            return;
        };
        match outcome {
            Ec2Outcome::Done(Ec2Gave::Eni(facts)) => {
                let create = self.creates.remove(place);
                let id = facts.id.clone();
                self.compare(&id, create.blocks, facts.blocks.len(), now, out);
                self.take_in(*facts, now, 0);
                if let Some(eni) = self.pool.eni_mut(&id) {
                    eni.card = create.card;
                }
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
                self.record(PastOutcome {
                    subnet: Some(create.subnet),
                    asked: create.blocks,
                    code: remembered(create.unit, &code, &message).into(),
                    ..PastOutcome::of(Operation::AttachEni, create.unit, now)
                });
            }
            Ec2Outcome::Done(_) | Ec2Outcome::Unknown { .. } => {
                self.creates[place].doubt = Some(now + self.config.times.settle);
                self.want_look(now);
                let message = String::from("no usable answer to CreateNetworkInterface");
                report(out, Severity::Warning, "ec2-unknown", message);
            }
        }
    }

    /// An answer that lists more or less than was asked for may be about something else, too: EC2 is
    /// looked at.
    fn compare(
        &mut self,
        id: &EniId,
        asked: u32,
        given: usize,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        if given != asked as usize {
            self.want_look(now + self.config.times.settle);
            let message =
                format!("EC2 was asked for {asked} blocks on {id} and answered with {given}");
            report(out, Severity::Warning, "ec2-other-count", message);
        }
    }

    /// A new ENI of ours, made by a call or found by a look.
    pub(crate) fn take_in(&mut self, facts: EniFacts, now: Millis, lag: Millis) {
        let id = facts.id.clone();
        if self.pool.eni(&id).is_none() {
            self.subnets.entry(facts.subnet.clone()).or_default();
            self.pool.add_eni(facts, now, lag);
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
                let own = self.pool.eni(id).map(|eni| Cidr::single(eni.primary));
                // An answer that lists all addresses of the ENI lists its own one, too.
                for cidr in blocks.into_iter().filter(|cidr| Some(*cidr) != own) {
                    added += u32::from(self.pool.add_block(id, cidr, now, 0));
                }
                if added == 0 {
                    // Nothing new: what was asked for may have been given and not be in this answer.
                    if let Some(eni) = self.pool.eni_mut(id) {
                        eni.doubt = Some(settle);
                    }
                    self.want_look(now);
                    return;
                }
                let subnet = self.grown(id, now);
                self.record(PastOutcome {
                    eni: Some(id.clone()),
                    subnet,
                    asked,
                    done: added,
                    ..PastOutcome::of(Operation::Grow, unit, now)
                });
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
        let settle = now + self.config.times.consistency;
        let unit = blocks.first().map_or(Unit::Address, Cidr::unit);
        let asked = blocks.len() as u32;
        let Some(eni) = self.pool.eni_mut(id) else {
            return;
        };
        match outcome {
            Ec2Outcome::Done(_) => {
                eni.blocks.retain(|cidr, _| !blocks.contains(cidr));
                eni.gone.extend(blocks.iter().map(|cidr| (*cidr, now)));
                self.record(PastOutcome {
                    eni: Some(id.clone()),
                    asked,
                    done: asked,
                    ..PastOutcome::of(Operation::Release, unit, now)
                });
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
        let settle = now + self.config.times.settle;
        // One that pods are on is never given up: it must not be asked for again and again.
        let tries = self.pool.eni(id).map_or(0, |eni| eni.tries);
        let pause = self.throttle.backoff(tries);
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
                if asks_for_rest(&code) {
                    return;
                }
                if code == "InvalidNetworkInterface.InUse" {
                    // Perhaps ours: an attach whose answer was lost.
                    eni.doubt = Some(settle);
                    self.want_look(now);
                } else if code == "InvalidParameterValue"
                    && message.contains("device index")
                    && again
                {
                    self.refused_indexes.insert((card, index));
                } else if code.ends_with(".NotFound") && again {
                    // EC2 forgets for a moment what it has just made.
                    eni.retry_at = now + pause;
                } else {
                    eni.retry_at = now + pause;
                    if code == "AttachmentLimitExceeded" {
                        // Something unknown is attached, or the limit is another one.
                        self.mistrust_room(card, id, now);
                    }
                    let full = self.mistrusted.get(&card).map(|(_, until)| *until);
                    if !self.give_up(id)
                        && let Some(eni) = self.pool.eni_mut(id)
                    {
                        eni.retry_at = full.unwrap_or(0).max(eni.retry_at);
                    }
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
                if asks_for_rest(&code) {
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
        let mistrust = self.config.times.mistrust;
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
                if asks_for_rest(&code) {
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
                    eni.stays_until = now + mistrust;
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
            self.departed.insert(id.clone(), now);
            self.refused_indexes.clear();
            let unit = self.config.unit;
            self.record(PastOutcome::of(Operation::DetachEni, unit, now));
        } else if let Some(eni) = self.pool.eni_mut(id) {
            // "Currently in use": the detach has not ended yet.
            eni.tries += 1;
            let tries = eni.tries;
            eni.retry_at = now + self.throttle.backoff(tries);
        }
    }

    fn refuse(
        &mut self,
        operation: Operation,
        id: &EniId,
        asked: u32,
        code: &str,
        message: &str,
        now: Millis,
    ) {
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
        self.record(PastOutcome {
            eni: Some(id.clone()),
            subnet,
            asked,
            code: remembered(unit, code, message).into(),
            ..PastOutcome::of(operation, unit, now)
        });
    }

    /// Notes an outcome for the policy and wakes it.
    pub(crate) fn record(&mut self, past: PastOutcome) {
        if past.done > 0 && matches!(past.operation, Operation::AttachEni | Operation::Grow) {
            self.last_refusal = None;
        }
        self.outcomes.push_back(past);
        self.mind.wake(Trigger::Outcome);
    }

    fn remember_shortage(
        &mut self,
        subnet: &SubnetId,
        unit: Unit,
        code: &str,
        message: &str,
        now: Millis,
    ) {
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
