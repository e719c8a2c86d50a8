//! The node: one value that knows everything, one function that handles whatever happens.
//!
//! In: events and the time. Out: effects, to be performed in order, and the time of the next wake.
//! Must hold: the laws of `crate::laws`; every request is answered once.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::budget::{Bucket, Jitter, Throttle, is_denial, is_throttling};
use crate::check::Step;
use crate::cidr::Unit;
use crate::config::{Config, StartFacts};
use crate::demand::{History, Waiter, Waiting};
use crate::effect::{ComingEni, Ec2Request, Effect, Leaving, NoAddress, Reply, Saved, Severity};
use crate::event::{Ec2Outcome, EniFacts, Event};
use crate::ids::{EniId, IntentId, PodName, RequestId, SandboxKey, SubnetId};
use crate::journal::Journal;
use crate::life::{Create, report};
use crate::observe::Looks;
use crate::policy::Mind;
use crate::pool::{Eni, Goal, Link, Pool};
use crate::snapshot::{Limits, Operation, Role, Trigger};
use crate::time::{MINUTE, Millis};

/// Outcomes the policy is shown: this many, this old.
const MAX_OUTCOMES: usize = 32;
const OUTCOME_AGE: Millis = 15 * MINUTE;

/// Stands where EC2's code would: the call was not sent.
const NOT_DURABLE: &str = "NotDurable";

/// How an earlier action ended.
#[derive(Clone, Debug)]
pub(crate) struct PastOutcome {
    pub(crate) at: Millis,
    pub(crate) operation: Operation,
    pub(crate) eni: Option<EniId>,
    pub(crate) subnet: Option<SubnetId>,
    pub(crate) unit: Unit,
    pub(crate) asked: u32,
    pub(crate) done: u32,
    pub(crate) code: String,
}

impl PastOutcome {
    /// One that did nothing and was not refused; the rest is filled in by the caller.
    pub(crate) fn of(operation: Operation, unit: Unit, at: Millis) -> Self {
        Self {
            at,
            operation,
            eni: None,
            subnet: None,
            unit,
            asked: 0,
            done: 0,
            code: String::new(),
        }
    }
}

/// The last thing EC2 refused to give.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) operation: Operation,
    pub(crate) subnet: SubnetId,
    pub(crate) code: String,
    pub(crate) shortage: bool,
}

/// What is remembered of a subnet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SubnetMemory {
    pub(crate) free_addresses: Option<u32>,
    pub(crate) read_at: Millis,
    pub(crate) no_addresses_at: Millis,
    pub(crate) no_prefixes_at: Millis,
}

/// See the module.
#[derive(Debug)]
pub struct Node {
    pub(crate) config: Config,
    pub(crate) started_at: Millis,
    pub(crate) pool: Pool,
    /// Card and device index of attached ENIs that the daemon leaves alone.
    pub(crate) foreign: BTreeSet<(u32, u32)>,
    /// Network cards that would not take an ENI though they should: how many ENIs they are believed
    /// to take, and until when.
    pub(crate) mistrusted: BTreeMap<u32, (u32, Millis)>,
    /// ENIs that the life before this one was about to attach, with their cards, until they are seen.
    pub(crate) taken_up: BTreeMap<EniId, u32>,
    /// ENIs that are gone, and since when: a read may show them for a while.
    pub(crate) departed: BTreeMap<EniId, Millis>,
    /// Device indexes of card 0 that EC2 refused though nothing known uses them.
    pub(crate) refused_indexes: BTreeSet<(u32, u32)>,
    pub(crate) waiting: Waiting,
    pub(crate) history: History,
    pub(crate) journal: Journal,
    pub(crate) calls: BTreeMap<IntentId, Ec2Request>,
    pub(crate) creates: Vec<Create>,
    /// Destructive steps of the newest decision that wait for a fresh view.
    pub(crate) parked: Vec<Step>,
    pub(crate) looks: Looks,
    pub(crate) mind: Mind,
    pub(crate) subnets: BTreeMap<SubnetId, SubnetMemory>,
    pub(crate) outcomes: VecDeque<PastOutcome>,
    pub(crate) last_refusal: Option<Refusal>,
    pub(crate) grow_bucket: Bucket,
    pub(crate) release_bucket: Bucket,
    pub(crate) throttle: Throttle,
    pub(crate) jitter: Jitter,
    pub(crate) last_intent: u64,
    /// What the newest write tells the next life of the daemon to expect: what comes, what leaves.
    pub(crate) told: (Vec<ComingEni>, Vec<Leaving>),
    /// No cooling ends before a look has come that was asked for at or after this time.
    pub(crate) cooling_waits: Option<Millis>,
}

