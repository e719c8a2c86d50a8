//! How a world begins: the account, the nodes, their first pools.

use std::collections::BTreeMap;

use onsen_core::answer;
use onsen_core::cidr::Unit;
use onsen_core::config::{Config, StartFacts, Times};
use onsen_core::effect::{Allocation, Saved};
use onsen_core::ids::{EniId, SubnetId};
use onsen_core::laws::Auditor;
use onsen_core::node::Node;
use onsen_core::snapshot::{NodeFacts, Setting};
use onsen_core::time::{MINUTE, Millis, SECOND};

use super::decides::Decides;
use super::disk::Disk;
use super::marks::Marks;
use super::node::SimNode;
use super::pods::{PodState, Pods};
use super::spoil::Spoil;
use super::truth::Truth;
use super::weather::Skies;
use super::{START, World, WorldError, ec2};
use crate::account::{self, Account, Cidr, InstanceType, NodeConfig, SubnetConfig};

/// Pools are made so long before the start, that EC2's books have settled and its budgets are full.
const BEFORE: Millis = 60 * MINUTE;
/// Between two calls that make a pool: slow enough for EC2's limits.
const PACE: Millis = 2 * SECOND;

/// A world before it begins.
#[derive(Clone, Debug)]
pub struct WorldSetup {
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// The one subnet.
    pub subnet: Cidr,
    /// The nodes.
    pub nodes: Vec<NodeSetup>,
}

/// A node before it begins.
#[derive(Clone, Debug)]
pub struct NodeSetup {
    /// Its name.
    pub name: String,
    /// Such as `m5.large`.
    pub instance_type: String,
    /// 0: not known.
    pub max_pods: u32,
    /// No pods are scheduled here.
    pub cordoned: bool,
    /// Settings of policy and daemon.
    pub settings: BTreeMap<String, String>,
    /// Who decides.
    pub policy: Decides,
    /// What its ENIs hold, the primary first; empty: a primary that holds nothing.
    pub pool: Vec<PoolEni>,
}

/// What an ENI holds at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolEni {
    /// Slots that hold single addresses.
    pub addresses: u32,
    /// Slots that hold prefixes.
    pub prefixes: u32,
    /// Pods with addresses of this ENI, lowest first.
    pub pods: u32,
}

impl World {
    /// Begins. `built_in` decides when a node's own policy does not.
    pub fn new(setup: &WorldSetup, built_in: impl Into<Decides>) -> Result<Self, WorldError> {
        Self::spoiled(setup, built_in, &Spoil::default())
    }

    /// Begins with cores that are spoilt from their first moment.
    pub fn spoiled(
        setup: &WorldSetup,
        built_in: impl Into<Decides>,
        spoil: &Spoil,
    ) -> Result<Self, WorldError> {
        let nodes = setup.nodes.iter().map(|node| NodeConfig {
            name: node.name.clone(),
            instance_type: node.instance_type.clone(),
            subnet: 0,
        });
        let config = account::Config {
            region: "eu-west-1".to_owned(),
            zone: "eu-west-1a".to_owned(),
            vpc_cidr: setup.subnet,
            subnets: vec![SubnetConfig {
                cidr: setup.subnet,
                zone: None,
                tags: BTreeMap::new(),
                reservations: Vec::new(),
            }],
            nodes: nodes.collect(),
            latency_scale: 1.0,
            read_lag_scale: 1.0,
        };
        let mut account = Account::new(config, setup.seed, START - BEFORE)?;
        for (place, node) in setup.nodes.iter().enumerate() {
            // Each has its own stretch of time; hundreds of nodes are made at once.
            let at = START - BEFORE + place as Millis % 60;
            make_pool(&mut account, node, at)?;
        }
        account.advance(START);
        let mut world = Self {
            seed: setup.seed,
            now: START,
            account,
            nodes: Vec::new(),
            built_in: built_in.into(),
            queue: BTreeMap::new(),
            planned: 0,
            broken: None,
            skies: Skies::fair(setup.seed),
            truth: Truth::default(),
            marks: Marks::default(),
            trace: None,
            keeps_record: true,
        };
        for (place, node) in setup.nodes.iter().enumerate() {
            world.start(place, node, spoil)?;
        }
        Ok(world)
    }

