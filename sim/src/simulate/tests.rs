use onsen_policy_runner::reference::Reference;
use onsen_policy_runner::{Engine, Limits};

use super::*;

fn candidate(reference: &str, settings: &[(&str, &str)]) -> Candidate {
    let engine = Engine::new(Limits::default(), None).unwrap();
    let policy = reference.parse::<Reference>().unwrap().load(&engine);
    Candidate {
        reference: reference.to_owned(),
        settings: (settings.iter())
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        policy: Arc::new(policy.unwrap()),
    }
}

fn scene(instance_type: &str, demand: Demand) -> Scene {
    Scene {
        instance_type: instance_type.to_owned(),
        max_pods: 0,
        nodes: 1,
        seed: 1,
        subnet: "10.0.0.0/18".parse().unwrap(),
        demand,
    }
}

fn pods(pods: u32, then_down_to: Option<u32>) -> Demand {
    Demand::Pods {
        pods,
        then_down_to,
        arrival: Arrival::OneByOne,
    }
}

fn go(scene: &Scene, candidate: &Candidate) -> Run {
    run(scene, candidate, &candidate.policy, &mut |_| ()).unwrap()
}

#[test]
fn a_node_without_pods_ends_with_a_full_primary() {
    let run = go(
        &scene("m5.large", pods(0, None)),
        &candidate("default-warm-eni", &[]),
    );
    let last = &run.nodes[0].last;
    assert_eq!((last.enis, last.addresses, last.warm), (1, 9, 9));
    assert_eq!((&*last.per_eni, last.at_rest), (&[9][..], true));
    assert_eq!(last.ec2_calls["AssignPrivateIpAddresses"], 1);
    let figures = &run.scorecard;
    // Nine idle addresses but for the first second.
    assert!((figures.idle_address_hours - 9.0 * figures.hours).abs() < 0.05);
}

/// The steady state while only growing: k ENIs, k smallest with k * slots - pods >= slots.
#[test]
fn the_default_policy_grows_as_its_formula_says() {
    let policy = candidate("default-warm-eni", &[]);
    for (count, enis) in [(1, 2), (9, 2), (10, 3), (18, 3), (27, 3)] {
        let run = go(&scene("m5.large", pods(count, None)), &policy);
        let last = &run.nodes[0].last;
        assert_eq!(
            (last.enis, last.addresses),
            (enis, enis * 9),
            "{count} pods"
        );
        assert_eq!((last.assigned, last.at_rest), (count, true), "{count} pods");
    }
}

#[test]
fn prefixes_count_sixteen_addresses_each() {
    let settings = [
        ("ENABLE_PREFIX_DELEGATION", "true"),
        ("WARM_PREFIX_TARGET", "1"),
    ];
    let policy = candidate("default-warm-eni", &settings);
    // p smallest with 16p - pods >= 16.
    for (count, prefixes) in [(0, 1), (1, 2), (16, 2), (17, 3)] {
        let run = go(&scene("m5.large", pods(count, None)), &policy);
        let last = &run.nodes[0].last;
        assert_eq!(
            (last.prefixes, last.addresses),
            (prefixes, prefixes * 16),
            "{count} pods"
        );
    }
}

#[test]
fn pods_that_leave_give_their_addresses_back_until_the_target() {
    let settings = [("WARM_IP_TARGET", "2"), ("MINIMUM_IP_TARGET", "4")];
    let run = go(
        &scene("m5.large", pods(20, Some(5))),
        &candidate("default-warm-eni", &settings),
    );
    let last = &run.nodes[0].last;
    assert_eq!((last.assigned, last.addresses, last.cooling), (5, 7, 0));
    assert!(last.at_rest);
    assert_eq!(run.scorecard.pods.served, 20);
}

#[test]
fn settings_of_the_daemon_count_too() {
    let settings = [("MAX_ENI", "2"), ("IP_COOLDOWN_PERIOD", "0")];
    let run = go(
        &scene("m5.large", pods(18, Some(3))),
        &candidate("default-warm-eni", &settings),
    );
    assert_eq!(run.nodes[0].last.enis, 2);
    assert!(
        run.nodes[0]
            .samples
            .iter()
            .all(|sample| sample.cooling == 0)
    );
}

#[test]
fn a_node_that_cannot_hold_its_pods_is_not_at_rest_and_says_why_they_were_refused() {
    let run = go(
        &scene("t3.nano", pods(8, None)),
        &candidate("default-warm-eni", &[]),
    );
    let last = &run.nodes[0].last;
    assert_eq!((last.enis, last.assigned, last.at_rest), (2, 2, false));
    assert_eq!(run.scorecard.pods.waiting, 6);
    assert!(run.scorecard.pods.refused["node-full"] > 6);
}

#[test]
fn a_workload_meets_each_policy_with_the_same_pods_and_runs_are_repeated_to_the_letter() {
    let workload = "\
name: jobs
about: short jobs
instance_type: m5.large
max_pods: 29
duration: 2h
loads:
  - {kind: hold, pods: 4}
  - {kind: jobs, pods: 8, every: 15m, runtime: 2m, spread: 20s, random: true}
";
    let mut scene = scene(
        "m5.large",
        Demand::Workload(Workload::read(workload).unwrap()),
    );
    scene.nodes = 2;
    let default = go(&scene, &candidate("default-warm-eni", &[]));
    let frugal = go(&scene, &candidate("prefix-frugal", &[]));
    let words = |run: &Run| format!("{:?}", run.nodes);
    assert_eq!(
        words(&default),
        words(&go(&scene, &candidate("default-warm-eni", &[])))
    );
    let arrived =
        |run: &Run| (run.nodes.iter().map(|it| it.figures.pods.arrived)).collect::<Vec<_>>();
    assert_eq!(arrived(&default), arrived(&frugal));
    assert_ne!(arrived(&default)[0], arrived(&default)[1]);
    assert_eq!(
        default.scorecard.pods.arrived,
        arrived(&default).iter().sum::<u64>()
    );
    assert!((default.scorecard.hours - 2.0).abs() < 1e-9);
    assert!(default.scorecard.pod_wait_ms.p50 <= default.scorecard.pod_wait_ms.max);
}

/// One account, one bucket for each action: nodes that back off at random get through, and few calls are
/// wasted on being told so.
#[test]
fn a_hundred_nodes_that_start_at_once_do_not_storm() {
    let mut scene = scene("m5.large", pods(10, None));
    scene.nodes = 100;
    let run = go(&scene, &candidate("default-warm-eni", &[]));
    let figures = &run.scorecard;
    assert_eq!((figures.pods.served, figures.pods.waiting), (1_000, 0));
    assert!(figures.throttled > 0, "the account is too generous to tell");
    assert!(
        figures.throttled < figures.ec2_calls_total / 2,
        "{} of {} calls",
        figures.throttled,
        figures.ec2_calls_total
    );
    assert!(run.nodes.iter().all(|node| node.last.at_rest));
}

#[test]
fn percentiles_are_values_that_were_seen() {
    let waits: Vec<Millis> = (1..=200).collect();
    let of = Waits::of(&waits);
    assert_eq!((of.p50, of.p95, of.p99, of.max), (100, 190, 198, 200));
    assert_eq!(
        Waits::of(&[7]),
        Waits {
            p50: 7,
            p95: 7,
            p99: 7,
            max: 7
        }
    );
    assert_eq!(Waits::of(&[]), Waits::default());
}
