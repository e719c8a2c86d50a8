//! The life of ENIs: carries out plans and takes each ENI one step further.
//!
//! In: steps of a plan, the pool. Out: EC2 calls and link work; `outcome` draws the consequences.
//! Must hold: one call at a time for each ENI; *unknown* is followed by a look, never by a repeat;
//! an ENI that EC2 gave is in the pool until EC2 says it is gone.
//!
//! Steps follow from state, not from a script: an ENI to keep is attached, flagged, configured; an
//! ENI to leave is forgotten, detached, deleted. So a crash, a lost reply or a surprise at any
//! point needs no path of its own.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use crate::check::{Plan, Step};
use crate::cidr::{Cidr, Unit};
use crate::effect::{ComingEni, Ec2Request, Effect, Leaving, Report, Severity};
use crate::ids::{EniId, IntentId, SubnetId};
use crate::node::Node;
use crate::pool::{Eni, Goal, Link};
use crate::snapshot::Role;
use crate::time::Millis;

/// An ENI that was asked for and has no id yet.
#[derive(Clone, Debug)]
pub(crate) struct Create {
    pub(crate) intent: IntentId,
    pub(crate) subnet: SubnetId,
    pub(crate) unit: Unit,
    pub(crate) blocks: u32,
    pub(crate) card: u32,
    pub(crate) since: Millis,
    /// The outcome was unknown; a look asked for at or after this time settles it.
    pub(crate) doubt: Option<Millis>,
}

