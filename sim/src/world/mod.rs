//! Nodes in virtual time: the real core and real policies on the simulated account.
//!
//! In: a seed, nodes with their settings and pools, what happens to them. Out: what became of pods,
//! pools and EC2 calls, decision by decision.
//!
//! The world is the second loop around the core; the daemon is the first, and effects are performed
//! here as there: EC2 calls end after their latency in one of three ways, writes last some
//! milliseconds, an ENI is ready when its device has appeared. Pods are tried again as kubelet does.
//!
//! A node is **at rest** when no call is under way, no pod waits, no address cools, every ENI is
//! ready, and for [`QUIET`] the policy has asked for nothing and EC2 was asked to change nothing.
//!
//! The daemon may die at each boundary between two effects, when the weather says so; its files, the
//! account, links and sandboxes stay, and another one begins with them.
//!
//! What must hold: the same seed and the same calls give the same trace; nothing here reads a clock;
//! the auditor of `onsen_core::laws` watches each event, one that knows everything watches what became
//! of it, and a broken law ends the world.

mod decides;
mod disk;
mod ec2;
mod kubelet;
mod marks;
mod node;
mod pods;
mod record;
mod restart;
mod setup;
mod spoil;
#[cfg(test)]
mod tests;
mod truth;
mod weather;

use std::collections::BTreeMap;

use onsen_core::cidr::Cidr;
use onsen_core::event::{Event, Observation};
use onsen_core::ids::{EniId, RequestId};
use onsen_core::time::{Millis, SECOND};

use crate::account::{Account, Call, ConfigError, CreateEni, FabricEvent, Fault, Request, Wanted};
use truth::Truth;
use weather::Skies;

pub use decides::{Decides, Dice, Native};
pub use marks::Marks;
pub use node::{Decided, SimNode};
pub use pods::{Pod, PodState};
pub use record::{CallMade, Ended, Record, Sample};
pub use setup::{NodeSetup, PoolEni, WorldSetup};
pub use spoil::Spoil;
pub use weather::Weather;

/// When virtual time starts: 2026-01-01T00:00:00Z.
pub const START: Millis = 1_767_225_600_000;
/// How long nothing must have happened: more than twice the policy's period, and more than the pause
/// of two minutes that the documented warm pool makes after a shortage.
pub const QUIET: Millis = 150 * SECOND;

/// How somebody else's ENIs are described.
const TENANT: &str = "another tenant";

/// Why the world ended, or never began.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    /// There is no such instance type.
    #[error("there is no instance type {0:?}")]
    InstanceType(String),
    /// The account cannot be set up.
    #[error("the account cannot be set up: {0}")]
    Account(String),
    /// The pool cannot be made.
    #[error("the pool of {node} cannot be made: {why}")]
    Pool {
        /// Whose.
        node: String,
        /// EC2's words, or ours.
        why: String,
    },
    /// The core broke a law. This is a defect of Onsen, whatever the policy did.
    #[error("seed {seed}, {node}, after {after} ms: {law}")]
    BrokenLaw {
        /// Seed of the world.
        seed: u64,
        /// Whose core.
        node: String,
        /// Virtual time since the start.
        after: Millis,
        /// Which law, and how.
        law: String,
    },
    /// There is no such pod.
    #[error("there is no pod {0:?}")]
    NoPod(String),
}

impl From<ConfigError> for WorldError {
    fn from(error: ConfigError) -> Self {
        Self::Account(error.to_string())
    }
}

