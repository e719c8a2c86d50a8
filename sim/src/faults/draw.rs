//! What a seed is like: each switches a random part of all faults on, at random rates, so that no
//! fault hides behind another.
//!
//! In: a seed, and the names of what must stay off. Out: the nodes, the weather, the faults at EC2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onsen_core::time::Millis;
use onsen_policy_runner::Policy;

use super::policies;
use crate::account::{BadCidr, Cidr, FaultName, Stage};
use crate::rng::Rng;
use crate::world::{Decides, Dice, NodeSetup, PoolEni, Weather, WorldError, WorldSetup};

/// Small and large, old and new.
const TYPES: [&str; 6] = [
    "m5.large",
    "t3.medium",
    "t3.nano",
    "c5.xlarge",
    "m4.large",
    "m5.4xlarge",
];
/// From plenty to nearly nothing.
const SUBNETS: [&str; 5] = [
    "10.0.0.0/22",
    "10.0.0.0/24",
    "10.0.0.0/25",
    "10.0.0.0/26",
    "10.0.0.0/27",
];
/// Settings that are changed while nodes run, with values.
const SETTINGS: [(&str, &[&str]); 6] = [
    ("ENABLE_PREFIX_DELEGATION", &["true", "false"]),
    ("WARM_IP_TARGET", &["0", "1", "5"]),
    ("MINIMUM_IP_TARGET", &["0", "4", "12"]),
    ("WARM_ENI_TARGET", &["0", "1", "2"]),
    ("WARM_PREFIX_TARGET", &["0", "1"]),
    ("MAX_ENI", &["1", "2", "8", "nonsense"]),
];

/// A fault at EC2, switched on from the start or now and then.
#[derive(Clone, Debug)]
pub(super) struct Rate {
    pub(super) name: FaultName,
    /// Struck at so many of a thousand fitting calls, all the time.
    pub(super) per_mille: u32,
    /// Or at all of them for so long at once.
    pub(super) spell: Millis,
}

/// How often what is done, by weight.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights {
    pub(super) arrive: u32,
    pub(super) leave: u32,
    pub(super) again: u32,
    pub(super) wait: u32,
    pub(super) crash: u32,
    pub(super) settings: u32,
    pub(super) cordon: u32,
    pub(super) terminate: u32,
    pub(super) policy: u32,
    pub(super) behind: u32,
    pub(super) spell: u32,
    pub(super) tenant: u32,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    pub(super) setup: WorldSetup,
    pub(super) weather: Weather,
    pub(super) rates: Vec<Rate>,
    pub(super) weights: Weights,
    /// Policies that nodes are given.
    pub(super) minds: Vec<Decides>,
    /// Live pods at most, on each node.
    pub(super) crowd: usize,
}

/// The names of all that can be left out: kinds of weather, of deeds, and all faults of the catalogue.
pub fn names() -> impl Iterator<Item = &'static str> {
    const OWN: [&str; 15] = [
        "crash",
        "write-fails",
        "checkpoint-lost",
        "cooling-lost",
        "clock-set",
        "link-fails",
        "hang-up",
        "again",
        "settings",
        "cordon",
        "terminate",
        "policy",
        "tenant",
        "neighbours",
        "hostile-policies",
    ];
    OWN.into_iter()
        .chain(FaultName::ALL.iter().map(|it| it.name()))
}

