//! Replays of a node that is made here: three questions, answered by a real policy.

use super::*;
use onsen_policy_runner::documents::{self, SnapshotDocument};
use onsen_policy_runner::recording::{Add, Del, Header, Record, line, snapshot_digest};
use onsen_policy_runner::{Engine, Limits, builtin};

fn load(name: &str) -> Policy {
    let engine = Engine::new(Limits::default(), None).unwrap();
    engine.load(builtin::get(name).unwrap()).unwrap()
}

fn snapshot(json: &str) -> Snapshot {
    let document: SnapshotDocument = documents::read(json).unwrap();
    let kind = onsen_sim::account::InstanceType::find("m5.large").unwrap();
    document.into_snapshot(|_| Some(kind.limits())).unwrap()
}

/// A recording of the default policy, whose memo goes from one question to the next.
fn recorded() -> String {
    let policy = load("default-warm-eni");
    let mut text = line(&Header::new(
        "0.1.0",
        "node-1",
        std::collections::BTreeMap::new(),
    ))
    .unwrap();
    let mut memo = Vec::new();
    let mut seq = 0;
    let mut put = |at: u64, event: Event| {
        seq += 1;
        text += &line(&Record { seq, at, event }).unwrap();
    };
    for (id, json) in (1..).zip([
        r#"{"decision_id": 1, "now": 1000000, "enis": [{"id": "eni-a", "blocks": [{"repeat": 3, "assigned": 1}]}]}"#,
        r#"{"decision_id": 2, "now": 1060000, "enis": [{"id": "eni-a", "blocks": [{"repeat": 9, "assigned": 1}]}]}"#,
        r#"{"decision_id": 3, "now": 1120000, "enis": [{"id": "eni-a", "blocks": [{"repeat": 9}]}, {"id": "eni-b", "blocks": [{"repeat": 9}]}]}"#,
    ]) {
        let snapshot = Snapshot {
            memo: std::mem::take(&mut memo),
            ..snapshot(json)
        };
        let decided = policy.decide(&snapshot).unwrap();
        memo.clone_from(&decided.proposal.memo);
        let document = SnapshotDocument::from(&snapshot);
        let decision = Decision {
            id,
            trigger: "timer".into(),
            policy: (&policy).into(),
            snapshot_digest: snapshot_digest(&document).unwrap(),
            snapshot: Some(document),
            proposal: Some(DecisionDocument::new(&decided.proposal, &snapshot)),
            fuel: decided.fuel,
            ..Decision::default()
        };
        put(snapshot.now, Event::Decision(Box::new(decision)));
    }
    let add = |pod: &str, address: Option<&str>| {
        Event::Add(Add {
            pod: pod.into(),
            waited: 500,
            address: address.map(Into::into),
            refused: address.is_none().then(|| "node-full".into()),
            ..Add::default()
        })
    };
    put(1_130_000, add("pod-1", None));
    put(1_140_000, add("pod-1", Some("10.0.0.9")));
    put(1_150_000, add("pod-2", Some("10.0.0.8")));
    put(
        1_160_000,
        Event::Del(Del {
            pod: "pod-2".into(),
            address: "10.0.0.8".into(),
        }),
    );
    text
}

fn arguments(text: &str) -> (tempfile::TempDir, Arguments) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.onsenrec");
    std::fs::write(&file, text).unwrap();
    let arguments = Arguments {
        file,
        policy: Some("default-warm-eni".to_owned()),
        set: Vec::new(),
        to_scenario: false,
        decision: None,
    };
    (folder, arguments)
}

#[test]
fn the_recorded_policy_gives_the_recorded_answers_to_the_byte() {
    let text = recorded();
    let (_folder, arguments) = arguments(&text);
    let (told, code) = replay(&arguments, false).unwrap();
    assert!(
        told.contains("all 3 decisions are the recorded ones, byte for byte"),
        "{told}"
    );
    assert_eq!(code, 0);
}

#[test]
fn one_byte_that_differs_is_found() {
    // The memo of the third answer, or the reason of the first: the actions stay the same.
    let text = recorded();
    let changed = text.replacen("\"pressure\":", "\"pressure\":1", 1);
    assert_ne!(text, changed);
    let (_folder, arguments) = arguments(&changed);
    let (told, code) = replay(&arguments, false).unwrap();
    assert!(
        told.contains("0 of 3 decisions would differ, 1 more in words only"),
        "{told}"
    );
    assert_eq!(code, 1);
}

#[test]
fn other_settings_and_other_policies_show_what_they_would_have_done() {
    let text = recorded();
    let (_folder, mut arguments) = arguments(&text);
    arguments.set = vec![("WARM_IP_TARGET".to_owned(), "2".to_owned())];
    let (told, code) = replay(&arguments, false).unwrap();
    assert!(
        told.contains("#2 at 1970-01-01T00:17:40Z on timer"),
        "{told}"
    );
    assert!(
        told.contains("recorded  ") && told.contains("replayed  "),
        "{told}"
    );
    assert_eq!(code, 1);
    arguments.set.clear();
    arguments.policy = Some("prefix-frugal".to_owned());
    let (json, _) = replay(&arguments, true).unwrap();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&report["replayed"], &report["exact"]),
        (&3.into(), &false.into())
    );
}

#[test]
fn a_recording_becomes_a_scenario_that_runs() {
    let text = recorded();
    let (_folder, mut arguments) = arguments(&text);
    (arguments.policy, arguments.to_scenario) = (None, true);
    let (life, code) = replay(&arguments, false).unwrap();
    assert_eq!(code, 0);
    let scenarios =
        onsen_sim::scenario::read(&life).unwrap_or_else(|error| panic!("{error}\n{life}"));
    // pod-1 came once, though it was refused first; pod-2 came and went; three were there before.
    assert_eq!(life.matches("arrive").count(), 2, "{life}");
    assert_eq!(life.matches("leave").count(), 1, "{life}");
    let policy = std::sync::Arc::new(load("default-warm-eni"));
    let deciders = onsen_sim::scenario::Deciders {
        chosen: std::sync::Arc::clone(&policy),
        built_in: policy,
    };
    let verdict = scenarios[0].run(&deciders);
    assert!(verdict.is_ok(), "{verdict:?}\n{life}");
    arguments.decision = Some(2);
    let (one, _) = replay(&arguments, false).unwrap();
    let scenario = onsen_sim::scenario::read(&one).unwrap();
    assert!(scenario[0].run(&deciders).is_ok(), "{one}");
    arguments.decision = Some(77);
    let error = replay(&arguments, false).unwrap_err().chain();
    assert!(error.contains("no decision 77"), "{error}");
}
