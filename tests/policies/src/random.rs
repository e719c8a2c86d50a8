//! Legal pools of every kind from a seed.
//!
//! In: a seed and a mode. Out: a pool. Must hold: the same seed gives the same pool; what a daemon
//! could never show (more ENIs than fit, a pod on a block that is releasable) does not occur.

use fastrand::Rng;
use onsen_core::cidr::Unit;
use onsen_core::snapshot::{
    EniPhase, Family, Operation, Outcome, Role, Setting, Snapshot, SnapshotSubnet, Trigger,
};

use crate::rules::Mode;
use crate::toy::{Toy, ToyBlock, ToyEni};

const NOW: u64 = 1_700_000_000_000;
/// Refusals that have a rule of their own, and one that has none.
const CODES: [&str; 4] = [
    SHORTAGE,
    SHORTAGE,
    "PrivateIpAddressLimitExceeded",
    "InternalError",
];
const SHORTAGE: &str = "shortage of the active unit";

/// A pool from a seed.
pub fn pool(seed: u64, mode: Mode) -> Toy {
    let mut dice = Rng::with_seed(seed);
    let mut toy = Toy {
        node: node(&mut dice),
        enis: Vec::new(),
        numbers: 0,
    };
    let settings = settings(&mut dice, mode, &toy.node);
    toy.node.settings = settings;
    enis(&mut dice, &mut toy, mode);
    demand(&mut dice, &mut toy);
    // A daemon that has just started remembers no call.
    if toy.node.trigger != Trigger::Start && chance(&mut dice, 30) {
        outcomes(&mut dice, &mut toy);
    }
    toy
}

fn chance(dice: &mut Rng, percent: u8) -> bool {
    dice.u8(..100) < percent
}

fn node(dice: &mut Rng) -> Snapshot {
    let mut node = Snapshot {
        now: NOW,
        uptime: 3_600_000,
        ..Snapshot::default()
    };
    node.trigger = match dice.u8(..6) {
        0 => Trigger::Start,
        1 => Trigger::Demand,
        2 => Trigger::Outcome,
        3 => Trigger::Change,
        _ => Trigger::Timer,
    };
    let limits = &mut node.limits;
    limits.enis = dice.u32(1..=5);
    limits.slots_per_eni = [1, 3, 5, 9, 14][dice.usize(..5)];
    limits.prefixes = !chance(dice, 20);
    limits.addresses_per_prefix = 16;
    limits.trunk = chance(dice, 70);
    if chance(dice, 20) {
        limits.other_cards = (0..dice.usize(1..=2)).map(|_| dice.u32(0..=3)).collect();
    }
    if node.limits.prefixes && dice.bool() {
        node.unit = Unit::Prefix;
    }
    if node.limits.prefixes && chance(dice, 5) {
        node.unit = Unit::Prefix;
        node.node.family = Family::Ipv6;
    }
    node.node.schedulable = !chance(dice, 10);
    node.node.terminating = chance(dice, 4);
    node.ec2.grow_budget = if chance(dice, 15) { dice.u32(0..=2) } else { 8 };
    node.ec2.release_budget = if chance(dice, 15) { dice.u32(0..=2) } else { 8 };
    for place in 0..=usize::from(chance(dice, 30)) {
        node.subnets.push(SnapshotSubnet {
            id: format!("subnet-{place}"),
            own: place == 0,
            free_addresses: dice.bool().then(|| dice.u32(0..4_000)),
            ..SnapshotSubnet::default()
        });
    }
    node
}

fn settings(dice: &mut Rng, mode: Mode, node: &Snapshot) -> Vec<Setting> {
    let mut all: Vec<(String, String)> = Vec::new();
    let scheme = dice.u8(..4);
    for (key, wanted) in [
        ("WARM_ENI_TARGET", scheme == 0),
        ("WARM_IP_TARGET", scheme == 1),
        ("MINIMUM_IP_TARGET", scheme == 1),
        ("WARM_PREFIX_TARGET", scheme == 2),
    ] {
        if !chance(dice, if wanted { 75 } else { 8 }) {
            continue;
        }
        let value = match dice.u8(..10) {
            0 => ["", "many", "-1", "1.5", "99999999999999999999"][dice.usize(..5)].to_owned(),
            1 => "0".to_owned(),
            2 => dice.u32(10..=60).to_string(),
            _ => dice.u32(1..=6).to_string(),
        };
        let written = match dice.u8(..12) {
            0 => format!("AWS_VPC_K8S_CNI_{key}"),
            1 if key == "WARM_ENI_TARGET" => "WAM_ENI_TARGET".to_owned(),
            _ => key.to_owned(),
        };
        if chance(dice, 5) {
            // The proper name wins.
            all.push((format!("AWS_VPC_K8S_CNI_{key}"), "7".to_owned()));
        }
        all.push((written, value));
    }
    for (key, percent) in [
        ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", 15),
        ("ENABLE_POD_ENI", 20),
        ("AWS_MANAGE_ENIS_NON_SCHEDULABLE", 20),
        ("ENABLE_SUBNET_DISCOVERY", 60),
    ] {
        // A daemon does not start with custom networking and IPv6.
        if chance(dice, percent) && (node.node.family == Family::Ipv4 || !key.contains("CUSTOM")) {
            let value = ["true", "false", "1", "F", "T", "yes"][dice.usize(..6)];
            all.push((key.to_owned(), value.to_owned()));
        }
    }
    if !node.limits.other_cards.is_empty() {
        all.push(("ENABLE_MULTI_NIC".to_owned(), "true".to_owned()));
    }
    if mode == Mode::Strict {
        all.push(("STRICT_UPSTREAM".to_owned(), "true".to_owned()));
    }
    all.sort();
    all.dedup_by(|a, b| a.0 == b.0);
    all.into_iter()
        .map(|(key, value)| Setting { key, value })
        .collect()
}

