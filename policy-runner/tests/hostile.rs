//! Guests that misbehave, and files that are no policies: each gets its own typed error, and the
//! host goes on.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::allow_attributes, reason = "expectations differ by target")]

mod support;

use std::time::Duration;

use onsen_core::proposal::Request;
use onsen_core::snapshot::Snapshot;
use onsen_hostile::guest;
use onsen_policy_runner::{Decided, Engine, Limits, PolicyError};
use support::load;

/// Fuel for a quick end.
fn limits() -> Limits {
    Limits {
        fuel: 10_000_000,
        ..Limits::default()
    }
}

fn decide(body: &str) -> Result<Decided, PolicyError> {
    let policy = load(limits(), &guest(body)).unwrap();
    policy.decide(&Snapshot::default())
}

fn refuse(component: &str) -> PolicyError {
    load(limits(), &wat::parse_str(component).unwrap()).unwrap_err()
}

#[test]
fn a_guest_that_asks_for_nothing_is_fine() {
    let decided = decide("global.get $answer").unwrap();
    assert!(decided.proposal.actions.is_empty() && decided.log.is_empty());
    assert!(decided.fuel > 0 && decided.fuel < 10_000);
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    let error = decide("(loop (br 0)) unreachable").unwrap_err();
    assert!(
        matches!(error, PolicyError::OutOfFuel { limit: 10_000_000 }),
        "{error}"
    );
}

#[test]
fn an_endless_loop_with_fuel_for_ever_meets_the_deadline() {
    let limits = Limits {
        fuel: u64::MAX,
        deadline: Duration::from_millis(80),
        ..limits()
    };
    let policy = load(limits, &guest("(loop (br 0)) unreachable")).unwrap();
    let error = policy.decide(&Snapshot::default()).unwrap_err();
    assert!(matches!(error, PolicyError::Deadline(_)), "{error}");
}

#[test]
fn a_trap_costs_one_call_and_no_more() {
    let policy = load(limits(), &guest("unreachable")).unwrap();
    for _ in 0..3 {
        let error = policy.decide(&Snapshot::default()).unwrap_err();
        assert!(matches!(error, PolicyError::Trap(_)), "{error}");
        assert!(policy.configure(&[]).unwrap().is_empty());
    }
}

#[test]
fn a_trap_is_told_with_the_guests_last_warning() {
    let error =
        decide("(call $log (i32.const 2) (i32.const 8192) (i32.const 7)) unreachable").unwrap_err();
    assert!(error.to_string().contains("no idea"), "{error}");
}

#[test]
fn a_recursion_without_end_ends_the_call_and_not_the_process() {
    let error = decide("(call $decide (local.get $in))").unwrap_err();
    assert!(matches!(error, PolicyError::Trap(_)), "{error}");
}

#[test]
fn a_memory_bomb_is_stopped_at_the_limit() {
    let error =
        decide("(loop (drop (memory.grow (i32.const 64))) (br 0)) unreachable").unwrap_err();
    let limit = Limits::default().memory_bytes;
    assert!(
        matches!(error, PolicyError::OutOfMemory { wanted, limit: told } if wanted > told && told == limit),
        "{error}"
    );
}

#[test]
fn a_guest_that_starts_with_too_much_memory_is_not_loaded() {
    let limits = Limits {
        memory_bytes: 1 << 20,
        ..limits()
    };
    let error = load(limits, &guest("unreachable")).unwrap_err();
    assert!(matches!(error, PolicyError::OutOfMemory { .. }), "{error}");
}

#[test]
fn a_flood_of_log_lines_is_cut_and_counted() {
    let decided = decide(
        "(local $n i32)
         (loop
            (call $log (i32.const 1) (i32.const 65536) (i32.const 5000))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $n) (i32.const 500))))
         global.get $answer",
    )
    .unwrap();
    assert_eq!(decided.log.len(), 101);
    assert!(
        decided.log[..100]
            .iter()
            .all(|line| line.message.len() == 1_024)
    );
    assert_eq!(decided.log[100].message, "400 more lines were dropped");
}

