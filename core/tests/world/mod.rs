//! A small world around one node: a toy EC2 with weather, a disk, a runtime, policies of all kinds.
//! Everything follows from one seed. The auditor watches each event and each effect.

#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test support"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use onsen_core::cidr::{Cidr, Unit};
use onsen_core::config::{Config, StartFacts};
use onsen_core::effect::{Ec2Request, Effect, Reply, Saved};
use onsen_core::event::{
    Attachment, Ec2Gave, Ec2Outcome, EniFacts, Event, Observation, SubnetFacts,
};
use onsen_core::ids::{AttachmentId, EniId, Mac, PodName, RequestId, SandboxKey, SubnetId};
use onsen_core::laws::Auditor;
use onsen_core::node::Node;
use onsen_core::proposal::{Action, Placement, Proposal, Request};
use onsen_core::snapshot::{EniPhase, Limits, NodeFacts, Role, Snapshot};

/// How EC2 and the disk behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// All is well.
    Fair,
    /// Calls are refused, answers are lost, reads are old or fail.
    Stormy,
    /// No answer ever comes; half of the calls are carried out.
    Silent,
    /// Every change is throttled.
    Throttled,
    /// The checkpoint cannot be written.
    FullDisk,
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Keeps a few addresses to spare.
    Sensible,
    /// Random actions with random indexes.
    Nonsense,
    /// Wants everything.
    Greedy,
    /// Wants everything gone.
    Destructive,
    /// Traps.
    Broken,
    /// Does nothing.
    Idle,
    /// Asks for the impossible ten thousand times.
    Flood,
    /// Asks for what is in `World::script`, each time.
    Script,
}

/// Random numbers from a seed (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound.max(1)
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// EC2 as far as one node can tell.
#[derive(Clone, Default)]
pub(crate) struct ToyEc2 {
    pub(crate) enis: BTreeMap<EniId, EniFacts>,
    next: u32,
    next_address: u32,
    pub(crate) mutations: u32,
}

impl ToyEc2 {
    fn address(&mut self) -> Cidr {
        self.next_address += 1;
        Cidr::single(IpAddr::V4(Ipv4Addr::from(
            0x0a00_0000 + 16 + self.next_address,
        )))
    }

    fn prefix(&mut self) -> Cidr {
        self.next_address = (self.next_address | 15) + 1;
        let base = 0x0a01_0000 + self.next_address;
        self.next_address += 15;
        Cidr::new(IpAddr::V4(Ipv4Addr::from(base)), 28).unwrap()
    }

    fn blocks(&mut self, unit: Unit, count: u32) -> Vec<Cidr> {
        (0..count)
            .map(|_| match unit {
                Unit::Address => self.address(),
                Unit::Prefix => self.prefix(),
            })
            .collect()
    }

    fn create(&mut self, role: Role) -> EniFacts {
        self.next += 1;
        let facts = EniFacts {
            id: EniId::new(format!("eni-{}", self.next)),
            mac: Mac([2, 0, 0, 0, 0, self.next as u8]),
            subnet: SubnetId::new("subnet-1"),
            role,
            managed: true,
            ours: role == Role::Secondary,
            excluded: false,
            primary: self.address().base(),
            blocks: BTreeSet::new(),
            attachment: None,
        };
        self.enis.insert(facts.id.clone(), facts.clone());
        facts
    }