/// Draws what a seed is like.
pub(super) fn draw(
    seed: u64,
    without: &BTreeSet<String>,
    components: &[(String, Arc<Policy>)],
) -> Result<Drawn, WorldError> {
    let mut dice = Rng::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(0xfa17));
    let on = |name: &str| !without.contains(name);
    let mut chance = |name: &str, most: u32| {
        let drawn = dice.below(3) == 0;
        let rate = 1 + dice.below(most as usize) as u32;
        if drawn && on(name) { rate } else { 0 }
    };
    let weather = Weather {
        crash: chance("crash", 25),
        write_fails: chance("write-fails", 300),
        checkpoint_lost: chance("checkpoint-lost", 500),
        cooling_lost: chance("cooling-lost", 500),
        clock_set: chance("clock-set", 800),
        link_fails: chance("link-fails", 300),
        hang_up: chance("hang-up", 300),
    };
    let weights = Weights {
        arrive: 30,
        leave: 25,
        wait: 40,
        again: chance("again", 20),
        crash: chance("crash", 6),
        settings: chance("settings", 6),
        cordon: chance("cordon", 4),
        terminate: chance("terminate", 3),
        policy: chance("policy", 6),
        behind: chance("behind", 8),
        spell: chance("spell", 8),
        tenant: chance("tenant", 15),
    };
    let mut rates = Vec::new();
    for name in FaultName::ALL.iter().copied() {
        let drawn = dice.below(4) == 0;
        let often = [5, 30, 150, 400];
        let per_mille = often.get(dice.below(often.len())).copied().unwrap_or(5);
        let spell = 1_000 + dice.below(90_000) as Millis;
        if drawn && on(name.name()) && name.stage() != Stage::Metadata {
            rates.push(Rate {
                name,
                per_mille,
                spell,
            });
        }
    }
    let minds = minds(&mut dice, seed, &on, components);
    let nodes = if on("neighbours") {
        [1, 1, 1, 2, 2, 3].get(dice.below(6)).copied().unwrap_or(1)
    } else {
        1
    };
    let subnet = SUBNETS.get(dice.below(SUBNETS.len())).copied();
    let subnet: Cidr = subnet
        .unwrap_or_default()
        .parse()
        .map_err(|bad: BadCidr| WorldError::Account(bad.to_string()))?;
    let setup = WorldSetup {
        seed,
        subnet,
        nodes: (0..nodes)
            .map(|number| node(&mut dice, number, &minds))
            .collect(),
    };
    Ok(Drawn {
        setup,
        weather,
        rates,
        weights,
        minds,
        crowd: 3 + dice.below(40),
    })
}

fn minds(
    dice: &mut Rng,
    seed: u64,
    on: &impl Fn(&str) -> bool,
    components: &[(String, Arc<Policy>)],
) -> Vec<Decides> {
    let mut minds: Vec<Decides> = components
        .iter()
        .map(|(_, policy)| Decides::from(Arc::clone(policy)))
        .collect();
    for (place, (_, policy)) in policies::ALL.iter().enumerate() {
        let wanted = place == 0 || (on("hostile-policies") && dice.below(3) == 0);
        if wanted {
            minds.push(Decides::Native(*policy, Dice::new(seed ^ place as u64)));
        }
    }
    minds
}

fn node(dice: &mut Rng, number: usize, minds: &[Decides]) -> NodeSetup {
    let kind = TYPES.get(dice.below(TYPES.len())).copied();
    let mut settings = BTreeMap::new();
    for _ in 0..dice.below(3) {
        settings.extend(setting(dice));
    }
    let cooldown = ["0", "5", "30", "30"].get(dice.below(4)).copied();
    settings.insert(
        "IP_COOLDOWN_PERIOD".to_owned(),
        cooldown.unwrap_or("30").to_owned(),
    );
    let policy = minds.get(dice.below(minds.len())).cloned();
    let (_, sensible) = policies::ALL[0];
    NodeSetup {
        name: format!("node-{number}"),
        instance_type: kind.unwrap_or("m5.large").to_owned(),
        max_pods: if dice.below(3) == 0 { 20 } else { 0 },
        cordoned: false,
        settings,
        policy: policy.unwrap_or(Decides::Native(sensible, Dice::new(0))),
        pool: vec![PoolEni {
            addresses: dice.below(2) as u32,
            ..PoolEni::default()
        }],
    }
}

/// A setting with a value.
pub(super) fn setting(dice: &mut Rng) -> Option<(String, String)> {
    let (key, values) = SETTINGS.get(dice.below(SETTINGS.len()))?;
    let value = values.get(dice.below(values.len()))?;
    Some(((*key).to_owned(), (*value).to_owned()))
}