impl Node {
    /// Builds the node from what was found: pool from EC2, holders from the checkpoint.
    pub fn start(config: Config, facts: StartFacts, now: Millis) -> (Self, Vec<Effect>) {
        let seed = config.seed;
        let mut node = Self {
            started_at: now,
            pool: Pool::default(),
            foreign: BTreeSet::new(),
            mistrusted: BTreeMap::new(),
            taken_up: BTreeMap::new(),
            departed: BTreeMap::new(),
            refused_indexes: BTreeSet::new(),
            waiting: Waiting::default(),
            history: History::default(),
            journal: Journal::default(),
            calls: BTreeMap::new(),
            creates: Vec::new(),
            parked: Vec::new(),
            looks: Looks::under_way_since(now),
            mind: Mind::new(config.last_decision),
            subnets: BTreeMap::from([(config.own_subnet.clone(), SubnetMemory::default())]),
            outcomes: VecDeque::new(),
            last_refusal: None,
            grow_bucket: Bucket::new(config.grow_rate, now),
            release_bucket: Bucket::new(config.release_rate, now),
            throttle: Throttle::new(config.times.backoff, seed),
            jitter: Jitter(seed ^ 0x5eed),
            last_intent: 0,
            cooling_waits: None,
            told: (facts.saved.coming.clone(), facts.saved.leaving.clone()),
            config,
        };
        let mut out = Vec::new();
        for remark in facts.remarks {
            report(&mut out, Severity::Warning, "start", remark);
        }
        node.looks.periodic_at = now + node.config.times.look_period;
        let mut attached = facts.observation.clone();
        // The primary first, then in the order of attachment.
        attached.attached.sort_by_key(|eni| {
            let device = eni.attachment.as_ref().map(|a| (a.card, a.device_index));
            (eni.role != Role::Primary, device)
        });
        let mut detaching = Vec::new();
        // One that the operator took out of the daemon's hands still carries its pods.
        let held: Vec<IpAddr> = (facts.saved.allocations.iter())
            .map(|allocation| allocation.address)
            .collect();
        let carries = |eni: &EniFacts| {
            (eni.blocks.iter()).any(|cidr| held.iter().any(|address| cidr.contains(*address)))
        };
        let known = (attached.attached.into_iter()).filter(|eni| eni.managed || carries(eni));
        for eni in known {
            let leaving = eni
                .attachment
                .as_ref()
                .is_some_and(|attachment| attachment.detaching);
            let id = eni.id.clone();
            node.take_in(eni, now, node.config.times.consistency);
            if let Some(eni) = node.pool.eni_mut(&id) {
                eni.changed_at = 0;
            }
            if leaving {
                detaching.push(id);
            }
        }
        node.take_up(facts.saved.coming.clone(), now);
        let leaving = facts.saved.leaving.clone();
        node.restore(facts.saved, &facts.gone, now, &mut out);
        if facts.forgotten {
            node.let_all_cool(now);
        }
        node.let_leave(leaving, now);
        for id in detaching {
            node.give_up(&id);
        }
        node.observed(facts.observation, now, &mut out);
        node.mind.pending = Some(Trigger::Start);
        // Not yet time by itself: the first question is put because of the start.
        node.mind.wake_at = now + node.config.times.policy_period;
        node.settle(now, &mut out);
        (node, out)
    }

