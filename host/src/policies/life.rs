//! What runs now, what comes next, and where to go back to.
//!
//! In: news of the watcher, how decisions and ADDs went. Out: a swap for the loop to carry out
//! between two decisions, the status, events for people.
//! Must hold: nothing here blocks; a refused candidate changes nothing but the status; what is rolled
//! back is written down before it can be asked for again.

use std::collections::BTreeMap;
use std::sync::Arc;

use onsen_core::effect::DecisionRecord;
use onsen_core::proposal::Proposal;
use onsen_core::snapshot::Snapshot;
use onsen_core::time::Millis;
use onsen_policy_runner::Policy;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use super::guard::{AddOutcome, Guard, Rates};
use super::keep::{Keep, Kept, LastGood, RolledBack};
use super::shadow::{Compared, Figures, Shadow};
use super::{Candidate, Chosen, News};
use crate::clock::millis;

/// Something people should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LifeEvent {
    /// Another policy, or other settings.
    Swapped(String),
    /// What was asked for cannot run.
    Refused(String),
    /// What ran did badly.
    RolledBack(String),
}

/// What runs, for people and machines.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct PolicyStatus {
    /// Its own name.
    pub(crate) name: String,
    /// Its own version.
    pub(crate) version: String,
    /// Where it came from.
    pub(crate) reference: String,
    /// Of its bytes.
    pub(crate) digest: String,
    /// Size of its component.
    pub(crate) component_bytes: u64,
    /// How long compiling and loading it took; 0 when it was loaded already.
    pub(crate) load_ms: u64,
    /// The interface it speaks.
    pub(crate) contract: String,
    /// The rule that chose it; absent when the environment did.
    pub(crate) rule: Option<String>,
    /// Since when.
    pub(crate) since: Millis,
    /// Whether it is still watched beside the last good one.
    pub(crate) on_probation: bool,
    /// By key.
    pub(crate) settings: BTreeMap<String, String>,
    /// Why the last wish was not granted, until one is.
    pub(crate) last_error: Option<String>,
    /// When that was.
    pub(crate) last_error_at: Option<Millis>,
    /// Where to go back to.
    pub(crate) last_good: Option<Named>,
    /// What is compared.
    pub(crate) shadow: Option<Named>,
    /// Why the shadow that is asked for does not run.
    pub(crate) shadow_error: Option<String>,
    /// Since the daemon started.
    pub(crate) swaps: u64,
    /// Since the daemon started.
    pub(crate) refusals: u64,
    /// Since the daemon started.
    pub(crate) rollbacks: u64,
}

/// A policy in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Named {
    /// Its own name.
    pub(crate) name: String,
    /// Where it came from.
    pub(crate) reference: String,
    /// Of its bytes.
    pub(crate) digest: String,
}

impl Named {
    fn of(candidate: &Candidate) -> Self {
        Self {
            name: candidate.policy.metadata().name.clone(),
            reference: candidate.reference.to_string(),
            digest: candidate.policy.digest().to_owned(),
        }
    }
}

enum Next {
    Chosen(Chosen),
    RollBack { why: String, to: Candidate },
}

/// A swap to be carried out now.
pub(crate) struct Swap {
    /// It decides from now on.
    pub(crate) candidate: Candidate,
    /// Whether its predecessor's memo means nothing to it.
    pub(crate) reset_memo: bool,
}

/// What a life starts with.
pub(super) struct Birth {
    pub(super) chosen: Chosen,
    pub(super) built_in: Candidate,
    pub(super) last_good: Option<Candidate>,
    pub(super) last_error: Option<String>,
    pub(super) keep: Keep,
    pub(super) kept: Kept,
    pub(super) probation: Millis,
    pub(super) fuel_limit: u64,
}

/// See the module.
pub(crate) struct Life {
    in_force: Candidate,
    rule: Option<String>,
    shadow: Option<Shadow>,
    shadow_error: Option<String>,
    /// How the shadow compares.
    pub(crate) compared: Figures,
    since: Millis,
    next: Option<Next>,
    built_in: Candidate,
    last_good: Option<Candidate>,
    guard: Guard,
    good_rates: Rates,
    /// Whether it has yet to prove good.
    on_probation: bool,
    probation: Millis,
    fuel_limit: u64,
    last_error: Option<(Millis, String)>,
    swaps: u64,
    refusals: u64,
    rollbacks: u64,
    keep: Keep,
    kept: Kept,
    told: watch::Sender<PolicyStatus>,
    events: mpsc::UnboundedSender<LifeEvent>,
    heard: Option<mpsc::UnboundedReceiver<LifeEvent>>,
}

