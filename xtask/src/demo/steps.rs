//! The nine steps, in the order in which they are shown.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use onsen_harness::aws::{self, Eni};
use onsen_harness::cni::Pod;
use onsen_harness::node::Node;
use onsen_harness::traffic::{Flow, talk};
use onsen_harness::wait::wait_for;
use onsen_harness::{Lab, private};

use super::checks::Checks;
use super::pods::{self, Running};
use super::screen::Screen;
use super::why::why;
use super::{Options, Speed};
use crate::failure::Failure;

/// Pods that the kubelet of the first node tries to run.
const WANTED: usize = 60;
/// Addresses of an m5.large: 3 ENIs, 9 secondary addresses each.
const ROOM: usize = 27;
/// Free addresses of a quiet node under `prefix-frugal` at most.
const FEW: u32 = 5;
/// Pods of the first node that outlive the burst.
const STAY: usize = 3;
/// Guards against hanging; nothing here takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(90);

/// The world of the demo and what was seen in it.
pub(super) struct Stage<'a> {
    lab: Lab,
    pub(super) screen: Screen,
    checks: &'a mut Checks,
    speed: Speed,
}

impl Stage<'_> {
    pub(super) fn check(&mut self, claim: &str, holds: bool) {
        let line = self.checks.note(claim, holds);
        self.screen.say(&line);
    }

    pub(super) fn node(&mut self, at: usize) -> &mut Node {
        #[expect(clippy::indexing_slicing, reason = "the demo has two nodes")]
        &mut self.lab.nodes[at]
    }

    /// ENIs that EC2 says are attached to a node.
    fn attached(&self, node: &str) -> Result<Vec<Eni>, Failure> {
        let mut enis = self.lab.aws.state()?.enis;
        enis.retain(|eni| eni.node.as_deref() == Some(node) && eni.status == "in-use");
        Ok(enis)
    }
}

/// Plays all steps.
pub(crate) fn run(options: &Options, checks: &mut Checks) -> Result<(), Failure> {
    let screen = Screen::new();
    screen.step("1  A VPC with two nodes, EC2 and instance metadata");
    let lab = Lab::without_daemons(&options.lab())?;
    let mut stage = Stage {
        lab,
        screen,
        checks,
        speed: options.speed(),
    };
    world(&mut stage)?;
    daemons(&mut stage)?;
    let (mut first, mut second) = first_pods(&mut stage)?;
    talking(&mut stage, &first, &second)?;
    burst(&mut stage, &mut first, &second)?;
    swap(&mut stage, &mut first, &second)?;
    misbehave(&mut stage)?;
    why(&mut stage)?;
    if options.keep {
        keep(&stage)?;
    }
    end(&mut stage, &mut first, &mut second)
}

fn world(stage: &mut Stage) -> Result<(), Failure> {
    for instance in &stage.lab.aws.ready().nodes {
        stage.screen.say(&format!(
            "  {}: {} {} with {} on {}",
            instance.name,
            instance.instance_type,
            instance.instance_id,
            instance.primary_address,
            instance.primary_eni
        ));
    }
    let far = stage.node(1).instance.primary_address;
    let reaches = stage.node(0).netns.can_ping(far)?;
    stage.check("the nodes reach each other through the router", reaches);
    Ok(())
}

fn daemons(stage: &mut Stage) -> Result<(), Failure> {
    stage.screen.step("2  The daemons fill their warm pools");
    let watched = stage
        .lab
        .nodes
        .iter()
        .map(|node| (node.instance.name.clone(), node.status_socket()))
        .collect();
    for node in &mut stage.lab.nodes {
        node.start()?;
    }
    stage.screen.say("  starting onsend on both nodes");
    for node in &mut stage.lab.nodes {
        node.wait_ready()?;
    }
    stage.screen.watch(watched);
    for at in 0..2 {
        let name = stage.node(at).instance.name.clone();
        stage
            .screen
            .say(&format!("  waiting for warm addresses on {name}"));
        let status = stage
            .node(at)
            .wait_status("a warm pool", PATIENCE, |status| status.pool.warm > 0)?;
        let claim = format!(
            "{name} has {} warm addresses before its first pod, decided by {}",
            status.pool.warm, status.policy.name
        );
        stage.check(&claim, status.policy.name == "default-warm-eni");
    }
    stage.screen.table();
    Ok(())
}

