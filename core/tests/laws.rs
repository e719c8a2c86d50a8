//! The laws hold whatever happens: pods that come and go, policies that propose nonsense, EC2
//! that refuses, forgets to answer or shows yesterday, disks that fail, daemons that die.

mod world;

use std::cell::Cell;

use onsen_core::cidr::Unit;
use onsen_core::event::Event;
use onsen_core::proposal::Request;
use proptest::prelude::*;
use world::{Policy, Weather, World};

#[derive(Clone, Debug)]
enum Op {
    /// A new sandbox asks; the number is how many.
    Add(u8),
    /// A sandbox that asked before asks again.
    AddAgain(u8),
    /// A sandbox gives back.
    Delete(u8),
    /// Nobody knows this sandbox.
    DeleteUnknown,
    /// Time passes.
    Wait(u16),
    Crash,
    Weather(Weather),
    Policy(Policy),
    Cordon(bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1u8..8).prop_map(Op::Add),
        2 => any::<u8>().prop_map(Op::AddAgain),
        6 => any::<u8>().prop_map(Op::Delete),
        1 => Just(Op::DeleteUnknown),
        8 => (0u16..20_000).prop_map(Op::Wait),
        1 => Just(Op::Crash),
        2 => prop_oneof![
            Just(Weather::Fair),
            Just(Weather::Stormy),
            Just(Weather::Silent),
            Just(Weather::Throttled),
            Just(Weather::FullDisk),
        ].prop_map(Op::Weather),
        1 => prop_oneof![
            Just(Policy::Sensible),
            Just(Policy::Nonsense),
            Just(Policy::Greedy),
            Just(Policy::Destructive),
            Just(Policy::Broken),
            Just(Policy::Idle),
            Just(Policy::Flood),
        ].prop_map(Op::Policy),
        1 => any::<bool>().prop_map(Op::Cordon),
    ]
}