    fn start(&mut self, place: usize, setup: &NodeSetup, spoil: &Spoil) -> Result<(), WorldError> {
        let kind = InstanceType::find(&setup.instance_type)
            .ok_or_else(|| WorldError::InstanceType(setup.instance_type.clone()))?;
        let owner = owner(&self.account, &setup.name)?;
        let bad_pool = |why: String| WorldError::Pool {
            node: setup.name.clone(),
            why,
        };
        let mut limits = kind.limits();
        let max_eni = setup.settings.get("MAX_ENI");
        if let Some(most) = max_eni.and_then(|it| it.parse().ok()).filter(|it| *it > 0) {
            limits.enis = limits.enis.min(most);
        }
        let mut times = Times::default();
        let cooldown = setup.settings.get("IP_COOLDOWN_PERIOD");
        if let Some(seconds) = cooldown.and_then(|it| it.parse::<Millis>().ok()) {
            times.cooldown = seconds.saturating_mul(SECOND);
        }
        let config = Config {
            node: NodeFacts {
                instance_type: setup.instance_type.clone(),
                zone: "eu-west-1a".to_owned(),
                max_pods: setup.max_pods,
                schedulable: !setup.cordoned,
                ..NodeFacts::default()
            },
            unit: unit(&setup.settings, limits.prefixes),
            limits,
            own_subnet: SubnetId::new(&*owner.subnet),
            settings: setting_list(&setup.settings),
            times,
            seed: self.seed ^ place as u64,
            ..Config::default()
        };
        let observation = ec2::everything(&self.account, &owner);
        let mut pods = Pods::default();
        let mut saved = Saved::default();
        for (wanted, eni) in setup.pool.iter().zip(&observation.attached) {
            let addresses = eni
                .blocks
                .iter()
                .flat_map(onsen_core::cidr::Cidr::addresses);
            let before = saved.allocations.len();
            for address in addresses.take(wanted.pods as usize) {
                let number = pods.all.len() + 1;
                let pod = pods.add(&format!("pod-{number}"), START);
                let Some(pod) = pods.all.get_mut(pod) else {
                    continue;
                };
                (pod.state, pod.waited) = (PodState::Running, Some(0));
                saved.allocations.push(Allocation {
                    key: pod.key(),
                    address,
                    pod: pod.full_name(),
                    since: START,
                });
                pods.wire(number - 1, address);
                self.truth.runs((place, number - 1), address);
            }
            if saved.allocations.len() - before < wanted.pods as usize {
                return Err(bad_pool(format!(
                    "{} pods do not fit on an ENI",
                    wanted.pods
                )));
            }
        }
        saved.allocations.sort_by(|a, b| a.key.cmp(&b.key));
        let facts = StartFacts {
            saved,
            observation,
            ..StartFacts::default()
        };
        let auditor = Auditor::start(&config, &facts, None, START).map_err(bad_pool)?;
        let disk = Disk::holding(&facts.saved);
        let mut told = config.clone();
        (spoil.config)(&mut told);
        let (node, effects) = Node::start(told, facts, START);
        let devices = self.account.enis().filter(|it| it.is_on(owner.instance()));
        let devices = devices.map(|it| EniId::new(&*it.id)).collect();
        let begun = (node, auditor);
        let mut sim = SimNode::new(setup, owner, config, begun, pods, disk, devices);
        sim.spoil = *spoil;
        self.nodes.push(sim);
        self.with(place, |it, around| {
            it.baseline = it.counts(around.account);
            it.perform(effects, around);
        })
    }
}

fn owner(account: &Account, name: &str) -> Result<ec2::Owner, WorldError> {
    let missing = || WorldError::Account(format!("{name} has no primary ENI"));
    let instance = account.instances().find(|it| it.name == name);
    let instance = instance.ok_or_else(missing)?;
    let primary = account.enis().find(|eni| {
        let attachment = eni.attachment.as_ref();
        eni.is_on(&instance.instance_id)
            && attachment.is_some_and(|it| (it.network_card, it.device_index) == (0, 0))
    });
    let primary = primary.ok_or_else(missing)?;
    Ok(ec2::Owner {
        own: answer::Owner {
            instance: instance.instance_id.clone(),
            primary: EniId::new(&*primary.id),
            manage_untagged: true,
        },
        subnet: primary.subnet_id.clone(),
        groups: primary.groups.clone(),
    })
}

/// Gives a node its first ENIs and blocks, as EC2 would.
fn make_pool(account: &mut Account, node: &NodeSetup, mut at: Millis) -> Result<(), WorldError> {
    let owner = owner(account, &node.name)?;
    let mut call = |request| {
        at += PACE;
        let call = account::Call {
            node: None,
            dry_run: false,
            request,
        };
        account
            .call(at, &call)
            .result
            .map_err(|error| WorldError::Pool {
                node: node.name.clone(),
                why: error.to_string(),
            })
    };
    for (device, eni) in node.pool.iter().enumerate() {
        let id = if device == 0 {
            owner.own.primary.to_string()
        } else {
            let created = call(ec2::create(&owner, None, Unit::Address, 0, None))?;
            let account::Reply::Created { eni, .. } = created else {
                continue;
            };
            let attached = call(account::Request::AttachNetworkInterface {
                eni_id: eni.id.clone(),
                instance_id: owner.instance().clone(),
                device_index: device as u32,
                network_card: 0,
            })?;
            if let account::Reply::Attached { attachment_id, .. } = attached {
                call(ec2::keep_with_instance(&eni.id, attachment_id))?;
            }
            eni.id
        };
        for (unit, count) in [(Unit::Address, eni.addresses), (Unit::Prefix, eni.prefixes)] {
            if count > 0 {
                call(ec2::assign(&id, unit, count))?;
            }
        }
    }
    Ok(())
}

/// As the core wants them: sorted by key.
pub(super) fn setting_list(settings: &BTreeMap<String, String>) -> Vec<Setting> {
    let setting = |(key, value): (&String, &String)| Setting {
        key: key.clone(),
        value: value.clone(),
    };
    settings.iter().map(setting).collect()
}

/// What new blocks are by default, as the daemon reads it.
pub(super) fn unit(settings: &BTreeMap<String, String>, prefixes_possible: bool) -> Unit {
    let wanted = settings
        .get("ENABLE_PREFIX_DELEGATION")
        .is_some_and(|text| matches!(&**text, "1" | "t" | "T" | "TRUE" | "true" | "True"));
    if wanted && prefixes_possible {
        Unit::Prefix
    } else {
        Unit::Address
    }
}
