//! The built-in default policy, as the component that will run, against the model on random pools.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "a test may panic"
)]

use std::collections::BTreeMap;

use onsen_core::proposal::Request;
use onsen_policy_runner::documents::{self, SnapshotDocument};
use onsen_policy_runner::{Engine, Limits, Policy, builtin};
use onsen_policy_tests::judge::judge;
use onsen_policy_tests::random;
use onsen_policy_tests::rules::Mode;
use onsen_policy_tests::shrink::shrink;
use onsen_policy_tests::toy::Toy;

/// Pools in each run; `ONSEN_CASES=100000` for more.
const CASES: u64 = 2_000;
/// Disagreements that are printed.
const SHOWN: u64 = 5;
/// Each must be reached, or the random pools have become too tame.
const BRANCHES: [&str; 16] = [
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
    "next subnet",
    "over",
    "paused",
    "retry with one",
];

fn cases() -> u64 {
    std::env::var("ONSEN_CASES").map_or(CASES, |text| text.parse().unwrap())
}

fn load(name: &str) -> Policy {
    let wasm = builtin::get(name).unwrap_or_else(|why| panic!("{why}"));
    Engine::new(Limits::default(), None)
        .unwrap()
        .load(wasm)
        .unwrap()
}

fn ask(policy: &Policy, toy: &Toy) -> Vec<Request> {
    let proposal = policy.decide(&toy.snapshot()).unwrap().proposal;
    proposal
        .actions
        .into_iter()
        .map(|action| action.request)
        .collect()
}

fn compare(mode: Mode) {
    let policy = load("default-warm-eni");
    let mut reached: BTreeMap<&str, u64> = BRANCHES.iter().map(|name| (*name, 0)).collect();
    let mut wrong = 0;
    for seed in 0..cases() {
        let toy = random::pool(seed, mode);
        let verdict = judge(&toy.snapshot(), &ask(&policy, &toy));
        for branch in verdict.branches {
            *reached.entry(branch).or_default() += 1;
        }
        let open = !verdict.complaints.is_empty();
        wrong += u64::from(open);
        if open && wrong <= SHOWN {
            tell(&policy, seed, toy);
        }
    }
    assert_eq!(wrong, 0, "pools of {} on which {mode:?} differs", cases());
    for (branch, times) in reached {
        // Upstream does not remember a refused attachment.
        let unknown = mode == Mode::Strict && branch == "attachment limit";
        assert!(times > 0 || unknown, "{mode:?}: no pool reached {branch:?}");
    }
}

/// Prints the smallest pool that fails alike as a scenario file.
/// It expects what the policy did: who agrees with the model mends that list.
fn tell(policy: &Policy, seed: u64, toy: Toy) {
    let complaints = |toy: &Toy| judge(&toy.snapshot(), &ask(policy, toy)).complaints;
    let kinds = |toy: &Toy| -> Vec<String> {
        let texts = complaints(toy).into_iter();
        let letters = |text: String| {
            text.chars()
                .filter(|c| c.is_alphabetic())
                .take(24)
                .collect()
        };
        texts.map(letters).collect()
    };
    let kind = kinds(&toy);
    let toy = shrink(toy, |toy| kinds(toy) == kind);
    let snapshot = toy.snapshot();
    let decided = policy.decide(&snapshot).unwrap().proposal;
    println!("# The policy says: {}", decided.reason);
    for complaint in complaints(&toy) {
        println!("# The model says: {complaint}");
    }
    println!("name: seed {seed} of the random pools");
    let document = documents::write(&SnapshotDocument::from(&snapshot)).unwrap();
    println!("snapshot: {}", document.replace('\n', "\n  "));
    let none = if decided.actions.is_empty() {
        " []"
    } else {
        ""
    };
    println!("expect:\n  actions:{none}");
    for action in decided.actions {
        println!("    - {}", in_yaml(&action.request));
    }
}

fn in_yaml(request: &Request) -> String {
    match request {
        Request::AttachEni {
            unit, blocks, card, ..
        } => format!("attach-eni: {{unit: {unit}, blocks: {blocks}, card: {card}}}"),
        Request::Grow { eni, unit, count } => {
            format!("grow: {{eni: {eni}, unit: {unit}, count: {count}}}")
        }
        Request::Release { eni, blocks } => {
            format!("release: {{eni: {eni}, count: {}}}", blocks.len())
        }
        Request::DetachEni { eni } => format!("detach-eni: {{eni: {eni}}}"),
    }
}

#[test]
fn the_default_policy_decides_as_upstream_does_when_told_to() {
    compare(Mode::Strict);
}

#[test]
fn the_default_policy_decides_as_specified_where_it_mends_upstream() {
    compare(Mode::Normal);
}