/// What is to come.
#[derive(Clone, Debug)]
enum Due {
    /// An event of one life of a node's daemon; another life does not hear it.
    Event {
        node: usize,
        life: u64,
        event: Box<Event>,
    },
    /// The next call of a look.
    Look { node: usize, life: u64 },
    /// An ENI's device has not appeared in time.
    Late {
        node: usize,
        life: u64,
        eni: EniId,
        number: u64,
    },
    /// A plugin hangs up.
    HangUp {
        node: usize,
        life: u64,
        request: RequestId,
    },
    /// A dead daemon's successor starts.
    Start { node: usize, life: u64 },
    /// It has seen EC2's view.
    Begin {
        node: usize,
        life: u64,
        observation: Box<Observation>,
    },
    /// Kubelet tries a pod again.
    Retry { node: usize, pod: usize },
    /// The runtime tries to delete a sandbox of a pod.
    Delete {
        node: usize,
        pod: usize,
        attempt: u32,
    },
}

/// See the module.
pub struct World {
    seed: u64,
    now: Millis,
    account: Account,
    nodes: Vec<SimNode>,
    built_in: Decides,
    /// By time, then in the order in which they were planned.
    queue: BTreeMap<(Millis, u64), Due>,
    planned: u64,
    broken: Option<WorldError>,
    skies: Skies,
    truth: Truth,
    marks: Marks,
    /// All that happened, in words, when asked for.
    trace: Option<Vec<String>>,
    /// Whether decisions, calls and samples are kept.
    keeps_record: bool,
}

/// What performing effects needs besides the node itself.
struct Surroundings<'a> {
    /// The node's place in the world.
    place: usize,
    now: Millis,
    account: &'a mut Account,
    built_in: &'a mut Decides,
    skies: &'a mut Skies,
    truth: &'a mut Truth,
    marks: &'a mut Marks,
    trace: &'a mut Option<Vec<String>>,
    keeps_record: bool,
    plan: Vec<(Millis, Due)>,
}

impl Surroundings<'_> {
    fn later(&mut self, delay: Millis, due: Due) {
        self.plan.push((self.now + delay, due));
    }
}

