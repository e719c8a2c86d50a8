//! Measures `decide` of the built-in policies, or of other components, and prints JSON on stdout.
//!
//! `cargo run --release -p onsen-policy-runner --example decide [ROUNDS [FILE...]]`; times in
//! microseconds.
//! Nodes: empty (one ENI, nothing on it), typical (3 ENIs of 9 slots, 20 pods), full (15 ENIs of
//! 49 slots, 700 pods). Each call gets an instance of its own, as in the daemon.

use std::error::Error;
use std::time::Instant;

use onsen_core::snapshot::{Limits as Room, Role, Snapshot, SnapshotEni, SnapshotSubnet};
use onsen_policy_runner::{Engine, Limits, builtin};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rounds = match arguments.next() {
        Some(text) => text.parse::<usize>()?.max(1),
        None => 2_000,
    };
    let mut components = Vec::new();
    for file in arguments {
        components.push((file.clone(), std::fs::read(&file)?));
    }
    if components.is_empty() {
        for name in builtin::names() {
            components.push(((*name).to_owned(), builtin::get(name)?.to_vec()));
        }
    }
    let engine = Engine::new(Limits::default(), None)?;
    let mut report = serde_json::Map::new();
    for (name, wasm) in components {
        let start = Instant::now();
        let policy = engine.load(&wasm)?;
        let load_ms = start.elapsed().as_secs_f64() * 1_000.0;
        let mut entry = serde_json::Map::new();
        entry.insert("load_ms".to_owned(), json!(load_ms));
        for (label, enis, slots, blocks, pods) in [
            ("empty", 3, 9, 0, 0),
            ("typical", 3, 9, 27, 20),
            ("full", 15, 49, 735, 700),
        ] {
            let snapshot = node(enis, slots, blocks, pods);
            let mut times = Vec::with_capacity(rounds);
            let mut fuel = 0;
            for _ in 0..rounds {
                let start = Instant::now();
                fuel = policy.decide(&snapshot)?.fuel;
                times.push(start.elapsed().as_secs_f64() * 1e6);
            }
            entry.insert(label.to_owned(), summary(&mut times, fuel));
        }
        report.insert(name, Value::Object(entry));
    }
    println!("{}", Value::Object(report));
    Ok(())
}

fn summary(times: &mut [f64], fuel: u64) -> Value {
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    json!({ "p50_us": at(50), "p99_us": at(99), "fuel": fuel })
}

/// A node whose ENIs are filled in turn, its pods on the lowest addresses.
fn node(enis: u32, slots: u32, blocks: u32, pods: u32) -> Snapshot {
    let mut snapshot = Snapshot {
        decision_id: 1,
        now: 1_700_000_000_000,
        limits: Room {
            other_cards: Vec::new(),
            trunk: true,
            enis,
            slots_per_eni: slots,
            prefixes: true,
            addresses_per_prefix: 16,
        },
        subnets: vec![SnapshotSubnet {
            id: "subnet-0123456789abcdef0".to_owned(),
            own: true,
            ..SnapshotSubnet::default()
        }],
        ..Snapshot::default()
    };
    "m5.large".clone_into(&mut snapshot.node.instance_type);
    snapshot.node.schedulable = true;
    snapshot.ec2.grow_budget = 4;
    snapshot.ec2.release_budget = 4;
    for place in 0..blocks.div_ceil(slots).max(1) {
        let first_block = place * slots;
        let block_count = slots.min(blocks.saturating_sub(first_block));
        snapshot.enis.push(SnapshotEni {
            id: format!("eni-{place:017x}"),
            role: if place == 0 {
                Role::Primary
            } else {
                Role::Secondary
            },
            device_index: place,
            free_slots: slots - block_count,
            first_block,
            block_count,
            ..SnapshotEni::default()
        });
    }
    let lists = &mut snapshot.blocks;
    for block in 0..blocks {
        let used = u32::from(block < pods);
        lists.base.push(u64::from(0x0a00_0000 + block));
        lists.length.push(32);
        lists.assigned.push(used);
        lists.cooling.push(0);
        lists.cooling_until.push(0);
        lists
            .idle_since
            .push(if used == 1 { 0 } else { 1_699_999_000_000 });
        lists.free.push(1 - used);
        lists.releasable.push(used == 0);
    }
    snapshot
}
