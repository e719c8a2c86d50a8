//! A recording of a real node, written down as a scenario.
//!
//! In: a recording. Out: YAML: the node and its pool at the first recorded decision, then the pods that came
//! and went, the settings that changed, and EC2's failures, each at its time. What the node did is not
//! written down: a scenario is there to see what a policy does with the same demand.
//!
//! Not known from a recording, and so assumed: which of an ENI's pods an address of a prefix belonged to
//! (the next one leaves), and when a pod that was refused for the last time gave up (it goes on trying).

use std::collections::{BTreeMap, VecDeque};

use onsen_core::snapshot::{EniPhase, Snapshot};
use onsen_core::time::Millis;
use onsen_policy_runner::documents::DocumentError;
use onsen_policy_runner::recording::{Add, Call, Del, Event, PolicyChange, Recording};
use serde::Serialize;

use super::format::Document;

/// How long the node gets for its last pods.
const GRACE: &str = "30s";

/// Why a recording is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Without a decision nothing is known of the node.
    #[error("the recording holds no decision with its snapshot: record for longer, or with --past")]
    NoDecision,
    /// A snapshot that says nothing.
    #[error("the first snapshot cannot be read")]
    Snapshot(#[from] DocumentError),
    /// The YAML writer refuses.
    #[error("cannot write YAML")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

#[derive(Serialize)]
struct Life {
    name: String,
    about: String,
    given: Given,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Given {
    node: Node,
    settings: BTreeMap<String, String>,
    pool: Vec<Eni>,
}

#[derive(Serialize)]
struct Node {
    instance_type: String,
    max_pods: u32,
    cordoned: bool,
}

#[derive(Default, Serialize)]
struct Eni {
    addresses: u32,
    prefixes: u32,
    pods: u32,
}

#[derive(Default, Serialize)]
struct Step {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    settings: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fail: Option<Fail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leave: Option<Names>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arrive: Option<Names>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expect: Option<Expect>,
}

#[derive(Serialize)]
struct Fail {
    fault: &'static str,
    operation: String,
    count: u32,
}

#[derive(Serialize)]
struct Names {
    names: Vec<String>,
}

#[derive(Serialize)]
struct Expect {
    pods: Pods,
}

#[derive(Serialize)]
struct Pods {
    running: usize,
}

/// The scenario of a recording.
pub fn write_life(recording: &Recording, from: &str) -> Result<String, WriteError> {
    let first = recording
        .records
        .iter()
        .find_map(|record| match &record.event {
            Event::Decision(decision) => Some((record.at, decision.snapshot()?)),
            Event::Start { .. }
            | Event::Call(_)
            | Event::Add(_)
            | Event::Del(_)
            | Event::Policy(_)
            | Event::Report { .. } => None,
        });
    let (start, snapshot) = first.ok_or(WriteError::NoDecision)?;
    let snapshot = snapshot?;
    let mut writer = Writer::new(&snapshot, start);
    for record in &recording.records {
        if record.at >= start {
            writer.take(record.at, &record.event);
        }
    }
    let (pool, steps) = (writer.pool(), writer.finish());
    let mut settings = recording.header.settings.clone();
    settings.extend(
        snapshot
            .settings
            .iter()
            .map(|it| (it.key.clone(), it.value.clone())),
    );
    let life = Life {
        name: format!("the recorded life of {}", recording.header.node),
        about: format!(
            "Written from {from}; what the node did then is not expected, only its pods are."
        ),
        given: Given {
            node: Node {
                instance_type: snapshot.node.instance_type.clone(),
                max_pods: snapshot.node.max_pods,
                cordoned: !snapshot.node.schedulable,
            },
            settings,
            pool,
        },
        steps,
    };
    let text = serde_saphyr::to_string(&life)?;
    debug_assert!(super::parse::<Document>(&text).is_ok(), "{text}");
    Ok(text)
}

/// Something at a time.
struct Moment {
    at: Millis,
    step: Step,
}

struct Writer {
    start: Millis,
    /// For each ENI what it holds, the ranges of its blocks, and its pods from before the start.
    enis: Vec<(Eni, Vec<onsen_core::cidr::Cidr>, VecDeque<String>)>,
    /// Pods that came after the start and are still here: their names there and here.
    present: BTreeMap<String, String>,
    /// How many of all have an address.
    running: usize,
    settings: BTreeMap<String, String>,
    arrived: usize,
    moments: Vec<Moment>,
}

impl Writer {
    fn new(snapshot: &Snapshot, start: Millis) -> Self {
        let blocks = &snapshot.blocks;
        let mut pods = 0;
        let mut enis = Vec::new();
        for eni in snapshot
            .enis
            .iter()
            .filter(|eni| eni.phase == EniPhase::Ready)
        {
            let (mut held, mut ranges, mut names) = (Eni::default(), Vec::new(), VecDeque::new());
            for place in eni.first_block..eni.first_block.saturating_add(eni.block_count) {
                let place = place as usize;
                let Some(range) = onsen_policy_runner::documents::block(snapshot, place) else {
                    continue;
                };
                match range.unit() {
                    onsen_core::cidr::Unit::Address => held.addresses += 1,
                    onsen_core::cidr::Unit::Prefix => held.prefixes += 1,
                }
                ranges.push(range);
                for _ in 0..blocks.assigned.get(place).copied().unwrap_or(0) {
                    pods += 1;
                    held.pods += 1;
                    names.push_back(format!("pod-{pods}"));
                }
            }
            enis.push((held, ranges, names));
        }
        let settings = snapshot.settings.iter();
        Self {
            start,
            enis,
            present: BTreeMap::new(),
            running: pods,
            settings: settings
                .map(|it| (it.key.clone(), it.value.clone()))
                .collect(),
            arrived: 0,
            moments: Vec::new(),
        }
    }

    fn pool(&self) -> Vec<Eni> {
        let held = self.enis.iter().map(|(held, _, _)| Eni { ..*held });
        held.collect()
    }

    fn take(&mut self, at: Millis, event: &Event) {
        match event {
            Event::Add(add) => self.add(at, add),
            Event::Del(del) => self.del(at, del),
            Event::Call(call) => self.call(at, call),
            Event::Policy(change) => self.policy(at, change),
            Event::Start { .. } | Event::Decision(_) | Event::Report { .. } => {}
        }
    }

    fn put(&mut self, at: Millis, step: Step) {
        let at = at.max(self.start);
        self.moments.push(Moment { at, step });
    }

    /// One that is refused comes again, under the same name, by the kubelet here as there.
    fn add(&mut self, at: Millis, add: &Add) {
        self.running += usize::from(add.address.is_some());
        if self.present.contains_key(&add.pod) {
            return;
        }
        self.arrived += 1;
        let name = format!("new-{}", self.arrived);
        self.present.insert(add.pod.clone(), name.clone());
        let arrive = Some(Names { names: vec![name] });
        let step = Step {
            arrive,
            ..Step::default()
        };
        self.put(at.saturating_sub(add.waited), step);
    }

    fn del(&mut self, at: Millis, del: &Del) {
        let earlier = || {
            let address = del.address.parse().ok()?;
            let holds =
                |ranges: &[onsen_core::cidr::Cidr]| ranges.iter().any(|it| it.contains(address));
            let eni = self.enis.iter_mut().find(|(_, ranges, _)| holds(ranges))?;
            eni.2.pop_front()
        };
        let Some(name) = self.present.remove(&del.pod).or_else(earlier) else {
            return;
        };
        self.running = self.running.saturating_sub(1);
        let leave = Some(Names { names: vec![name] });
        let step = Step {
            leave,
            ..Step::default()
        };
        self.put(at, step);
    }

    fn call(&mut self, at: Millis, call: &Call) {
        let Some(fault) = call.code.as_deref().and_then(fault) else {
            return;
        };
        let fail = Some(Fail {
            fault,
            operation: call.action.clone(),
            count: 1,
        });
        let step = Step {
            fail,
            ..Step::default()
        };
        self.put(at.saturating_sub(call.millis), step);
    }

    fn policy(&mut self, at: Millis, change: &PolicyChange) {
        if change.refused.is_some() {
            return;
        }
        let new = |(key, value): &(&String, &String)| self.settings.get(*key) != Some(*value);
        let settings: BTreeMap<String, String> = (change.settings.iter())
            .filter(new)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if settings.is_empty() {
            return;
        }
        self.settings.extend(settings.clone());
        let step = Step {
            settings,
            ..Step::default()
        };
        self.put(at, step);
    }

    /// The steps, with the time between them.
    fn finish(mut self) -> Vec<Step> {
        // An ADD is recorded when it ends, and belongs to where it began.
        self.moments.sort_by_key(|moment| moment.at);
        let mut steps: Vec<Step> = Vec::new();
        let mut now = self.start;
        for moment in self.moments {
            let gap = moment.at - now;
            if gap > 0 {
                match steps.last_mut() {
                    Some(last) => last.wait = Some(format!("{gap}ms")),
                    None => steps.push(Step {
                        wait: Some(format!("{gap}ms")),
                        ..Step::default()
                    }),
                }
            }
            now = moment.at;
            steps.push(moment.step);
        }
        steps.push(Step {
            wait: Some(GRACE.to_owned()),
            expect: Some(Expect {
                pods: Pods {
                    running: self.running,
                },
            }),
            ..Step::default()
        });
        steps
    }
}

/// The fault that answers with a code, where one does.
fn fault(code: &str) -> Option<&'static str> {
    Some(match code {
        "RequestLimitExceeded" => "throttle",
        "UnauthorizedOperation" => "denied",
        "AuthFailure" => "credentials-expired",
        "InsufficientFreeAddressesInSubnet" => "subnet-exhausted",
        "InsufficientCidrBlocks" => "prefix-fragmented",
        "AttachmentLimitExceeded" => "attachment-limit-early",
        // The worst of what no usable answer can mean.
        "unknown" => "reply-lost",
        _ => return None,
    })
}
