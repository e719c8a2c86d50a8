//! Policies that misbehave. Each is a real component of the real contract, made from a few lines of
//! WebAssembly text.
//!
//! In: what `decide` does. Out: the bytes of a component. For tests of whatever runs policies.
#![allow(
    clippy::expect_used,
    reason = "only tests use this, and what is written here is right or it is a bug"
)]

use std::fmt::Write;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Where a decision's actions lie in a guest's memory.
const ACTIONS: usize = 12_288;
/// Where the block indexes of their releases lie.
const BLOCKS: usize = 32_768;
/// Bytes of one action.
const ACTION: usize = 32;
/// Every guest that is content asks to be asked again after so many milliseconds.
const AGAIN: u64 = 100;

/// A component whose `decide` has this body (parameter `$in`, which points to the snapshot; result:
/// where the answer lies). `$answer` is the address of an answer of zeros: a decision that asks for
/// nothing.
pub fn guest(decide: &str) -> Vec<u8> {
    module("", decide)
}

/// The same with more of the module's own fields.
fn module(fields: &str, decide: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "onsen:policy/log@0.1.0" "write" (func $log (param i32 i32 i32)))
            (memory (export "memory") 64)
            (global $next (mut i32) (i32.const 1048576))
            (global $answer i32 (i32.const 4096))
            (data (i32.const 8192) "no idea")
            {fields}
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
    let mut module = wat::parse_str(&text).expect("text that is WebAssembly");
    let mut resolve = Resolve::default();
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let (package, _) = resolve.push_path(contract).expect("the contract");
    let world = resolve
        .select_world(&[package], Some("ipam-policy"))
        .expect("the contract's world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("a module of that world");
    let mut encoder = ComponentEncoder::default();
    let encoder = encoder.module(&module).expect("a module of that world");
    encoder.validate(true).encode().expect("a component")
}

/// What a guest asks for.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Blocks on the ENI of that place.
    Grow(u32, u32),
    /// The first so many blocks of the snapshot, said to be on the ENI of that place.
    Release(u32, u32),
    /// The ENI of that place.
    Detach(u32),
}

/// Statements that store these actions in the answer, and the data they need at `place`.
fn asks(asks: &[Ask], place: usize) -> (String, String) {
    let mut bytes = Vec::new();
    for ask in asks {
        let words: [u32; 4] = match *ask {
            // Behind the ENI: the unit (an address), the count.
            Ask::Grow(eni, count) => [1, eni, 0, count],
            Ask::Release(eni, count) => [2, eni, BLOCKS as u32, count],
            Ask::Detach(eni) => [3, eni, 0, 0],
        };
        let mut action = [0; ACTION];
        for (to, word) in action.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes.extend(action);
    }
    let data = format!("(data (i32.const {place}) \"{}\")", escaped(&bytes));
    let store = format!(
        "(i32.store offset=8 (global.get $answer) (i32.const {place}))
         (i32.store offset=12 (global.get $answer) (i32.const {}))",
        asks.len()
    );
    (data, store)
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "\\{byte:02x}").expect("a String takes all");
        text
    })
}

/// Indexes 0, 1, 2 ... for releases.
fn indexes() -> String {
    let bytes: Vec<u8> = (0..256_u32).flat_map(u32::to_le_bytes).collect();
    format!("(data (i32.const {BLOCKS}) \"{}\")", escaped(&bytes))
}

/// Statements that have the host ask again soon, and end with the answer.
fn answer() -> String {
    format!(
        "(i32.store8 offset=24 (global.get $answer) (i32.const 1))
         (i64.store offset=32 (global.get $answer) (i64.const {AGAIN}))
         global.get $answer"
    )
}

/// A guest that always asks for the same.
pub fn asking(asked: &[Ask]) -> Vec<u8> {
    let (data, store) = asks(asked, ACTIONS);
    module(&(data + &indexes()), &(store + &answer()))
}

/// Asks for nothing, and to be asked again soon.
pub fn idle() -> Vec<u8> {
    asking(&[])
}

/// Computes for ever.
pub fn endless_loop() -> Vec<u8> {
    guest("(loop (br 0)) unreachable")
}

/// Calls itself for ever.
pub fn endless_recursion() -> Vec<u8> {
    guest("(call $decide (local.get $in))")
}

/// Takes memory for ever.
pub fn memory_bomb() -> Vec<u8> {
    guest("(loop (drop (memory.grow (i32.const 64))) (br 0)) unreachable")
}

/// Answers with a hundred thousand actions.
pub fn huge_output() -> Vec<u8> {
    guest(
        "(i32.store offset=8 (global.get $answer) (i32.const 65536))
         (i32.store offset=12 (global.get $answer) (i32.const 100000))
         global.get $answer",
    )
}

/// Names ENIs and blocks that are not there.
pub fn out_of_range() -> Vec<u8> {
    asking(&[
        Ask::Grow(u32::MAX, u32::MAX),
        Ask::Detach(1_000_000),
        Ask::Release(7_777, 200),
    ])
}

/// Gives back every block and every ENI, whatever pods hold.
pub fn release_everything() -> Vec<u8> {
    let enis = 0..8;
    let all: Vec<_> = enis
        .flat_map(|eni| [Ask::Release(eni, 60), Ask::Detach(eni)])
        .collect();
    asking(&all)
}

/// Grows in every odd decision and releases in every even one.
pub fn thrash() -> Vec<u8> {
    let (grow_data, grow) = asks(&[Ask::Grow(0, 2)], ACTIONS);
    // Blocks 3 and up are free on a node with few pods.
    let (release_data, release) = asks(&[Ask::Release(0, 9)], ACTIONS + 1_024);
    module(
        &(grow_data + &release_data + &indexes()),
        &format!(
            "(if (i64.eqz (i64.and (i64.load (local.get $in)) (i64.const 1)))
                (then {release}) (else {grow}))
             {}",
            answer()
        ),
    )
}

/// Writes ten thousand lines for each decision.
pub fn log_flood() -> Vec<u8> {
    let answer = answer();
    guest(&format!(
        "(local $n i32)
         (loop
            (call $log (i32.const 1) (i32.const 65536) (i32.const 500))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $n) (i32.const 10000))))
         {answer}"
    ))
}

/// Traps on every seventh call.
pub fn trap_every_seventh() -> Vec<u8> {
    let answer = answer();
    guest(&format!(
        "(if (i64.eqz (i64.rem_u (i64.load (local.get $in)) (i64.const 7))) (then unreachable))
         {answer}"
    ))
}

/// Traps from that decision on.
pub fn trap_from(decision: u64) -> Vec<u8> {
    let answer = answer();
    guest(&format!(
        "(if (i64.ge_u (i64.load (local.get $in)) (i64.const {decision})) (then unreachable))
         {answer}"
    ))
}

/// Traps on every call.
pub fn trap() -> Vec<u8> {
    guest("unreachable")
}

/// Its start function computes for ever.
pub fn endless_start() -> Vec<u8> {
    module(
        "(func $start (loop (br 0))) (start $start)",
        "global.get $answer",
    )
}

/// Wants the environment of its process.
pub fn forbidden_import() -> Vec<u8> {
    component(r#"(component (import "wasi:cli/environment@0.2.0" (instance (export "f" (func)))))"#)
}

/// A valid component of another world.
pub fn wrong_world() -> Vec<u8> {
    component(r#"(component (instance $i) (export "example:other/thing@1.0.0" (instance $i)))"#)
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("text that is a component")
}
