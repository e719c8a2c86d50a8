//! The cookbook's policies side by side, each on the workload that it is meant for and all on one more.
//!
//! Must hold: each policy wins at what `docs/policies/cookbook.md` says that it is for.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use onsen_policy_runner::{Policy, builtin};
use onsen_sim::simulate::{Demand, Scene};

use crate::document::Document;
use crate::lived::{Lived, live, load, workload};

/// The policies that come with Onsen, then the cookbook's.
const POLICIES: [&str; 7] = [
    "default-warm-eni",
    "prefix-frugal",
    "keep-n-free",
    "burst-ready",
    "scarce-subnet",
    "office-hours",
    "gpu-few-pods",
];
/// So many of them come with Onsen.
const BUILT_IN: usize = 2;
/// A wait in milliseconds that is none: the request's own way.
const AT_ONCE: u64 = 10;

/// What came of one workload, by policy.
struct Row([Lived; POLICIES.len()]);

impl Row {
    fn of(&self, policy: &str) -> &Lived {
        let place = POLICIES.iter().position(|name| *name == policy);
        &self.0[place.unwrap()]
    }

    fn others<'a>(&'a self, policy: &'a str) -> impl Iterator<Item = (&'static str, &'a Lived)> {
        let all = POLICIES.into_iter().zip(&self.0);
        all.filter(move |(name, _)| *name != policy)
    }

    fn table(&self) -> String {
        let mut text = String::from(
            "| policy | idle | changes | p50 | p95 | p99 | longest | refused |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for (name, lived) in POLICIES.iter().zip(&self.0) {
            let (figures, refused) = (&lived.figures, lived.refused());
            let (idle, changes) = (figures.idle_address_hours, figures.ec2_changes);
            let wait = &figures.pod_wait_ms;
            let (p50, p95, p99, max) = (wait.p50, wait.p95, wait.p99, wait.max);
            writeln!(
                text,
                "| {name} | {idle:.0} | {changes} | {p50} | {p95} | {p99} | {max} | {refused} |"
            )
            .unwrap();
        }
        text
    }
}

fn policies() -> [Arc<Policy>; POLICIES.len()] {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/built");
    POLICIES.map(|name| {
        let place = POLICIES.iter().position(|it| *it == name).unwrap();
        if place < BUILT_IN {
            return load(builtin::get(name).unwrap());
        }
        let path = folder.join(format!("{name}.wasm"));
        let wasm = std::fs::read(&path)
            .unwrap_or_else(|why| panic!("{}: {why}: run `cargo xtask policies`", path.display()));
        load(&wasm)
    })
}

/// All policies on one workload, of so many nodes in one subnet.
fn row(file: &str, nodes: u32, subnet: &str) -> Row {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let workload = workload(&root.join(file));
    let scene = Scene {
        instance_type: workload.instance_type.clone(),
        max_pods: workload.max_pods,
        nodes,
        seed: 1,
        subnet: subnet.parse().unwrap(),
        demand: Demand::Workload(workload),
    };
    let policies = policies();
    let lived = POLICIES
        .iter()
        .zip(&policies)
        .map(|(name, policy)| live(&scene, name, policy, &policies[0]));
    Row(lived.collect::<Vec<_>>().try_into().ok().unwrap())
}

#[test]
fn each_policy_of_the_cookbook_wins_at_what_it_is_for_and_its_scorecards_are_current() {
    let roomy = "10.0.0.0/18";
    let scenes = [
        ("burst-ready", "waves-of-jobs", 1, roomy),
        ("scarce-subnet", "short-subnet", 6, "10.0.0.0/25"),
        ("office-hours", "working-days", 1, roomy),
        ("gpu-few-pods", "gpu-node", 1, roomy),
    ];
    let (special, common) = std::thread::scope(|scope| {
        let common = scope.spawn(|| row("tests/policies/workloads/daily-wave.yaml", 1, roomy));
        let special = scenes.map(|(_, file, nodes, subnet)| {
            let file = format!("policies/cookbook/workloads/{file}.yaml");
            scope.spawn(move || row(&file, nodes, subnet))
        });
        (
            special.map(|thread| thread.join().unwrap()),
            common.join().unwrap(),
        )
    });
    let mut document = Document::open("docs/policies/cookbook.md");
    for ((policy, ..), row) in scenes.iter().zip(&special) {
        document.put(policy, &row.table());
    }
    document.put("all", &common.table());
    document.close();

    let [waves, subnet, days, gpu] = &special;
    let ready = &waves.of("burst-ready").figures;
    assert!(ready.pod_wait_ms.p95 <= AT_ONCE);
    assert_eq!(waves.of("burst-ready").refused(), 0);
    for (name, other) in waves.others("burst-ready") {
        // The one that never gives back waits as little.
        if name != "gpu-few-pods" {
            assert!(
                ready.pod_wait_ms.p95 < other.figures.pod_wait_ms.p95,
                "{name}"
            );
            assert!(ready.ec2_changes < other.figures.ec2_changes, "{name}");
        }
    }

    let scarce = subnet.of("scarce-subnet");
    assert_eq!(scarce.refused(), 0);
    for (name, other) in subnet.others("scarce-subnet") {
        let (own, others) = (&scarce.figures, &other.figures);
        assert!(
            own.idle_address_hours * 10.0 < others.idle_address_hours,
            "{name}"
        );
    }
    assert!(
        subnet.of("default-warm-eni").refused() > 0,
        "the subnet is short"
    );

    let office = &days.of("office-hours").figures;
    let default = &days.of("default-warm-eni").figures;
    assert!(office.pod_wait_ms.p95 <= AT_ONCE);
    assert!(office.idle_address_hours * 2.0 < default.idle_address_hours);
    for name in [
        "prefix-frugal",
        "keep-n-free",
        "burst-ready",
        "scarce-subnet",
    ] {
        let other = &days.of(name).figures;
        assert!(office.pod_wait_ms.p95 < other.pod_wait_ms.p95, "{name}");
    }

    let few = &gpu.of("gpu-few-pods").figures;
    for (name, other) in gpu.others("gpu-few-pods") {
        assert!(few.ec2_changes < other.figures.ec2_changes, "{name}");
        assert!(
            few.idle_address_hours < other.figures.idle_address_hours,
            "{name}"
        );
    }
}