impl World {
    /// Virtual time.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Millis {
        self.now - START
    }

    /// The nodes, in the order of the setup.
    pub fn nodes(&self) -> &[SimNode] {
        &self.nodes
    }

    /// The account, to look at.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Situations met so far.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Events that cores have handled so far, each checked.
    pub fn steps(&self) -> u64 {
        self.nodes.iter().map(|it| it.steps).sum()
    }

    /// Keeps from now on all that happens, in words.
    pub fn keep_trace(&mut self) {
        self.trace = Some(Vec::new());
    }

    /// All that happened since, in words.
    pub fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    /// Forgets decisions, calls and samples from now on: a long run would keep too much.
    pub fn keep_no_record(&mut self) {
        self.keeps_record = false;
    }

    /// What goes wrong on the nodes from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.skies.weather = weather;
    }

    /// Something goes wrong at EC2 from now on, or happens there behind the nodes' backs.
    pub fn inject(&mut self, fault: Fault) {
        let before: Vec<_> = (0..self.nodes.len()).map(|it| self.owned(it)).collect();
        self.account.inject(self.now, fault);
        for (node, before) in before.into_iter().enumerate() {
            let after = self.owned(node);
            let gone: Vec<Cidr> = before.difference(&after).copied().collect();
            if !gone.is_empty() {
                self.marks.hit("taken-behind-the-nodes-back");
                self.truth.taken(node, &gone);
            }
        }
    }

    /// Blocks on a node's ENIs.
    fn owned(&self, node: usize) -> std::collections::BTreeSet<Cidr> {
        let owner = self.nodes.get(node).map(|it| &it.owner);
        let enis = owner.map(|owner| ec2::everything(&self.account, owner).attached);
        enis.into_iter()
            .flatten()
            .flat_map(|eni| eni.blocks)
            .collect()
    }

    /// All faults at EC2 end, and what they moved to strangers comes back.
    pub fn heal(&mut self) {
        self.account.clear_faults();
        self.account.strangers_leave(self.now);
    }

    /// A node's daemon dies; another one starts by itself.
    pub fn crash(&mut self, node: usize) -> Result<(), WorldError> {
        self.with(node, SimNode::crash)
    }

    /// Another policy runs on a node from its next question on.
    pub fn change_policy(&mut self, node: usize, policy: Decides) -> Result<(), WorldError> {
        self.with(node, |it, around| it.change_policy(policy, around))
    }

    /// A node starts to shut down, or does not after all.
    pub fn set_terminating(&mut self, node: usize, terminating: bool) -> Result<(), WorldError> {
        self.with(node, |it, around| {
            it.terminating = terminating;
            it.node_changed(around);
        })
    }

    /// The pod at this place goes.
    pub fn leave_at(&mut self, node: usize, pod: usize) -> Result<(), WorldError> {
        self.with(node, |it, around| it.give_back(pod, around))
    }

    /// Spoils each node's core from now on, for tests that prove that a broken core is caught.
    pub fn spoil(&mut self, spoil: &Spoil) {
        for it in &mut self.nodes {
            it.spoil = *spoil;
        }
    }

    /// The runtime asks once more for what a running pod holds.
    pub fn ask_again(&mut self, node: usize, pod: usize) -> Result<(), WorldError> {
        self.with(node, |it, around| it.ask_again(pod, around))
    }

    /// The runtime deletes an earlier sandbox of a pod once more, long after it failed.
    pub fn delete_again(
        &mut self,
        node: usize,
        pod: usize,
        attempt: u32,
    ) -> Result<(), WorldError> {
        self.with(node, |it, around| {
            let current = it.pods.all.get(pod).map_or(0, |pod| pod.attempts);
            if (1..current).contains(&attempt) {
                it.delete(pod, attempt, false, around);
            }
        })
    }

    /// Somebody else takes so many addresses of the subnet, if they are there.
    pub fn tenant_takes(&mut self, count: usize) {
        let subnet = self.account.subnets().next().map(|it| it.subnet_id);
        let call = Call {
            node: None,
            dry_run: false,
            request: Request::CreateNetworkInterface(CreateEni {
                subnet_id: subnet.unwrap_or_default(),
                description: TENANT.to_owned(),
                groups: Vec::new(),
                tags: Vec::new(),
                client_token: None,
                primary: None,
                wanted: Wanted::AddressCount(count),
            }),
        };
        // A subnet with less is as good as empty for the nodes.
        let _ = self.account.call(self.now, &call);
    }

    /// Somebody else gives all that back.
    pub fn tenant_leaves(&mut self) {
        let theirs = self.account.enis().filter(|it| it.description == TENANT);
        let theirs: Vec<String> = theirs.map(|it| it.id.clone()).collect();
        for eni_id in theirs {
            let call = Call {
                node: None,
                dry_run: false,
                request: Request::DeleteNetworkInterface { eni_id },
            };
            // When EC2 throttles, the rest stays for another time.
            let _ = self.account.call(self.now, &call);
        }
    }

    /// Calls so far by which EC2 changed something for a node.
    pub fn mutations(&self) -> u64 {
        self.nodes.iter().map(|it| it.mutations).sum()
    }

    /// How many pods a node could give an address to, in its fair share of the subnet.
    pub fn room(&self, node: usize) -> usize {
        let Some(it) = self.nodes.get(node) else {
            return 0;
        };
        let limits = it.summary(self.now).limits;
        let slots = limits.enis as usize * limits.slots_per_eni as usize;
        let subnet = self.account.subnets().next();
        let addresses = subnet.map_or(0, |it| it.cidr.size() as usize);
        let fair = (addresses / self.nodes.len()).saturating_sub(8);
        slots.min(fair).min(match it.config.node.max_pods {
            0 => usize::MAX,
            most => most as usize,
        })
    }

    /// Says that the world does not come to rest, and what stands in the way.
    pub fn restless(&self, law: String) -> WorldError {
        let restless = self.nodes.iter().filter(|it| !it.is_at_rest(self.now));
        let Some(it) = restless
            .max_by_key(|it| it.active_at)
            .or(self.nodes.first())
        else {
            return self.law("", law);
        };
        let waiting = it.pods.count(PodState::Waiting);
        let summary = it.summary(self.now);
        let enis = it.enis(self.now);
        let phases: Vec<_> = enis.iter().map(|eni| (&eni.id, eni.phase)).collect();
        let quiet = self.now - it.active_at;
        self.law(
            &it.name,
            format!("{law}: {waiting} pods wait, quiet for {quiet} ms, {summary:?}, {phases:?}"),
        )
    }

    /// Whether the pools and the account agree, as they must at rest.
    pub fn check_agreement(&self) -> Result<(), WorldError> {
        for it in &self.nodes {
            let pool = it.enis(self.now);
            let agreed = Truth::agrees(&it.name, &pool, &self.account, &it.owner);
            agreed.map_err(|law| self.law(&it.name, law))?;
        }
        Ok(())
    }

    /// Live pods whose address was taken away behind their node's back.
    pub fn stranded(&self) -> usize {
        self.truth.stranded()
    }

    /// Says that a law is broken, found from outside.
    pub fn law(&self, node: &str, law: String) -> WorldError {
        WorldError::BrokenLaw {
            seed: self.seed,
            node: node.to_owned(),
            after: self.now - START,
            law,
        }
    }

    /// A pod is scheduled to a node and asks for an address at once.
    pub fn arrive(&mut self, node: usize, name: &str) -> Result<(), WorldError> {
        self.with(node, |it, around| {
            let pod = it.pods.add(name, around.now);
            it.ask(pod, around);
        })
    }

    /// A pod is deleted, whether it has an address or not.
    pub fn leave(&mut self, node: usize, name: &str) -> Result<(), WorldError> {
        let known = self.nodes.get(node).and_then(|it| it.pods.find(name));
        let pod = known.ok_or_else(|| WorldError::NoPod(name.to_owned()))?;
        self.with(node, |it, around| it.give_back(pod, around))
    }

    /// These settings change; the others stay.
    pub fn change_settings(
        &mut self,
        node: usize,
        settings: &BTreeMap<String, String>,
    ) -> Result<(), WorldError> {
        self.with(node, |it, around| it.change_settings(settings, around))
    }

    /// The node is cordoned or uncordoned.
    pub fn cordon(&mut self, node: usize, cordoned: bool) -> Result<(), WorldError> {
        self.with(node, |it, around| {
            it.schedulable = !cordoned;
            it.node_changed(around);
        })
    }

    /// The node starts to shut down.
    pub fn terminate(&mut self, node: usize) -> Result<(), WorldError> {
        self.with(node, |it, around| {
            it.terminating = true;
            it.node_changed(around);
        })
    }

    /// Lets time pass.
    pub fn advance(&mut self, span: Millis) -> Result<(), WorldError> {
        let end = self.now.saturating_add(span);
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.step(next)?;
        }
        self.now = end;
        Ok(())
    }

    /// Lets time pass until all nodes are at rest, at most so long. Whether they are.
    pub fn run_until_rest(&mut self, within: Millis) -> Result<bool, WorldError> {
        let end = self.now.saturating_add(within);
        loop {
            if self.is_at_rest() {
                return Ok(true);
            }
            let quiet_at = self.nodes.iter().map(|it| it.active_at + QUIET).max();
            let quiet_at = quiet_at.filter(|at| *at > self.now).unwrap_or(end).min(end);
            match self.next().filter(|next| *next <= quiet_at) {
                Some(next) => self.step(next)?,
                None if self.now < quiet_at => self.now = quiet_at,
                None => return Ok(false),
            }
        }
    }

    /// See the module.
    pub fn is_at_rest(&self) -> bool {
        self.nodes.iter().all(|it| it.is_at_rest(self.now))
    }

    /// When something happens next.
    fn next(&self) -> Option<Millis> {
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        let wakes = self.nodes.iter().filter_map(SimNode::next_wake);
        let fabric = self.account.next_event_ms();
        let next = queued.into_iter().chain(wakes).chain(fabric).min()?;
        Some(next.max(self.now))
    }

    fn step(&mut self, at: Millis) -> Result<(), WorldError> {
        self.now = at;
        for event in self.account.advance(at) {
            self.fabric(event)?;
        }
        let first = self.queue.first_entry().filter(|it| it.key().0 <= at);
        if let Some(entry) = first {
            let due = entry.remove();
            return self.happen(due);
        }
        for node in 0..self.nodes.len() {
            let wake = self.nodes.get(node).and_then(SimNode::next_wake);
            if wake.is_some_and(|wake| wake <= at) {
                self.with(node, |it, around| it.happened(Event::Tick, around))?;
            }
        }
        Ok(())
    }

    fn happen(&mut self, due: Due) -> Result<(), WorldError> {
        let lives = |this: &Self, node: usize, life: u64| {
            this.nodes.get(node).is_some_and(|it| it.life == life)
        };
        match due {
            Due::Event { node, life, event } if lives(self, node, life) => {
                self.with(node, |it, around| it.hear(*event, around))
            }
            Due::Look { node, life } if lives(self, node, life) => {
                self.with(node, SimNode::look_on)
            }
            Due::Late {
                node,
                life,
                eni,
                number,
            } if lives(self, node, life) => {
                self.with(node, |it, around| it.late(&eni, number, around))
            }
            Due::HangUp {
                node,
                life,
                request,
            } if lives(self, node, life) => {
                self.with(node, |it, around| it.hang_up(request, around))
            }
            Due::Start { node, life } if lives(self, node, life) => self.with(node, SimNode::start),
            Due::Begin {
                node,
                life,
                observation,
            } if lives(self, node, life) => {
                self.with(node, |it, around| it.begin(*observation, around))
            }
            Due::Retry { node, pod } => self.with(node, |it, around| it.ask(pod, around)),
            Due::Delete { node, pod, attempt } => self.with(node, |it, around| {
                it.delete(pod, attempt, false, around);
            }),
            Due::Event { .. }
            | Due::Look { .. }
            | Due::Late { .. }
            | Due::HangUp { .. }
            | Due::Start { .. }
            | Due::Begin { .. } => Ok(()),
        }
    }

    fn fabric(&mut self, event: FabricEvent) -> Result<(), WorldError> {
        match event {
            FabricEvent::DeviceAppears { node, eni } => {
                let place = self.nodes.iter().position(|it| it.name == node);
                let Some(place) = place else { return Ok(()) };
                let eni = EniId::new(&*eni.id);
                self.with(place, |it, around| it.appeared(eni, around))
            }
            FabricEvent::DeviceVanishes { eni_id } => {
                for node in &mut self.nodes {
                    node.vanished(&EniId::new(&*eni_id));
                }
                Ok(())
            }
            FabricEvent::Routed { .. } | FabricEvent::Unrouted { .. } => Ok(()),
        }
    }

    /// Does something to a node, and plans what follows from it.
    fn with(
        &mut self,
        node: usize,
        act: impl FnOnce(&mut SimNode, &mut Surroundings<'_>),
    ) -> Result<(), WorldError> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let Some(it) = self.nodes.get_mut(node) else {
            return Ok(());
        };
        let mut around = Surroundings {
            place: node,
            now: self.now,
            account: &mut self.account,
            built_in: &mut self.built_in,
            skies: &mut self.skies,
            truth: &mut self.truth,
            marks: &mut self.marks,
            trace: &mut self.trace,
            keeps_record: self.keeps_record,
            plan: Vec::new(),
        };
        act(it, &mut around);
        for (at, due) in around.plan {
            self.planned += 1;
            self.queue.insert((at, self.planned), due);
        }
        if let Some(law) = it.broken.take() {
            let name = it.name.clone();
            let error = self.law(&name, law);
            self.broken = Some(error.clone());
            return Err(error);
        }
        Ok(())
    }
}
