use std::collections::BTreeMap;
use std::sync::Arc;

use onsen_core::time::{MINUTE, SECOND};
use onsen_policy_runner::reference::Reference;
use onsen_policy_runner::{Engine, Limits, Policy};

use super::*;

fn policy() -> Arc<Policy> {
    let engine = Engine::new(Limits::default(), None).unwrap();
    let reference: Reference = "builtin:default-warm-eni".parse().unwrap();
    Arc::new(reference.load(&engine).unwrap())
}

fn world(seed: u64, settings: &[(&str, &str)], pool: Vec<PoolEni>) -> World {
    let policy = policy();
    let settings = settings
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let setup = WorldSetup {
        seed,
        subnet: "10.0.0.0/16".parse().unwrap(),
        nodes: vec![NodeSetup {
            name: "node-1".to_owned(),
            instance_type: "m5.large".to_owned(),
            max_pods: 0,
            cordoned: false,
            settings: settings.collect(),
            policy: Arc::clone(&policy).into(),
            pool,
        }],
    };
    World::new(&setup, policy).unwrap()
}

fn burst(world: &mut World, pods: u32) {
    for number in 0..pods {
        world.arrive(0, &format!("burst-{number}")).unwrap();
    }
}

#[test]
fn an_idle_node_fills_its_primary_and_rests() {
    let mut world = world(1, &[], Vec::new());
    assert!(world.run_until_rest(10 * MINUTE).unwrap());
    let summary = world.nodes()[0].summary(world.now());
    assert_eq!((summary.enis, summary.addresses, summary.warm), (1, 9, 9));
    assert!(world.elapsed() >= QUIET);
}

#[test]
fn a_burst_is_served_and_pods_that_leave_cool() {
    let mut world = world(2, &[], Vec::new());
    burst(&mut world, 20);
    assert!(world.run_until_rest(10 * MINUTE).unwrap());
    let node = &world.nodes()[0];
    assert_eq!(node.count(PodState::Running), 20);
    assert!(node.pods().iter().all(|pod| pod.waited.is_some()));
    assert_eq!(node.summary(world.now()).addresses, 27);
    world.leave(0, "burst-3").unwrap();
    world.advance(SECOND).unwrap();
    assert_eq!(world.nodes()[0].summary(world.now()).cooling, 1);
    assert_eq!(
        world.leave(0, "burst-3"),
        Err(WorldError::NoPod("burst-3".into()))
    );
}

#[test]
fn pods_of_the_first_pool_hold_its_addresses() {
    let eni = |addresses, pods| PoolEni {
        addresses,
        pods,
        prefixes: 0,
    };
    let mut world = world(3, &[], vec![eni(9, 7), eni(9, 2)]);
    world.advance(SECOND).unwrap();
    let summary = world.nodes()[0].summary(world.now());
    assert_eq!((summary.enis, summary.assigned), (2, 9));
    let calls = world.nodes()[0].calls(world.account());
    assert_eq!(
        calls.get(&crate::account::Operation::CreateNetworkInterface),
        None
    );
}

#[test]
fn a_pod_that_finds_no_room_is_refused_and_tried_again() {
    let mut world = world(4, &[("MAX_ENI", "1")], Vec::new());
    burst(&mut world, 10);
    world.advance(MINUTE).unwrap();
    let node = &world.nodes()[0];
    assert_eq!(node.count(PodState::Waiting), 1);
    assert!(node.refused()["node-full"] > 1, "{:?}", node.refused());
    assert!(!world.is_at_rest());
    world.leave(0, "burst-0").unwrap();
    world.advance(MINUTE).unwrap();
    assert_eq!(world.nodes()[0].count(PodState::Waiting), 0);
}

/// What a run left behind, in words.
fn trace(seed: u64) -> String {
    let mut world = world(seed, &[("ENABLE_PREFIX_DELEGATION", "true")], Vec::new());
    world.inject(Fault {
        count: Some(3),
        ..Fault::new(crate::account::FaultName::ReplyLost)
    });
    burst(&mut world, 40);
    world.advance(5 * MINUTE).unwrap();
    world.cordon(0, true).unwrap();
    let changed = BTreeMap::from([("WARM_PREFIX_TARGET".to_owned(), "2".to_owned())]);
    world.change_settings(0, &changed).unwrap();
    world.run_until_rest(30 * MINUTE).unwrap();
    let node = &world.nodes()[0];
    let decisions: Vec<_> = node.decisions().iter().map(|it| &it.record).collect();
    format!(
        "{decisions:?} {:?} {:?}",
        node.enis(world.now()),
        node.pods()
    )
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

#[test]
fn what_cannot_begin_says_why() {
    let policy = policy();
    let setup = |instance_type: &str, pods| WorldSetup {
        seed: 1,
        subnet: "10.0.0.0/24".parse().unwrap(),
        nodes: vec![NodeSetup {
            name: "n".to_owned(),
            instance_type: instance_type.to_owned(),
            max_pods: 0,
            cordoned: false,
            settings: BTreeMap::new(),
            policy: Arc::clone(&policy).into(),
            pool: vec![PoolEni {
                addresses: 2,
                prefixes: 0,
                pods,
            }],
        }],
    };
    let why = |setup| match World::new(&setup, Arc::clone(&policy)) {
        Ok(_) => panic!("it began"),
        Err(error) => error.to_string(),
    };
    assert!(why(setup("m5.colossal", 0)).contains("m5.colossal"));
    assert!(why(setup("m5.large", 3)).contains("3 pods do not fit"));
}
