//! The last decisions and reports, for the status pages and the log.

use std::collections::VecDeque;

use onsen_core::effect::{DecisionRecord, Report, Severity};
use onsen_core::snapshot::Trigger;
use onsen_core::time::Millis;
use serde_json::{Value, json};

use crate::requests::Cost;

const DECISIONS: usize = 256;
const REPORTS: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    decisions: VecDeque<(DecisionRecord, Option<Cost>)>,
    reports: VecDeque<(Millis, Report)>,
    last_cost: Option<Cost>,
}

impl Ledger {
    /// A policy has answered; the decision made of it comes next.
    pub(crate) fn cost(&mut self, cost: Cost) {
        self.last_cost = Some(cost);
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
        let cost = self.last_cost.filter(|cost| cost.decision == record.id);
        if self.decisions.len() == DECISIONS {
            self.decisions.pop_front();
        }
        self.decisions.push_back((record, cost));
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
        if self.reports.len() == REPORTS {
            self.reports.pop_front();
        }
        self.reports.push_back((at, report));
    }

    /// The decisions, oldest first.
    pub(crate) fn decisions(&self) -> Value {
        self.decisions.iter().map(decision).collect()
    }

    /// The newest decision, or null.
    pub(crate) fn last_decision(&self) -> Value {
        self.decisions.back().map_or(Value::Null, decision)
    }

    /// The reports, oldest first.
    pub(crate) fn reports(&self) -> Value {
        let report = |(at, report): &(Millis, Report)| {
            json!({
                "at": at,
                "severity": match report.severity {
                    Severity::Info => "info",
                    Severity::Warning => "warning",
                    Severity::Error => "error",
                },
                "code": report.code,
                "message": report.message,
            })
        };
        self.reports.iter().map(report).collect()
    }
}

fn decision((record, cost): &(DecisionRecord, Option<Cost>)) -> Value {
    let dropped: Value = (record.dropped.iter())
        .map(|(action, why)| json!({"action": action, "why": why}))
        .collect();
    let built_in = cost.map_or(record.fallback.is_some(), |cost| cost.built_in);
    json!({
        "id": record.id,
        "at": record.at,
        "trigger": trigger(record.trigger),
        "decider": if built_in { "built-in" } else { "chosen" },
        "reason": record.reason,
        "fallback": record.fallback,
        "accepted": record.accepted,
        "dropped": dropped,
        "pressure": record.pressure,
        "micros": cost.map(|cost| cost.micros),
        "fuel": cost.map(|cost| cost.fuel),
    })
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
mod tests {
    use super::*;

    fn record(id: u64) -> DecisionRecord {
        DecisionRecord {
            id,
            at: 7,
            trigger: Trigger::Demand,
            reason: "3 warm of 9 wanted".into(),
            fallback: None,
            accepted: vec!["grow eni-1 by 6".into()],
            dropped: vec![("detach eni-2".into(), "too-young")],
            pressure: 40,
        }
    }

    #[test]
    fn a_decision_is_shown_with_its_cost_and_only_with_its_own() {
        let mut ledger = Ledger::default();
        ledger.cost(Cost {
            decision: 1,
            built_in: true,
            micros: 80,
            fuel: 900,
        });
        ledger.decided(record(1));
        ledger.decided(record(2));
        let shown = ledger.decisions();
        assert_eq!(shown[0]["decider"], "built-in");
        assert_eq!(shown[0]["micros"], 80);
        assert_eq!(shown[0]["dropped"][0]["why"], "too-young");
        assert_eq!(shown[1]["decider"], "chosen");
        assert_eq!(shown[1]["micros"], Value::Null);
    }

    #[test]
    fn only_the_newest_are_kept() {
        let mut ledger = Ledger::default();
        for id in 0..300 {
            ledger.decided(record(id));
        }
        let shown = ledger.decisions();
        assert_eq!(shown.as_array().unwrap().len(), DECISIONS);
        assert_eq!(shown[0]["id"], 44);
        assert_eq!(ledger.last_decision()["id"], 299);
    }
}
