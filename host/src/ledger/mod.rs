//! The ledger: what was decided and what followed, for the log, the status pages and recordings.
//!
//! In: what the loop sees pass by. Out: records on a shelf and on disk, the newest decision and reports for
//! the status page.
//! Must hold: every question to a policy becomes one record, also when the policy fails; nothing here
//! makes the loop wait, and nothing here changes what the node does.

mod causes;
pub(crate) mod pages;
mod store;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use onsen_core::effect::{Decider, DecisionRecord, Ec2Request, Reply, Report, Severity};
use onsen_core::event::{Ec2Gave, Ec2Outcome};
use onsen_core::ids::{IntentId, PodName};
use onsen_core::proposal::Proposal;
use onsen_core::snapshot::{Snapshot, Trigger};
use onsen_core::time::Millis;
use onsen_policy_runner::Policy;
use onsen_policy_runner::recording::{
    self, Add, Call, Decision, Del, Dropped, Event, Failure, Header, PolicyChange,
};
use serde_json::{Value, json};

use crate::ec2;
use crate::metrics::Metrics;
use crate::requests::Cost;
use crate::words;
use causes::Causes;
use store::{Draft, Store};

pub(crate) use store::Shelf;

const REPORTS: usize = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    store: Store,
    shelf: Shelf,
    causes: Causes,
    /// The question under way.
    asked: Option<Question>,
    /// An answer that the core has not judged yet.
    answered: Option<(Question, Proposal, Cost)>,
    /// Calls under way: when they were asked for, what for, and by which decision.
    calls: BTreeMap<IntentId, (Millis, Ec2Request, Option<u64>)>,
    last: Option<(DecisionRecord, Option<Cost>)>,
    reports: VecDeque<(Millis, Report)>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Question {
    draft: Box<Decision>,
    snapshot: Arc<Snapshot>,
}

/// A ledger that was opened, and where its numbers go on.
pub(crate) struct Opened {
    /// For the loop.
    pub(crate) ledger: Ledger,
    /// Number of the last decision of an earlier life.
    pub(crate) last_decision: u64,
}

impl Ledger {
    /// Opens the ledger in that folder; in memory only without one.
    pub(crate) fn open(
        folder: Option<&Path>,
        header: &Header,
        metrics: Metrics,
    ) -> Result<Opened, std::io::Error> {
        let (store, shelf, left) = Store::open(folder, header)?;
        Ok(Opened {
            ledger: Self {
                store,
                shelf,
                causes: Causes::default(),
                asked: None,
                answered: None,
                calls: BTreeMap::new(),
                last: None,
                reports: VecDeque::new(),
                metrics,
            },
            last_decision: left.decision,
        })
    }

    /// The records, for those who read them.
    pub(crate) fn shelf(&self) -> Shelf {
        self.shelf.clone()
    }

