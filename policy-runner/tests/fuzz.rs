//! What policies, people and other nodes write, nearly right: documents, recordings, components.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::allow_attributes, reason = "expectations differ by target")]

use std::cell::Cell;

use onsen_core::snapshot::{Limits, Snapshot};
use onsen_fuzz::{fuzz, fuzz_examples};
use onsen_policy_runner::documents::{self, DecisionDocument, SnapshotDocument};
use onsen_policy_runner::rules::Rules;
use onsen_policy_runner::{Engine, recording};

#[expect(clippy::unnecessary_wraps, reason = "the shape that is asked for")]
fn limits(_instance_type: &str) -> Option<Limits> {
    Some(Limits {
        enis: 3,
        slots_per_eni: 9,
        prefixes: true,
        addresses_per_prefix: 16,
        ..Limits::default()
    })
}

#[test]
fn a_decision_that_is_read_is_the_one_that_is_written() {
    fuzz("decision", |bytes| {
        let Ok(document) = documents::read::<DecisionDocument>(&String::from_utf8_lossy(bytes))
        else {
            return;
        };
        let proposal = document.into_proposal();
        let text = documents::write(&DecisionDocument::new(&proposal, &Snapshot::default()));
        let again: DecisionDocument = documents::read(&text.unwrap()).unwrap();
        assert_eq!(again.into_proposal(), proposal);
    });
}

#[test]
fn a_snapshot_that_is_read_is_the_one_that_is_written() {
    fuzz("snapshot", |bytes| {
        let Ok(document) = documents::read::<SnapshotDocument>(&String::from_utf8_lossy(bytes))
        else {
            return;
        };
        let Ok(snapshot) = document.into_snapshot(limits) else {
            return;
        };
        let text = documents::write(&SnapshotDocument::from(&snapshot)).unwrap();
        let again: SnapshotDocument = documents::read(&text).unwrap();
        // All is written out: nothing is looked up.
        assert_eq!(again.into_snapshot(|_| None).unwrap(), snapshot);
    });
}

#[test]
fn a_broken_recording_is_refused_or_read_and_shown() {
    fuzz("recording", |bytes| {
        if let Ok(recording) = recording::read(&String::from_utf8_lossy(bytes)) {
            recording::line(&recording.header).unwrap();
        }
    });
}

#[test]
fn broken_rules_are_refused_with_their_place_or_choose_the_same_each_time() {
    let labels = [("eks.amazonaws.com/nodegroup".to_owned(), "dense".to_owned())].into();
    fuzz("rules", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match Rules::read(&text) {
            Ok(rules) => {
                let again = Rules::read(&text).unwrap();
                assert_eq!(
                    rules.of_node("node-1", &labels),
                    again.of_node("node-1", &labels)
                );
            }
            Err(error) => assert!(error.line >= 1 && error.column >= 1, "{error}"),
        }
    });
}

/// Bytes that are nearly a policy: refused, or a policy whose call ends within its limits.
#[test]
fn a_broken_component_costs_its_loader_an_error() {
    let limits = onsen_policy_runner::Limits {
        fuel: 1_000_000,
        ..onsen_policy_runner::Limits::default()
    };
    let engine = Engine::new(limits, None).unwrap();
    let loaded = Cell::new(0);
    let made = vec![
        onsen_hostile::idle(),
        onsen_hostile::endless_start(),
        onsen_hostile::log_flood(),
        onsen_hostile::out_of_range(),
        onsen_hostile::thrash(),
    ];
    fuzz_examples("component", 300, made, |bytes| {
        if let Ok(policy) = engine.load(bytes) {
            loaded.set(loaded.get() + 1);
            drop(policy.decide(&Snapshot::default()));
        }
    });
    assert!(loaded.get() > 0, "no example is a policy");
}