/// After this many failures in a row a new ENI is given up.
pub(crate) const MAX_TRIES: u32 = 3;

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
            Step::Attach {
                subnet,
                unit,
                blocks,
                card,
            } => {
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
                    card,
                    since: now,
                    doubt: None,
                });
            }
            Step::Grow { eni, unit, count } => {
                self.grow_bucket.take(now);
                if let Some(eni) = self.pool.eni_mut(&eni) {
                    eni.growing = count;
                    eni.growing_unit = unit;
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

    /// Whether a view of that time may still be destroyed upon. The call waits for the disk, and must
    /// find the view fresh when it leaves.
    fn is_fresh(&self, view: Millis, now: Millis) -> bool {
        let times = self.config.times;
        now + times.settle <= view + times.fresh_view
    }

    /// Whether EC2 has confirmed lately what the step would destroy.
    fn is_confirmed(&self, step: &Step, now: Millis) -> bool {
        let fresh = |at: Millis| self.is_fresh(at, now);
        let eni = |id| self.pool.eni(id).filter(|eni| fresh(eni.confirmed_at));
        match step {
            Step::Attach { .. } | Step::Grow { .. } => true,
            Step::Release { eni: id, blocks } => eni(id).is_some_and(|eni| {
                blocks.iter().all(|cidr| {
                    eni.blocks
                        .get(cidr)
                        .is_some_and(|block| fresh(block.confirmed_at))
                })
            }),
            Step::Detach { eni: id } => eni(id)
                .is_some_and(|eni| eni.blocks.values().all(|block| fresh(block.confirmed_at))),
        }
    }

    /// Begins one call. One of which the next life of the daemon must know leaves when that is durable.
    fn call(&mut self, request: Ec2Request, out: &mut Vec<Effect>) -> IntentId {
        self.last_intent += 1;
        let intent = IntentId(self.last_intent);
        if let Some(eni) = request.eni().and_then(|id| self.pool.eni_mut(id)) {
            eni.call = Some(intent);
        }
        let waits = matches!(
            request,
            Ec2Request::CreateEni { .. }
                | Ec2Request::Unassign { .. }
                | Ec2Request::DetachEni { .. }
        );
        self.calls.insert(intent, request);
        if waits {
            self.journal.call(intent);
        } else {
            self.send(intent, out);
        }
        intent
    }

    /// Sends a call that was begun, unless EC2 has taken the ENI away since.
    pub(crate) fn send(&mut self, intent: IntentId, out: &mut Vec<Effect>) {
        let Some(request) = self.calls.get(&intent) else {
            return;
        };
        if request.eni().is_some_and(|id| self.pool.eni(id).is_none()) {
            self.calls.remove(&intent);
            return;
        }
        let request = request.clone();
        out.push(Effect::Ec2 { intent, request });
    }

    /// Takes each ENI one step towards what is to become of it.
    pub(crate) fn advance(&mut self, now: Millis, out: &mut Vec<Effect>) {
        for place in 0..self.pool.enis.len() {
            let eni = &mut self.pool.enis[place];
            if eni.busy() || eni.missing_since.is_some() || eni.left_alone || now < eni.retry_at {
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
            if let Some(request) = self.next_call(place)
                && now >= self.throttle.until(request.action())
            {
                if self.waits_for_a_view(place, &request, now) {
                    continue;
                }
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

    /// Whether EC2 must be looked at before this call: what was given up long ago, or what nobody
    /// decided upon with a fresh view, is not destroyed on an old one.
    fn waits_for_a_view(&mut self, place: usize, request: &Ec2Request, now: Millis) -> bool {
        let eni = &self.pool.enis[place];
        let fresh = self.is_fresh(eni.confirmed_at, now);
        if fresh || !matches!(request, Ec2Request::DetachEni { .. }) {
            return false;
        }
        let pause = self.throttle.backoff(0);
        self.pool.enis[place].retry_at = now + pause;
        self.want_look(now);
        true
    }

    /// The EC2 call that the ENI needs next.
    pub(crate) fn next_call(&self, place: usize) -> Option<Ec2Request> {
        let eni = &self.pool.enis[place];
        let id = eni.id.clone();
        match (eni.goal, &eni.attachment) {
            (Goal::Keep, None) => Some(Ec2Request::AttachEni {
                eni: id,
                device_index: self.free_device_index(eni.card),
                card: eni.card,
            }),
            (Goal::Keep, Some(attachment)) => (eni.ours
                && eni.role == Role::Secondary
                && !attachment.delete_on_termination)
                .then(|| Ec2Request::SetDeleteOnTermination {
                    eni: id,
                    attachment: attachment.id.clone(),
                }),
            (Goal::Leave, Some(attachment)) if !attachment.detaching => {
                Some(Ec2Request::DetachEni {
                    eni: id,
                    attachment: attachment.id.clone(),
                })
            }
            (Goal::Leave, _) => Some(Ec2Request::DeleteEni { eni: id }),
        }
    }

    /// The lowest device index of the card that nothing uses, is about to use, or was refused. Index 0
    /// is the primary's.
    fn free_device_index(&self, card: u32) -> u32 {
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
            Ec2Request::CreateEni { .. }
            | Ec2Request::SetDeleteOnTermination { .. }
            | Ec2Request::DetachEni { .. }
            | Ec2Request::DeleteEni { .. }
            | Ec2Request::Assign { .. }
            | Ec2Request::Unassign { .. } => None,
        });
        let used: BTreeSet<(u32, u32)> = attached
            .chain(coming)
            .chain(self.foreign.iter().copied())
            .chain(self.refused_indexes.iter().copied())
            .collect();
        (1..=used.len() as u32 + 1)
            .find(|index| !used.contains(&(card, *index)))
            .unwrap_or(1)
    }

    /// Lets an ENI go that is of no use; not one that pods hold addresses of.
    pub(crate) fn give_up(&mut self, id: &EniId) -> bool {
        let restorable = |eni: &Eni| eni.blocks.keys().any(|cidr| self.journal.may_restore(cidr));
        let useless = self.pool.eni(id).is_some_and(|eni| {
            eni.role == Role::Secondary
                && eni.assigned() == 0
                && eni.cooling() == 0
                && !restorable(eni)
        });
        if useless && let Some(eni) = self.pool.eni_mut(id) {
            eni.goal = Goal::Leave;
            eni.tries = 0;
        }
        useless
    }
}

impl Node {
    /// EC2 or the machine would not take one more ENI on this card, though it should: for a while the
    /// node has room for no more than those that are attached, without `but`.
    pub(crate) fn mistrust_room(&mut self, card: u32, but: &EniId, now: Millis) {
        let attached = self
            .pool
            .enis
            .iter()
            .filter(|eni| eni.id != *but && eni.card() == card && eni.attachment.is_some());
        let attached = attached.count() as u32;
        let until = now + self.config.times.mistrust;
        self.mistrusted.insert(card, (attached, until));
    }

    /// ENIs that were asked for and are not attached yet.
    pub(crate) fn coming(&self) -> Vec<ComingEni> {
        let created = self.creates.iter().map(|create| ComingEni {
            eni: None,
            subnet: create.subnet.clone(),
            card: create.card,
            unit: create.unit,
            blocks: create.blocks,
        });
        let loose = self
            .pool
            .enis
            .iter()
            .filter(|eni| eni.ours && eni.goal == Goal::Keep && eni.attachment.is_none());
        let loose = loose.map(|eni| ComingEni {
            eni: Some(eni.id.clone()),
            subnet: eni.subnet.clone(),
            card: eni.card,
            unit: eni
                .blocks
                .keys()
                .next()
                .map_or(self.config.unit, Cidr::unit),
            blocks: eni.blocks.len() as u32,
        });
        created.chain(loose).collect()
    }

    /// What goes back to EC2, or went so lately that a read may still show it.
    pub(crate) fn leaving(&self, now: Millis) -> Vec<Leaving> {
        let consistency = self.config.times.consistency;
        let of = |eni: &Eni| {
            let whole = eni.goal == Goal::Leave && eni.attachment.is_some();
            let leave = eni.blocks.iter().filter(|(_, block)| block.leaving);
            let left = eni.gone.iter().filter(|(_, at)| now < **at + consistency);
            let blocks = leave.map(|(cidr, _)| *cidr).chain(left.map(|it| *it.0));
            let blocks: Vec<Cidr> = blocks.filter(|_| !whole).collect();
            (whole || !blocks.is_empty()).then(|| Leaving {
                eni: eni.id.clone(),
                blocks,
            })
        };
        self.pool.enis.iter().filter_map(of).collect()
    }

    /// What the life before this one gave back may be gone, though the first read shows it.
    pub(crate) fn let_leave(&mut self, leaving: Vec<Leaving>, now: Millis) {
        let sure_at = now + self.config.times.consistency;
        for Leaving { eni: id, blocks } in leaving {
            if blocks.is_empty() {
                self.give_up(&id);
                continue;
            }
            let Some(eni) = self.pool.eni_mut(&id) else {
                continue;
            };
            for cidr in blocks {
                match eni.blocks.get_mut(&cidr) {
                    Some(block) if block.assigned == 0 => {
                        block.leaving = true;
                        eni.doubt = Some(sure_at);
                    }
                    // What a pod holds an address of is not given back, whatever was planned.
                    Some(_) => {}
                    // Gone; but a later read may be older than this one.
                    None => {
                        eni.gone.insert(cidr, now);
                    }
                }
            }
        }
    }

    /// Takes up what the life before this one had asked for.
    pub(crate) fn take_up(&mut self, coming: Vec<ComingEni>, now: Millis) {
        let doubt = Some(now + self.config.times.settle);
        for eni in coming {
            if let Some(id) = eni.eni {
                self.taken_up.insert(id, eni.card);
                continue;
            }
            self.last_intent += 1;
            self.creates.push(Create {
                intent: IntentId(self.last_intent),
                subnet: eni.subnet,
                unit: eni.unit,
                blocks: eni.blocks,
                card: eni.card,
                since: now,
                doubt,
            });
        }
    }
}

pub(crate) fn report(
    out: &mut Vec<Effect>,
    severity: Severity,
    code: &'static str,
    message: String,
) {
    out.push(Effect::Report(Report {
        severity,
        code,
        message,
    }));
}
