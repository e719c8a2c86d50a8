//! Both built-in policies on pools that carry out each decision at once, EC2 healthy: they come to
//! rest, stay there, never ask for what a limit forbids, and ask for nothing that they gave back.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "a test may panic"
)]

use std::collections::BTreeSet;

use onsen_core::cidr::Unit;
use onsen_core::proposal::Request;
use onsen_core::snapshot::EniPhase;
use onsen_policy_runner::{Engine, Limits, Policy, builtin};
use onsen_policy_tests::judge::judge;
use onsen_policy_tests::random;
use onsen_policy_tests::rules::Mode;
use onsen_policy_tests::toy::Toy;

/// Decisions after which a pool must rest: some steps of growth or release, then one detachment
/// after the other. The random pools have at most eleven ENIs.
const BOUND: usize = 16;
/// Decisions that must ask for nothing after that.
const REST: usize = 4;
/// Longer than cooling, the youth of an ENI and the pauses of release, so that each decision may act.
const PAUSE: u64 = 130_000;

fn load(name: &str) -> Policy {
    let wasm = builtin::get(name).unwrap_or_else(|why| panic!("{why}"));
    let engine = Engine::new(Limits::default(), None).unwrap();
    engine.load(wasm).unwrap()
}

fn ask(policy: &Policy, toy: &mut Toy) -> Vec<Request> {
    let proposal = policy.decide(&toy.snapshot()).unwrap().proposal;
    toy.node.memo = proposal.memo;
    let actions = proposal.actions.into_iter();
    actions.map(|action| action.request).collect()
}

/// It may trade one unit for the other, but asks for nothing that it has given back.
fn comes_to_rest(name: &str, cases: u64) {
    let policy = load(name);
    let ask = |toy: &mut Toy| ask(&policy, toy);
    let mut longest = 0;
    for seed in 0..cases {
        let mut toy = healthy(seed);
        let (mut decisions, mut idle) = (0, 0);
        let mut history = Vec::new();
        // Of which network card what was given back while no pod came or went.
        let mut gave_back = BTreeSet::new();
        while idle < REST {
            let requests = ask(&mut toy);
            let grown = requests.iter().filter_map(|request| grows(&toy, request));
            for grown in grown.filter(|_| toy.node.demand.waiting.is_empty()) {
                assert!(
                    !gave_back.contains(&grown),
                    "{name}, seed {seed}: {requests:?} though {grown:?} was given back: {history:?} {:?} {:#?}",
                    toy.node.settings,
                    toy.enis
                );
            }
            if toy.node.demand.waiting.is_empty() {
                gave_back.extend(requests.iter().flat_map(|request| shrinks(&toy, request)));
            }
            toy.apply(&requests)
                .unwrap_or_else(|why| panic!("{name}, seed {seed}: {why}"));
            idle = if requests.is_empty() { idle + 1 } else { 0 };
            if !requests.is_empty() {
                history.push(requests);
            }
            toy.serve();
            toy.wait(PAUSE);
            decisions += 1;
            assert!(
                decisions <= BOUND + REST,
                "{name}, seed {seed}: no rest; the last were {:#?} with {:?} on {:#?}",
                &history[history.len().saturating_sub(6)..],
                toy.node.settings,
                toy.enis,
            );
        }
        longest = longest.max(decisions - REST);
    }
    println!("{name}: at rest after at most {longest} decisions");
}

/// The card that gets more by this, and whether it gets prefixes.
fn grows(toy: &Toy, request: &Request) -> Option<(u32, bool)> {
    match request {
        Request::AttachEni { card, unit, .. } => Some((*card, *unit == Unit::Prefix)),
        Request::Grow { eni, unit, .. } => {
            Some((toy.enis[*eni as usize].card, *unit == Unit::Prefix))
        }
        Request::Release { .. } | Request::DetachEni { .. } => None,
    }
}

/// The card that has less after this, for each unit that it gives back: whether it is prefixes.
fn shrinks(toy: &Toy, request: &Request) -> Vec<(u32, bool)> {
    let lengths = toy.snapshot().blocks.length;
    let (eni, prefixes): (u32, Vec<bool>) = match request {
        Request::Release { eni, blocks } => {
            let is_prefix = |place: &u32| !matches!(lengths[*place as usize], 32 | 128);
            (*eni, blocks.iter().map(is_prefix).collect())
        }
        Request::DetachEni { eni } => {
            let blocks = toy.enis[*eni as usize].blocks.iter();
            (*eni, blocks.map(|it| it.unit == Unit::Prefix).collect())
        }
        Request::AttachEni { .. } | Request::Grow { .. } => return Vec::new(),
    };
    let eni = &toy.enis[eni as usize];
    let given = prefixes.into_iter().filter(|_| !eni.excluded);
    given.map(|prefix| (eni.card, prefix)).collect()
}

/// A random pool on which nothing is broken or under way.
fn healthy(seed: u64) -> Toy {
    let mut toy = random::pool(seed, Mode::Normal);
    toy.node.ec2.outcomes.clear();
    toy.node.ec2.grow_budget = 8;
    toy.node.ec2.release_budget = 8;
    for subnet in &mut toy.node.subnets {
        subnet.no_addresses_at = 0;
        subnet.no_prefixes_at = 0;
    }
    for eni in &mut toy.enis {
        eni.phase = EniPhase::Ready;
        eni.in_flight = 0;
        eni.unconfirmed = false;
    }
    toy
}

#[test]
fn the_default_policy_comes_to_rest_from_any_pool() {
    comes_to_rest("default-warm-eni", 1_000);
}

#[test]
fn the_frugal_policy_comes_to_rest_from_any_pool() {
    comes_to_rest("prefix-frugal", 1_000);
}

#[test]
fn two_rounds_of_release_are_more_than_thirty_seconds_apart() {
    let policy = load("default-warm-eni");
    for strict in [0, 1] {
        let settings = [("STRICT_UPSTREAM", strict), ("WARM_IP_TARGET", 2)];
        let mut toy = Toy::m5_large(Unit::Address, &settings);
        let released = |toy: &mut Toy| {
            let requests = ask(&policy, toy);
            let verdict = judge(&toy.snapshot(), &requests);
            assert_eq!(verdict.complaints, Vec::<String>::new());
            toy.apply(&requests).unwrap();
            requests.len()
        };
        toy.fill(0, Unit::Address, 6);
        assert_eq!(released(&mut toy), 1);
        toy.fill(0, Unit::Address, 3);
        toy.wait(10_000);
        assert_eq!(released(&mut toy), 0, "10 s after the last round");
        toy.wait(21_000);
        assert_eq!(released(&mut toy), 1, "31 s after the last round");
    }
}