impl Life {
    pub(super) fn new(birth: Birth, now: Millis) -> Self {
        let (events, heard) = mpsc::unbounded_channel();
        // Good before: it has nothing to prove. What was never seen to run has.
        let known = birth
            .last_good
            .as_ref()
            .is_some_and(|good| good.is_same(&birth.chosen.candidate));
        let mut life = Self {
            in_force: birth.chosen.candidate.clone(),
            rule: None,
            shadow: None,
            shadow_error: None,
            compared: Figures::default(),
            since: now,
            next: None,
            built_in: birth.built_in,
            last_good: birth.last_good,
            guard: Guard::new(Rates::default(), birth.fuel_limit),
            good_rates: Rates::default(),
            on_probation: !known,
            probation: birth.probation,
            fuel_limit: birth.fuel_limit,
            last_error: birth.last_error.map(|why| (now, why)),
            swaps: 0,
            refusals: 0,
            rollbacks: 0,
            keep: birth.keep,
            kept: birth.kept,
            told: watch::Sender::default(),
            events,
            heard: Some(heard),
        };
        life.label(birth.chosen);
        life.tell();
        life
    }

    /// Follows the status.
    pub(crate) fn follow(&self) -> watch::Receiver<PolicyStatus> {
        self.told.subscribe()
    }

    /// The events, for one listener.
    pub(crate) fn events(&mut self) -> Option<mpsc::UnboundedReceiver<LifeEvent>> {
        self.heard.take()
    }

    /// What decides.
    pub(crate) fn in_force(&self) -> &Candidate {
        &self.in_force
    }

    /// What decides when that does not.
    pub(crate) fn built_in(&self) -> Arc<Policy> {
        Arc::clone(&self.built_in.policy)
    }

    /// What is compared.
    pub(crate) fn shadow(&self) -> Option<Shadow> {
        self.shadow.clone()
    }

    /// The watcher found something.
    pub(crate) fn news(&mut self, news: News, now: Millis) {
        match news {
            News::Changed(chosen) => {
                self.last_error = None;
                if chosen.candidate.is_same(&self.in_force) {
                    self.next = None;
                    self.in_force.reference = chosen.candidate.reference.clone();
                    self.in_force.key.clone_from(&chosen.candidate.key);
                    self.label(*chosen);
                } else {
                    self.next = Some(Next::Chosen(*chosen));
                }
            }
            News::Refused(why) => {
                tracing::error!("the policy stays as it is: {why}");
                self.refusals += 1;
                self.last_error = Some((now, why.clone()));
                self.say(LifeEvent::Refused(why));
            }
        }
        self.tell();
    }

    /// The policy in force was asked and has answered.
    pub(crate) fn decided(
        &mut self,
        snapshot: &Snapshot,
        answer: &Result<Proposal, String>,
        fuel: u64,
    ) {
        match answer {
            Ok(proposal) => self.guard.decided(snapshot, proposal, fuel),
            Err(why) => self.guard.failed(why),
        }
    }

    /// The built-in default was asked.
    pub(crate) fn replaced(&mut self) {
        self.guard.replaced();
    }

    /// The answer was checked.
    pub(crate) fn checked(&mut self, record: &DecisionRecord) {
        // What the built-in default asks for is not held against the policy it stands in for.
        if record.fallback.is_none() {
            self.guard
                .dropped(record.dropped.iter().map(|(_, why)| *why));
        }
    }

    /// A pod's request has ended.
    pub(crate) fn added(&mut self, outcome: AddOutcome) {
        self.guard.added(outcome);
    }

    /// The shadow was compared.
    pub(crate) fn compared(&mut self, compared: Compared) {
        self.compared.count(compared);
    }

    /// Looks at the figures, and at the time.
    pub(crate) fn judge(&mut self, now: Millis) {
        if matches!(self.next, Some(Next::RollBack { .. })) {
            return;
        }
        if let Some(why) = self.guard.verdict(self.on_probation) {
            let good = self.last_good.iter().chain([&self.built_in]);
            let to = good.into_iter().find(|it| !it.is_same(&self.in_force));
            // With nothing else to run, each failure goes on costing one round.
            if let Some(to) = to.cloned() {
                self.next = Some(Next::RollBack { why, to });
            }
        } else if self.on_probation
            && self.guard.is_sound()
            && now >= self.since.saturating_add(self.probation)
        {
            self.prove();
        }
    }

    /// It has passed its probation.
    fn prove(&mut self) {
        self.on_probation = false;
        tracing::info!(policy = %self.in_force.reference, "the policy has proved good");
        self.last_good = Some(self.in_force.clone());
        let digest = self.in_force.policy.digest();
        let stored = self.kept.last_good.as_ref();
        let component = stored
            .is_none_or(|good| good.digest != digest)
            .then(|| Arc::clone(&self.in_force.wasm));
        self.kept.last_good = Some(LastGood {
            reference: self.in_force.reference.to_string(),
            digest: digest.to_owned(),
            settings: self.in_force.settings.clone(),
            key: self.in_force.key.clone(),
        });
        self.keep.store_beside(self.kept.clone(), component);
        self.tell();
    }

