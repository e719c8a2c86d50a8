//! Runs policies on nodes in virtual time, side by side, and reports what that cost.
//!
//! In: a scene (nodes, when pods come and go, a seed) and candidates (a policy with settings). Out: a
//! [`Run`] for each candidate, in numbers and as a course of time.
//!
//! The daemon starts at time 0; the first pod comes at [`READY`], as on a node that has just joined.
//! Each candidate meets the same pods at the same moments. `--pods` runs on until rest; figures of a
//! workload are those of its duration, and its node runs on until rest for the final pool.
//!
//! What must hold: the same scene and candidate give the same run.

mod figures;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use onsen_core::time::{MINUTE, Millis, SECOND};
use onsen_policy_runner::Policy;
use serde::Serialize;

use crate::account::Cidr;
use crate::rng::Rng;
use crate::workload::{Change, Plan, Step, Workload};
use crate::world::{
    CallMade, NodeSetup, PodState, START, Sample, SimNode, World, WorldError, WorldSetup,
};

pub use figures::{Churn, Figures, Pods, Waits};

/// The first pod comes so long after the daemon's start.
pub const READY: Millis = 5 * SECOND;
/// A node that does not come to rest within this time is reported as it is then.
pub const PATIENCE: Millis = 120 * MINUTE;
/// What a policy is shown of the past ends with this age; rest must outlast it.
const HISTORY: Millis = 15 * MINUTE;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Such as `m5.large`.
    pub instance_type: String,
    /// Pods that kubelet runs at most, as the policy is told; 0: not known.
    pub max_pods: u32,
    /// So many nodes, each with pods of its own, in one account.
    pub nodes: u32,
    /// Of all that is drawn.
    pub seed: u64,
    /// Where all addresses come from.
    pub subnet: Cidr,
    /// When pods come and go.
    pub demand: Demand,
}

/// When pods come and go.
#[derive(Clone, Debug)]
pub enum Demand {
    /// A number of pods; later perhaps fewer.
    Pods {
        /// How many come, to each node.
        pods: u32,
        /// Once at rest the newest go, at once, until so many are left.
        then_down_to: Option<u32>,
        /// How they come.
        arrival: Arrival,
    },
    /// A file.
    Workload(Workload),
}

/// How a number of pods comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// One each second.
    OneByOne,
    /// All at once.
    Burst,
}

/// A policy as it is run.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Where it comes from, in the user's words.
    pub reference: String,
    /// Settings of policy and daemon.
    pub settings: BTreeMap<String, String>,
    /// The policy.
    pub policy: Arc<Policy>,
}

/// How a candidate did.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Where the policy comes from.
    pub policy: String,
    /// Its settings.
    pub settings: BTreeMap<String, String>,
    /// All nodes together.
    pub scorecard: Figures,
    /// Each node.
    pub nodes: Vec<NodeRun>,
}

/// How a node did.
#[derive(Clone, Debug, Serialize)]
pub struct NodeRun {
    /// Its name.
    pub name: String,
    /// Its type.
    pub instance_type: String,
    /// Its pool at the end.
    #[serde(rename = "final")]
    pub last: Final,
    /// What it took to get there.
    pub figures: Figures,
    /// How the pool changed, times from the start.
    #[serde(skip)]
    pub samples: Vec<Sample>,
    /// Each EC2 call, times from the start.
    #[serde(skip)]
    pub calls: Vec<CallMade>,
    /// How long each pod waited that got an address, sorted.
    #[serde(skip)]
    pub waits: Vec<Millis>,
}

/// The pool of a node at the end. The names of these fields are a promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Final {
    /// ENIs, the primary included.
    pub enis: u32,
    /// Addresses that pods can get or have: one for each single address, sixteen for each prefix.
    pub addresses: u32,
    /// Prefixes attached.
    pub prefixes: u32,
    /// Addresses that pods hold.
    pub assigned: u32,
    /// Addresses that a pod could get at once.
    pub warm: u32,
    /// Addresses given back lately.
    pub cooling: u32,
    /// Slots in use on each ENI, in attach order.
    pub per_eni: Vec<u32>,
    /// EC2 calls since the daemon's start, by operation.
    pub ec2_calls: BTreeMap<&'static str, u64>,
    /// Whether nothing moves any more.
    pub at_rest: bool,
}