    /// What is counted here and elsewhere.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// EC2 calls under way.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &Ec2Request> {
        self.calls.values().map(|(_, request, _)| request)
    }

    /// The daemon's life begins.
    pub(crate) fn started(&mut self, now: Millis) {
        let daemon = env!("CARGO_PKG_VERSION").to_owned();
        self.put(now, Event::Start { daemon });
    }

    /// A policy is asked.
    pub(crate) fn asked(&mut self, decider: Decider, policy: &Policy, snapshot: &Arc<Snapshot>) {
        self.asked = Some(Question {
            draft: Box::new(Decision {
                id: snapshot.decision_id,
                trigger: trigger(snapshot.trigger).to_owned(),
                decider: match decider {
                    Decider::Chosen => recording::Decider::Chosen,
                    Decider::BuiltIn => recording::Decider::BuiltIn,
                },
                policy: policy.into(),
                ..Decision::default()
            }),
            snapshot: Arc::clone(snapshot),
        });
    }

    /// It has answered; the core judges a proposal next.
    pub(crate) fn answered(&mut self, now: Millis, answer: &Result<Proposal, String>, cost: Cost) {
        let Some(mut question) = self.asked.take() else {
            return;
        };
        question.draft.micros = cost.micros;
        question.draft.fuel = cost.fuel;
        match answer {
            Ok(proposal) => self.answered = Some((question, proposal.clone(), cost)),
            Err(why) => {
                question.draft.failure = Some(Failure {
                    kind: cost.failure.unwrap_or("lost").to_owned(),
                    message: why.clone(),
                });
                self.metrics.decision(&question.draft);
                self.put_decision(now, question, None);
            }
        }
    }

    /// Keeps a decision and logs it when it does something.
    pub(crate) fn decided(&mut self, record: DecisionRecord) {
        let DecisionRecord { id, reason, .. } = &record;
        if record.accepted.is_empty() && record.dropped.is_empty() && record.fallback.is_none() {
            tracing::debug!(decision = id, reason, "decision: nothing to do");
        } else {
            tracing::info!(
                decision = id,
                reason,
                trigger = trigger(record.trigger),
                fallback = record.fallback,
                accepted = ?record.accepted,
                dropped = ?record.dropped,
                "decision"
            );
        }
        self.causes.carry_out(record.id, &record.operations);
        let mut cost = None;
        if let Some((mut question, proposal, spent)) = self.answered.take() {
            let draft = &mut question.draft;
            draft.reason.clone_from(&record.reason);
            draft.fallback.clone_from(&record.fallback);
            draft.accepted.clone_from(&record.accepted);
            draft.dropped = dropped(&record);
            draft.pressure = record.pressure;
            self.metrics.decision(draft);
            for (operation, _) in &record.operations {
                self.metrics.action(&draft.policy, *operation);
            }
            cost = Some(spent);
            self.put_decision(record.at, question, Some(proposal));
        }
        self.last = Some((record, cost));
    }

    /// All that follows at once from an event was carried out.
    pub(crate) fn settled(&mut self) {
        self.causes.done();
    }

    /// An EC2 call is sent on its way.
    pub(crate) fn calling(&mut self, now: Millis, intent: IntentId, request: &Ec2Request) {
        let decision = self.causes.of(request);
        self.calls.insert(intent, (now, request.clone(), decision));
    }

    /// An EC2 call has ended.
    pub(crate) fn called(&mut self, now: Millis, intent: IntentId, outcome: &Ec2Outcome) {
        let Some((since, request, decision)) = self.calls.remove(&intent) else {
            return;
        };
        let mut eni = request.eni().cloned();
        let (mut gave, mut code, mut message) = (None, None, String::new());
        match outcome {
            Ec2Outcome::Done(what) => {
                gave = Some(ec2::outcome_text(outcome));
                if let Ec2Gave::Eni(facts) = what {
                    self.causes.made(facts.id.clone(), decision);
                    eni = Some(facts.id.clone());
                }
                if let Ec2Request::DeleteEni { eni } = &request {
                    self.causes.gone(eni);
                }
            }
            Ec2Outcome::Refused {
                code: told,
                message: words,
            } => {
                code = Some(told.clone());
                message.clone_from(words);
            }
            Ec2Outcome::Unknown { message: words } => {
                code = Some("unknown".to_owned());
                message.clone_from(words);
            }
        }
        let call = Call {
            decision,
            action: request.action().to_owned(),
            eni: eni.map(|eni| eni.to_string()),
            request: ec2::request_text(&request),
            gave,
            code,
            message,
            millis: now.saturating_sub(since),
        };
        self.put(now, Event::Call(call));
    }

    /// A sandbox that asked `since` then gets its answer. What nobody waits for is not told.
    pub(crate) fn added(&mut self, now: Millis, since: Millis, pod: &PodName, reply: &Reply) {
        let mut add = Add {
            pod: pod.to_string(),
            waited: now.saturating_sub(since),
            decision: self.last_decision_id(),
            ..Add::default()
        };
        match reply {
            Reply::Assigned(holding) => {
                add.address = Some(holding.address.to_string());
                add.eni = Some(holding.eni.to_string());
            }
            Reply::NoAddress(why) => {
                add.refused = Some(why.code().to_owned());
                add.message = words::no_address(why, now);
            }
            Reply::NotDurable => {
                add.refused = Some("not-durable".to_owned());
                "the address could not be recorded and was taken back".clone_into(&mut add.message);
            }
            Reply::Released(_) | Reply::UnknownSandbox | Reply::IncompleteKey => return,
        }
        let waited = Duration::from_millis(add.waited);
        self.metrics.add(waited, add.refused.as_deref());
        self.put(now, Event::Add(add));
    }

    /// A sandbox gave its address back.
    pub(crate) fn deleted(&mut self, now: Millis, pod: &PodName, address: std::net::IpAddr) {
        self.metrics.del();
        let del = Del {
            pod: pod.to_string(),
            address: address.to_string(),
        };
        self.put(now, Event::Del(del));
    }

    /// A policy or settings were put in force, or refused.
    pub(crate) fn policy(&mut self, now: Millis, change: PolicyChange) {
        if change.refused.is_none() {
            self.metrics.put_in_force(&change.policy, &change.reference);
        }
        self.put(now, Event::Policy(change));
    }

    /// Keeps a report and logs it.
    pub(crate) fn report(&mut self, at: Millis, report: Report) {
        let Report {
            severity,
            code,
            message,
        } = &report;
        match severity {
            Severity::Info => tracing::info!(code, "{message}"),
            Severity::Warning => tracing::warn!(code, "{message}"),
            Severity::Error => tracing::error!(code, "{message}"),
        }
        let word = severity_word(*severity);
        self.metrics.report(*severity, word, code);
        let event = Event::Report {
            severity: word.to_owned(),
            code: (*code).to_owned(),
            message: message.clone(),
        };
        self.put(at, event);
        if self.reports.len() == REPORTS {
            self.reports.pop_front();
        }
        self.reports.push_back((at, report));
    }

    /// Number of the newest decision.
    pub(crate) fn last_decision_id(&self) -> Option<u64> {
        self.last.as_ref().map(|(record, _)| record.id)
    }

    /// The newest decision, or null.
    pub(crate) fn last_decision(&self) -> Value {
        self.last.as_ref().map_or(Value::Null, decision)
    }

    /// The reports, oldest first.
    pub(crate) fn reports(&self) -> Value {
        let report = |(at, report): &(Millis, Report)| {
            json!({
                "at": at,
                "severity": severity_word(report.severity),
                "code": report.code,
                "message": report.message,
            })
        };
        self.reports.iter().map(report).collect()
    }

    fn put(&mut self, at: Millis, event: Event) {
        self.store.put(at, Draft::Ready(event));
    }

    fn put_decision(&mut self, at: Millis, question: Question, proposal: Option<Proposal>) {
        let draft = Draft::Decision {
            decision: question.draft,
            snapshot: question.snapshot,
            proposal,
        };
        self.store.put(at, draft);
    }
}

fn dropped(record: &DecisionRecord) -> Vec<Dropped> {
    let dropped = record.dropped.iter().map(|(action, why)| Dropped {
        action: action.clone(),
        why: (*why).to_owned(),
    });
    dropped.collect()
}

fn decision((record, cost): &(DecisionRecord, Option<Cost>)) -> Value {
    let built_in = cost.map_or(record.fallback.is_some(), |cost| cost.built_in);
    json!({
        "id": record.id,
        "at": record.at,
        "trigger": trigger(record.trigger),
        "decider": if built_in { "built-in" } else { "chosen" },
        "reason": record.reason,
        "fallback": record.fallback,
        "accepted": record.accepted,
        "dropped": dropped(record),
        "pressure": record.pressure,
        "micros": cost.map(|cost| cost.micros),
        "fuel": cost.map(|cost| cost.fuel),
    })
}

fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn trigger(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Start => "start",
        Trigger::Timer => "timer",
        Trigger::Demand => "demand",
        Trigger::Outcome => "outcome",
        Trigger::Change => "change",
    }
}

#[cfg(test)]
mod tests;
