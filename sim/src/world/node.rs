//! One node: the core, what survives it, and the effects it wants.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use onsen_core::config::Config;
use onsen_core::effect::{Decider, DecisionRecord, Ec2Request, Effect, EniLink, Saved};
use onsen_core::event::Event;
use onsen_core::ids::{EniId, IntentId};
use onsen_core::laws::Auditor;
use onsen_core::node::Node;
use onsen_core::proposal::Proposal;
use onsen_core::recover::Found;
use onsen_core::snapshot::{EniPhase, KeepReason, Snapshot};
use onsen_core::status::{EniStatus, Summary};
use onsen_core::time::{Millis, SECOND};
use onsen_policy_runner::documents::in_words;

use super::decides::Decides;
use super::disk::{Disk, Reach};
use super::ec2::{self, Look, Looked, Owner};
use super::pods::{Pod, PodState, Pods};
use super::record::Record;
use super::setup::{NodeSetup, setting_list, unit};
use super::spoil::Spoil;
use super::{Due, QUIET, Surroundings};
use crate::account::{Account, Call, Operation};

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
/// A start that could not see EC2's view tries again after this long.
const START_PAUSE: Millis = SECOND;

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

/// A write under way.
#[derive(Clone, Debug)]
pub(super) struct Writing {
    pub(super) saved: Saved,
    pub(super) rest_changed: bool,
    /// How far it comes; absent when all goes well.
    fails: Option<Reach>,
}

/// See the module.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that do not depend on each other"
)]
pub struct SimNode {
    pub(super) name: String,
    pub(super) owner: Owner,
    pub(super) config: Config,
    pub(super) node: Node,
    pub(super) auditor: Auditor,
    /// A law that the core broke, until the world hears of it.
    pub(super) broken: Option<String>,
    pub(super) policy: Decides,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) schedulable: bool,
    pub(super) terminating: bool,
    /// Which daemon this is: 0, then one more after each restart.
    pub(super) life: u64,
    /// False from the daemon's death until it serves again.
    pub(super) up: bool,
    /// Added to the world's time, what the daemon's clock shows.
    pub(super) clock: i64,
    pub(super) pods: Pods,
    pub(super) disk: Disk,
    pub(super) writing: Option<Writing>,
    /// Calls that wait for their turn.
    pub(super) ready: VecDeque<(IntentId, Ec2Request)>,
    pub(super) calling: BTreeMap<IntentId, Ec2Request>,
    pub(super) look: Option<Look>,
    /// Devices on this instance.
    pub(super) devices: BTreeSet<EniId>,
    /// Each with the number of the try.
    pub(super) configuring: BTreeMap<EniId, (EniLink, u64)>,
    tries: u64,
    /// The question under way: what the policy will answer.
    pub(super) asked: Option<Proposal>,
    /// What the policy was shown last.
    last_snapshot: Option<Snapshot>,
    /// Changed settings wait until no question is under way, as in the daemon.
    changed: bool,
    /// And a changed policy, whose predecessor's memo means nothing to it.
    reset_memo: bool,
    decisions: Vec<Decided>,
    pub(super) record: Record,
    /// When something that speaks against rest happened last.
    pub(super) active_at: Millis,
    pub(super) baseline: BTreeMap<Operation, u64>,
    /// Events that a core has handled.
    pub(super) steps: u64,
    /// Calls by which EC2 changed something. A subnet that has no address may be asked again at times.
    pub(super) mutations: u64,
    pub(super) spoil: Spoil,
}