#[test]
fn an_answer_that_is_too_big_is_not_read() {
    // Two million bytes of memo; a hundred thousand actions; both lie within the guest's memory.
    for (field, count) in [(40, 2_000_000), (8, 100_000)] {
        let error = decide(&format!(
            "(i32.store offset={field} (global.get $answer) (i32.const 65536))
             (i32.store offset={} (global.get $answer) (i32.const {count}))
             global.get $answer",
            field + 4
        ))
        .unwrap_err();
        assert!(matches!(error, PolicyError::BadOutput(_)), "{error}");
    }
}

#[test]
fn a_memo_above_the_limit_is_told_with_both_numbers() {
    let error =
        decide("(i32.store offset=44 (global.get $answer) (i32.const 65537)) global.get $answer")
            .unwrap_err();
    assert!(
        error.to_string().contains("65537 bytes; 65536 are allowed"),
        "{error}"
    );
}

#[test]
fn an_answer_outside_the_guests_memory_or_types_is_bad_output() {
    for body in [
        "i32.const -8",
        // The reason lies nowhere.
        "(i32.store offset=16 (global.get $answer) (i32.const -4)) (i32.store offset=20 (global.get $answer) (i32.const 100)) global.get $answer",
        // A placement that does not exist.
        "(i32.store8 offset=48 (global.get $answer) (i32.const 9)) global.get $answer",
        // A reason that is no UTF-8.
        "(i32.store8 (i32.const 100) (i32.const 255)) (i32.store offset=16 (global.get $answer) (i32.const 100)) (i32.store offset=20 (global.get $answer) (i32.const 1)) global.get $answer",
    ] {
        let error = decide(body).unwrap_err();
        assert!(
            matches!(error, PolicyError::BadOutput(_)),
            "{body}: {error}"
        );
    }
}

#[test]
fn a_guest_may_refuse_in_its_own_words() {
    let error = decide(
        "(i32.store8 (global.get $answer) (i32.const 1))
         (i32.store offset=8 (global.get $answer) (i32.const 8192))
         (i32.store offset=12 (global.get $answer) (i32.const 7))
         global.get $answer",
    )
    .unwrap_err();
    assert!(
        matches!(&error, PolicyError::Refused(why) if why == "no idea"),
        "{error}"
    );
}