    /// Carries the call out, or refuses it as EC2 would.
    fn perform(&mut self, request: &Ec2Request) -> Result<Ec2Gave, (&'static str, &'static str)> {
        const SLOTS: usize = 9;
        self.mutations += 1;
        let attached = self
            .enis
            .values()
            .filter(|eni| eni.attachment.is_some())
            .count();
        if let Ec2Request::CreateEni { unit, blocks, .. } = request {
            let mut facts = self.create(Role::Secondary);
            facts.blocks = self.blocks(*unit, *blocks).into_iter().collect();
            self.enis.insert(facts.id.clone(), facts.clone());
            return Ok(Ec2Gave::Eni(Box::new(facts)));
        }
        let new_blocks = match request {
            Ec2Request::Assign { unit, count, .. } => self.blocks(*unit, *count),
            _ => Vec::new(),
        };
        let not_found = ("InvalidNetworkInterfaceID.NotFound", "does not exist");
        let id = request.eni().unwrap();
        let used: BTreeSet<u32> = self
            .enis
            .values()
            .filter_map(|eni| eni.attachment.as_ref().map(|a| a.device_index))
            .collect();
        let Some(eni) = self.enis.get_mut(id) else {
            return Err(not_found);
        };
        match request {
            Ec2Request::AttachEni { device_index, .. } => {
                if eni.attachment.is_some() {
                    return Err(("InvalidNetworkInterface.InUse", "in use"));
                }
                if used.contains(device_index) {
                    return Err((
                        "InvalidParameterValue",
                        "already has an interface attached at device index",
                    ));
                }
                if attached >= 3 {
                    return Err(("AttachmentLimitExceeded", "limit"));
                }
                let attachment = AttachmentId::new(format!("attach-{id}"));
                eni.attachment = Some(Attachment {
                    id: attachment.clone(),
                    card: 0,
                    device_index: *device_index,
                    detaching: false,
                    delete_on_termination: false,
                });
                Ok(Ec2Gave::Attachment(attachment))
            }
            Ec2Request::SetDeleteOnTermination { .. } => match &mut eni.attachment {
                Some(attachment) => {
                    attachment.delete_on_termination = true;
                    Ok(Ec2Gave::Nothing)
                }
                None => Err(("InvalidAttachmentID.NotFound", "does not exist")),
            },
            Ec2Request::DetachEni { .. } => match eni.attachment.take() {
                Some(_) => Ok(Ec2Gave::Nothing),
                None => Err(("InvalidAttachmentID.NotFound", "does not exist")),
            },
            Ec2Request::DeleteEni { .. } => {
                if eni.attachment.is_some() {
                    return Err(("InvalidParameterValue", "currently in use"));
                }
                self.enis.remove(id);
                Ok(Ec2Gave::Nothing)
            }
            Ec2Request::Assign { .. } => {
                if eni.blocks.len() + new_blocks.len() > SLOTS {
                    return Err(("PrivateIpAddressLimitExceeded", "will exceed limit"));
                }
                eni.blocks.extend(new_blocks.iter().copied());
                Ok(Ec2Gave::Blocks(new_blocks))
            }
            Ec2Request::Unassign { blocks, .. } => {
                if !blocks.iter().all(|cidr| eni.blocks.contains(cidr)) {
                    return Err(("InvalidParameterValue", "are not assigned to interface"));
                }
                eni.blocks.retain(|cidr| !blocks.contains(cidr));
                Ok(Ec2Gave::Nothing)
            }
            Ec2Request::CreateEni { .. } => Err(not_found),
        }
    }

    fn observation(&self) -> Observation {
        let (attached, detached) = self
            .enis
            .values()
            .cloned()
            .partition(|eni| eni.attachment.is_some());
        Observation {
            attached,
            detached,
            subnets: vec![SubnetFacts {
                id: SubnetId::new("subnet-1"),
                free_addresses: 200,
            }],
        }
    }
}

/// See the module.
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) weather: Weather,
    pub(crate) policy: Policy,
    pub(crate) ec2: ToyEc2,
    pub(crate) given: BTreeMap<SandboxKey, IpAddr>,
    pub(crate) refusals: BTreeMap<&'static str, u32>,
    pub(crate) not_durable: u32,
    /// The most dropped actions that one decision was recorded with.
    pub(crate) longest_dropped: usize,
    pub(crate) assigned_replies: u32,
    pub(crate) trace: Vec<String>,
    dice: Dice,
    /// What `Policy::Script` asks for.
    pub(crate) script: Vec<Request>,
    config: Config,
    node: Node,
    auditor: Auditor,
    /// What will happen, by time and order.
    future: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    past: VecDeque<(u64, ToyEc2)>,
    disk: Saved,
    writing: Option<Saved>,
    sandboxes: Vec<SandboxKey>,
    asked: BTreeMap<RequestId, SandboxKey>,
    requests: u64,
}