fn first_pods(stage: &mut Stage) -> Result<(Vec<Running>, Vec<Running>), Failure> {
    stage
        .screen
        .step("3  Pods, started the way a container runtime does");
    let mut nodes = Vec::new();
    for at in 0..2 {
        let node = stage.node(at);
        let name = node.instance.name.clone();
        let names: Vec<String> = (1..=2).map(|i| format!("{name}-first-{i}")).collect();
        let (running, errors) = pods::start(&node.plugin.clone(), &names)?;
        for pod in &running {
            stage
                .screen
                .say(&format!("  {} has {}", pod.pod.name, pod.address()));
        }
        stage.check(
            &format!("two pods on {name} got addresses"),
            running.len() == 2 && errors.is_empty(),
        );
        let held: BTreeSet<IpAddr> = stage
            .attached(&name)?
            .into_iter()
            .flat_map(|eni| eni.addresses)
            .collect();
        stage.check(
            &format!("EC2 says that ENIs of {name} hold them"),
            running.iter().all(|pod| held.contains(&pod.address())),
        );
        let plugin = stage.node(at).plugin.clone();
        let verified = running
            .iter()
            .all(|pod| plugin.must_check(&pod.pod, &pod.added.result).is_ok());
        stage.check(
            &format!("CHECK finds the pods on {name} as wired"),
            verified,
        );
        nodes.push(running);
    }
    let second = nodes.pop().unwrap_or_default();
    let first = nodes.pop().unwrap_or_default();
    stage.screen.table();
    Ok((first, second))
}

fn talking(stage: &mut Stage, first: &[Running], second: &[Running]) -> Result<(), Failure> {
    stage.screen.step("4  They talk with their own addresses");
    let mut pings = true;
    let mut sources = true;
    for a in first {
        for b in second {
            for (from, to) in [(a, b), (b, a)] {
                pings &= from.pod.netns.can_ping(to.address())?;
                let seen = talk(&from.pod.netns, &to.pod.netns, to.address())?;
                sources &= seen == from.address();
            }
        }
    }
    stage.check("pods on both nodes ping each other", pings);
    stage.check(
        "the far side of a TCP connection sees the pod's own VPC address",
        sources,
    );
    if let [a, b, ..] = first {
        let reaches = a.pod.netns.can_ping(b.address())?;
        stage.check("two pods on one node ping each other", reaches);
        let node = stage.node(0);
        let address = node.instance.primary_address;
        let out = talk(&a.pod.netns, &node.netns, address)?;
        let back = talk(&node.netns, &a.pod.netns, a.address())?;
        stage.check(
            "a pod reaches its node and the node its pod",
            out == a.address() && back == address,
        );
        let internet = stage.lab.aws.ready().internet_address;
        let reaches = a.pod.netns.can_ping(internet)?;
        stage.check(
            "a pod reaches the internet behind its node's address",
            reaches,
        );
    }
    let dropped = stage.lab.aws.state()?.dropped_packets.total;
    stage.check(
        &format!("the VPC dropped no packet for a wrong source ({dropped} dropped)"),
        dropped == 0,
    );
    Ok(())
}

fn burst(stage: &mut Stage, first: &mut Vec<Running>, second: &[Running]) -> Result<(), Failure> {
    stage.screen.step("5  More pods than the node can hold");
    let more = WANTED - first.len();
    stage.screen.say(&format!(
        "  starting {more} more pods on node-1, {WANTED} in all; an m5.large has {ROOM} addresses"
    ));
    let plugin = stage.node(0).plugin.clone();
    let names: Vec<String> = (1..=more).map(|i| format!("burst-{i}")).collect();
    let (running, errors) = pods::start(&plugin, &names)?;
    first.extend(running);
    let addresses: BTreeSet<IpAddr> = first.iter().map(Running::address).collect();
    stage.check(
        &format!("{} pods run, each with an address of its own", first.len()),
        first.len() == ROOM && addresses.len() == ROOM,
    );
    let clear = errors
        .iter()
        .filter(|error| format!("{} {}", error.msg, error.details).contains("node-full"))
        .count();
    if let Some(error) = errors.first() {
        stage.screen.say(&format!(
            "  a refused pod reads: {} {}",
            error.msg, error.details
        ));
    }
    stage.check(
        &format!(
            "{} pods were refused, {clear} with the cause node-full",
            errors.len()
        ),
        errors.len() == WANTED - ROOM && clear == errors.len(),
    );
    let enis = stage.attached("node-1")?.len();
    stage.check(&format!("the pool grew to {enis} ENIs"), enis == 3);
    if let Some(far) = second.first() {
        let answers = pods::parallel(first, |pod| pod.pod.netns.can_ping(far.address()))?;
        stage.check(
            "every one of them reaches a pod on the other node",
            answers.iter().all(|answered| *answered),
        );
    }
    stage.screen.table();
    shrink(stage, first)
}

