use super::*;

fn workload(loads: &str) -> Workload {
    Workload::read(&format!(
        "name: t\nabout: t\ninstance_type: m5.large\nduration: 24h\nloads:\n{loads}\n"
    ))
    .unwrap()
}

/// How many pods are there at each moment at which that changes.
fn counts(plan: &Plan) -> Vec<(u64, i64)> {
    let mut count = 0;
    let counted = plan.steps.iter().map(|step| {
        count += if step.change == Change::Arrive { 1 } else { -1 };
        (step.at, count)
    });
    counted.collect()
}

#[test]
fn each_pod_comes_once_and_goes_once_after_that() {
    let loads = "  - {kind: hold, pods: 5, lifetime: 30m}
  - {kind: wave, min: 2, max: 9, period: 12h, peak: 3h}
  - {kind: jobs, pods: 4, every: 20m, runtime: 2m, spread: 10s, random: true}
  - {kind: rollout, pods: 6, every: 5h, from: 1h, surge: 2, ready: 20s}";
    let plan = workload(loads).plan(7, 0);
    let mut here = std::collections::BTreeSet::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut last = 0;
    for step in &plan.steps {
        assert!(step.at >= last && step.at < plan.duration);
        last = step.at;
        match step.change {
            Change::Arrive => assert!(seen.insert(step.pod) && here.insert(step.pod)),
            Change::Leave => assert!(here.remove(&step.pod)),
        }
    }
    assert!(seen.len() > 100, "{} pods", seen.len());
    assert_eq!(plan, workload(loads).plan(7, 0));
    assert_ne!(plan, workload(loads).plan(8, 0));
}

#[test]
fn a_hold_with_a_lifetime_keeps_its_number() {
    let plan = workload("  - {kind: hold, pods: 5, lifetime: 30m}").plan(1, 0);
    let counts = counts(&plan);
    // A departure comes before the arrival of the same moment.
    assert!(
        counts
            .iter()
            .skip(5)
            .all(|(_, count)| (4..=5).contains(count))
    );
    assert!(counts.len() > 200);
}

#[test]
fn a_wave_has_its_peak_and_its_trough_where_they_are_said_to_be() {
    let plan = workload("  - {kind: wave, min: 2, max: 20, period: 24h, peak: 6h}").plan(1, 0);
    let at = |hour: u64| {
        let upto = counts(&plan)
            .into_iter()
            .take_while(|(at, _)| *at <= hour * 3_600_000);
        upto.last().unwrap().1
    };
    assert_eq!((at(6), at(18)), (20, 2));
    assert!((10..=12).contains(&at(12)), "{}", at(12));
}

#[test]
fn a_rollout_never_has_fewer_pods_and_at_most_the_surge_more() {
    let plan = workload("  - {kind: rollout, pods: 6, every: 5h, from: 1h, surge: 2, ready: 20s}")
        .plan(1, 0);
    let later = counts(&plan).into_iter().filter(|(at, _)| *at > 0);
    let (low, high) = later.fold((9, 0), |(low, high), (_, n)| (n.min(low), n.max(high)));
    assert_eq!((low, high), (6, 8));
}

#[test]
fn a_full_node_takes_no_pod_and_says_how_many_went_elsewhere() {
    let plan = workload("  - {kind: hold, pods: 12, until: 1h}").plan(1, 12);
    // Two of the twelve have no address of their own.
    assert_eq!(plan.elsewhere, 2);
    assert_eq!(
        counts(&plan).iter().map(|(_, count)| *count).max(),
        Some(10)
    );
    assert_eq!(counts(&plan).last().unwrap().1, 0);
}

#[test]
fn a_wrong_file_is_told_with_its_place() {
    let read = |text: &str| Workload::read(text).unwrap_err().to_string();
    let head = "name: t\nabout: t\ninstance_type: m5.large\n";
    let unknown = read(&format!("{head}duration: 1h\nlods: []\n"));
    assert!(
        unknown.contains("line 5") && unknown.contains("lods"),
        "{unknown}"
    );
    let kind = read(&format!("{head}duration: 1h\nloads:\n  - {{kind: tide}}\n"));
    assert!(kind.contains("tide") && kind.contains("wave"), "{kind}");
    let field = read(&format!(
        "{head}duration: 1h\nloads:\n  - kind: hold\n    pods: 3\n    podz: 4\n"
    ));
    assert!(field.contains("podz"), "{field}");
    let surge = read(&format!(
        "{head}duration: 1h\nloads:\n  - {{kind: rollout, pods: 3, every: 1h, from: 0s, surge: 0, ready: 1s}}\n"
    ));
    assert!(surge.contains("loads[0] (rollout)"), "{surge}");
    assert!(read(&format!("{head}duration: 0s\nloads: []\n")).contains("duration"));
}