impl World {
    pub(crate) fn new(seed: u64, prefixes: bool, cooldown: u64) -> Self {
        let mut ec2 = ToyEc2::default();
        let mut primary = ec2.create(Role::Primary);
        primary.attachment = Some(Attachment {
            id: AttachmentId::new("attach-0"),
            card: 0,
            device_index: 0,
            detaching: false,
            delete_on_termination: true,
        });
        ec2.enis.insert(primary.id.clone(), primary);
        let mut config = Config {
            node: NodeFacts {
                instance_type: "m5.large".into(),
                schedulable: true,
                ..NodeFacts::default()
            },
            limits: Limits {
                other_cards: Vec::new(),
                trunk: true,
                enis: 3,
                slots_per_eni: 9,
                prefixes: true,
                addresses_per_prefix: 16,
            },
            own_subnet: SubnetId::new("subnet-1"),
            unit: if prefixes {
                Unit::Prefix
            } else {
                Unit::Address
            },
            seed,
            ..Config::default()
        };
        config.times.cooldown = cooldown;
        let now = 1_000_000;
        let facts = StartFacts {
            observation: ec2.observation(),
            ..StartFacts::default()
        };
        let auditor = Auditor::start(&config, &facts, None, now).unwrap();
        let (node, effects) = Node::start(config.clone(), facts, now);
        let mut world = Self {
            now,
            weather: Weather::Fair,
            policy: Policy::Sensible,
            ec2,
            given: BTreeMap::new(),
            refusals: BTreeMap::new(),
            not_durable: 0,
            longest_dropped: 0,
            assigned_replies: 0,
            trace: Vec::new(),
            dice: Dice(seed | 1),
            script: Vec::new(),
            config,
            node,
            auditor,
            future: BTreeMap::new(),
            sequence: 0,
            past: VecDeque::new(),
            disk: Saved::default(),
            writing: None,
            sandboxes: Vec::new(),
            asked: BTreeMap::new(),
            requests: 0,
        };
        world.perform(effects);
        world
    }

    pub(crate) fn unanswered(&self) -> usize {
        self.auditor.unanswered()
    }

    fn key(number: usize) -> SandboxKey {
        SandboxKey {
            network: "aws-cni".into(),
            container: format!("c{number}"),
            interface: "eth0".into(),
        }
    }

    pub(crate) fn add_new(&mut self) {
        let key = Self::key(self.sandboxes.len());
        self.sandboxes.push(key.clone());
        self.add(key);
    }

    pub(crate) fn add_again(&mut self, which: usize) {
        if let Some(key) = self.pick(which) {
            self.add(key);
        }
    }

    fn pick(&self, which: usize) -> Option<SandboxKey> {
        let count = self.sandboxes.len();
        (count > 0).then(|| self.sandboxes[which % count].clone())
    }

    fn add(&mut self, key: SandboxKey) {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.asked.insert(request, key.clone());
        self.send(Event::Assign {
            request,
            key,
            pod: PodName::default(),
            deadline: self.now + 10_000,
        });
    }

    pub(crate) fn delete(&mut self, which: usize) {
        if let Some(key) = self.pick(which) {
            self.delete_key(key);
        }
    }

    pub(crate) fn delete_unknown(&mut self) {
        self.delete_key(Self::key(1_000_000));
    }

    fn delete_key(&mut self, key: SandboxKey) {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.asked.insert(request, key.clone());
        self.send(Event::Release { request, key });
    }

    /// The daemon dies; what is under way at EC2 and on the disk may or may not have happened.
    pub(crate) fn crash(&mut self) {
        if let Some(saved) = self.writing.take()
            && self.dice.percent(50)
        {
            self.disk = saved;
        }
        self.future.clear();
        self.asked.clear();
        let facts = StartFacts {
            saved: self.disk.clone(),
            observation: self.ec2.observation(),
            ..StartFacts::default()
        };
        self.now += 500;
        let before = Some(self.auditor.clone());
        self.auditor = match Auditor::start(&self.config, &facts, before, self.now) {
            Ok(auditor) => auditor,
            Err(broken) => panic!("{}\n{broken}", self.tail()),
        };
        self.given = self
            .disk
            .allocations
            .iter()
            .map(|allocation| (allocation.key.clone(), allocation.address))
            .collect();
        let (node, effects) = Node::start(self.config.clone(), facts, self.now);
        self.node = node;
        self.perform(effects);
    }