    fn restore(
        &mut self,
        saved: Saved,
        gone: &BTreeSet<SandboxKey>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let latest = now + self.config.times.cooldown;
        for (address, _) in saved.cooling {
            // The machine's clock may have been set since, in either direction: only a whole
            // cooldown from now on is surely enough.
            self.pool.cool(address, latest);
        }
        for allocation in saved.allocations {
            if gone.contains(&allocation.key) {
                self.journal.touch();
                self.pool.cool(allocation.address, latest);
                continue;
            }
            let (address, pod) = (allocation.address, allocation.pod.clone());
            if self.pool.place_of(address).is_none() {
                let message = format!("{address} of pod {pod} is on no ENI of this instance");
                report(out, Severity::Error, "address-lost", message);
            }
            if !self.pool.hold(allocation) {
                self.journal.touch();
                let message = format!(
                    "the checkpoint gives {address} to two sandboxes; pod {pod} comes second"
                );
                report(out, Severity::Error, "address-twice", message);
            }
        }
    }

    /// Nothing is known of what was given back lately: it may be any address that nobody holds.
    /// Nor is it known what went back to EC2: the cooling lasts until a look has come that cannot be old.
    fn let_all_cool(&mut self, now: Millis) {
        let times = self.config.times;
        let until = now + times.cooldown.max(times.consistency) + times.settle;
        self.cooling_waits = Some(now + times.consistency);
        self.want_look(now + times.consistency);
        self.journal.touch();
        self.pool.let_all_cool(until);
    }

    /// Something happened. Perform the effects in order.
    pub fn handle(&mut self, event: Event, now: Millis) -> Vec<Effect> {
        let mut out = Vec::new();
        match event {
            Event::Assign {
                request,
                key,
                pod,
                deadline,
            } => self.assign(request, key, pod, deadline, now, &mut out),
            Event::Release { request, key } => self.release(request, &key, now, &mut out),
            Event::Checkpointed {
                generation,
                durable,
            } => self.checkpointed(generation, durable, now, &mut out),
            Event::Proposed { decision, answer } => self.proposed(decision, answer, now, &mut out),
            Event::Ec2Finished { intent, outcome } => {
                self.ec2_finished(intent, outcome, now, &mut out);
            }
            Event::EniConfigured { eni, result } => self.configured(&eni, result, now, &mut out),
            Event::Observed(observation) => self.observed(*observation, now, &mut out),
            Event::LookFailed(why) => self.look_failed(&why, now, &mut out),
            Event::PolicyChanged {
                settings,
                unit,
                reset_memo,
            } => {
                self.config.settings = settings;
                self.config.unit = unit;
                if reset_memo {
                    self.mind.forget_memo();
                }
                self.mind.overrule_again_at = now;
                self.mind.wake(Trigger::Change);
            }
            Event::NodeChanged {
                schedulable,
                terminating,
                max_pods,
            } => {
                let node = &mut self.config.node;
                node.schedulable = schedulable;
                node.terminating = terminating;
                node.max_pods = max_pods.unwrap_or(node.max_pods);
                self.mind.wake(Trigger::Change);
            }
            Event::LabelsChanged(labels) => {
                self.config.node.labels = labels;
                self.mind.wake(Trigger::Change);
            }
            Event::Tick => {}
        }
        self.settle(now, &mut out);
        out
    }

