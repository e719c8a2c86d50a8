//! Both built-in policies on pools that carry out each decision at once, EC2 healthy: they come to
//! rest, stay there, and never ask for what a limit forbids.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "a test may panic"
)]

use onsen_core::proposal::Request;
use onsen_core::snapshot::EniPhase;
use onsen_policy_runner::{Engine, Limits, builtin};
use onsen_policy_tests::random;
use onsen_policy_tests::rules::Mode;
use onsen_policy_tests::toy::Toy;

/// Decisions after which a pool must rest: one for each ENI and block it may hold, and some.
const BOUND: usize = 40;
/// Decisions that must ask for nothing after that.
const REST: usize = 4;
/// Longer than cooling, the youth of an ENI and the pauses of release, so that each decision may act.
const PAUSE: u64 = 130_000;

fn comes_to_rest(name: &str, cases: u64) {
    let wasm = builtin::get(name).unwrap_or_else(|why| panic!("{why}"));
    let engine = Engine::new(Limits::default(), None).unwrap();
    let policy = engine.load(wasm).unwrap();
    let ask = |toy: &mut Toy| -> Vec<Request> {
        let proposal = policy.decide(&toy.snapshot()).unwrap().proposal;
        toy.node.memo = proposal.memo;
        let actions = proposal.actions.into_iter();
        actions.map(|action| action.request).collect()
    };
    let mut longest = 0;
    for seed in 0..cases {
        let mut toy = healthy(seed);
        let (mut decisions, mut idle) = (0, 0);
        let mut history = Vec::new();
        while idle < REST {
            let requests = ask(&mut toy);
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
                decisions <= BOUND,
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

/// A random pool on which nothing is broken or under way.
fn healthy(seed: u64) -> Toy {
    let mut toy = random::pool(seed, Mode::Normal);
    toy.node.ec2.outcomes.clear();
    toy.node.ec2.grow_budget = 8;
    toy.node.ec2.release_budget = 8;
    toy.node.subnets[0].no_addresses_at = 0;
    toy.node.subnets[0].no_prefixes_at = 0;
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
