//! A pod: what it has, how long it waited, what it was refused.

use onsen_policy_runner::recording::{Add, Del, Event};

use super::{Facts, WAITED, decision};
use crate::views::seconds;

/// Decisions told of one wait; a pod waits for ten seconds at most.
const DECISIONS: usize = 6;

/// The sentences for a pod.
pub(super) fn explain(facts: &Facts, name: &str) -> Vec<String> {
    let name = if name.contains('/') {
        name.to_owned()
    } else {
        format!("default/{name}")
    };
    let held = (facts.pods.iter()).find(|pod| format!("{}/{}", pod.namespace, pod.name) == name);
    let mut text = Vec::new();
    if let Some(pod) = held {
        text.push(match &pod.eni {
            Some(eni) => format!(
                "Pod {name} has had {} on {eni} for {}.",
                pod.address,
                facts.age(pod.since)
            ),
            None => format!(
                "Pod {name} holds {}, but EC2 has taken that address away from this node: it reaches nobody. \
                 Delete the pod, and a new one gets another address.",
                pod.address
            ),
        });
    }
    let adds: Vec<(u64, &Add)> = facts.adds().filter(|(_, add)| add.pod == name).collect();
    let Some((at, newest)) = adds.last().copied() else {
        text.push(match held {
            Some(_) => format!("How it got it is not known: {}.", facts.remembers()),
            None => format!(
                "No sandbox of pod {name} has asked for an address here: {}. Either the pod is not on this \
                 node, or the container runtime has not come to its network yet.",
                facts.remembers()
            ),
        });
        return text;
    };
    if held.is_none() {
        text.push(gone(facts, &name, newest));
    }
    if newest.refused.is_some() {
        let refusals = adds.iter().filter(|(_, add)| add.refused.is_some()).count();
        text.push(format!(
            "It was refused {} after {}: {}.",
            facts.ago(at),
            seconds(newest.waited),
            newest.message.trim_end_matches('.')
        ));
        if refusals > 1 {
            text.push(format!(
                "That was the {refusals}th refusal that the ledger knows of; the kubelet goes on trying."
            ));
        }
    } else if newest.waited < WAITED {
        text.push("It got its address at once: one was warm.".to_owned());
        return text;
    } else {
        text.push(format!(
            "It waited {} for its address, for none was free when it asked.",
            seconds(newest.waited)
        ));
    }
    text.extend(meanwhile(facts, at, newest));
    text
}

fn gone(facts: &Facts, name: &str, newest: &Add) -> String {
    let last = facts
        .records
        .iter()
        .rev()
        .find_map(|record| match &record.event {
            Event::Del(Del { pod, address }) if *pod == name => Some((record.at, address)),
            _ => None,
        });
    match (last, &newest.address) {
        (Some((at, address)), Some(_)) => format!(
            "Pod {name} holds no address: it gave {address} back {}.",
            facts.ago(at)
        ),
        _ => format!("Pod {name} holds no address."),
    }
}

/// What was decided and answered while it waited.
fn meanwhile(facts: &Facts, at: u64, add: &Add) -> Vec<String> {
    let from = at.saturating_sub(add.waited);
    let mut text = Vec::new();
    let mut decisions = 0;
    for record in &facts.records {
        if record.at < from || record.at > at {
            continue;
        }
        match &record.event {
            Event::Decision(decision) => {
                let telling = !decision.accepted.is_empty()
                    || !decision.dropped.is_empty()
                    || decision.failure.is_some();
                if telling && decisions < DECISIONS {
                    decisions += 1;
                    text.extend(decision::brief(facts, decision.id));
                }
            }
            Event::Call(call) => {
                let told = crate::decisions::call(call);
                text.push(format!("EC2, {}: {told}.", facts.ago(record.at)));
            }
            Event::Start { .. }
            | Event::Add(_)
            | Event::Del(_)
            | Event::Policy(_)
            | Event::Report { .. } => {}
        }
    }
    if decisions == 0
        && let Some(id) = add.decision
    {
        text.extend(decision::brief(facts, id));
    }
    text
}