fn enis(dice: &mut Rng, toy: &mut Toy, mode: Mode) {
    let limits = toy.node.limits.clone();
    let others = limits.other_cards.iter().zip(1..);
    for (most, card) in std::iter::once((&limits.enis, 0)).chain(others) {
        let least = u32::from(card == 0);
        let mut trunk = card > 0;
        for place in 0..dice.u32(least..=(*most).max(least)) {
            let role = match (card, place, dice.u8(..20)) {
                (0, 0, _) => Role::Primary,
                (0, _, 0) if !trunk && toy.node.limits.trunk => Role::Trunk,
                (_, _, 1) => Role::Efa,
                _ => Role::Secondary,
            };
            trunk |= role == Role::Trunk;
            let eni = eni(dice, toy, mode, role, card);
            toy.enis.push(eni);
        }
    }
    // Attach order is one order for all cards; the primary stays first.
    if toy.enis.len() > 1 {
        dice.shuffle(&mut toy.enis[1..]);
    }
}

fn eni(dice: &mut Rng, toy: &mut Toy, mode: Mode, role: Role, card: u32) -> ToyEni {
    let mut eni = ToyEni {
        role,
        phase: EniPhase::Ready,
        card,
        subnet: match role {
            Role::Primary => 0,
            Role::Secondary | Role::Trunk | Role::Efa => dice.u32(..toy.node.subnets.len() as u32),
        },
        excluded: chance(dice, 8),
        unconfirmed: chance(dice, 2),
        since: NOW
            - if chance(dice, 25) {
                dice.u64(..50_000)
            } else {
                dice.u64(70_000..9_000_000)
            },
        in_flight: 0,
        blocks: Vec::new(),
    };
    let slots = toy.node.limits.slots_per_eni;
    let ipv6 = toy.node.node.family == Family::Ipv6;
    let used = match dice.u8(..4) {
        _ if ipv6 => dice.u32(0..=1),
        0 => 0,
        1 => slots,
        _ => dice.u32(0..=slots),
    };
    let used = if role == Role::Trunk && !chance(dice, 30) {
        0
    } else {
        used
    };
    let mixed = !ipv6 && chance(dice, 15);
    let (pods, cools) = (dice.u8(..4), chance(dice, 15));
    for _ in 0..used {
        let unit = match toy.node.unit {
            Unit::Address if mixed && dice.bool() && toy.node.limits.prefixes => Unit::Prefix,
            Unit::Prefix if mixed && dice.bool() => Unit::Address,
            Unit::Address | Unit::Prefix => toy.node.unit,
        };
        let size = toy.size(unit);
        let assigned = match pods {
            0 => 0,
            1 => size,
            _ if dice.bool() => 0,
            _ => dice.u32(0..=size),
        };
        let cooling = if cools {
            dice.u32(0..=size - assigned)
        } else {
            0
        };
        toy.numbers += 1;
        eni.blocks.push(ToyBlock {
            unit,
            assigned,
            cooling,
            number: toy.numbers,
        });
    }
    // Upstream waits for each call: nothing is ever on its way when it decides.
    if mode == Mode::Normal && role == Role::Secondary && !eni.excluded && chance(dice, 10) {
        match dice.u8(..3) {
            0 => eni.in_flight = dice.u32(0..=slots - used).min(3),
            1 => {
                eni.phase = EniPhase::Attaching;
                eni.blocks
                    .retain(|block| block.assigned == 0 && block.cooling == 0);
                eni.in_flight = u32::from(eni.blocks.is_empty());
            }
            _ => {
                eni.phase = EniPhase::Detaching;
                eni.blocks.clear();
            }
        }
    }
    eni
}

