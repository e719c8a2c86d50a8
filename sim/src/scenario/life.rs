//! The life of a node, step by step, on the world.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use onsen_core::answer::TAG_INSTANCE;
use onsen_core::proposal::Request;
use onsen_policy_runner::documents::{Scalar, Span};

use super::expect::{self, Expected, Number, PodsExpected, Pool, PoolExpected};
use super::format::{Arrive, Document, Fail, Given, Leave, Step};
use super::{Deciders, Difference, Failure, Verdict};
use crate::account::{Eni, Fault};
use crate::world::{
    NodeSetup, Pod, PodState, PoolEni, START, SimNode, Spoil, World, WorldError, WorldSetup,
};

/// Decisions that a failure tells.
const TOLD: usize = 6;
/// `always` is looked at this often, and after each step.
const GLANCE: u64 = 1_000;

/// A node that lives, and what was looked at so far.
struct Life<'a> {
    world: World,
    always: Option<&'a PoolExpected>,
    /// Pods named so far; the next ones have no name of their own.
    arrived: usize,
    /// Actions and calls before the step.
    actions_before: usize,
    calls_before: BTreeMap<String, u64>,
    decisions_before: usize,
    /// What `always` has found; one is enough.
    broken: Option<Vec<Difference>>,
}

pub(super) fn run(document: &Document, spoil: &Spoil, deciders: &Deciders) -> Verdict {
    let mut verdict = Verdict::default();
    let mut life = match begin(document, spoil, deciders) {
        Ok(life) => life,
        Err(error) => {
            verdict.failures.push(Failure {
                line: None,
                at_ms: 0,
                differences: Vec::new(),
                error: Some(error),
            });
            return verdict;
        }
    };
    for step in &document.steps {
        let (differences, error) = match life.step(&step.value) {
            Ok(differences) => (differences, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let ended = error.is_some();
        if ended || !differences.is_empty() {
            verdict.failures.push(Failure {
                line: Some(step.referenced.line()),
                at_ms: life.world.elapsed(),
                differences,
                error,
            });
        }
        if verdict.failures.len() == 1 && verdict.last_decisions.is_empty() {
            verdict.last_decisions = life.last_decisions();
        }
        if ended {
            break;
        }
    }
    verdict.virtual_ms = life.world.elapsed();
    verdict.decisions = life.node().map_or(0, |node| node.decisions().len() as u32);
    verdict
}

fn begin<'a>(
    document: &'a Document,
    spoil: &Spoil,
    deciders: &Deciders,
) -> Result<Life<'a>, String> {
    let Given {
        node,
        settings,
        pool,
        subnet,
        seed,
    } = &document.given;
    let cidr = subnet.cidr.as_deref().unwrap_or("10.0.0.0/16");
    let setup = WorldSetup {
        seed: seed.unwrap_or(1),
        subnet: cidr
            .parse()
            .map_err(|error| format!("given.subnet.cidr: {error}"))?,
        nodes: vec![NodeSetup {
            name: "node".to_owned(),
            instance_type: node
                .instance_type
                .clone()
                .unwrap_or_else(|| "m5.large".to_owned()),
            max_pods: node.max_pods,
            cordoned: node.cordoned,
            settings: texts(settings),
            policy: Arc::clone(&deciders.chosen).into(),
            pool: pool
                .iter()
                .map(|eni| PoolEni {
                    addresses: eni.addresses,
                    prefixes: eni.prefixes,
                    pods: eni.pods,
                })
                .collect(),
        }],
    };
    let world = World::spoiled(&setup, Arc::clone(&deciders.built_in), spoil)
        .map_err(|error| format!("given: {error}"))?;
    Ok(Life {
        arrived: world.nodes().first().map_or(0, |node| node.pods().len()),
        world,
        always: document.always.as_ref(),
        actions_before: 0,
        calls_before: BTreeMap::new(),
        decisions_before: 0,
        broken: None,
    })
}

