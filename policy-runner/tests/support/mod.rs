//! Guests in a few lines of WAT, made into components of the real contract.

use std::path::Path;

use onsen_policy_runner::{Engine, Limits, Policy, PolicyError};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A component whose `decide` has this body (parameter `$in`, result: where the answer lies).
/// `$answer` is the address of an answer of zeros: a decision that asks for nothing.
pub(crate) fn guest(decide: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "onsen:policy/log@0.1.0" "write" (func $log (param i32 i32 i32)))
            (memory (export "memory") 64)
            (global $next (mut i32) (i32.const 1048576))
            (global $answer i32 (i32.const 4096))
            (data (i32.const 8192) "no idea")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (global.set $next (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
                global.get $next
                (global.set $next (i32.add (global.get $next) (local.get 3))))
            (func (export "onsen:policy/policy@0.1.0#describe") (result i32) i32.const 1024)
            (func (export "onsen:policy/policy@0.1.0#configure") (param i32 i32) (result i32)
                i32.const 1024)
            (func $decide (export "onsen:policy/policy@0.1.0#decide") (param $in i32) (result i32)
                {decide}))"#
    );
    let mut module = wat::parse_str(&text).unwrap();
    let mut resolve = Resolve::default();
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let (package, _) = resolve.push_path(contract).unwrap();
    let world = resolve
        .select_world(&[package], Some("ipam-policy"))
        .unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let mut encoder = ComponentEncoder::default();
    let encoder = encoder.module(&module).unwrap();
    encoder.validate(true).encode().unwrap()
}

/// Loads a guest under these limits.
pub(crate) fn load(limits: Limits, wasm: &[u8]) -> Result<Policy, PolicyError> {
    Engine::new(limits, None).unwrap().load(wasm)
}
