//! Random pools and the decisions on them survive the way through JSON.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "a test may panic"
)]

use onsen_policy_runner::documents::{self, DecisionDocument, SnapshotDocument};
use onsen_policy_runner::{Engine, Limits, builtin};
use onsen_policy_tests::random;
use onsen_policy_tests::rules::Mode;

#[test]
fn a_snapshot_and_its_decision_survive_json_and_the_policy() {
    let wasm = builtin::get("default-warm-eni").unwrap_or_else(|why| panic!("{why}"));
    let engine = Engine::new(Limits::default(), None).unwrap();
    let policy = engine.load(wasm).unwrap();
    for seed in 0..500 {
        let snapshot = random::pool(seed, Mode::Normal).snapshot();
        let text = documents::write(&SnapshotDocument::from(&snapshot)).unwrap();
        let document: SnapshotDocument = documents::read(&text).unwrap();
        let back = document.into_snapshot(|_| None).unwrap();
        assert_eq!(back, snapshot, "seed {seed}");

        let proposal = policy.decide(&back).unwrap().proposal;
        let text = documents::write(&DecisionDocument::new(&proposal, &back)).unwrap();
        let document: DecisionDocument = documents::read(&text).unwrap();
        assert_eq!(document.into_proposal(), proposal, "seed {seed}");
    }
}