/// Runs one candidate. `progress` is told now and then how many of a hundred parts are done.
pub fn run(
    scene: &Scene,
    candidate: &Candidate,
    built_in: &Arc<Policy>,
    progress: &mut dyn FnMut(usize),
) -> Result<Run, WorldError> {
    let nodes = (1..=scene.nodes).map(|number| NodeSetup {
        name: format!("node-{number}"),
        instance_type: scene.instance_type.clone(),
        max_pods: scene.max_pods,
        cordoned: false,
        settings: candidate.settings.clone(),
        policy: Arc::clone(&candidate.policy).into(),
        pool: Vec::new(),
    });
    let setup = WorldSetup {
        seed: scene.seed,
        subnet: scene.subnet,
        nodes: nodes.collect(),
    };
    let mut world = World::new(&setup, Arc::clone(built_in))?;
    let mut elsewhere = Vec::new();
    let (end, at_rest) = match &scene.demand {
        Demand::Pods {
            pods,
            then_down_to,
            arrival,
        } => {
            let plan = plan_of(*pods, *arrival);
            elsewhere.resize(scene.nodes as usize, 0);
            follow(&mut world, &vec![plan; scene.nodes as usize], progress)?;
            let mut at_rest = rest(&mut world)?;
            if let Some(left) = then_down_to {
                for node in 0..scene.nodes as usize {
                    for pod in *left..*pods {
                        world.leave(node, &name_of(pod))?;
                    }
                }
                at_rest = rest(&mut world)?;
            }
            (world.elapsed(), at_rest)
        }
        Demand::Workload(workload) => {
            let mut seeds = Rng::new(scene.seed);
            let plans: Vec<Plan> = (0..scene.nodes)
                .map(|_| workload.plan(seeds.next(), scene.max_pods))
                .collect();
            elsewhere.extend(plans.iter().map(|plan| plan.elsewhere));
            follow(&mut world, &plans, progress)?;
            (world.elapsed(), rest(&mut world)?)
        }
    };
    let nodes: Vec<NodeRun> = (world.nodes().iter().zip(elsewhere))
        .map(|(node, elsewhere)| node_run(&world, node, (end, at_rest, elsewhere), scene))
        .collect();
    let scorecard = Figures::sum(nodes.iter().map(|node| (&node.figures, &*node.waits)));
    Ok(Run {
        policy: candidate.reference.clone(),
        settings: candidate.settings.clone(),
        scorecard,
        nodes,
    })
}

fn name_of(pod: u32) -> String {
    format!("pod-{}", pod + 1)
}

fn plan_of(pods: u32, arrival: Arrival) -> Plan {
    let pace = match arrival {
        Arrival::OneByOne => SECOND,
        Arrival::Burst => 0,
    };
    let steps: Vec<Step> = (0..pods)
        .map(|pod| Step {
            at: READY + pace * Millis::from(pod),
            change: Change::Arrive,
            pod,
        })
        .collect();
    Plan {
        duration: steps.last().map_or(READY, |step| step.at),
        steps,
        elsewhere: 0,
    }
}

/// Lets pods come and go as planned.
fn follow(
    world: &mut World,
    plans: &[Plan],
    progress: &mut dyn FnMut(usize),
) -> Result<(), WorldError> {
    let mut steps: Vec<(&Step, usize)> = (plans.iter().enumerate())
        .flat_map(|(node, plan)| plan.steps.iter().map(move |step| (step, node)))
        .collect();
    steps.sort();
    let total = steps.len().max(1);
    for (done, (step, node)) in steps.into_iter().enumerate() {
        world.advance(step.at.saturating_sub(world.elapsed()))?;
        match step.change {
            Change::Arrive => world.arrive(node, &name_of(step.pod))?,
            Change::Leave => world.leave(node, &name_of(step.pod))?,
        }
        if done % 64 == 0 {
            progress(done * 100 / total);
        }
    }
    let end = plans.iter().map(|plan| plan.duration).max().unwrap_or(0);
    world.advance(end.saturating_sub(world.elapsed()))
}

/// Runs on until the nodes are at rest and stay so although what the policy is shown of the past has
/// faded away. Whether they are.
fn rest(world: &mut World) -> Result<bool, WorldError> {
    let end = world.elapsed() + PATIENCE;
    let left = |world: &World| end.saturating_sub(world.elapsed());
    while left(world) > HISTORY {
        if !world.run_until_rest(left(world) - HISTORY)? {
            return Ok(false);
        }
        let active: Vec<Millis> = world.nodes().iter().map(SimNode::active_at).collect();
        world.advance(HISTORY)?;
        let still = world.nodes().iter().map(SimNode::active_at).eq(active);
        if still && world.is_at_rest() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn node_run(
    world: &World,
    node: &SimNode,
    (end, at_rest, elsewhere): (Millis, bool, u32),
    scene: &Scene,
) -> NodeRun {
    let summary = node.summary(world.now());
    let enis = node.enis(world.now());
    let calls = node.calls(world.account());
    let last = Final {
        enis: summary.enis,
        addresses: summary.addresses,
        prefixes: summary.prefixes,
        assigned: summary.assigned,
        warm: summary.warm,
        cooling: summary.cooling,
        per_eni: enis.iter().map(|eni| eni.blocks.len() as u32).collect(),
        ec2_calls: calls
            .into_iter()
            .map(|(operation, count)| (operation.name(), count))
            .collect(),
        at_rest,
    };
    let since_start = |at: Millis| at.saturating_sub(START);
    let record = node.record();
    let samples: Vec<Sample> = (record.samples().iter())
        .map(|sample| Sample {
            at: since_start(sample.at),
            ..*sample
        })
        .filter(|sample| sample.at <= end)
        .collect();
    let calls: Vec<CallMade> = (record.calls().iter())
        .map(|call| CallMade {
            at: since_start(call.at),
            ..*call
        })
        .filter(|call| call.at <= end)
        .collect();
    let mut waits: Vec<Millis> = node.pods().iter().filter_map(|pod| pod.waited).collect();
    waits.sort_unstable();
    let pods = Pods {
        arrived: node.pods().len() as u64,
        served: waits.len() as u64,
        waiting: node.count(PodState::Waiting) as u64,
        elsewhere: u64::from(elsewhere),
        refused: node.refused().iter().map(|(code, n)| (*code, *n)).collect(),
    };
    NodeRun {
        name: node.name().to_owned(),
        instance_type: scene.instance_type.clone(),
        last,
        figures: Figures::of(&samples, &calls, &waits, pods, end),
        samples,
        calls,
        waits,
    }
}