#[test]
fn what_is_no_component_is_told_apart() {
    for (bytes, words) in [
        (wat::parse_str("(module)").unwrap(), "core Wasm module"),
        (Vec::new(), "empty"),
        (b"(component)".to_vec(), "does not start as Wasm"),
    ] {
        let error = load(limits(), &bytes).unwrap_err();
        assert!(
            matches!(error, PolicyError::NotAComponent { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_component_cut_in_half_does_not_compile() {
    let whole = guest("global.get $answer");
    let error = load(limits(), &whole[..whole.len() / 2]).unwrap_err();
    assert!(matches!(error, PolicyError::Compile(_)), "{error}");
}

#[test]
fn another_world_is_refused_with_what_was_wanted_and_what_was_found() {
    let error = refuse("(component)");
    assert!(
        error
            .to_string()
            .contains("onsen:policy/policy@0.1.0; it exports nothing"),
        "{error}"
    );
    let error =
        refuse(r#"(component (instance $i) (export "onsen:policy/policy@0.2.0" (instance $i)))"#);
    assert!(
        error
            .to_string()
            .contains("made for version 0.2.0 of the contract; this host speaks 0.1.0"),
        "{error}"
    );
    let error =
        refuse(r#"(component (instance $i) (export "onsen:policy/policy@0.1.0" (instance $i)))"#);
    assert!(matches!(error, PolicyError::WrongWorld { .. }), "{error}");
    assert!(error.to_string().contains("types differ"), "{error}");
}

#[test]
fn an_import_that_is_not_the_log_is_refused_by_name() {
    for name in [
        "wasi:cli/environment@0.2.0",
        "onsen:policy/types@0.1.0",
        "onsen:policy/log@9.0.0",
    ] {
        let error = refuse(&format!(
            r#"(component (import "{name}" (instance (export "f" (func)))))"#
        ));
        assert!(
            matches!(&error, PolicyError::UnknownImport(found) if found == name),
            "{error}"
        );
    }
}

#[test]
fn a_start_function_that_loops_is_not_loaded() {
    let error = load(limits(), &onsen_hostile::endless_start()).unwrap_err();
    assert!(matches!(error, PolicyError::OutOfFuel { .. }), "{error}");
}

#[test]
fn a_component_of_a_hundred_megabytes_is_refused_unread() {
    let mut bytes = onsen_hostile::idle();
    bytes.resize(100 << 20, 0);
    let error = load(limits(), &bytes).unwrap_err();
    assert!(
        matches!(error, PolicyError::TooLarge { bytes, limit } if bytes == 100 << 20 && limit == 64 << 20),
        "{error}"
    );
}

#[test]
fn a_guest_that_traps_now_and_then_answers_in_between() {
    let policy = load(limits(), &onsen_hostile::trap_every_seventh()).unwrap();
    let failed = (1..=21).filter(|id| {
        let snapshot = Snapshot {
            decision_id: *id,
            ..Snapshot::default()
        };
        policy.decide(&snapshot).is_err()
    });
    assert_eq!(failed.collect::<Vec<_>>(), [7, 14, 21]);
}

/// What a guest asks for in this decision.
fn requests(component: &[u8], decision_id: u64) -> Vec<Request> {
    let snapshot = Snapshot {
        decision_id,
        ..Snapshot::default()
    };
    let decided = load(limits(), component)
        .unwrap()
        .decide(&snapshot)
        .unwrap();
    assert_eq!(decided.proposal.wake_after, Some(100));
    let actions = decided.proposal.actions.into_iter();
    actions.map(|action| action.request).collect()
}

#[test]
fn the_hostile_guests_ask_for_what_their_names_say() {
    assert!(matches!(
        requests(&onsen_hostile::out_of_range(), 1)[..],
        [
            Request::Grow {
                eni: u32::MAX,
                count: u32::MAX,
                ..
            },
            Request::DetachEni { eni: 1_000_000 },
            Request::Release { eni: 7_777, .. }
        ]
    ));
    let all = requests(&onsen_hostile::release_everything(), 1);
    assert!(
        matches!(&all[..2], [Request::Release { eni: 0, blocks }, Request::DetachEni { eni: 0 }]
        if blocks.iter().copied().eq(0..60))
    );
    let thrash = onsen_hostile::thrash();
    assert!(matches!(
        requests(&thrash, 1)[..],
        [Request::Grow { eni: 0, .. }]
    ));
    assert!(matches!(
        requests(&thrash, 2)[..],
        [Request::Release { eni: 0, .. }]
    ));
    assert!(requests(&onsen_hostile::idle(), 1).is_empty());
}

#[test]
fn no_hostile_guest_gets_more_than_its_limits_and_each_is_named() {
    // A part of what a component is given in a daemon, for a quick end.
    let engine = Engine::new(limits(), None).unwrap();
    for (component, words) in [
        (onsen_hostile::endless_loop(), "units of fuel"),
        (onsen_hostile::endless_recursion(), "trapped"),
        (onsen_hostile::memory_bomb(), "bytes of memory"),
        (onsen_hostile::huge_output(), "cannot be read"),
        (onsen_hostile::trap(), "trapped"),
    ] {
        let policy = engine.load(&component).unwrap();
        let error = policy.decide(&Snapshot::default()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    for (component, words) in [
        (
            onsen_hostile::forbidden_import(),
            "imports wasi:cli/environment",
        ),
        (onsen_hostile::wrong_world(), "example:other/thing@1.0.0"),
    ] {
        let error = engine.load(&component).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let flood = engine.load(&onsen_hostile::log_flood()).unwrap();
    let decided = flood.decide(&Snapshot::default()).unwrap();
    assert_eq!(decided.log.len(), 101);
    assert_eq!(decided.log[100].message, "9900 more lines were dropped");
}