    /// Draws every consequence of the state as it is now.
    fn settle(&mut self, now: Millis, out: &mut Vec<Effect>) {
        self.report_strayed(out);
        if self.cooling_waits.is_none() {
            self.pool.end_cooling(now);
        }
        self.mistrusted.retain(|_, (_, until)| *until > now);
        while self.outcomes.len() > MAX_OUTCOMES
            || self
                .outcomes
                .front()
                .is_some_and(|past| past.at + OUTCOME_AGE < now)
        {
            self.outcomes.pop_front();
        }
        self.serve(now);
        self.advance(now, out);
        self.look(now, out);
        self.ask(now, out);
        self.turn_away(now, out);
        let expected = (self.coming(), self.leaving(now));
        if expected != self.told {
            self.told = expected;
            self.journal.touch();
        }
        if let Some((generation, rest_changed)) = self.journal.next_write() {
            let mut saved = Saved {
                coming: self.told.0.clone(),
                leaving: self.told.1.clone(),
                ..self.pool.saved()
            };
            let until = now + self.config.times.cooldown;
            let perhaps_free = self.journal.perhaps_free().iter();
            saved.cooling.extend(perhaps_free.map(|it| (*it, until)));
            saved.cooling.sort_unstable();
            saved.cooling.dedup_by_key(|it| it.0);
            out.push(Effect::Checkpoint {
                generation,
                saved,
                rest_changed,
            });
        }
    }

    fn assign(
        &mut self,
        request: RequestId,
        key: SandboxKey,
        pod: PodName,
        deadline: Millis,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        if !key.is_complete() {
            let reply = Reply::IncompleteKey;
            out.push(Effect::Reply { request, reply });
            return;
        }
        if let Some(allocation) = self.pool.held(&key) {
            let address = allocation.address;
            let reply = self.pool.holding(allocation).map_or(
                Reply::NoAddress(NoAddress::AddressLost { address }),
                Reply::Assigned,
            );
            self.answer_when_durable(request, reply, out);
            return;
        }
        self.waiting.join(request, key, pod, now, deadline);
        self.mind.wake(Trigger::Demand);
    }

    fn answer_when_durable(&mut self, request: RequestId, reply: Reply, out: &mut Vec<Effect>) {
        if self.journal.is_settled() {
            out.push(Effect::Reply { request, reply });
        } else {
            self.journal.reply(request, reply);
        }
    }

    fn release(
        &mut self,
        request: RequestId,
        key: &SandboxKey,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        if let Some(waiter) = self.waiting.remove(key) {
            for request in waiter.requests {
                let reply = Reply::NoAddress(NoAddress::Cancelled);
                out.push(Effect::Reply { request, reply });
            }
        }
        let migrated = key.migrated();
        let key = if self.pool.held(key).is_none() {
            &migrated
        } else {
            key
        };
        let Some(holding) = self.pool.held(key).map(|allocation| {
            self.pool
                .holding(allocation)
                .unwrap_or(crate::effect::Holding {
                    address: allocation.address,
                    eni: EniId::default(),
                    card: 0,
                    device_index: 0,
                })
        }) else {
            self.answer_when_durable(request, Reply::UnknownSandbox, out);
            return;
        };
        let until = now + self.config.times.cooldown;
        if let Some(allocation) = self.pool.release(key, until, now) {
            self.journal.released(allocation, until > now);
            self.journal.reply(request, Reply::Released(holding));
            self.history.deleted(now);
            self.mind.wake(Trigger::Demand);
        }
    }

    fn checkpointed(&mut self, generation: u64, durable: bool, now: Millis, out: &mut Vec<Effect>) {
        if !durable {
            let message = String::from("the checkpoint cannot be written; what it held is undone");
            report(out, Severity::Error, "checkpoint-failed", message);
        }
        let written = self
            .journal
            .written(generation, durable, &mut self.pool, now);
        for (request, reply) in written.replies {
            out.push(Effect::Reply { request, reply });
        }
        for intent in written.calls {
            if durable {
                self.send(intent, out);
            } else {
                let outcome = Ec2Outcome::Refused {
                    code: String::from(NOT_DURABLE),
                    message: String::from("it was not sent, for the checkpoint cannot be written"),
                };
                self.ec2_finished(intent, outcome, now, out);
            }
        }
    }

