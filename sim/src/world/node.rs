//! One node: the core, what survives it, and the effects it wants.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use onsen_core::cidr::Unit;
use onsen_core::effect::{Decider, DecisionRecord, Ec2Request, Effect, EniLink, Reply, Saved};
use onsen_core::event::Event;
use onsen_core::ids::{EniId, IntentId, RequestId};
use onsen_core::laws::Auditor;
use onsen_core::node::Node;
use onsen_core::proposal::Proposal;
use onsen_core::snapshot::{EniPhase, Setting, Snapshot};
use onsen_core::status::{EniStatus, Summary};
use onsen_core::time::{Millis, SECOND};
use onsen_policy_runner::Policy;
use onsen_policy_runner::documents::in_words;

use super::ec2::{self, Look, Looked, Owner};
use super::pods::{Pod, PodState, Pods, RETRY};
use super::record::Record;
use super::setup::NodeSetup;
use super::{Due, QUIET, Surroundings};
use crate::account::{Account, Call, Operation};

/// How long a pod waits for an address at most, as with the daemon's default.
const ADD_WAIT: Millis = 10 * SECOND;
/// EC2 calls of the daemon under way at once.
const EC2_AT_ONCE: usize = 4;
/// How long an ENI's device may take after EC2 says that it is attached.
const DEVICE_PATIENCE: Millis = 60 * SECOND;
/// How long making a link ready takes once its device is there.
const LINK_SETUP: Millis = 50;
/// How long a write of the checkpoint lasts.
const WRITE: Millis = 5;
/// How long a policy thinks.
const THINK: Millis = 1;

/// A decision, and what was asked for in it.
#[derive(Clone, Debug)]
pub struct Decided {
    /// As the core tells it.
    pub record: DecisionRecord,
    /// What the policy answered, before the core's check.
    pub proposal: Proposal,
    /// Each action of it in words, with the names of that moment.
    pub words: Vec<String>,
}

/// See the module.
pub struct SimNode {
    pub(super) name: String,
    owner: Owner,
    pub(super) node: Node,
    auditor: Auditor,
    pub(super) broken: Option<String>,
    policy: Arc<Policy>,
    settings: BTreeMap<String, String>,
    pub(super) schedulable: bool,
    pub(super) terminating: bool,
    /// Which daemon this is: 0, then one more after each restart.
    pub(super) life: u64,
    pub(super) pods: Pods,
    /// The checkpoint on the disk.
    disk: Saved,
    writing: Option<Saved>,
    /// Calls that wait for their turn.
    ready: VecDeque<(IntentId, Ec2Request)>,
    calling: usize,
    look: Option<Look>,
    /// Devices on this instance.
    devices: BTreeSet<EniId>,
    configuring: BTreeMap<EniId, EniLink>,
    /// The question under way: what the policy will answer.
    asked: Option<Proposal>,
    /// What the policy was shown last.
    last_snapshot: Option<Snapshot>,
    /// Changed settings wait until no question is under way, as in the daemon.
    changed: bool,
    decisions: Vec<Decided>,
    record: Record,
    /// When something that speaks against rest happened last.
    pub(super) active_at: Millis,
    pub(super) baseline: BTreeMap<Operation, u64>,
}