    /// What the loop is to carry out between two decisions.
    pub(crate) fn swap(&mut self, now: Millis) -> Option<Swap> {
        let next = self.next.take()?;
        if !self.on_probation {
            self.good_rates = self.guard.rates();
        }
        let before = Named::of(&self.in_force);
        let chosen = match next {
            Next::Chosen(chosen) => {
                self.swaps += 1;
                // Something else is asked for: what was rolled back may be tried again one day.
                if self.kept.rolled_back.take().is_some() {
                    self.keep.store_beside(self.kept.clone(), None);
                }
                let after = &chosen.candidate;
                let known = self.last_good.as_ref().is_some_and(|it| it.is_same(after));
                self.on_probation = !known;
                chosen
            }
            Next::RollBack { why, to } => {
                self.roll_back(why, &to, now);
                Chosen {
                    candidate: to,
                    rule: None,
                    shadow: None,
                }
            }
        };
        let reset_memo = before.digest != chosen.candidate.policy.digest();
        tracing::info!(
            policy = %chosen.candidate.reference,
            digest = chosen.candidate.policy.digest(),
            rule = chosen.rule,
            settings = ?chosen.candidate.settings,
            "the policy or its settings changed"
        );
        self.in_force = chosen.candidate.clone();
        self.since = now;
        self.guard = Guard::new(self.good_rates, self.fuel_limit);
        self.label(chosen);
        self.tell();
        if self.last_error.is_none() {
            let after = Named::of(&self.in_force);
            let told = format!("{} ({}) runs", after.reference, short(&after.digest));
            self.say(LifeEvent::Swapped(if reset_memo {
                format!(
                    "{told} instead of {} ({})",
                    before.reference,
                    short(&before.digest)
                )
            } else {
                format!("{told} with other settings")
            }));
        }
        Some(Swap {
            candidate: self.in_force.clone(),
            reset_memo,
        })
    }

    fn roll_back(&mut self, why: String, to: &Candidate, now: Millis) {
        self.rollbacks += 1;
        self.on_probation = false;
        let bad = &self.in_force;
        if self
            .last_good
            .as_ref()
            .is_some_and(|good| good.is_same(bad))
        {
            self.last_good = None;
            self.kept.last_good = None;
        }
        let told = format!(
            "{} ({}) was rolled back to {} ({}): {why}",
            bad.reference,
            short(bad.policy.digest()),
            to.reference,
            short(to.policy.digest())
        );
        tracing::error!("{told}");
        self.kept.rolled_back = Some(RolledBack {
            digest: bad.policy.digest().to_owned(),
            settings: bad.settings.clone(),
            at: now,
            why,
        });
        self.keep.store_beside(self.kept.clone(), None);
        self.last_error = Some((now, told.clone()));
        self.say(LifeEvent::RolledBack(told));
    }

    /// Takes over what a choice says besides the policy itself.
    fn label(&mut self, chosen: Chosen) {
        self.rule = chosen.rule;
        let (shadow, error) = match chosen.shadow {
            None => (None, None),
            Some(Ok(candidate)) => (Some(candidate), None),
            Some(Err(why)) => (None, Some(why)),
        };
        self.shadow_error = error;
        let running = self.shadow.as_ref().map(|shadow| &shadow.candidate);
        let goes_on = match (running, &shadow) {
            (Some(before), Some(after)) => before.is_same(after),
            (None, None) => true,
            _ => false,
        };
        if !goes_on {
            self.shadow = shadow.map(Shadow::new);
            self.compared = Figures::default();
        }
    }

    fn say(&self, event: LifeEvent) {
        // Nobody may listen.
        let _ = self.events.send(event);
    }

    fn tell(&self) {
        self.told.send_replace(self.status());
    }

    /// As it is now.
    pub(crate) fn status(&self) -> PolicyStatus {
        let named = Named::of(&self.in_force);
        PolicyStatus {
            name: named.name,
            version: self.in_force.policy.metadata().version.clone(),
            reference: named.reference,
            digest: named.digest,
            component_bytes: self.in_force.wasm.len() as u64,
            load_ms: millis(self.in_force.load),
            contract: self.in_force.policy.contract().to_owned(),
            rule: self.rule.clone(),
            since: self.since,
            on_probation: self.on_probation,
            settings: self.in_force.settings.clone(),
            last_error: self.last_error.as_ref().map(|(_, why)| why.clone()),
            last_error_at: self.last_error.as_ref().map(|(at, _)| *at),
            last_good: self.last_good.as_ref().map(Named::of),
            shadow: self.shadow.as_ref().map(|it| Named::of(&it.candidate)),
            shadow_error: self.shadow_error.clone(),
            swaps: self.swaps,
            refusals: self.refusals,
            rollbacks: self.rollbacks,
        }
    }
}

/// `sha256:` and twelve digits tell two policies apart.
fn short(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}
