//! Versions of the contract, tried with guests that need no compiler: a policy made for the frozen
//! copy of a version runs; one made for a version that this host does not speak is refused with a
//! sentence that names both; one whose types are not those of its version is told so. How a host of
//! two versions does it is in `src/versions/tests.rs`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::allow_attributes, reason = "expectations differ by target")]

use onsen_core::snapshot::Snapshot;
use onsen_policy_runner::{Engine, Limits, PolicyError};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The contract as it was when policies were made for it.
const FROZEN: &str = include_str!("contracts/0.1.0.wit");

/// The contract with one more fact in it, under this version.
fn changed(version: &str) -> String {
    let field = "terminating: bool,\n";
    assert_eq!(FROZEN.matches(field).count(), 1);
    FROZEN
        .replace("onsen:policy@0.1.0", &format!("onsen:policy@{version}"))
        .replace(field, "terminating: bool,\n    spot: bool,\n")
}

/// A guest that asks for nothing, made against this contract.
fn guest(contract: &str, version: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "onsen:policy/log@{version}" "write" (func (param i32 i32 i32)))
            (memory (export "memory") 2)
            (global $next (mut i32) (i32.const 65536))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (global.set $next (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
                global.get $next
                (global.set $next (i32.add (global.get $next) (local.get 3))))
            (func (export "onsen:policy/policy@{version}#describe") (result i32) i32.const 1024)
            (func (export "onsen:policy/policy@{version}#configure") (param i32 i32) (result i32)
                i32.const 1024)
            (func (export "onsen:policy/policy@{version}#decide") (param i32) (result i32)
                i32.const 1024))"#
    );
    let mut module = wat::parse_str(&text).unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("policy.wit", contract).unwrap();
    let world = resolve
        .select_world(&[package], Some("ipam-policy"))
        .unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let mut encoder = ComponentEncoder::default();
    encoder.module(&module).unwrap();
    encoder.validate(true).encode().unwrap()
}

#[test]
fn a_policy_made_for_a_frozen_version_runs() {
    let engine = Engine::new(Limits::default(), None).unwrap();
    let policy = engine.load(&guest(FROZEN, "0.1.0")).unwrap();
    let decided = policy.decide(&Snapshot::default()).unwrap();
    assert!(decided.proposal.actions.is_empty());
}

#[test]
fn a_policy_made_for_another_version_is_refused_with_both_versions() {
    let engine = Engine::new(Limits::default(), None).unwrap();
    // Engines take 0.1.1 for compatible with 0.1.0. This host does not: it may have more fields.
    for version in ["0.1.1", "0.2.0", "1.0.0"] {
        let refused = engine.load(&guest(&changed(version), version)).unwrap_err();
        assert!(
            matches!(refused, PolicyError::WrongVersion { .. }),
            "{refused}"
        );
        let words = refused.to_string();
        assert!(
            words.contains(&format!("made for version {version} of the contract"))
                && words.contains("this host speaks 0.1.0"),
            "{words}"
        );
    }
}

#[test]
fn a_policy_whose_types_are_not_those_of_its_version_is_told_so() {
    let engine = Engine::new(Limits::default(), None).unwrap();
    let refused = engine.load(&guest(&changed("0.1.0"), "0.1.0")).unwrap_err();
    assert!(
        matches!(refused, PolicyError::WrongWorld { .. }),
        "{refused}"
    );
    let words = refused.to_string();
    assert!(
        words.contains("this host calls onsen:policy/policy@0.1.0; its types differ"),
        "{words}"
    );
}