fn texts(settings: &BTreeMap<String, Scalar>) -> BTreeMap<String, String> {
    let text = |(key, Scalar(value)): (&String, &Scalar)| (key.clone(), value.clone());
    settings.iter().map(text).collect()
}

fn words(error: &WorldError) -> String {
    error.to_string()
}

impl Life<'_> {
    fn node(&self) -> Option<&SimNode> {
        self.world.nodes().first()
    }

    fn step(&mut self, step: &Step) -> Result<Vec<Difference>, String> {
        self.actions_before = self.actions().len();
        self.calls_before = self.calls();
        self.decisions_before = self.decisions();
        if let Some(settings) = &step.settings {
            let settings = texts(settings);
            self.world
                .change_settings(0, &settings)
                .map_err(|e| words(&e))?;
        }
        if let Some(cordoned) = step.cordon {
            self.world.cordon(0, cordoned).map_err(|e| words(&e))?;
        }
        if step.terminate {
            self.world.terminate(0).map_err(|e| words(&e))?;
        }
        if step.crash {
            self.world.crash(0).map_err(|e| words(&e))?;
        }
        if step.heal {
            self.world.heal();
        }
        if let Some(fail) = &step.fail {
            self.world.inject(fault(fail));
        }
        if let Some(leave) = &step.leave {
            self.leave(leave)?;
        }
        if let Some(arrive) = &step.arrive {
            self.arrive(arrive)?;
        }
        if let Some(Span(span)) = step.wait {
            self.pass(span)?;
        }
        if let Some(Span(within)) = step.rest {
            self.rest(within)?;
        }
        self.glance();
        let mut differences = self.broken.take().unwrap_or_default();
        if let Some(expected) = &step.expect {
            self.compare(expected, &mut differences);
        }
        Ok(differences)
    }

    fn arrive(&mut self, arrive: &Arrive) -> Result<(), String> {
        for number in 0..arrive.count as usize {
            self.arrived += 1;
            let name = match arrive.names.get(number) {
                Some(name) => name.clone(),
                None => format!("pod-{}", self.arrived),
            };
            self.world.arrive(0, &name).map_err(|e| words(&e))?;
            self.pass(arrive.every.0)?;
        }
        Ok(())
    }

    fn leave(&mut self, leave: &Leave) -> Result<(), String> {
        let here = self.node().into_iter().flat_map(SimNode::pods);
        let here = here.filter(|pod| pod.state != PodState::Gone);
        let mut names: Vec<String> = here.map(|pod| pod.name.clone()).collect();
        let all = names.len();
        let few = |wanted: u32| {
            let wanted = wanted as usize;
            (wanted <= all)
                .then_some(wanted)
                .ok_or_else(|| format!("{wanted} pods are to leave, and {all} are here"))
        };
        match leave {
            Leave::All => {}
            Leave::Newest(wanted) => drop(names.drain(..all - few(*wanted)?)),
            Leave::Oldest(wanted) => names.truncate(few(*wanted)?),
            Leave::Named(wanted) => names.clone_from(wanted),
        }
        for name in names {
            self.world.leave(0, &name).map_err(|e| words(&e))?;
        }
        Ok(())
    }

    /// Lets time pass, and glances at `always` on the way.
    fn pass(&mut self, span: u64) -> Result<(), String> {
        let mut left = span;
        while left > 0 {
            let some = if self.always.is_some() {
                left.min(GLANCE)
            } else {
                left
            };
            self.world.advance(some).map_err(|e| words(&e))?;
            self.glance();
            left -= some;
        }
        Ok(())
    }

    fn rest(&mut self, within: u64) -> Result<(), String> {
        let end = self.world.elapsed().saturating_add(within);
        while self.always.is_some() && !self.world.is_at_rest() && self.world.elapsed() < end {
            self.pass(GLANCE.min(end - self.world.elapsed()))?;
        }
        let left = end.saturating_sub(self.world.elapsed());
        match self.world.run_until_rest(left) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!(
                "the node does not come to rest within {} s: {}",
                within / 1_000,
                self.unrest()
            )),
            Err(error) => Err(words(&error)),
        }
    }

    /// What speaks against rest.
    fn unrest(&self) -> String {
        let Some(node) = self.node() else {
            return String::new();
        };
        let summary = node.summary(self.world.now());
        format!(
            "{} pods wait, {} addresses cool, {} calls are under way, the last action was decided {} s ago",
            node.count(PodState::Waiting),
            summary.cooling,
            summary.in_flight,
            node.decisions()
                .iter()
                .rfind(|it| !it.proposal.actions.is_empty())
                .map_or(0, |it| (self.world.now() - it.record.at) / 1_000)
        )
    }

    fn glance(&mut self) {
        let Some(always) = self.always.filter(|_| self.broken.is_none()) else {
            return;
        };
        let mut differences = Vec::new();
        always.compare("always.", &self.pool(), &mut differences);
        if !differences.is_empty() {
            let at = self.world.elapsed();
            for difference in &mut differences {
                difference.actual = format!("{} after {at} ms", difference.actual);
            }
            self.broken = Some(differences);
            self.always = None;
        }
    }

    fn pool(&self) -> Pool {
        let Some(node) = self.node() else {
            return Pool::default();
        };
        let summary = node.summary(self.world.now());
        Pool {
            enis: summary.enis.into(),
            addresses: summary.addresses.into(),
            prefixes: summary.prefixes.into(),
            assigned: summary.assigned.into(),
            cooling: summary.cooling.into(),
            warm: summary.warm.into(),
            per_eni: node
                .enis(self.world.now())
                .iter()
                .map(|eni| eni.blocks.len() as u64)
                .collect(),
        }
    }

    fn compare(&self, expected: &Expected, differences: &mut Vec<Difference>) {
        let pool = self.pool();
        expected.pool.compare("pool.", &pool, differences);
        self.compare_pods(&expected.pods, differences);
        let new = (self.decisions() - self.decisions_before) as u64;
        expect::compare("decisions", expected.decisions, new, differences);
        let unattached = self.unattached();
        expect::compare("unattached", expected.unattached, unattached, differences);
        if let Some(wanted) = &expected.actions {
            let actions = self.actions();
            let new: Vec<&Request> = actions.iter().skip(self.actions_before).collect();
            expect::compare_actions(wanted, &new, differences);
        }
        if let Some(wanted) = &expected.calls {
            self.compare_calls(wanted, differences);
        }
    }

    fn compare_pods(&self, expected: &PodsExpected, differences: &mut Vec<Difference>) {
        let Some(node) = self.node() else { return };
        let count = |state| node.count(state) as u64;
        for (what, wanted, actual) in [
            ("pods.running", expected.running, count(PodState::Running)),
            ("pods.waiting", expected.waiting, count(PodState::Waiting)),
            ("pods.cut_off", expected.cut_off, self.cut_off()),
        ] {
            expect::compare(what, wanted, actual, differences);
        }
        let Some(wanted) = &expected.refused else {
            return;
        };
        let refused = node.refused();
        for (code, number) in wanted {
            let actual = refused.get(code.as_str()).copied().unwrap_or(0);
            expect::compare(
                &format!("pods.refused.{code}"),
                Some(*number),
                actual,
                differences,
            );
        }
        for (code, actual) in refused
            .iter()
            .filter(|(code, _)| !wanted.contains_key(**code))
        {
            expect::compare(
                &format!("pods.refused.{code}"),
                Some(Number::exactly(0)),
                *actual,
                differences,
            );
        }
    }

    /// Pods of the node with an address that EC2 does not route to it.
    fn cut_off(&self) -> u64 {
        let routed: Vec<_> = self.own_enis().flat_map(Eni::blocks).collect();
        let pods = self.node().into_iter().flat_map(SimNode::pods);
        let running = pods.filter(|pod| pod.state == PodState::Running);
        let is_cut_off = |pod: &&Pod| match pod.address() {
            Some(IpAddr::V4(address)) => !routed.iter().any(|it| it.contains(address)),
            Some(IpAddr::V6(_)) | None => false,
        };
        running.filter(is_cut_off).count() as u64
    }

    /// ENIs that are attached to the node.
    fn own_enis(&self) -> impl Iterator<Item = &Eni> {
        let account = self.world.account();
        let id = self.instance();
        account.enis().filter(move |eni| eni.is_on(&id))
    }

    /// ENIs that the node has made and that are attached to nothing.
    fn unattached(&self) -> u64 {
        let id = self.instance();
        let made_here = |eni: &&Eni| eni.tags.get(TAG_INSTANCE) == Some(&id);
        let enis = self.world.account().enis();
        enis.filter(made_here)
            .filter(|eni| eni.attachment.is_none())
            .count() as u64
    }

    fn instance(&self) -> String {
        let name = self.node().map_or("", SimNode::name);
        let mut instances = self.world.account().instances();
        let found = instances.find(|instance| instance.name == name);
        found.map_or_else(String::new, |instance| instance.instance_id)
    }

    /// Questions to the policy so far.
    fn decisions(&self) -> usize {
        self.node().map_or(0, |node| node.decisions().len())
    }

    /// All that any decider has asked for so far.
    fn actions(&self) -> Vec<Request> {
        let decisions = self.node().into_iter().flat_map(SimNode::decisions);
        let actions = decisions.flat_map(|it| &it.proposal.actions);
        actions.map(|action| action.request.clone()).collect()
    }

    /// EC2 calls so far, and the `total` of those that change something.
    fn calls(&self) -> BTreeMap<String, u64> {
        let mut calls = BTreeMap::from([("total".to_owned(), 0)]);
        let own = self.node().map(|node| node.calls(self.world.account()));
        for (operation, count) in own.into_iter().flatten() {
            let name = operation.name();
            if !name.starts_with("Describe") {
                *calls.entry("total".to_owned()).or_default() += count;
            }
            calls.insert(name.to_owned(), count);
        }
        calls
    }

    fn compare_calls(&self, wanted: &BTreeMap<String, Number>, differences: &mut Vec<Difference>) {
        let calls = self.calls();
        let count = |calls: &BTreeMap<String, u64>, name| calls.get(name).copied().unwrap_or(0);
        for (name, number) in wanted {
            let new = count(&calls, name) - count(&self.calls_before, name);
            expect::compare(&format!("calls.{name}"), Some(*number), new, differences);
        }
    }

    /// The last decisions that asked for something, and the very last one.
    fn last_decisions(&self) -> Vec<String> {
        let Some(node) = self.node() else {
            return Vec::new();
        };
        let all = node.decisions();
        let mut lines = Vec::new();
        let told: Vec<_> = all
            .iter()
            .enumerate()
            .filter(|(at, it)| !it.proposal.actions.is_empty() || at + 1 == all.len())
            .map(|(_, it)| it)
            .collect();
        for it in told.iter().skip(told.len().saturating_sub(TOLD)) {
            let seconds = (it.record.at - START) as f64 / 1_000.0;
            lines.push(format!("{seconds:.1} s: {}", it.record.reason));
            if let Some(why) = &it.record.fallback {
                lines.push(format!("  the built-in default decided: {why}"));
            }
            for (action, words) in it.proposal.actions.iter().zip(&it.words) {
                lines.push(format!("  {words}: {}", action.reason));
            }
            for (action, why) in &it.record.dropped {
                lines.push(format!("  dropped ({why}): {action}"));
            }
        }
        lines
    }
}

fn fault(fail: &Fail) -> Fault {
    let mut fault = Fault::new(fail.fault);
    fault.operation = fail.operation;
    fault.count = fail.count;
    fault.duration_ms = fail.span.map(|Span(span)| span);
    if let Some(Span(delay)) = fail.delay {
        fault.delay_ms = delay;
    }
    fault
}