    pub(crate) fn run_for(&mut self, millis: u64) {
        let end = self.now + millis;
        loop {
            let event_at = self.future.keys().next().map(|(at, _)| *at);
            let wake_at = self.node.next_wake().map(|at| at.max(self.now + 1));
            let next = event_at.into_iter().chain(wake_at).min();
            let Some(next) = next.filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if event_at == Some(next) {
                let (_, event) = self.future.pop_first().unwrap();
                self.send(event);
            } else {
                self.send(Event::Tick);
            }
        }
        self.now = end;
    }

    pub(crate) fn send(&mut self, event: Event) {
        if let Event::Checkpointed { durable, .. } = &event
            && let Some(saved) = self.writing.take()
            && *durable
        {
            self.disk = saved;
        }
        if let Err(broken) = self.auditor.event(&event, self.now) {
            panic!("{broken}\n{}", self.tail());
        }
        self.note(&format!("> {event:?}"));
        let effects = self.node.handle(event, self.now);
        self.perform(effects);
        // A time that has passed would make the daemon spin.
        let wake = self.node.next_wake();
        assert!(
            wake.is_none_or(|at| at > self.now),
            "{}\nat {} the node wants to be woken at {wake:?}",
            self.tail(),
            self.now
        );
    }

    fn note(&mut self, line: &str) {
        self.trace.push(format!("{} {line}", self.now));
    }

    fn tail(&self) -> String {
        let from = self.trace.len().saturating_sub(60);
        let clip = |line: &String| line.chars().take(400).collect::<String>();
        self.trace[from..]
            .iter()
            .map(clip)
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        if let Err(broken) = self.auditor.effects(&effects, self.now) {
            panic!("{}\n{broken}", self.tail());
        }
        for effect in effects {
            if !matches!(effect, Effect::AskPolicy { .. }) {
                self.note(&format!("  < {effect:?}"));
            }
            match effect {
                Effect::Reply { request, reply } => self.replied(request, reply),
                Effect::Checkpoint {
                    generation, saved, ..
                } => {
                    let durable = self.weather != Weather::FullDisk;
                    self.writing = Some(saved);
                    self.later(
                        20,
                        Event::Checkpointed {
                            generation,
                            durable,
                        },
                    );
                }
                Effect::AskPolicy { decider, snapshot } => {
                    let policy = match decider {
                        onsen_core::effect::Decider::Chosen => self.policy,
                        onsen_core::effect::Decider::BuiltIn => Policy::Sensible,
                    };
                    let answer = self.decide(policy, &snapshot);
                    let decision = snapshot.decision_id;
                    self.later(20, Event::Proposed { decision, answer });
                }
                Effect::Ec2 { intent, request } => {
                    let outcome = self.call(&request);
                    self.later(3_000, Event::Ec2Finished { intent, outcome });
                }
                Effect::ConfigureEni(link) => {
                    let stormy = self.weather == Weather::Stormy;
                    let result = if stormy && self.dice.percent(20) {
                        Err("no link".into())
                    } else {
                        Ok(())
                    };
                    self.later(
                        4_000,
                        Event::EniConfigured {
                            eni: link.eni,
                            result,
                        },
                    );
                }
                Effect::Look => self.looks(),
                Effect::Decided(record) => {
                    self.longest_dropped = self.longest_dropped.max(record.dropped.len());
                }
                Effect::ForgetEni(_) | Effect::Report(_) => {}
            }
        }
    }

    fn later(&mut self, within: u64, event: Event) {
        self.sequence += 1;
        let at = self.now + 1 + self.dice.below(within);
        self.future.insert((at, self.sequence), event);
    }