/// Deletes most pods: cooling, reuse, and ENIs that go back.
fn shrink(stage: &mut Stage, first: &mut Vec<Running>) -> Result<(), Failure> {
    // Those that stay share the primary ENI, so that the other ENIs can empty.
    let primary: BTreeSet<IpAddr> = stage
        .attached("node-1")?
        .into_iter()
        .filter(|eni| {
            eni.id
                == stage
                    .lab
                    .nodes
                    .first()
                    .map_or("", |n| &n.instance.primary_eni)
        })
        .flat_map(|eni| eni.addresses)
        .collect();
    first.sort_by_key(|pod| !primary.contains(&pod.address()));
    let leaving = first.split_off(STAY.min(first.len()));
    stage
        .screen
        .say(&format!("  deleting {} pods", leaving.len()));
    let plugin = stage.node(0).plugin.clone();
    let released: BTreeMap<IpAddr, Instant> = pods::stop(&plugin, &leaving)?.into_iter().collect();
    drop(leaving);
    let cooling = stage.node(0).status()?.pool;
    stage.check(
        &format!(
            "{} addresses cool, {} are warm",
            cooling.cooling, cooling.warm
        ),
        cooling.cooling > 0,
    );
    stage.screen.table();

    stage
        .screen
        .say("  a pod that comes now waits for the end of a cooldown");
    let pod = Pod::create("after-the-burst")?;
    let added = plugin.must_add(&pod)?;
    let waited = released
        .get(&added.address)
        .map(Instant::elapsed)
        .unwrap_or_default();
    stage.check(
        &format!(
            "{} is used again {:.1} s after it was given back, not before {} s",
            added.address,
            waited.as_secs_f64(),
            stage.speed.cooldown.as_secs()
        ),
        waited >= stage.speed.cooldown,
    );
    first.push(Running { pod, added });

    stage.screen.say("  waiting for ENIs to go back");
    stage
        .node(0)
        .wait_status("an ENI going back", PATIENCE, |status| {
            status.pool.enis < 3 && status.pool.in_flight == 0
        })?;
    let enis = stage.attached("node-1")?.len();
    stage.check(&format!("{enis} of 3 ENIs are left"), enis == 2);
    stage.screen.table();
    Ok(())
}

fn swap(stage: &mut Stage, first: &mut Vec<Running>, second: &[Running]) -> Result<(), Failure> {
    stage.screen.step("6  Another policy, live");
    let (Some(near), Some(far)) = (first.first(), second.first()) else {
        return Err(Failure::Missing("no pods are left to watch".to_owned()));
    };
    let near_address = near.address();
    let flow = Flow::start(&near.pod.netns, &far.pod.netns, far.address())?;
    let before = stage.node(0).status()?.pool;
    stage.screen.say(
        "  naming builtin:prefix-frugal in the rules of node-1, which keeps few addresses free",
    );
    let settings = [("FRUGAL_IDLE_SECONDS", "1")];
    stage
        .node(0)
        .set_policy("builtin:prefix-frugal", &settings)?;
    let after = stage
        .node(0)
        .wait_status("prefix-frugal in force", PATIENCE, |status| {
            status.policy.name == "prefix-frugal"
        })?;
    stage
        .screen
        .say(&format!("  in force: {}", after.policy.digest));
    let after = stage
        .node(0)
        .wait_status("a smaller pool", PATIENCE, |status| {
            status.pool.warm <= FEW && status.pool.in_flight == 0
        })?
        .pool;
    stage.check(
        &format!(
            "the pool shrank: {} addresses, {} of them free, became {}, {} of them free",
            before.addresses, before.warm, after.addresses, after.warm
        ),
        after.addresses < before.addresses && after.assigned == before.assigned,
    );
    let plugin = stage.node(0).plugin.clone();
    let names: Vec<String> = (1..=6).map(|i| format!("frugal-{i}")).collect();
    let (running, errors) = pods::start(&plugin, &names)?;
    stage.check(
        "six more pods run on the smaller pool",
        running.len() == names.len() && errors.is_empty(),
    );
    let answers = pods::parallel(&running, |pod| pod.pod.netns.can_ping(far.address()))?;
    stage.check(
        "and reach a pod on the other node",
        answers.iter().all(|answered| *answered),
    );
    let seen = flow.stop()?;
    stage.check(
        &format!(
            "a pod talked all the while: {} packets, {} lost, from its own address",
            seen.sent, seen.lost
        ),
        seen.sent > 0 && seen.lost == 0 && seen.sources == BTreeSet::from([near_address]),
    );
    first.extend(running);
    stage.screen.table();
    Ok(())
}