fn demand(dice: &mut Rng, toy: &mut Toy) {
    if chance(dice, 25) {
        toy.node.demand.waiting = vec![500; dice.usize(1..=20)];
    }
    let total: u32 = toy
        .enis
        .iter()
        .flat_map(|eni| &eni.blocks)
        .map(|block| toy.size(block.unit))
        .sum();
    toy.node.node.max_pods = match dice.u8(..5) {
        0 => 0,
        1 => (total + dice.u32(0..=6)).saturating_sub(3).max(1),
        2 => dice.u32(8..=60),
        _ => 250,
    };
}

/// A place on the ladder, or a round of release, a moment or some minutes ago.
fn outcomes(dice: &mut Rng, toy: &mut Toy) {
    let unit = toy.node.unit;
    let subnets = toy.node.subnets.len() as u32;
    let subnet_of: Vec<u32> = toy.enis.iter().map(|eni| eni.subnet).collect();
    let limits = toy.node.limits.clone();
    let node = &mut toy.node;
    // An ENI's outcome is in its subnet.
    let mut add = |subnet: u32, age: u64, operation, eni: Option<u32>, asked, code: &str| {
        let subnet = eni.map_or(subnet, |eni| subnet_of[eni as usize]);
        if code.starts_with("Insufficient") {
            let memory = &mut node.subnets[subnet as usize];
            match unit {
                Unit::Address => memory.no_addresses_at = NOW - age,
                Unit::Prefix => memory.no_prefixes_at = NOW - age,
            }
        }
        node.ec2.outcomes.push(Outcome {
            at: NOW - age,
            operation,
            eni,
            subnet: Some(subnet),
            unit,
            asked,
            done: if code.is_empty() { asked } else { 0 },
            code: code.into(),
        });
    };
    if chance(dice, 30) {
        // The clock of a round just made is in the policy's memo, which is its own.
        let age = dice.u64(35_000..800_000);
        add(0, age, Operation::Release, Some(0), 1, "");
        return;
    }
    let slots = limits.slots_per_eni as usize;
    let fillable = |eni: &&(usize, &ToyEni)| {
        let (_, eni) = eni;
        let barred = eni.role == Role::Trunk || eni.excluded;
        let there = eni.card == 0 && eni.phase == EniPhase::Ready;
        there && !barred && eni.blocks.len() < slots
    };
    let enis: Vec<u32> = toy
        .enis
        .iter()
        .enumerate()
        .filter(|eni| fillable(&eni))
        .map(|(place, _)| place as u32)
        .collect();
    // A ladder is read while it is fresh, or when it has long been over.
    let age = if chance(dice, 70) {
        100
    } else {
        dice.u64(130_000..700_000)
    };
    let code = match (CODES[dice.usize(..CODES.len())], unit) {
        (SHORTAGE, Unit::Address) => "InsufficientFreeAddressesInSubnet",
        (SHORTAGE, Unit::Prefix) => "InsufficientCidrBlocks",
        (code, _) => code,
    };
    let room = toy.enis.iter().filter(|eni| eni.card == 0).count() < limits.enis as usize;
    if room && (enis.is_empty() || chance(dice, if subnets > 1 { 60 } else { 25 })) {
        let code = if dice.bool() && subnets == 1 {
            "AttachmentLimitExceeded"
        } else {
            code
        };
        let age = match (code, dice.bool()) {
            ("AttachmentLimitExceeded", true) => dice.u64(10_000..590_000),
            ("AttachmentLimitExceeded", false) => dice.u64(610_000..880_000),
            (_, true) => dice.u64(100..110_000),
            (_, false) => dice.u64(130_000..800_000),
        };
        // Perhaps one subnet after the other.
        let tried = if chance(dice, 70) { 1 } else { subnets };
        for subnet in 0..tried {
            add(
                subnet,
                age - u64::from(subnet),
                Operation::AttachEni,
                None,
                1,
                code,
            );
        }
        return;
    }
    if enis.is_empty() {
        return;
    }
    let most = match code {
        "PrivateIpAddressLimitExceeded" => 1,
        "InternalError" => 2,
        _ => 2 * enis.len().min(3),
    };
    let tries = dice.usize(1..=most);
    for step in 0..tries {
        let asked = if step % 2 == 0 { 3 } else { 1 };
        let later = (tries - step) as u64 * 400;
        add(
            0,
            age + later,
            Operation::Grow,
            Some(enis[step / 2]),
            asked,
            code,
        );
    }
    // A retry that went well, or another ENI grew since.
    if tries % 2 == 1 && chance(dice, 30) {
        add(0, age, Operation::Grow, Some(enis[tries / 2]), 1, "");
    } else if chance(dice, 20) {
        add(
            0,
            age,
            Operation::Grow,
            Some(enis[dice.usize(..enis.len())]),
            2,
            "",
        );
    }
}
