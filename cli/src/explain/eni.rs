//! An ENI: what it holds, why it is kept, when it may go. An address: who has it, or when it is free.

use std::net::IpAddr;

use onsen_core::cidr::Cidr;
use onsen_policy_runner::recording::Event;

use super::decision::{self, ended};
use super::{Facts, counted, listed};
use crate::documents::{Block, Eni};

/// Pods named one by one.
const PODS: usize = 3;

/// The sentences for an ENI.
pub(super) fn explain(facts: &Facts, id: &str) -> Vec<String> {
    let Some(eni) = facts.enis.iter().find(|eni| eni.id == id) else {
        return unknown(facts, id);
    };
    let sum = |count: fn(&Block) -> u32| eni.blocks.iter().map(count).sum::<u32>();
    let mut text = vec![
        format!(
            "{id} is a {} ENI in {}, device {}, known for {}; it is {}.",
            eni.role,
            eni.subnet,
            eni.device_index,
            facts.age(eni.since),
            eni.phase
        ),
        format!(
            "It has {}: {} held by pods, {} cooling, {} warm; {} empty.",
            counted(eni.blocks.len() as u32, "block", "blocks"),
            counted(sum(|block| block.assigned), "address", "addresses"),
            sum(|block| block.cooling),
            sum(|block| block.free),
            match eni.free_slots {
                1 => "1 slot is".to_owned(),
                slots => format!("{slots} slots are"),
            }
        ),
    ];
    let made = facts.calls().find(|(_, call)| {
        call.action == "CreateNetworkInterface" && call.eni.as_deref() == Some(id)
    });
    if let Some(made) = made.and_then(|(_, call)| call.decision) {
        text.extend(
            decision::brief(facts, made).map(|told| format!("It was made for this: {told}")),
        );
    }
    text.push(kept(facts, eni));
    let last = facts
        .calls()
        .rfind(|(_, call)| call.eni.as_deref() == Some(id));
    if let Some((at, call)) = last {
        let told = crate::decisions::call(call);
        text.push(format!(
            "EC2's last answer about it, {}: {told}.",
            facts.ago(at)
        ));
    }
    text
}

fn kept(facts: &Facts, eni: &Eni) -> String {
    let at_last = |otherwise: &str| {
        eni.kept_until
            .map_or_else(|| otherwise.to_owned(), |until| facts.until(until))
    };
    match eni.keep.as_deref() {
        Some("primary") => "It is the primary ENI, which the instance cannot be without: it never goes.".to_owned(),
        Some("trunk") => "It is a trunk ENI: it is never detached.".to_owned(),
        Some("efa") => "It is an EFA: it is never detached.".to_owned(),
        Some("assigned") => {
            let pods: Vec<String> = (facts.pods.iter())
                .filter(|pod| pod.eni.as_deref() == Some(&eni.id))
                .map(|pod| format!("{}/{}", pod.namespace, pod.name))
                .collect();
            format!(
                "It must stay, for pods hold addresses of it: {}. It may go when they are gone and their \
                 addresses have cooled.",
                listed(&pods, PODS)
            )
        }
        Some("cooling") => format!(
            "It must stay while an address of it cools; it may go {}.",
            at_last("after that")
        ),
        Some("too-young") => format!(
            "It is too young to be detached; it may go {}.",
            at_last("later")
        ),
        Some("in-flight") => {
            "It must stay for now: an EC2 call about it is under way, or its link is being set up or taken down."
                .to_owned()
        }
        Some("unconfirmed") => {
            "It must stay for now: the last look at EC2 did not show all of it, and the next one has to."
                .to_owned()
        }
        Some(other) => format!("It must stay ({other})."),
        None => {
            let why = facts.records.iter().rev().find_map(|record| match &record.event {
                Event::Decision(decision) if decision.failure.is_none() => Some(decision),
                _ => None,
            });
            match why {
                Some(decision) => format!(
                    "Nothing forbids to detach it: the policy keeps it. Decision {}, its newest, says: {}",
                    decision.id,
                    ended(&decision.reason)
                ),
                None => "Nothing forbids to detach it; nothing was decided yet.".to_owned(),
            }
        }
    }
}

fn unknown(facts: &Facts, id: &str) -> Vec<String> {
    let mut text = vec![format!("{id} is not an ENI of this node's pool.")];
    let calls: Vec<_> = (facts.calls())
        .filter(|(_, call)| call.eni.as_deref() == Some(id))
        .collect();
    match calls.last() {
        None => text.push(format!(
            "Nothing else is known of it: {}.",
            facts.remembers()
        )),
        Some((at, call)) => {
            let told = crate::decisions::call(call);
            text.push(format!(
                "EC2's last answer about it, {}: {told}.",
                facts.ago(*at)
            ));
            if let Some(id) = call.decision {
                text.extend(decision::brief(facts, id));
            }
        }
    }
    text
}

/// The sentences for an address.
pub(super) fn explain_address(facts: &Facts, address: IpAddr) -> Vec<String> {
    let shown = address.to_string();
    let mut text = Vec::new();
    let holder = facts.pods.iter().find(|pod| pod.address == shown);
    if let Some(pod) = holder {
        text.push(format!(
            "{address} is held by pod {}/{}, for {} now.",
            pod.namespace,
            pod.name,
            facts.age(pod.since)
        ));
    }
    let place = facts.enis.iter().find_map(|eni| {
        let holds =
            |block: &&Block| Cidr::parse(&block.cidr).is_some_and(|it| it.contains(address));
        Some((eni, eni.blocks.iter().find(holds)?))
    });
    if let Some(eni) = facts.enis.iter().find(|eni| eni.primary_address == shown) {
        text.push(format!(
            "{address} is the own address of {}: no pod ever gets it.",
            eni.id
        ));
    } else if let Some((eni, block)) = place {
        if holder.is_none() {
            text.push(free(facts, eni, block, &shown));
        }
        text.push(format!("It is of block {} on {}.", block.cidr, eni.id));
    } else {
        text.push(format!("{address} is on no ENI of this node."));
    }
    let last = facts
        .records
        .iter()
        .rev()
        .find_map(|record| match &record.event {
            Event::Del(del) if del.address == shown => Some((record.at, &del.pod)),
            _ => None,
        });
    if let Some((at, pod)) = last {
        text.push(format!("Pod {pod} gave it back {}.", facts.ago(at)));
    }
    text
}

fn free(facts: &Facts, eni: &Eni, block: &Block, address: &str) -> String {
    let cools = block.cools.iter().find(|it| it.address == address);
    match (cools, block.hold.as_str()) {
        (Some(cools), _) => format!(
            "{address} cools: no pod gets it before that ends, {}.",
            facts.until(cools.until)
        ),
        (None, "leaving") => format!("{address} is being given back to the subnet."),
        (None, "suspect") => {
            format!("{address} rests: the last look at EC2 did not show it on this node.")
        }
        (None, _) if eni.phase != "ready" => {
            format!(
                "{address} cannot be given yet or any more: its ENI is {}.",
                eni.phase
            )
        }
        (None, _) => format!("{address} is warm: the next pod may get it."),
    }
}
