use onsen_core::cidr::Unit;
use onsen_core::proposal::Request;
use onsen_core::snapshot::{Snapshot, SnapshotEni};
use onsen_policy_runner::reference::Reference;
use onsen_policy_runner::{Engine, Limits};

use super::*;

fn deciders() -> Deciders {
    let engine = Engine::new(Limits::default(), None).unwrap();
    let reference: Reference = "builtin:default-warm-eni".parse().unwrap();
    let policy = Arc::new(reference.load(&engine).unwrap());
    Deciders {
        chosen: Arc::clone(&policy),
        built_in: policy,
    }
}

fn one(text: &str) -> Scenario {
    let mut all = read(text).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn a_decision_is_compared_action_by_action() {
    let good = one(
        "name: a bare node fills its primary\nsnapshot: {}\nexpect:\n  actions: [{grow: {eni: 0, count: 9}}]\n",
    );
    let deciders = deciders();
    assert_eq!(good.run(&deciders).failures, []);

    let bad = one(
        "name: wrong\nsnapshot: {}\nexpect:\n  actions: [{grow: {eni: 0, count: {min: 10}}}]\n  reason: because\n",
    );
    let verdict = bad.run(&deciders);
    let [failure] = &*verdict.failures else {
        panic!("{verdict:?}")
    };
    let [actions, reason] = &*failure.differences else {
        panic!("{failure:?}")
    };
    assert_eq!(actions.expected, "grow eni 0 count at least 10");
    assert_eq!(actions.actual, "grow eni 0 count 9 of addresses");
    assert_eq!(reason.what, "reason");
    assert!(verdict.last_decisions[1].contains("9 addresses more on eni-0"));
}

#[test]
fn a_table_makes_a_scenario_of_each_row() {
    let text = "\
name: WARM_IP_TARGET=$target
rows:
  - {target: 2, count: 2}
  - {target: 5, count: 5}
snapshot: {settings: {WARM_IP_TARGET: $target}}
expect: {actions: [{grow: {count: $count}}]}
";
    let all = read(text).unwrap();
    let names: Vec<_> = all.iter().map(Scenario::name).collect();
    assert_eq!(names, ["WARM_IP_TARGET=2", "WARM_IP_TARGET=5"]);
    let deciders = deciders();
    assert!(all.iter().all(|it| it.run(&deciders).is_ok()));
}

#[test]
fn rows_without_a_name_of_their_own_are_numbered() {
    let text = "name: x\nrows: [{n: 1}, {n: 2}]\nsteps: [{arrive: $n}]\n";
    let names: Vec<_> = read(text).unwrap().into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["x #1", "x #2"]);
}

#[test]
fn a_decision_that_was_written_down_can_be_run() {
    let snapshot = Snapshot {
        limits: onsen_core::snapshot::Limits {
            enis: 3,
            slots_per_eni: 9,
            ..Default::default()
        },
        subnets: vec![onsen_core::snapshot::SnapshotSubnet::default()],
        enis: vec![SnapshotEni {
            id: "eni-1".into(),
            ..SnapshotEni::default()
        }],
        ..Snapshot::default()
    };
    let wanted = [
        Request::Release {
            eni: 0,
            blocks: vec![1, 2],
        },
        Request::AttachEni {
            subnet: None,
            unit: Unit::Prefix,
            blocks: 3,
            card: 0,
        },
    ];
    let text = write_decision("found", "by a test", &snapshot, &wanted).unwrap();
    let verdict = one(&text).run(&deciders());
    let difference = &verdict.failures[0].differences[0];
    assert_eq!(
        difference.expected,
        "release eni 0 count 2 blocks [1, 2]\nattach-eni blocks 3 of prefixes"
    );
}

#[test]
fn what_is_no_scenario_is_told_with_its_place() {
    for (text, words) in [
        (
            "name: x\nsteps:\n  - ariv: 2\n",
            "line 3, column 5: unknown field `ariv`",
        ),
        (
            "name: x\nsteps:\n  - leave: some\n",
            "line 3, column 12: \"some\" is not a number",
        ),
        (
            "name: x\nsteps:\n  - arrive: {count: 2, names: [a]}\n",
            "not a number of pods",
        ),
        ("name: x\nsteps:\n  - {wait: long}\n", "1m 30s"),
        ("name: x\n", "nothing happens"),
        ("name: x\nsnapshot: {}\n", "needs an `expect`"),
        (
            "name: x\nexpect: {}\nsteps: [{wait: 1s}]\n",
            "belongs to a `snapshot`",
        ),
        (
            "name: x\nexpect: {}\nsnapshot: {}\nsteps: [{wait: 1s}]\n",
            "leave `given`",
        ),
        ("steps: []\n", "missing field `name`"),
        ("", "line 1"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text:?}: {error}");
    }
}