fn misbehave(stage: &mut Stage) -> Result<(), Failure> {
    stage.screen.step("7  Policies that misbehave");
    let pods = |node: &Node| -> Result<BTreeSet<IpAddr>, Failure> {
        Ok(node.pods()?.into_iter().map(|pod| pod.address).collect())
    };
    let before = pods(stage.node(0))?;
    for (name, component, what) in [
        (
            "endless.wasm",
            onsen_hostile::endless_loop(),
            "one that computes for ever",
        ),
        (
            "greedy.wasm",
            onsen_hostile::release_everything(),
            "one that gives back every address and every ENI",
        ),
    ] {
        stage.screen.say(&format!("  naming {what}"));
        stage.node(0).put_component(name, &component)?;
        stage
            .node(0)
            .set_policy(&format!("configmap:{name}"), &[])?;
        let told = stage
            .node(0)
            .wait_status("its end", PATIENCE, |status| {
                let why = status.policy.last_error.as_ref();
                why.is_some_and(|why| why.contains(name))
            })?
            .policy;
        let end = if told.rollbacks > 0 {
            "was rolled back"
        } else {
            "was refused"
        };
        stage
            .screen
            .say(&format!("  {}", told.last_error.unwrap_or_default()));
        let same = pods(stage.node(0))? == before;
        stage.check(
            &format!(
                "{name} {end}, {} decides, every pod has its address",
                told.name
            ),
            same && !told.name.is_empty(),
        );
    }
    Ok(())
}

fn keep(stage: &Stage) -> Result<(), Failure> {
    stage.screen.step("Running until Ctrl-C");
    for node in &stage.lab.nodes {
        stage.screen.say(&format!(
            "  {}: onsen status --endpoint unix:{}",
            node.instance.name,
            node.status_socket().display()
        ));
    }
    private::wait_for_the_end().map_err(Into::into)
}

fn end(
    stage: &mut Stage,
    first: &mut Vec<Running>,
    second: &mut Vec<Running>,
) -> Result<(), Failure> {
    stage.screen.step("9  The end");
    for (at, pods) in [(0, first), (1, second)] {
        let plugin = stage.node(at).plugin.clone();
        pods::stop(&plugin, pods)?;
        pods.clear();
        let status = stage.node(at).status()?;
        let name = stage.node(at).instance.name.clone();
        stage.check(
            &format!("no pod of {name} holds an address any more"),
            status.pool.assigned == 0,
        );
    }
    stage.lab.aws.must_run()?;
    stage.screen.say("  waiting for ENIs on their way out");
    let vpc = &stage.lab.aws;
    let stray = |state: &aws::State| state.enis.iter().any(|eni| eni.node.is_none());
    let rested = wait_for("every ENI to be attached or deleted", PATIENCE, || {
        Ok(Some(vpc.state()?).filter(|state| !stray(state)))
    });
    stage.check("no ENI was left behind", rested.is_ok());
    let seen = stage.lab.aws.state()?;
    let dropped = seen.dropped_packets.total;
    stage.check(
        &format!("in all of it the VPC dropped {dropped} packets for a wrong source"),
        dropped == 0,
    );
    stage.screen.table();
    stage.screen.watch(Vec::new());
    let stopped: Vec<_> = stage.lab.nodes.iter_mut().map(Node::stop_daemon).collect();
    for error in stopped.iter().filter_map(|result| result.as_ref().err()) {
        stage.screen.say(&format!("  {}", error.chain()));
    }
    stage.check(
        "the daemons ended in good order",
        stopped.iter().all(Result::is_ok),
    );
    Ok(())
}
