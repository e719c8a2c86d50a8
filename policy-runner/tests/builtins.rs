//! The policies that come with Onsen, as the components that will run.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::allow_attributes, reason = "expectations differ by target")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use onsen_core::cidr::Unit;
use onsen_core::proposal::Request;
use onsen_core::snapshot::{Limits as Room, Setting, Snapshot, SnapshotEni};
use onsen_policy_runner::builtin::{self, Absent};
use onsen_policy_runner::{Engine, Limits, Policy, PolicyError};

fn load(name: &str) -> Policy {
    let wasm = builtin::get(name).unwrap_or_else(|why| panic!("{why}"));
    Engine::new(Limits::default(), None)
        .unwrap()
        .load(wasm)
        .unwrap()
}

/// A node whose primary ENI is empty.
fn bare_node() -> Snapshot {
    let mut snapshot = Snapshot {
        now: 1_700_000_000_000,
        limits: Room {
            other_cards: Vec::new(),
            trunk: true,
            enis: 3,
            slots_per_eni: 9,
            prefixes: true,
            addresses_per_prefix: 16,
        },
        enis: vec![SnapshotEni {
            id: "eni-1".into(),
            free_slots: 9,
            ..SnapshotEni::default()
        }],
        ..Snapshot::default()
    };
    snapshot.node.schedulable = true;
    snapshot.ec2.grow_budget = 1;
    snapshot
}

#[test]
fn each_tells_its_name_and_settings() {
    for name in builtin::names() {
        let policy = load(name);
        assert_eq!(policy.metadata().name, *name);
        assert!(!policy.metadata().settings.is_empty());
        assert_eq!(policy.digest().len(), "sha256:".len() + 64);
    }
}

#[test]
fn each_fills_a_bare_node_in_its_own_way() {
    for (name, unit, count) in [
        ("default-warm-eni", Unit::Address, 9),
        ("prefix-frugal", Unit::Address, 3),
    ] {
        let decided = load(name).decide(&bare_node()).unwrap();
        let requests: Vec<_> = decided
            .proposal
            .actions
            .iter()
            .map(|action| &action.request)
            .collect();
        assert_eq!(
            requests,
            [&Request::Grow {
                eni: 0,
                unit,
                count
            }],
            "{name}"
        );
        assert!(!decided.proposal.reason.is_empty());
    }
}

#[test]
fn the_same_snapshot_gives_the_same_answer_at_the_same_cost_from_any_thread() {
    for name in builtin::names() {
        let policy = load(name);
        let first = policy.decide(&bare_node()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(policy.decide(&bare_node()).unwrap(), first));
            }
        });
    }
}

#[test]
fn bad_settings_come_back_as_problems() {
    let bad = Setting {
        key: "WARM_ENI_TARGET".into(),
        value: "many".into(),
    };
    let problems = load("default-warm-eni").configure(&[bad]).unwrap();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].key, "WARM_ENI_TARGET");
}

#[test]
fn an_unknown_name_is_told_with_the_known_ones() {
    let error = builtin::get("nonsense").unwrap_err();
    assert!(matches!(&error, Absent::Unknown(_)));
    assert!(
        error
            .to_string()
            .contains("default-warm-eni, prefix-frugal"),
        "{error}"
    );
}

#[test]
fn the_cache_is_used_and_a_damaged_file_in_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    let wasm = builtin::get("prefix-frugal").unwrap_or_else(|why| panic!("{why}"));
    let engine = Engine::new(Limits::default(), Some(cache.clone())).unwrap();
    engine.load(wasm).unwrap();
    let files: Vec<_> = fs::read_dir(&cache)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let [file] = &*files else {
        panic!("one file: {files:?}")
    };
    let written = fs::metadata(file).unwrap().modified().unwrap();
    engine.load(wasm).unwrap();
    assert_eq!(
        fs::metadata(file).unwrap().modified().unwrap(),
        written,
        "compiled again"
    );
    fs::write(file, []).unwrap();
    engine.load(wasm).unwrap();
    assert!(fs::metadata(file).unwrap().len() > 0, "not replaced");
}

#[test]
fn a_cache_that_others_may_write_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let Err(error) = Engine::new(Limits::default(), Some(folder.path().to_owned())) else {
        panic!("accepted");
    };
    assert!(matches!(error, PolicyError::Cache { .. }), "{error}");
    assert!(error.to_string().contains("mode 777"), "{error}");
}