    /// Gives free addresses to those who wait, first come, first served.
    fn serve(&mut self, now: Millis) {
        while let Some(waiter) = self.waiting.0.front() {
            // Its release was undone while it waited: it holds what it held.
            let restored = self.pool.held(&waiter.key).cloned();
            let again = restored.is_some();
            let placement = self.mind.placement;
            let assigned = || {
                self.pool
                    .assign(&waiter.key, &waiter.pod, placement, now)
                    .cloned()
            };
            let Some(allocation) = restored.or_else(assigned) else {
                return;
            };
            let Some(holding) = self.pool.holding(&allocation) else {
                return;
            };
            if !again {
                self.journal.assigned(&allocation.key);
                self.history.added(now);
            }
            if let Some(waiter) = self.waiting.0.pop_front() {
                for request in waiter.requests {
                    self.journal
                        .reply(request, Reply::Assigned(holding.clone()));
                }
            }
            self.mind.wake(Trigger::Demand);
        }
    }

    /// Answers those who wait for nothing, with the reason.
    fn turn_away(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let mut kept = VecDeque::new();
        for waiter in core::mem::take(&mut self.waiting.0) {
            match self.verdict(&waiter, kept.len(), now) {
                None => kept.push_back(waiter),
                Some(why) => out.extend(waiter.requests.iter().map(|request| Effect::Reply {
                    request: *request,
                    reply: Reply::NoAddress(why.clone()),
                })),
            }
        }
        self.waiting.0 = kept;
    }

    /// Why a waiting sandbox will get nothing; absent while it may.
    fn verdict(&self, waiter: &Waiter, ahead: usize, now: Millis) -> Option<NoAddress> {
        if now >= waiter.deadline {
            return Some(self.too_long(waiter, now));
        }
        if self.is_growing() || self.mind.asked.is_some() || self.mind.pending.is_some() {
            return None;
        }
        let cooled = self
            .pool
            .cooling()
            .values()
            .filter(|until| **until < waiter.deadline)
            .count();
        // Each address that will have cooled in time serves one of those ahead, or this one.
        if cooled > ahead || self.pool.enis.iter().any(|eni| eni.goal == Goal::Leave) {
            return None;
        }
        if !self.has_room() {
            return Some(NoAddress::NodeFull {
                assigned: self.pool.allocations().count() as u32,
                cooling: self.pool.cooling().len() as u32,
                enis: self.eni_count(0),
                enis_limit: self.eni_limit(0),
            });
        }
        let until = self.throttle.grow_until();
        if until > now {
            return (until >= waiter.deadline).then_some(NoAddress::Throttled { until });
        }
        let refusal = self.last_refusal.as_ref().filter(|_| self.mind.idle)?;
        if refusal.shortage {
            Some(NoAddress::SubnetEmpty {
                subnet: refusal.subnet.clone(),
                code: refusal.code.clone(),
            })
        } else if is_denial(&refusal.code) {
            Some(NoAddress::Denied {
                operation: refusal.operation,
                code: refusal.code.clone(),
            })
        } else {
            None
        }
    }

    fn too_long(&self, waiter: &Waiter, now: Millis) -> NoAddress {
        let refusal = self.last_refusal.as_ref();
        let until = self.throttle.grow_until();
        if refusal.is_some_and(|refusal| is_throttling(&refusal.code)) && until > now {
            return NoAddress::Throttled { until };
        }
        NoAddress::WaitedTooLong {
            waited: now.saturating_sub(waiter.since),
            in_flight: self.calls.len() as u32,
            last_code: refusal.map(|refusal| refusal.code.clone()),
        }
    }

    /// Calls that the warm pool leaves for pods that wait: a quarter of what may be made at once.
    pub(crate) fn kept_for_pods(&self) -> u32 {
        if self.waiting.0.is_empty() {
            self.config.grow_rate.burst / 4
        } else {
            0
        }
    }

