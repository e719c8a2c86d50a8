//! A decision: what was asked, seen, wanted, dropped, done.

use std::fmt::Write as _;

use onsen_core::snapshot::Snapshot;
use onsen_policy_runner::recording::{Decider, Decision};

use super::{Facts, counted};
use crate::decisions::call;

/// The sentences for a decision.
pub(super) fn explain(facts: &Facts, id: u64) -> Vec<String> {
    let Some((at, decision)) = facts.decision(id) else {
        return vec![format!(
            "Decision {id} is not known here: {}.",
            facts.remembers()
        )];
    };
    let mut text = vec![head(facts, at, decision)];
    if let Some(why) = &decision.fallback {
        text.push(format!(
            "The built-in default decided instead of the chosen policy: {}.",
            why.trim_end_matches('.')
        ));
    }
    if let Some(Ok(snapshot)) = decision.snapshot() {
        text.push(seen(&snapshot));
    }
    if let Some(failure) = &decision.failure {
        text.push(format!(
            "The policy gave no answer ({}): {}.",
            failure.kind,
            failure.message.trim_end_matches('.')
        ));
        if let Some((_, next)) = facts.decision(id + 1)
            && next.fallback.is_some()
        {
            text.push(format!("Decision {} was made in its place.", id + 1));
        }
        return text;
    }
    text.push(format!("Its reason: {}", ended(&decision.reason)));
    if decision.accepted.is_empty() && decision.dropped.is_empty() {
        text.push("It asked for nothing.".to_owned());
    }
    for action in &decision.accepted {
        text.push(format!("Done: {}", ended(action)));
    }
    for dropped in &decision.dropped {
        text.push(format!(
            "Dropped: {} ({}): {}.",
            dropped.action,
            dropped.why,
            why_dropped(&dropped.why)
        ));
    }
    for (ended, of) in facts.calls() {
        if of.decision == Some(id) && ended >= at {
            text.push(format!("EC2, {}: {}.", facts.ago(ended), call(of)));
        }
    }
    text.push(format!(
        "The answer took {} us and {} units of fuel; policy {}, snapshot {}.",
        decision.micros, decision.fuel, decision.policy.digest, decision.snapshot_digest
    ));
    text
}

/// A decision in one sentence, for those that tell of others.
pub(super) fn brief(facts: &Facts, id: u64) -> Option<String> {
    let (at, decision) = facts.decision(id)?;
    let did = match (&decision.failure, decision.accepted.as_slice()) {
        (Some(failure), _) => format!("gave no answer: {}", failure.message),
        (None, []) => format!("asked for nothing: {}", decision.reason),
        (None, accepted) => format!("did: {}", accepted.join("; ")),
    };
    Some(format!(
        "Decision {id}, {}, by {} ({}), {}",
        facts.ago(at),
        decision.policy.name,
        trigger(&decision.trigger),
        ended(&did)
    ))
}

fn head(facts: &Facts, at: u64, decision: &Decision) -> String {
    let who = match decision.decider {
        Decider::Chosen => "the chosen policy",
        Decider::BuiltIn => "the built-in default",
    };
    format!(
        "Decision {} was put {} to {who}, {} {}: {}.",
        decision.id,
        facts.ago(at),
        decision.policy.name,
        decision.policy.version,
        trigger(&decision.trigger)
    )
}

fn seen(snapshot: &Snapshot) -> String {
    let blocks = &snapshot.blocks;
    let sum = |counts: &[u32]| counts.iter().sum::<u32>();
    let (assigned, cooling) = (sum(&blocks.assigned), sum(&blocks.cooling));
    let free = sum(&blocks.free);
    let mut text = format!(
        "It saw {} of at most {}, {} held by pods, {cooling} cooling, {free} warm",
        counted(snapshot.enis.len() as u32, "ENI", "ENIs"),
        snapshot.limits.enis,
        counted(assigned, "address", "addresses"),
    );
    match snapshot.demand.waiting.len() {
        0 => text.push_str("; no pod waited."),
        1 => text.push_str("; 1 pod waited."),
        many => {
            // Writing to a String cannot fail.
            let _ = write!(text, "; {many} pods waited.");
        }
    }
    text
}

/// The words behind a trigger.
pub(super) fn trigger(word: &str) -> &'static str {
    match word {
        "start" => "the daemon had started",
        "timer" => "it was time",
        "demand" => "a pod waited, or an address was taken or given back",
        "outcome" => "EC2 had answered",
        "change" => "the policy, its settings or the node had changed",
        _ => "for a reason that this version of onsen does not know",
    }
}

/// The words behind the reason for which an action is dropped.
fn why_dropped(word: &str) -> &'static str {
    match word {
        "no-such-eni" | "no-such-block" | "no-such-subnet" => {
            "what it names is not there, or is gone"
        }
        "eni-limit" => "the node has all the ENIs it may have",
        "eni-full" => "the ENI has no empty slot",
        "max-pods" => "the node has an address for each pod it may run",
        "prefixes-not-supported" => "the instance type cannot hold prefixes",
        "call-budget" => "the node has used up its EC2 calls for now",
        "throttled" => "EC2 throttles this node",
        "in-flight" => "an EC2 call about that ENI is under way",
        "not-ready" => "the ENI cannot be used yet",
        "assigned" => "a pod holds an address of it",
        "cooling" => "an address of it cools",
        "primary" => "the primary ENI is never detached",
        "trunk" | "efa" => "such an ENI is never detached",
        "too-young" => "the ENI is too young to be detached",
        "unconfirmed" => "EC2 has not confirmed it lately",
        "terminating" => "the node is shutting down",
        "empty" => "it says nothing",
        "too-many-actions" => "a decision may have 64 actions",
        _ => "docs/policies/why-was-my-action-dropped.md says more",
    }
}

/// With one full stop at the end.
pub(super) fn ended(sentence: &str) -> String {
    format!("{}.", sentence.trim_end_matches(['.', ' ']))
}
