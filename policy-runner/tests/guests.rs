//! Real components, good and bad: the two built-in policies, a guest that misbehaves on request,
//! and files that are no policy at all. `cargo xtask policies` builds the guests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use onsen_core::snapshot::{Limits as Room, Role, Setting, Snapshot, SnapshotEni, SnapshotSubnet};
use onsen_policy_runner::{Engine, Limits, Policy, PolicyError, builtin};

/// Small limits, so that each is met soon.
fn limits() -> Limits {
    Limits {
        fuel: 20_000_000,
        memory_bytes: 16 << 20,
        ..Limits::default()
    }
}

fn engine() -> Engine {
    Engine::new(limits(), None).unwrap()
}

fn built(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../policies/built")
        .join(format!("{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask policies`", path.display()))
}

/// A node whose primary ENI is empty.
fn snapshot(settings: &[(&str, &str)]) -> Snapshot {
    let setting = |(key, value): &(&str, &str)| Setting {
        key: (*key).into(),
        value: (*value).into(),
    };
    let mut snapshot = Snapshot {
        decision_id: 1,
        now: 1_700_000_000_000,
        limits: Room {
            enis: 3,
            slots_per_eni: 9,
            prefixes: true,
            addresses_per_prefix: 16,
        },
        enis: vec![SnapshotEni {
            id: "eni-1".into(),
            role: Role::Primary,
            free_slots: 9,
            ..SnapshotEni::default()
        }],
        subnets: vec![SnapshotSubnet {
            id: "subnet-1".into(),
            own: true,
            ..SnapshotSubnet::default()
        }],
        settings: settings.iter().map(setting).collect(),
        ..Snapshot::default()
    };
    snapshot.node.schedulable = true;
    snapshot.ec2.grow_budget = 4;
    snapshot.ec2.release_budget = 4;
    snapshot
}

fn misbehave(way: &str) -> Result<onsen_policy_runner::Decided, PolicyError> {
    let policy = engine().load(&built("misbehave")).unwrap();
    policy.decide(&snapshot(&[("MISBEHAVE", way)]))
}

fn refusal(wasm: &[u8]) -> PolicyError {
    match engine().load(wasm) {
        Ok(_) => panic!("it was taken"),
        Err(error) => error,
    }
}

#[test]
fn the_built_in_policies_load_describe_themselves_and_fill_an_empty_eni() {
    for name in builtin::names() {
        let policy = engine().load(builtin::get(name).unwrap()).unwrap();
        assert_eq!(policy.metadata().name, *name);
        assert!(policy.digest().starts_with("sha256:"));
        assert!(!policy.metadata().settings.is_empty());
        let decided = policy.decide(&snapshot(&[])).unwrap();
        assert_eq!(
            decided.proposal.actions.len(),
            1,
            "{name}: {:?}",
            decided.proposal
        );
        assert!(!decided.proposal.reason.is_empty());
    }
}

#[test]
fn the_same_snapshot_gives_the_same_answer_for_the_same_fuel() {
    let policy = engine()
        .load(builtin::get("default-warm-eni").unwrap())
        .unwrap();
    let first = policy.decide(&snapshot(&[])).unwrap();
    for _ in 0..10 {
        assert_eq!(policy.decide(&snapshot(&[])).unwrap(), first);
    }
}

#[test]
fn a_bad_setting_is_a_problem_with_its_name() {
    let policy = engine()
        .load(builtin::get("default-warm-eni").unwrap())
        .unwrap();
    let problems = policy
        .configure(&snapshot(&[("WARM_IP_TARGET", "many")]).settings)
        .unwrap();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].key, "WARM_IP_TARGET");
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    assert!(matches!(
        misbehave("loop"),
        Err(PolicyError::OutOfFuel { limit: 20_000_000 })
    ));
}

#[test]
fn an_endless_loop_with_too_much_fuel_meets_the_deadline() {
    let limits = Limits {
        fuel: u64::MAX,
        deadline: Duration::from_millis(100),
        ..limits()
    };
    let engine = Engine::new(limits, None).unwrap();
    let policy = engine.load(&built("misbehave")).unwrap();
    let answer = policy.decide(&snapshot(&[("MISBEHAVE", "loop")]));
    assert!(
        matches!(answer, Err(PolicyError::Deadline(_))),
        "{answer:?}"
    );
}