impl SimNode {
    pub(super) fn new(
        setup: &NodeSetup,
        owner: Owner,
        node: Node,
        auditor: Auditor,
        pods: Pods,
        disk: Saved,
        devices: BTreeSet<EniId>,
    ) -> Self {
        Self {
            name: setup.name.clone(),
            owner,
            node,
            auditor,
            broken: None,
            policy: Arc::clone(&setup.policy),
            settings: setup.settings.clone(),
            schedulable: !setup.cordoned,
            terminating: false,
            life: 0,
            pods,
            disk,
            writing: None,
            ready: VecDeque::new(),
            calling: 0,
            look: None,
            devices,
            configuring: BTreeMap::new(),
            asked: None,
            last_snapshot: None,
            changed: false,
            decisions: Vec::new(),
            record: Record::default(),
            active_at: super::START,
            baseline: BTreeMap::new(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pool in numbers.
    pub fn summary(&self, now: Millis) -> Summary {
        self.node.summary(now)
    }

    /// Each ENI with its blocks, in attach order.
    pub fn enis(&self, now: Millis) -> Vec<EniStatus> {
        self.node.enis(now)
    }

    /// All pods there ever were, in the order of arrival.
    pub fn pods(&self) -> &[Pod] {
        &self.pods.all
    }

    /// How many pods are in this state.
    pub fn count(&self, state: PodState) -> usize {
        self.pods.count(state)
    }

    /// How often an ADD ended without an address, by the code of the reason.
    pub fn refused(&self) -> &BTreeMap<&'static str, u64> {
        &self.pods.refused
    }

    /// All decisions so far, oldest first.
    pub fn decisions(&self) -> &[Decided] {
        &self.decisions
    }

    /// What the policy was shown last.
    pub fn last_snapshot(&self) -> Option<&Snapshot> {
        self.last_snapshot.as_ref()
    }

    /// How its pool changed, and each of its EC2 calls.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// When something that speaks against rest happened last: a pod came or went, EC2 was asked to
    /// change something or answered that, or a policy asked for something.
    pub fn active_at(&self) -> Millis {
        self.active_at
    }

    /// The checkpoint on its disk.
    pub fn disk(&self) -> &Saved {
        &self.disk
    }

    /// EC2 calls since the start, by operation.
    pub fn calls(&self, account: &Account) -> BTreeMap<Operation, u64> {
        let mut counts = self.counts(account);
        for (operation, before) in &self.baseline {
            if let Some(count) = counts.get_mut(operation) {
                *count -= before;
            }
        }
        counts
    }

    pub(super) fn counts(&self, account: &Account) -> BTreeMap<Operation, u64> {
        let own = account
            .counts()
            .filter(|(node, ..)| *node == Some(&*self.name));
        own.map(|(_, operation, count)| (operation, count.accepted + count.refused))
            .collect()
    }

    /// See the module.
    pub(super) fn is_at_rest(&self, now: Millis) -> bool {
        let summary = self.node.summary(now);
        now >= self.active_at + QUIET
            && summary.waiting == 0
            && summary.cooling == 0
            && summary.in_flight == 0
            && self.pods.count(PodState::Waiting) == 0
            && self.configuring.is_empty()
            && self
                .node
                .enis(now)
                .iter()
                .all(|eni| eni.phase == EniPhase::Ready)
    }

    /// A pod's sandbox asks for an address.
    pub(super) fn ask(&mut self, pod: usize, around: &mut Surroundings<'_>) {
        let Some(it) = self.pods.all.get_mut(pod) else {
            return;
        };
        if it.state != PodState::Waiting {
            return;
        }
        it.attempts += 1;
        let (key, name) = (it.key(), it.full_name());
        self.active_at = around.now;
        let event = Event::Assign {
            request: self.pods.request(pod),
            key,
            pod: name,
            deadline: around.now + ADD_WAIT,
        };
        self.happened(event, around);
    }

    /// A pod goes.
    pub(super) fn give_back(&mut self, pod: usize, around: &mut Surroundings<'_>) {
        let Some(it) = self.pods.all.get_mut(pod) else {
            return;
        };
        it.state = PodState::Gone;
        let key = it.key();
        self.active_at = around.now;
        let request = self.pods.request(pod);
        self.happened(Event::Release { request, key }, around);
    }

    pub(super) fn change_settings(
        &mut self,
        settings: &BTreeMap<String, String>,
        around: &mut Surroundings<'_>,
    ) {
        self.settings.extend(settings.clone());
        self.changed = true;
        self.tell_settings(around);
    }

    fn tell_settings(&mut self, around: &mut Surroundings<'_>) {
        if self.asked.is_some() || !std::mem::take(&mut self.changed) {
            return;
        }
        let prefixes = self.node.summary(around.now).limits.prefixes;
        self.active_at = around.now;
        let event = Event::PolicyChanged {
            settings: setting_list(&self.settings),
            unit: unit(&self.settings, prefixes),
            reset_memo: false,
        };
        self.happened(event, around);
    }

    pub(super) fn node_changed(&mut self, around: &mut Surroundings<'_>) {
        self.active_at = around.now;
        let event = Event::NodeChanged {
            schedulable: self.schedulable,
            terminating: self.terminating,
        };
        self.happened(event, around);
    }

    /// A device is there.
    pub(super) fn appeared(&mut self, eni: EniId, around: &mut Surroundings<'_>) {
        if self.configuring.contains_key(&eni) {
            self.configured(&eni, LINK_SETUP, around);
        }
        self.devices.insert(eni);
    }

    pub(super) fn vanished(&mut self, eni: &EniId) {
        self.devices.remove(eni);
    }

    /// A device has not appeared in time.
    pub(super) fn late(&mut self, eni: &EniId, around: &mut Surroundings<'_>) {
        if self.configuring.remove(eni).is_some() {
            let result = Err("its device did not appear".to_owned());
            let eni = eni.clone();
            self.happened(Event::EniConfigured { eni, result }, around);
        }
    }

    fn configured(&mut self, eni: &EniId, after: Millis, around: &mut Surroundings<'_>) {
        self.configuring.remove(eni);
        let event = Event::EniConfigured {
            eni: eni.clone(),
            result: Ok(()),
        };
        self.later(after, event, around);
    }

    fn later(&self, after: Millis, event: Event, around: &mut Surroundings<'_>) {
        let due = Due::Event {
            node: around.place,
            life: self.life,
            event: Box::new(event),
        };
        around.later(after, due);
    }

    /// An effect has ended.
    pub(super) fn hear(&mut self, event: Event, around: &mut Surroundings<'_>) {
        if let Event::Checkpointed { durable: true, .. } = &event
            && let Some(saved) = self.writing.take()
        {
            self.disk = saved;
        }
        if let Event::Ec2Finished { .. } = &event {
            self.calling = self.calling.saturating_sub(1);
            self.active_at = around.now;
            self.call_next(around);
        }
        self.happened(event, around);
    }

    pub(super) fn happened(&mut self, event: Event, around: &mut Surroundings<'_>) {
        if let Err(law) = self.auditor.event(&event, around.now) {
            self.broken = Some(law);
            return;
        }
        let effects = self.node.handle(event, around.now);
        self.perform(effects, around);
        self.tell_settings(around);
    }

    pub(super) fn perform(&mut self, effects: Vec<Effect>, around: &mut Surroundings<'_>) {
        if let Err(law) = self.auditor.effects(&effects, around.now) {
            self.broken = Some(law);
            return;
        }
        for effect in effects {
            match effect {
                Effect::Reply { request, reply } => self.replied(request, &reply, around),
                Effect::Checkpoint {
                    generation, saved, ..
                } => {
                    self.writing = Some(saved);
                    let event = Event::Checkpointed {
                        generation,
                        durable: true,
                    };
                    self.later(WRITE, event, around);
                }
                Effect::AskPolicy { decider, snapshot } => {
                    self.ask_policy(decider, *snapshot, around);
                }
                Effect::Ec2 { intent, request } => {
                    self.active_at = around.now;
                    self.ready.push_back((intent, request));
                    self.call_next(around);
                }
                Effect::ConfigureEni(link) => {
                    let eni = link.eni.clone();
                    self.configuring.insert(eni.clone(), link);
                    if self.devices.contains(&eni) {
                        self.configured(&eni, LINK_SETUP, around);
                    } else {
                        let (node, life) = (around.place, self.life);
                        around.later(DEVICE_PATIENCE, Due::Late { node, life, eni });
                    }
                }
                Effect::Look => {
                    self.look = Some(Look::default());
                    self.look_on(around);
                }
                Effect::Decided(record) => self.decided(*record, around.now),
                Effect::ForgetEni(_) | Effect::Report(_) => {}
            }
        }
        let summary = self.node.summary(around.now);
        self.record.sample(around.now, &summary);
    }

    fn replied(&mut self, request: RequestId, reply: &Reply, around: &mut Surroundings<'_>) {
        let Some(pod) = self.pods.open.remove(&request) else {
            return;
        };
        let Some(it) = self.pods.all.get_mut(pod) else {
            return;
        };
        match reply {
            Reply::Assigned(_) if it.state == PodState::Waiting => {
                it.state = PodState::Running;
                it.waited = Some(around.now - it.arrived_at);
            }
            Reply::NoAddress(why) if it.state == PodState::Waiting => {
                *self.pods.refused.entry(why.code()).or_default() += 1;
                let node = around.place;
                around.later(RETRY, Due::Retry { node, pod });
            }
            Reply::NotDurable if it.state == PodState::Waiting => {
                let node = around.place;
                around.later(RETRY, Due::Retry { node, pod });
            }
            Reply::Assigned(_)
            | Reply::NoAddress(_)
            | Reply::Released(_)
            | Reply::UnknownSandbox
            | Reply::IncompleteKey
            | Reply::NotDurable => {}
        }
    }

    fn ask_policy(&mut self, decider: Decider, snapshot: Snapshot, around: &mut Surroundings<'_>) {
        let policy = match decider {
            Decider::Chosen => &*self.policy,
            Decider::BuiltIn => around.built_in,
        };
        let answer = policy.decide(&snapshot).map(|decided| decided.proposal);
        let answer = answer.map_err(|error| error.to_string());
        let decision = snapshot.decision_id;
        self.asked = Some(answer.as_ref().cloned().unwrap_or_default());
        self.last_snapshot = Some(snapshot);
        self.later(THINK, Event::Proposed { decision, answer }, around);
    }

    fn decided(&mut self, record: DecisionRecord, now: Millis) {
        let (Some(proposal), Some(snapshot)) = (self.asked.take(), &self.last_snapshot) else {
            return;
        };
        let actions = proposal.actions.iter();
        let words = actions.map(|it| in_words(&it.request, snapshot)).collect();
        if !proposal.actions.is_empty() {
            self.active_at = now;
        }
        self.decisions.push(Decided {
            record,
            proposal,
            words,
        });
    }

    /// Sends what waits for its turn.
    fn call_next(&mut self, around: &mut Surroundings<'_>) {
        while self.calling < EC2_AT_ONCE
            && let Some((intent, request)) = self.ready.pop_front()
        {
            self.calling += 1;
            let request = ec2::request(&self.owner, self.life, intent, &request);
            let answer = self.call(request, around);
            let (after, outcome) = ec2::outcome(&self.owner, answer);
            self.later(after, Event::Ec2Finished { intent, outcome }, around);
        }
    }

    fn call(
        &mut self,
        request: crate::account::Request,
        around: &mut Surroundings<'_>,
    ) -> crate::account::Answer {
        let operation = request.operation();
        let call = Call {
            node: Some(self.name.clone()),
            dry_run: false,
            request,
        };
        let answer = around.account.call(around.now, &call);
        self.record.call(around.now, operation, &answer);
        answer
    }

    /// The next call of the look under way.
    pub(super) fn look_on(&mut self, around: &mut Surroundings<'_>) {
        let Some(mut look) = self.look.take() else {
            return;
        };
        let answer = self.call(look.request(&self.owner), around);
        match look.answer(&self.owner, answer) {
            Looked::Goes(after) => {
                self.look = Some(look);
                let (node, life) = (around.place, self.life);
                around.later(after, Due::Look { node, life });
            }
            Looked::Complete(after, observation) => {
                self.later(after, Event::Observed(Box::new(observation)), around);
            }
            Looked::Failed(after, why) => self.later(after, Event::LookFailed(why), around),
        }
    }
}

/// As the core wants them: sorted by key.
pub(super) fn setting_list(settings: &BTreeMap<String, String>) -> Vec<Setting> {
    let setting = |(key, value): (&String, &String)| Setting {
        key: key.clone(),
        value: value.clone(),
    };
    settings.iter().map(setting).collect()
}

/// What new blocks are by default, as the daemon reads it.
pub(super) fn unit(settings: &BTreeMap<String, String>, prefixes_possible: bool) -> Unit {
    let wanted = settings
        .get("ENABLE_PREFIX_DELEGATION")
        .is_some_and(|text| matches!(&**text, "1" | "t" | "T" | "TRUE" | "true" | "True"));
    if wanted && prefixes_possible {
        Unit::Prefix
    } else {
        Unit::Address
    }
}