    /// Whether more addresses are on their way.
    pub(crate) fn is_growing(&self) -> bool {
        !self.creates.is_empty()
            || self
                .pool
                .enis
                .iter()
                .any(|eni| eni.growing > 0 || eni.is_coming_up())
    }

    /// ENIs of a network card that count against its limit now or when everything under way has
    /// succeeded.
    pub(crate) fn eni_count(&self, card: u32) -> u32 {
        let enis = self.pool.enis.iter().map(Eni::card);
        let coming = self.creates.iter().map(|create| create.card);
        enis.chain(coming).filter(|of| *of == card).count() as u32
    }

    /// ENIs that the daemon may have on a network card: what EC2 allows without those that it
    /// leaves alone.
    pub(crate) fn eni_limit(&self, card: u32) -> u32 {
        let limits = &self.config.limits;
        let most = match (card as usize).checked_sub(1) {
            None => limits.enis,
            Some(place) => limits.other_cards.get(place).copied().unwrap_or(0),
        };
        let foreign = self.foreign.iter().filter(|(of, _)| *of == card).count() as u32;
        let room = most.saturating_sub(foreign);
        match self.mistrusted.get(&card) {
            Some((believed, _)) => room.min(*believed),
            None => room,
        }
    }

    /// What EC2 allows, lowered by the ENIs that the daemon leaves alone.
    pub(crate) fn limits(&self) -> Limits {
        let mut limits = self.config.limits.clone();
        limits.enis = self.eni_limit(0);
        for (card, most) in (1..).zip(&mut limits.other_cards) {
            *most = self.eni_limit(card);
        }
        limits
    }

    /// ENIs that were asked for and have no id yet.
    pub(crate) fn creating(&self) -> impl Iterator<Item = &Create> {
        self.creates.iter()
    }

    /// When `Event::Tick` is due, if nothing happens before.
    pub fn next_wake(&self) -> Option<Millis> {
        let asking = self.mind.asked.is_some() || self.must_not_ask();
        let pending = self.mind.pending.filter(|_| !asking);
        let calm = pending.map(|trigger| self.calm_until(trigger));
        // A question that waits for calm takes the timer's with it.
        let policy = (!asking).then_some(self.mind.wake_at.max(calm.unwrap_or(0)));
        let progress = self.overrule_at().filter(|_| !asking);
        let looking = self.looks.under_way.is_some();
        let look = (!looking).then_some(self.looks.periodic_at);
        let wanted = self.looks.wanted_at.filter(|_| !looking);
        let retries = (self.pool.enis.iter().enumerate())
            .filter(|(_, eni)| !eni.busy() && has_work(eni))
            .map(|(place, eni)| {
                let rests = |call: Ec2Request| self.throttle.until(call.action());
                eni.retry_at.max(self.next_call(place).map_or(0, rests))
            });
        let ends = self.pool.cooling().values().copied();
        let cooling = ends.filter(|_| self.cooling_waits.is_none());
        policy
            .into_iter()
            .chain(calm)
            .chain(progress)
            .chain(look)
            .chain(wanted)
            .chain(retries)
            .chain(self.waiting.0.iter().map(|waiter| waiter.deadline))
            .chain(cooling)
            .min()
    }
}

/// Whether an ENI is not yet what it is to become.
fn has_work(eni: &Eni) -> bool {
    // One that is let go while its link is being made ready waits for the end of that.
    let waits = eni.goal == Goal::Leave && eni.link == Link::Configuring;
    eni.missing_since.is_none()
        && !eni.left_alone
        && !waits
        && (eni.goal == Goal::Leave
            || eni.link == Link::Absent
            || eni.attachment.as_ref().is_none_or(|attachment| {
                eni.ours && eni.role == Role::Secondary && !attachment.delete_on_termination
            }))
}