#[test]
fn unbounded_recursion_traps_and_the_process_lives() {
    let answer = misbehave("recurse");
    assert!(
        matches!(
            answer,
            Err(PolicyError::Trap(_) | PolicyError::OutOfFuel { .. })
        ),
        "{answer:?}"
    );
}

#[test]
fn a_memory_bomb_is_refused_its_memory() {
    let answer = misbehave("memory");
    assert!(
        matches!(answer, Err(PolicyError::OutOfMemory { limit, .. }) if limit == 16 << 20),
        "{answer:?}"
    );
}

#[test]
fn a_panic_traps_and_another_call_of_the_same_policy_works() {
    let policy = engine().load(&built("misbehave")).unwrap();
    let answer = policy.decide(&snapshot(&[("MISBEHAVE", "panic")]));
    assert!(matches!(answer, Err(PolicyError::Trap(_))), "{answer:?}");
    policy.decide(&snapshot(&[])).unwrap();
}

#[test]
fn a_policy_that_refuses_is_heard() {
    let answer = misbehave("refuse");
    assert!(
        matches!(&answer, Err(PolicyError::Refused(why)) if why == "asked to refuse"),
        "{answer:?}"
    );
}

#[test]
fn ten_thousand_lines_of_log_are_cut_at_the_limit() {
    let decided = misbehave("chatter").unwrap();
    assert_eq!(decided.log.len(), 101);
    assert_eq!(decided.log[0].message, "line 0");
    assert_eq!(decided.log[100].message, "9900 more lines were dropped");
}

#[test]
fn a_huge_answer_is_refused() {
    let answer = misbehave("huge");
    assert!(
        matches!(answer, Err(PolicyError::BadOutput(_))),
        "{answer:?}"
    );
}

#[test]
fn nonsense_comes_through_as_it_is_for_the_check_to_drop() {
    let decided = misbehave("nonsense").unwrap();
    assert_eq!(decided.proposal.actions.len(), 1_000);
}

#[test]
fn a_text_file_and_a_core_module_are_no_components() {
    for wasm in [
        b"hello".to_vec(),
        Vec::new(),
        wat::parse_str("(module)").unwrap(),
    ] {
        let error = refusal(&wasm);
        assert!(
            matches!(error, PolicyError::NotAComponent { .. }),
            "{error}"
        );
    }
}

#[test]
fn a_component_of_another_world_is_told_what_the_host_calls() {
    let error = refusal(&wat::parse_str("(component)").unwrap());
    assert!(matches!(error, PolicyError::WrongWorld { .. }), "{error}");
    assert!(
        error.to_string().contains("onsen:policy/policy@0.1.0"),
        "{error}"
    );
}

#[test]
fn a_component_that_wants_a_clock_is_refused() {
    let text = r#"(component (import "wasi:clocks/monotonic-clock@0.2.0" (instance)))"#;
    let error = refusal(&wat::parse_str(text).unwrap());
    assert!(
        matches!(&error, PolicyError::UnknownImport(name) if name.contains("wasi:clocks")),
        "{error}"
    );
}

#[test]
fn a_damaged_component_is_refused_and_never_panics() {
    let whole = built("misbehave");
    for cut in (8..whole.len()).step_by(whole.len() / 40) {
        refusal(&whole[..cut]);
    }
}

#[test]
fn a_compiled_policy_comes_out_of_the_cache_and_a_spoilt_cache_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let wasm = built("misbehave");
    let load = || -> Policy {
        let engine = Engine::new(limits(), Some(folder.path().to_owned())).unwrap();
        engine.load(&wasm).unwrap()
    };
    load().decide(&snapshot(&[])).unwrap();
    let files: Vec<_> = walk(folder.path());
    assert_eq!(files.len(), 1, "{files:?}");
    load().decide(&snapshot(&[])).unwrap();
    std::fs::write(&files[0], b"spoilt").unwrap();
    load().decide(&snapshot(&[])).unwrap();
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}