fn run(world: &mut World, ops: &[Op]) {
    for op in ops {
        match op {
            Op::Add(count) => (0..*count).for_each(|_| world.add_new()),
            Op::AddAgain(which) => world.add_again(usize::from(*which)),
            Op::Delete(which) => world.delete(usize::from(*which)),
            Op::DeleteUnknown => world.delete_unknown(),
            Op::Wait(millis) => world.run_for(u64::from(*millis)),
            Op::Crash => world.crash(),
            Op::Weather(weather) => world.weather = *weather,
            Op::Policy(policy) => world.policy = *policy,
            Op::Cordon(on) => world.send(Event::NodeChanged {
                schedulable: !on,
                terminating: false,
                max_pods: None,
            }),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_law_breaks_and_the_pool_comes_to_rest_when_faults_stop(
        seed in any::<u64>(),
        prefixes in any::<bool>(),
        cooldown in prop_oneof![Just(0u64), Just(30_000u64)],
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut world = World::new(seed, prefixes, cooldown);
        run(&mut world, &ops);
        world.weather = Weather::Fair;
        world.policy = Policy::Sensible;
        world.run_for(30 * 60_000);
        prop_assert_eq!(world.unanswered(), 0, "every request was answered");
        let mutations = world.ec2.mutations;
        world.run_for(30 * 60_000);
        prop_assert_eq!(world.ec2.mutations, mutations, "the pool rests");
        world.nothing_is_forgotten().map_err(TestCaseError::fail)?;
    }
}

/// Eight bytes for each request, whatever they say.
fn requests(bytes: &[u8]) -> Vec<Request> {
    let one = |chunk: &[u8; 8]| {
        let [kind, place, unit, more, count @ ..] = *chunk;
        let (eni, count) = (u32::from(place), u32::from_le_bytes(count));
        let unit = if unit % 2 == 0 {
            Unit::Address
        } else {
            Unit::Prefix
        };
        match kind % 4 {
            0 => Request::AttachEni {
                subnet: (place < 250).then_some(eni),
                unit,
                blocks: count,
                card: more.into(),
            },
            1 => Request::Grow { eni, unit, count },
            2 => Request::Release {
                eni,
                // Far ones, neighbours, and the same one twice.
                blocks: (0..u32::from(more))
                    .map(|step| count.wrapping_add(step / 2))
                    .collect(),
            },
            _ => Request::DetachEni { eni },
        }
    };
    bytes.as_chunks().0.iter().map(one).collect()
}

#[test]
fn no_bytes_taken_for_a_proposal_break_a_law() {
    let carried_out = Cell::new(0);
    onsen_fuzz::fuzz_times("proposals", 300, |bytes| {
        let mut world = World::new(bytes.len() as u64, bytes.len() % 16 < 8, 30_000);
        world.script = requests(bytes);
        world.policy = Policy::Script;
        for pod in 0..12 {
            world.add_new();
            world.run_for(7_000);
            if pod % 3 == 0 {
                world.delete(pod);
            }
        }
        carried_out.set(carried_out.get() + world.ec2.mutations);
        world.policy = Policy::Sensible;
        world.run_for(30 * 60_000);
        assert_eq!(world.unanswered(), 0, "every request was answered");
        assert_eq!(world.nothing_is_forgotten(), Ok(()));
    });
    assert!(carried_out.get() > 0, "not one proposal got past the check");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = || {
        let mut world = World::new(7, false, 30_000);
        world.weather = Weather::Stormy;
        for round in 0..40 {
            world.add_new();
            world.run_for(3_000);
            world.delete(round);
        }
        world.trace
    };
    assert_eq!(trace(), trace());
}

#[test]
fn a_repeated_add_gets_the_same_address() {
    let mut world = World::new(1, false, 30_000);
    world.run_for(10_000);
    world.add_new();
    world.add_again(0);
    world.run_for(1_000);
    world.add_again(0);
    world.run_for(1_000);
    assert_eq!(world.given.len(), 1);
    assert_eq!(world.assigned_replies, 3);
}

#[test]
fn a_full_node_says_so_at_once() {
    let mut world = World::new(3, false, 30_000);
    (0..40).for_each(|_| world.add_new());
    world.run_for(60_000);
    assert_eq!(world.given.len(), 27, "three ENIs of nine addresses");
    assert_eq!(
        world.refusals.get("node-full"),
        Some(&13),
        "{:?}",
        world.refusals
    );
}

#[test]
fn the_first_question_is_put_because_the_daemon_started() {
    let mut world = World::new(5, false, 30_000);
    world.run_for(10_000);
    let decided = (world.trace.iter()).find(|line| line.contains("DecisionRecord"));
    let decided = decided.map_or("nothing was decided", String::as_str);
    assert!(decided.contains("trigger: Start"), "{decided}");
}

#[test]
fn a_pod_is_served_though_the_policy_sleeps() {
    let mut world = World::new(4, false, 30_000);
    world.policy = Policy::Idle;
    world.add_new();
    world.run_for(30_000);
    assert_eq!(
        world.given.len(),
        1,
        "the built-in default decided: {:?}",
        world.refusals
    );
}

#[test]
fn a_pod_is_served_though_the_policy_traps() {
    let mut world = World::new(5, true, 30_000);
    world.policy = Policy::Broken;
    world.add_new();
    world.run_for(30_000);
    assert_eq!(world.given.len(), 1, "{:?}", world.refusals);
}

#[test]
fn a_failed_write_undoes_the_change_and_says_so() {
    let mut world = World::new(6, false, 30_000);
    world.run_for(20_000);
    world.weather = Weather::FullDisk;
    world.add_new();
    world.run_for(5_000);
    assert_eq!(world.not_durable, 1);
    assert_eq!(world.given.len(), 0);
    world.weather = Weather::Fair;
    world.add_again(0);
    world.run_for(5_000);
    assert_eq!(world.given.len(), 1);
}

#[test]
fn an_address_cools_across_a_restart() {
    let mut world = World::new(8, false, 30_000);
    world.run_for(20_000);
    world.add_new();
    world.run_for(1_000);
    world.delete(0);
    world.run_for(1_000);
    world.crash();
    // The auditor breaks P3 if one of these gets the cooling address early.
    (0..27).for_each(|_| world.add_new());
    world.run_for(60_000);
    assert_eq!(world.given.len(), 26);
    world.add_new();
    world.run_for(1_000);
    assert_eq!(world.given.len(), 27);
}

#[test]
fn a_flood_of_actions_is_told_once() {
    let mut world = World::new(9, false, 30_000);
    world.policy = Policy::Flood;
    world.run_for(3 * 60_000);
    let longest = world.longest_dropped;
    assert!((1..=65).contains(&longest), "{longest}");
}
