//! The built-in default policy, as the component that will run, against the model on random pools.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "a test may panic"
)]

use std::collections::BTreeMap;

use onsen_core::proposal::Request;
use onsen_policy_runner::{Engine, Limits, Policy, builtin};
use onsen_policy_tests::judge::judge;
use onsen_policy_tests::random;
use onsen_policy_tests::rules::Mode;
use onsen_policy_tests::shrink::shrink;
use onsen_policy_tests::toy::Toy;

/// Pools in each run; `ONSEN_CASES=100000` for more.
const CASES: u64 = 2_000;
/// Each must be reached, or the random pools have become too tame.
const BRANCHES: [&str; 15] = [
    "attach",
    "attachment limit",
    "detach",
    "failed round",
    "grow",
    "ipv6",
    "leftovers",
    "low",
    "low and full",
    "low and stopped",
    "low and waiting",
    "next ENI",
    "over",
    "paused",
    "retry with one",
];

fn cases() -> u64 {
    std::env::var("ONSEN_CASES").map_or(CASES, |text| text.parse().unwrap())
}

fn load(name: &str) -> Policy {
    let wasm = builtin::get(name).unwrap_or_else(|why| panic!("{why}"));
    Engine::new(Limits::default(), None).unwrap().load(wasm).unwrap()
}

fn ask(policy: &Policy, toy: &Toy) -> Vec<Request> {
    let proposal = policy.decide(&toy.snapshot()).unwrap().proposal;
    proposal.actions.into_iter().map(|action| action.request).collect()
}

fn compare(mode: Mode) {
    let policy = load("default-warm-eni");
    let mut reached: BTreeMap<&str, u64> = BRANCHES.iter().map(|name| (*name, 0)).collect();
    let (mut wrong, mut shown) = (0, 0);
    let show = std::env::var("ONSEN_SHOW").map_or(1, |text| text.parse().unwrap());
    for seed in 0..cases() {
        let toy = random::pool(seed, mode);
        let verdict = judge(&toy.snapshot(), &ask(&policy, &toy));
        for branch in verdict.branches {
            *reached.entry(branch).or_default() += 1;
        }
        if verdict.complaints.is_empty() {
            continue;
        }
        wrong += 1;
        if shown < show {
            shown += 1;
            tell(&policy, seed, toy);
        }
    }
    assert_eq!(wrong, 0, "pools on which {mode:?} differs, of {}", cases());
    for (branch, times) in reached {
        assert!(times > 0 || branch.is_empty(), "{mode:?}: no pool reached {branch:?}");
    }
}

/// Prints the smallest pool that fails alike, what the policy answered, and what is wrong with it.
fn tell(policy: &Policy, seed: u64, toy: Toy) {
    let complaints = |toy: &Toy| judge(&toy.snapshot(), &ask(policy, toy)).complaints;
    let toy = shrink(toy, |toy| !complaints(toy).is_empty());
    let decided = policy.decide(&toy.snapshot()).unwrap().proposal;
    println!("seed {seed}:\n{:#?}", complaints(&toy));
    println!("policy: {:#?}\npool: {toy:#?}", decided);
}

#[test]
fn the_default_policy_decides_as_upstream_does_when_told_to() {
    compare(Mode::Strict);
}

#[test]
fn the_default_policy_decides_as_specified_where_it_mends_upstream() {
    compare(Mode::Normal);
}