    fn replied(&mut self, request: RequestId, reply: Reply) {
        let key = self.asked.remove(&request);
        match reply {
            Reply::Assigned(holding) => {
                self.assigned_replies += 1;
                self.given.insert(key.unwrap(), holding.address);
            }
            Reply::Released(_) => {
                self.given.remove(&key.unwrap());
            }
            Reply::NoAddress(why) => *self.refusals.entry(why.code()).or_default() += 1,
            Reply::NotDurable => self.not_durable += 1,
            Reply::UnknownSandbox | Reply::IncompleteKey => {}
        }
    }

    fn call(&mut self, request: &Ec2Request) -> Ec2Outcome {
        let refused = |code: &str| Ec2Outcome::Refused {
            code: code.into(),
            message: "the weather".into(),
        };
        let chance = self.dice.below(100);
        let codes = [
            "RequestLimitExceeded",
            "UnauthorizedOperation",
            "InsufficientFreeAddressesInSubnet",
            "InternalState",
        ];
        match self.weather {
            Weather::Throttled => return refused("RequestLimitExceeded"),
            Weather::Stormy if chance < 20 => return refused(codes[(chance % 4) as usize]),
            _ => {}
        }
        let lost = match self.weather {
            Weather::Silent => true,
            Weather::Stormy => (20..45).contains(&chance),
            _ => false,
        };
        if lost && self.dice.percent(50) {
            // The call never arrived.
            return Ec2Outcome::Unknown {
                message: "timeout".into(),
            };
        }
        self.past.push_back((self.now, self.ec2.clone()));
        while self.past.len() > 50 {
            self.past.pop_front();
        }
        match self.ec2.perform(request) {
            _ if lost => Ec2Outcome::Unknown {
                message: "reset".into(),
            },
            Ok(gave) => Ec2Outcome::Done(gave),
            Err((code, message)) => Ec2Outcome::Refused {
                code: code.into(),
                message: message.into(),
            },
        }
    }

    /// A read may show EC2 as it was up to two seconds ago.
    fn looks(&mut self) {
        let failed = match self.weather {
            Weather::Stormy => self.dice.percent(20),
            Weather::Silent => self.dice.percent(50),
            _ => false,
        };
        if failed {
            self.later(1_000, Event::LookFailed("the weather".into()));
            return;
        }
        let seen_at = self.now.saturating_sub(self.dice.below(2_000));
        let old = self.past.iter().find(|(until, _)| *until >= seen_at);
        let ec2 = old.map_or(&self.ec2, |(_, ec2)| ec2);
        let observation = ec2.observation();
        self.later(500, Event::Observed(Box::new(observation)));
    }

    fn decide(&mut self, policy: Policy, snapshot: &Snapshot) -> Result<Proposal, String> {
        let actions = match policy {
            Policy::Broken => return Err("trap: unreachable".into()),
            Policy::Idle => Vec::new(),
            Policy::Script => self.script.clone(),
            Policy::Flood => vec![Request::DetachEni { eni: 99 }; 10_000],
            Policy::Sensible => sensible(snapshot),
            Policy::Nonsense => (0..self.dice.below(100)).map(|_| self.nonsense()).collect(),
            Policy::Greedy => (0..10)
                .map(|_| Request::AttachEni {
                    subnet: None,
                    unit: snapshot.unit,
                    blocks: 1_000,
                    card: 0,
                })
                .chain((0..4).map(|eni| Request::Grow {
                    eni,
                    unit: snapshot.unit,
                    count: u32::MAX,
                }))
                .collect(),
            Policy::Destructive => (0..4)
                .map(|eni| Request::DetachEni { eni })
                .chain((0..snapshot.enis.len() as u32).map(|eni| Request::Release {
                    eni,
                    blocks: (0..snapshot.blocks.base.len() as u32).collect(),
                }))
                .chain(snapshot.enis.iter().enumerate().flat_map(|(place, eni)| {
                    (eni.first_block..eni.first_block + eni.block_count).map(move |block| {
                        Request::Release {
                            eni: place as u32,
                            blocks: vec![block],
                        }
                    })
                }))
                .collect(),
        };
        Ok(Proposal {
            actions: actions
                .into_iter()
                .map(|request| Action {
                    request,
                    reason: "test".into(),
                })
                .collect(),
            placement: match self.dice.below(3) {
                0 => Placement::Pack,
                1 => Placement::Spread,
                _ => Placement::AddressesFirst,
            },
            // Now and then in less than the calm between two questions.
            wake_after: snapshot.decision_id.is_multiple_of(4).then_some(150),
            ..Proposal::default()
        })
    }

