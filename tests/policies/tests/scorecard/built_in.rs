//! The promise of `prefix-frugal`, measured: both built-in policies live through each workload of
//! `workloads/`, and `docs/scorecard.md` holds what came of it.
//!
//! Must hold: over all workloads at least 60 % fewer idle addresses than `WARM_ENI_TARGET=1`, no
//! more changing EC2 calls, and pods that wait no longer.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use onsen_policy_runner::{Policy, builtin};
use onsen_sim::simulate::{Demand, Figures, Scene, Waits};
use onsen_sim::workload::Workload;

use crate::document::Document;
use crate::lived::{Lived, live, load};

/// Idle addresses of `prefix-frugal`, of a hundred that the default holds, at most.
const MOST_IDLE: f64 = 40.0;

/// One workload under both: the default, then `prefix-frugal`.
struct Row {
    workload: Workload,
    lived: [Lived; 2],
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads")
}

fn workloads() -> Vec<Workload> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| crate::lived::workload(path))
        .collect()
}

fn both(workload: &Workload, policies: &[(&str, Arc<Policy>); 2]) -> [Lived; 2] {
    let scene = Scene {
        instance_type: workload.instance_type.clone(),
        max_pods: workload.max_pods,
        nodes: 1,
        seed: 1,
        subnet: "10.0.0.0/18".parse().unwrap(),
        demand: Demand::Workload(workload.clone()),
    };
    policies
        .each_ref()
        .map(|(name, policy)| live(&scene, name, policy, &policies[0].1))
}

fn rows() -> Vec<Row> {
    let policies =
        ["default-warm-eni", "prefix-frugal"].map(|name| (name, load(builtin::get(name).unwrap())));
    let mut rows: Vec<Row> = Vec::new();
    // Two at a time: each is a world of its own.
    let workloads = workloads();
    for pair in workloads.chunks(2) {
        std::thread::scope(|scope| {
            let threads: Vec<_> = pair
                .iter()
                .map(|workload| scope.spawn(|| both(workload, &policies)))
                .collect();
            for (workload, thread) in pair.iter().zip(threads) {
                rows.push(Row {
                    workload: workload.clone(),
                    lived: thread.join().unwrap(),
                });
            }
        });
    }
    rows
}

/// Sums over all workloads, and the waits of all pods.
fn total(rows: &[Row], which: usize) -> Lived {
    let mut total = Lived {
        figures: Figures::default(),
        waits: Vec::new(),
    };
    for row in rows {
        let Lived { figures, waits } = &row.lived[which];
        total.figures.idle_address_hours += figures.idle_address_hours;
        total.figures.used_address_hours += figures.used_address_hours;
        total.figures.ec2_changes += figures.ec2_changes;
        for (reason, count) in &figures.pods.refused {
            *total.figures.pods.refused.entry(reason).or_default() += count;
        }
        total.waits.extend(waits);
    }
    total.waits.sort_unstable();
    total.figures.pod_wait_ms = Waits::of(&total.waits);
    total
}

/// Idle addresses saved, in percent.
fn saved([a, b]: [&Lived; 2]) -> f64 {
    100.0 - 100.0 * b.figures.idle_address_hours / a.figures.idle_address_hours
}

fn line(text: &mut String, name: &str, node: &str, lived: [&Lived; 2]) {
    let [a, b] = lived.map(|lived| {
        let figures = &lived.figures;
        let wait = &figures.pod_wait_ms;
        [
            format!("{:.0}", figures.idle_address_hours),
            figures.ec2_changes.to_string(),
            wait.p99.to_string(),
            wait.max.to_string(),
            lived.refused().to_string(),
        ]
    });
    write!(text, "| {name} | {node} |").unwrap();
    for (place, (a, b)) in a.iter().zip(&b).enumerate() {
        write!(text, " {a} | {b} |").unwrap();
        if place == 0 {
            write!(text, " {:.0} % |", saved(lived)).unwrap();
        }
    }
    text.push('\n');
}

fn table(rows: &[Row], totals: [&Lived; 2]) -> String {
    let mut text = String::from(
        "| workload | node | idle A | idle B | saved | changes A | changes B | p99 A | p99 B | longest A | longest B | refused A | refused B |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let node = &row.workload.instance_type;
        line(&mut text, &row.workload.name, node, row.lived.each_ref());
    }
    line(&mut text, "all", "", totals);
    text
}

#[test]
fn prefix_frugal_keeps_its_promise_and_the_scorecard_is_current() {
    let rows = rows();
    let [a, b] = [total(&rows, 0), total(&rows, 1)];
    let table = table(&rows, [&a, &b]);
    println!("{table}");
    let (waits_a, waits_b) = (&a.figures.pod_wait_ms, &b.figures.pod_wait_ms);
    assert!(saved([&a, &b]) >= 100.0 - MOST_IDLE, "idle addresses");
    assert!(b.figures.ec2_changes <= a.figures.ec2_changes, "EC2 calls");
    assert!(waits_b.p99 <= waits_a.p99, "99 of 100 pods");
    assert!(waits_b.max <= waits_a.max, "the pod that waits longest");
    assert!(b.refused() <= a.refused(), "refused requests");

    let mut document = Document::open("docs/scorecard.md");
    document.put("", &table);
    document.close();
}