impl SimNode {
    pub(super) fn new(
        setup: &NodeSetup,
        owner: Owner,
        config: Config,
        (node, auditor): (Node, Auditor),
        pods: Pods,
        disk: Disk,
        devices: BTreeSet<EniId>,
    ) -> Self {
        Self {
            name: setup.name.clone(),
            owner,
            config,
            node,
            auditor,
            broken: None,
            policy: setup.policy.clone(),
            settings: setup.settings.clone(),
            schedulable: !setup.cordoned,
            terminating: false,
            life: 0,
            up: true,
            clock: 0,
            pods,
            disk,
            writing: None,
            ready: VecDeque::new(),
            calling: BTreeMap::new(),
            look: None,
            devices,
            configuring: BTreeMap::new(),
            tries: 0,
            asked: None,
            last_snapshot: None,
            changed: false,
            reset_memo: false,
            decisions: Vec::new(),
            record: Record::default(),
            active_at: super::START,
            baseline: BTreeMap::new(),
            steps: 0,
            mutations: 0,
            spoil: Spoil::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pool in numbers.
    pub fn summary(&self, now: Millis) -> Summary {
        self.node.summary(self.time(now))
    }

    /// Each ENI with its blocks, in attach order.
    pub fn enis(&self, now: Millis) -> Vec<EniStatus> {
        self.node.enis(self.time(now))
    }

    /// Whether its daemon runs.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// What its daemon's clock shows.
    pub(super) fn time(&self, now: Millis) -> Millis {
        now.saturating_add_signed(self.clock)
    }

    /// When the core wants to be woken, in the world's time.
    pub(super) fn next_wake(&self) -> Option<Millis> {
        let wake = self.node.next_wake().filter(|_| self.up)?;
        Some(wake.saturating_add_signed(-self.clock))
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
    pub fn checkpoint(&self) -> Found {
        self.disk.read()
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
        let summary = self.summary(now);
        // A device that never appears is waited for as long as pods are on its ENI.
        let waits = |eni: &EniStatus| {
            eni.keep == Some(KeepReason::Assigned) && !self.devices.contains(&eni.id)
        };
        self.up
            && now >= self.active_at + QUIET
            && summary.waiting == 0
            && summary.cooling == 0
            && summary.in_flight == 0
            && self.pods.count(PodState::Waiting) == 0
            && self.configuring.is_empty()
            && self
                .enis(now)
                .iter()
                .all(|eni| eni.phase == EniPhase::Ready || waits(eni))
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

    /// Another policy: what the one before it remembers means nothing to it.
    pub(super) fn change_policy(&mut self, policy: Decides, around: &mut Surroundings<'_>) {
        self.policy = policy;
        (self.changed, self.reset_memo) = (true, true);
        self.tell_settings(around);
    }

    fn tell_settings(&mut self, around: &mut Surroundings<'_>) {
        if !self.up || self.asked.is_some() || !std::mem::take(&mut self.changed) {
            return;
        }
        let prefixes = self.config.limits.prefixes;
        self.active_at = around.now;
        let event = Event::PolicyChanged {
            settings: setting_list(&self.settings),
            unit: unit(&self.settings, prefixes),
            reset_memo: std::mem::take(&mut self.reset_memo),
        };
        self.happened(event, around);
    }

    pub(super) fn node_changed(&mut self, around: &mut Surroundings<'_>) {
        self.active_at = around.now;
        if !self.up {
            return;
        }
        let event = Event::NodeChanged {
            schedulable: self.schedulable,
            terminating: self.terminating,
            max_pods: None,
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
    pub(super) fn late(&mut self, eni: &EniId, number: u64, around: &mut Surroundings<'_>) {
        let waits = self.configuring.get(eni);
        if waits.is_some_and(|(_, current)| *current == number) {
            self.configuring.remove(eni);
            let result = Err("its device did not appear".to_owned());
            let eni = eni.clone();
            around.marks.hit("device-did-not-appear");
            self.happened(Event::EniConfigured { eni, result }, around);
        }
    }

    fn configured(&mut self, eni: &EniId, after: Millis, around: &mut Surroundings<'_>) {
        self.configuring.remove(eni);
        let result = if around.skies.link_fails() {
            around.marks.hit("link-not-made-ready");
            Err("the link could not be set up".to_owned())
        } else {
            Ok(())
        };
        let event = Event::EniConfigured {
            eni: eni.clone(),
            result,
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
        if let Event::Checkpointed { .. } = &event
            && let Some(writing) = self.writing.take()
        {
            let reach = writing.fails.unwrap_or(Reach::Everything);
            self.disk.write(&writing.saved, writing.rest_changed, reach);
        }
        if let Event::Ec2Finished { intent, .. } = &event {
            self.calling.remove(intent);
            self.active_at = around.now;
            self.call_next(around);
        }
        self.happened(event, around);
    }

    pub(super) fn happened(&mut self, event: Event, around: &mut Surroundings<'_>) {
        if self.broken.is_some() {
            return;
        }
        self.steps += 1;
        if let Some(trace) = around.trace.as_mut() {
            trace.push(format!("{} {} > {event:?}", around.now, self.name));
        }
        if let Err(law) = self.auditor.event(&event, around.now) {
            self.broken = Some(law);
            return;
        }
        let now = self.time(around.now);
        let effects = self.node.handle((self.spoil.event)(event), now);
        let effects = (self.spoil.effects)(effects);
        if let Some(wake) = self.node.next_wake().filter(|wake| *wake <= now) {
            let law =
                format!("L1: at {now} the node wants to be woken at {wake}, which has passed");
            self.broken = Some(law);
            return;
        }
        self.perform(effects, around);
        self.tell_settings(around);
    }

    pub(super) fn perform(&mut self, effects: Vec<Effect>, around: &mut Surroundings<'_>) {
        for effect in effects {
            if around.skies.crashes() {
                self.crash(around);
                return;
            }
            self.perform_one(effect, around);
            if self.broken.is_some() {
                return;
            }
        }
        if around.skies.crashes() {
            self.crash(around);
            return;
        }
        if around.keeps_record {
            let summary = self.summary(around.now);
            self.record.sample(around.now, &summary);
        }
    }

    fn perform_one(&mut self, effect: Effect, around: &mut Surroundings<'_>) {
        if let Some(trace) = around.trace.as_mut()
            && !matches!(effect, Effect::AskPolicy { .. })
        {
            trace.push(format!("{} {}   < {effect:?}", around.now, self.name));
        }
        let seen = self
            .auditor
            .effects(std::slice::from_ref(&effect), around.now);
        if let Err(law) = seen {
            self.broken = Some(law);
            return;
        }
        match effect {
            Effect::Reply { request, reply } => self.replied(request, &reply, around),
            Effect::Checkpoint {
                generation,
                saved,
                rest_changed,
            } => {
                let fails = around.skies.failed_write();
                if fails.is_some() {
                    around.marks.hit("write-failed");
                }
                self.writing = Some(Writing {
                    saved,
                    rest_changed,
                    fails,
                });
                let event = Event::Checkpointed {
                    generation,
                    durable: fails.is_none(),
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
                self.tries += 1;
                let number = self.tries;
                self.configuring.insert(eni.clone(), (link, number));
                if self.devices.contains(&eni) {
                    self.configured(&eni, LINK_SETUP, around);
                } else {
                    let (node, life) = (around.place, self.life);
                    let late = Due::Late {
                        node,
                        life,
                        eni,
                        number,
                    };
                    around.later(DEVICE_PATIENCE, late);
                }
            }
            Effect::Look => {
                self.look = Some(Look::default());
                self.look_on(around);
            }
            Effect::Decided(record) => self.decided(*record, around),
            Effect::ForgetEni(_) => {}
            Effect::Report(report) => around.marks.hit(report.code),
        }
    }

    fn ask_policy(&mut self, decider: Decider, snapshot: Snapshot, around: &mut Surroundings<'_>) {
        let policy = match decider {
            Decider::Chosen => &mut self.policy,
            Decider::BuiltIn => {
                around.marks.hit("built-in-decides");
                &mut *around.built_in
            }
        };
        let answer = policy.decide(&snapshot);
        let decision = snapshot.decision_id;
        self.asked = Some(answer.as_ref().cloned().unwrap_or_default());
        self.last_snapshot = Some(snapshot);
        self.later(THINK, Event::Proposed { decision, answer }, around);
    }

    fn decided(&mut self, record: DecisionRecord, around: &mut Surroundings<'_>) {
        let (Some(proposal), Some(snapshot)) = (self.asked.take(), &self.last_snapshot) else {
            return;
        };
        if !proposal.actions.is_empty() {
            self.active_at = around.now;
        }
        if !around.keeps_record {
            return;
        }
        let actions = proposal.actions.iter();
        let words = actions.map(|it| in_words(&it.request, snapshot)).collect();
        self.decisions.push(Decided {
            record,
            proposal,
            words,
        });
    }

    /// Sends what waits for its turn.
    fn call_next(&mut self, around: &mut Surroundings<'_>) {
        while self.calling.len() < EC2_AT_ONCE
            && let Some((intent, request)) = self.ready.pop_front()
        {
            let sent = around
                .truth
                .sent(around.place, &request, around.account, &self.owner);
            if let Err(law) = sent {
                self.broken = Some(law);
                return;
            }
            let call = ec2::request(&self.owner, self.life, intent, &request);
            self.calling.insert(intent, request);
            let answer = self.call(call, around);
            self.mutations += u64::from(answer.result.is_ok());
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
        if let Some(trace) = around.trace.as_mut() {
            let what = &call.request;
            trace.push(format!(
                "{} {}     EC2 {what:?} -> {answer:?}",
                around.now, self.name
            ));
        }
        if around.keeps_record {
            self.record.call(around.now, operation, &answer);
        }
        answer
    }

    /// The next call of the look under way: one that the core asked for, or the first of a life.
    pub(super) fn look_on(&mut self, around: &mut Surroundings<'_>) {
        let Some(mut look) = self.look.take() else {
            return;
        };
        let answer = self.call(look.request(&self.owner), around);
        match (look.answer(&self.owner, answer), self.up) {
            (Looked::Goes(after), _) => {
                self.look = Some(look);
                self.look_later(after, around);
            }
            (Looked::Complete(after, observation), true) => {
                self.later(after, Event::Observed(Box::new(observation)), around);
            }
            (Looked::Failed(after, why), true) => {
                self.later(after, Event::LookFailed(why), around);
            }
            (Looked::Complete(after, observation), false) => {
                self.begin_later(after, observation, around);
            }
            (Looked::Failed(after, _), false) => {
                self.look = Some(Look::default());
                self.look_later(after + START_PAUSE, around);
            }
        }
    }

    fn look_later(&self, after: Millis, around: &mut Surroundings<'_>) {
        let (node, life) = (around.place, self.life);
        around.later(after, Due::Look { node, life });
    }
}