    fn nonsense(&mut self) -> Request {
        let small = |dice: &mut Dice| dice.below(6) as u32;
        let unit = if self.dice.percent(50) {
            Unit::Address
        } else {
            Unit::Prefix
        };
        match self.dice.below(4) {
            0 => Request::AttachEni {
                subnet: self.dice.percent(50).then(|| small(&mut self.dice)),
                unit,
                blocks: self.dice.below(20) as u32,
                card: 0,
            },
            1 => Request::Grow {
                eni: small(&mut self.dice),
                unit,
                count: self.dice.below(20) as u32,
            },
            2 => Request::Release {
                eni: small(&mut self.dice),
                blocks: (0..self.dice.below(5))
                    .map(|_| self.dice.below(40) as u32)
                    .collect(),
            },
            _ => Request::DetachEni {
                eni: small(&mut self.dice),
            },
        }
    }

    /// E5: at rest the pool holds exactly what EC2 says this instance has.
    pub(crate) fn nothing_is_forgotten(&self) -> Result<(), String> {
        let pool: BTreeMap<_, BTreeSet<_>> = self
            .node
            .enis(self.now)
            .into_iter()
            .map(|eni| {
                (
                    eni.id,
                    eni.blocks.into_iter().map(|block| block.cidr).collect(),
                )
            })
            .collect();
        let ec2: BTreeMap<_, _> = self
            .ec2
            .enis
            .iter()
            .map(|(id, facts)| (id.clone(), facts.blocks.clone()))
            .collect();
        if pool == ec2 {
            Ok(())
        } else {
            Err(format!(
                "E5: the pool holds {pool:?}, EC2 says {ec2:?}\n{}",
                self.tail()
            ))
        }
    }
}

/// Enough for those who wait and a few to spare; gives back what is far too much.
fn sensible(snapshot: &Snapshot) -> Vec<Request> {
    let per = if snapshot.unit == Unit::Prefix { 16 } else { 1 };
    let free: u32 = snapshot.blocks.free.iter().sum();
    let coming: u32 = snapshot.enis.iter().map(|eni| eni.in_flight).sum::<u32>() * per
        + snapshot
            .enis
            .iter()
            .filter(|eni| eni.phase == EniPhase::Attaching)
            .map(|eni| eni.block_count * per)
            .sum::<u32>();
    let want = snapshot.demand.waiting.len() as u32 + 4;
    if free + coming < want {
        let mut missing = (want - free - coming).div_ceil(per);
        let mut requests = Vec::new();
        for (place, eni) in snapshot.enis.iter().enumerate() {
            let count = missing.min(eni.free_slots);
            if count > 0 && eni.in_flight == 0 {
                requests.push(Request::Grow {
                    eni: place as u32,
                    unit: snapshot.unit,
                    count,
                });
                missing -= count;
            }
        }
        if missing > 0 && (snapshot.enis.len() as u32) < snapshot.limits.enis {
            requests.push(Request::AttachEni {
                subnet: None,
                unit: snapshot.unit,
                blocks: missing.min(snapshot.limits.slots_per_eni),
                card: 0,
            });
        }
        return requests;
    }
    for (place, eni) in snapshot.enis.iter().enumerate().rev() {
        let blocks = eni.first_block..eni.first_block + eni.block_count;
        let on_eni: u32 = blocks
            .clone()
            .map(|block| snapshot.blocks.free[block as usize])
            .sum();
        if eni.keep.is_none() && free - on_eni >= want {
            return vec![Request::DetachEni { eni: place as u32 }];
        }
        let idle = blocks.into_iter().find(|block| {
            let block = *block as usize;
            snapshot.blocks.releasable[block] && free - snapshot.blocks.free[block] >= want + 16
        });
        if let Some(block) = idle {
            return vec![Request::Release {
                eni: place as u32,
                blocks: vec![block],
            }];
        }
    }
    Vec::new()
}
