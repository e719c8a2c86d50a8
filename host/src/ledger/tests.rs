//! The ledger as the loop uses it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use onsen_core::cidr::Unit;
use onsen_core::effect::{Holding, NoAddress};
use onsen_core::ids::{EniId, SubnetId};
use onsen_core::snapshot::Operation;
use onsen_policy_runner::recording::{Record, Recording};
use onsen_policy_runner::{Engine, Limits, builtin};

use super::*;

fn ledger() -> Ledger {
    let header = Header::new("0.1.0", "node-1", BTreeMap::new());
    let metrics = Metrics::new().unwrap();
    Ledger::open(None, &header, metrics).unwrap().ledger
}

fn policy() -> Policy {
    let engine = Engine::new(Limits::default(), None).unwrap();
    let wasm = builtin::get("default-warm-eni").unwrap();
    engine.load(wasm).unwrap()
}

fn ask(ledger: &mut Ledger, policy: &Policy, id: u64, answer: &Result<Proposal, String>) {
    let snapshot = Arc::new(Snapshot {
        decision_id: id,
        trigger: Trigger::Demand,
        ..Snapshot::default()
    });
    ledger.asked(Decider::Chosen, policy, &snapshot);
    let cost = Cost {
        built_in: false,
        micros: 80,
        fuel: 900,
        failure: answer.is_err().then_some("trap"),
    };
    ledger.answered(7, answer, cost);
}

fn record(id: u64) -> DecisionRecord {
    DecisionRecord {
        id,
        at: 7,
        trigger: Trigger::Demand,
        reason: "3 warm of 9 wanted".into(),
        fallback: None,
        accepted: vec!["6 addresses more on eni-1".into()],
        operations: vec![(Operation::Grow, Some(EniId::new("eni-1")))],
        dropped: vec![("detach eni-2".into(), "too-young")],
        pressure: 40,
    }
}

/// All records once the thread has written them.
fn written(ledger: Ledger) -> (Recording, Value) {
    let shelf = ledger.shelf();
    drop(ledger);
    let text = pages::lines(&shelf, pages::Wanted::default());
    let decisions = pages::decisions(&shelf, pages::Wanted::default());
    (recording::read(&text).unwrap(), decisions)
}

#[test]
fn a_decision_is_told_with_what_followed_from_it() {
    let (mut ledger, policy) = (ledger(), policy());
    ask(&mut ledger, &policy, 1, &Ok(Proposal::default()));
    ledger.decided(record(1));
    let assign = Ec2Request::Assign {
        eni: EniId::new("eni-1"),
        unit: Unit::Address,
        count: 6,
    };
    ledger.calling(10, IntentId(1), &assign);
    ledger.settled();
    // Not this decision's: nothing is being carried out any more.
    let create = Ec2Request::CreateEni {
        subnet: SubnetId::new("subnet-1"),
        unit: Unit::Address,
        blocks: 1,
    };
    ledger.calling(11, IntentId(2), &create);
    let refused = Ec2Outcome::Refused {
        code: "RequestLimitExceeded".into(),
        message: "slow down".into(),
    };
    ledger.called(310, IntentId(1), &refused);
    ledger.called(320, IntentId(2), &refused);
    assert_eq!(ledger.last_decision()["dropped"][0]["why"], "too-young");
    let (recording, shown) = written(ledger);
    assert_eq!(recording.records.len(), 3);
    let shown = &shown[0];
    assert_eq!(
        (&shown["decider"], &shown["micros"], &shown["fuel"]),
        (&json!("chosen"), &json!(80), &json!(900))
    );
    assert_eq!(shown["policy"]["digest"], policy.digest());
    assert_eq!(shown["calls"].as_array().unwrap().len(), 1);
    assert_eq!(shown["calls"][0]["code"], "RequestLimitExceeded");
    assert_eq!(shown["calls"][0]["millis"], 300);
    assert_eq!(shown.get("snapshot"), None);
}

#[test]
fn a_policy_that_fails_leaves_a_record_too() {
    let (mut ledger, policy) = (ledger(), policy());
    ask(&mut ledger, &policy, 1, &Err("the policy trapped".into()));
    ask(&mut ledger, &policy, 2, &Ok(Proposal::default()));
    ledger.decided(record(2));
    let (recording, shown) = written(ledger);
    assert_eq!(shown[0]["failure"]["kind"], "trap");
    assert_eq!(shown[1]["failure"], Value::Null);
    let Event::Decision(failed) = &recording.records[0].event else {
        panic!("{recording:?}");
    };
    assert!(failed.snapshot.is_some() && failed.proposal.is_none());
}

#[test]
fn what_a_pod_got_and_gave_back_is_told_without_its_container_id() {
    let mut ledger = ledger();
    ledger.decided(record(5));
    let pod = PodName {
        namespace: "default".into(),
        name: "web".into(),
    };
    let address = IpAddr::from([10, 0, 0, 9]);
    let holding = Holding {
        address,
        eni: EniId::new("eni-1"),
        card: 0,
        device_index: 1,
    };
    ledger.added(1_500, 300, &pod, &Reply::Assigned(holding));
    let why = NoAddress::Throttled { until: 9_000 };
    ledger.added(2_000, 1_990, &pod, &Reply::NoAddress(why));
    ledger.deleted(3_000, &pod, address);
    let (recording, _) = written(ledger);
    let events: Vec<_> = recording
        .records
        .into_iter()
        .map(|Record { event, .. }| event)
        .collect();
    let Event::Add(add) = &events[0] else {
        panic!("{events:?}");
    };
    assert_eq!((add.pod.as_str(), add.waited), ("default/web", 1_200));
    let Event::Add(refused) = &events[1] else {
        panic!("{events:?}");
    };
    assert_eq!(refused.refused.as_deref(), Some("ec2-throttled"));
    assert_eq!(refused.decision, Some(5));
    assert!(matches!(&events[2], Event::Del(del) if del.address == "10.0.0.9"));
}

#[test]
fn a_reader_gets_the_newest_or_what_is_new() {
    let (mut ledger, policy) = (ledger(), policy());
    for id in 1..=5 {
        ask(&mut ledger, &policy, id, &Ok(Proposal::default()));
        ledger.decided(record(id));
    }
    let shelf = ledger.shelf();
    drop(ledger);
    let ids = |wanted: Value| -> Vec<u64> {
        let wanted = serde_json::from_value(wanted).unwrap();
        let shown = pages::decisions(&shelf, wanted);
        let ids = shown.as_array().unwrap().iter().map(|it| it["id"].as_u64());
        ids.map(Option::unwrap).collect()
    };
    assert_eq!(ids(json!({})), [1, 2, 3, 4, 5]);
    assert_eq!(ids(json!({"last": 2})), [4, 5]);
    assert_eq!(ids(json!({"after": 3})), [4, 5]);
    let wanted = serde_json::from_value(json!({"after": 4})).unwrap();
    assert_eq!(pages::lines(&shelf, wanted).lines().count(), 2);
}
