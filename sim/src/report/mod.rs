//! What simulations tell people: words, the scorecard, and a page with plots.
//!
//! In: the scene and its runs. Out: text. Nothing is computed here that is not in the runs.

mod page;
mod plot;
mod scale;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use onsen_core::time::{MINUTE, Millis, SECOND};

use crate::simulate::{Arrival, Demand, Figures, Run, Scene};

pub use page::html;

/// One line of the scorecard.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// What it is.
    pub name: String,
    /// One for each run.
    pub values: Vec<String>,
    /// The same as numbers, where less is better; empty where it is not.
    pub cost: Vec<f64>,
}

/// What the runs are called where there is little room: A, B, ...
pub fn letters(runs: &[Run]) -> Vec<String> {
    let letter = |number: usize| match u8::try_from(number) {
        Ok(small) if small < 26 => char::from(b'A' + small).to_string(),
        _ => format!("#{}", number + 1),
    };
    (0..runs.len()).map(letter).collect()
}

/// A policy with its settings.
pub fn label(run: &Run) -> String {
    let settings = run
        .settings
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    std::iter::once(run.policy.clone())
        .chain(settings)
        .collect::<Vec<_>>()
        .join(" ")
}

/// When pods come and go, in words.
pub fn demand(demand: &Demand) -> String {
    match demand {
        Demand::Workload(workload) => {
            format!("{}, {}", workload.name, duration(workload.duration.0))
        }
        Demand::Pods {
            pods,
            then_down_to,
            arrival,
        } => {
            let how = match (pods, arrival) {
                (0 | 1, _) => "",
                (_, Arrival::OneByOne) => ", one each second",
                (_, Arrival::Burst) => ", all at once",
            };
            let then = then_down_to.map_or(String::new(), |left| format!(", then down to {left}"));
            match pods {
                0 => "no pods".to_owned(),
                1 => format!("1 pod{then}"),
                many => format!("{many} pods{how}{then}"),
            }
        }
    }
}

/// The scene in a line.
pub fn headline(scene: &Scene) -> String {
    let nodes = match scene.nodes {
        1 => format!("1 {}", scene.instance_type),
        many => format!("{many} x {}", scene.instance_type),
    };
    let max_pods = match scene.max_pods {
        0 => "max-pods not told".to_owned(),
        known => format!("max-pods {known}"),
    };
    format!(
        "{nodes} ({max_pods}) in {}, seed {}: {}",
        scene.subnet,
        scene.seed,
        demand(&scene.demand)
    )
}

/// A length of time as people say it.
fn duration(span: Millis) -> String {
    const HOUR: Millis = 60 * MINUTE;
    match span {
        0..SECOND => format!("{span} ms"),
        SECOND..MINUTE => format!("{} s", decimals(span as f64 / SECOND as f64)),
        MINUTE..HOUR => format!("{} min", decimals(span as f64 / MINUTE as f64)),
        _ => format!("{} h", decimals(span as f64 / HOUR as f64)),
    }
}

/// At most one decimal, none when it says nothing.
fn decimals(number: f64) -> String {
    let text = format!("{number:.1}");
    match text.strip_suffix(".0") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// The figures side by side. Lines that are zero everywhere are left out where nobody misses them.
#[expect(clippy::cast_sign_loss, reason = "no wait is negative")]
pub fn scorecard(runs: &[Run]) -> Vec<Metric> {
    type Number = fn(&Figures) -> f64;
    let cards = || runs.iter().map(|run| &run.scorecard);
    let number = |name: &str, of: Number, words: fn(f64) -> String| Metric {
        name: name.to_owned(),
        values: cards().map(|card| words(of(card))).collect(),
        cost: cards().map(of).collect(),
    };
    let plain = |name: String, values: Vec<String>| Metric {
        name,
        values,
        cost: Vec::new(),
    };
    let count = |it: f64| format!("{it:.0}");
    let wait = |it: f64| duration(it as Millis);
    let mut metrics = vec![
        number(
            "idle address-hours",
            |it| it.idle_address_hours,
            |it| format!("{it:.1}"),
        ),
        plain(
            "used address-hours".to_owned(),
            cards()
                .map(|it| format!("{:.1}", it.used_address_hours))
                .collect(),
        ),
        number(
            "addresses at the peak",
            |it| f64::from(it.peak_addresses),
            count,
        ),
        number("EC2 calls", |it| it.ec2_calls_total as f64, count),
        number("  that change something", |it| it.ec2_changes as f64, count),
    ];
    let operations: BTreeSet<&str> = cards()
        .flat_map(|it| it.ec2_calls.keys().copied())
        .collect();
    for operation in operations {
        let calls = |it: &Figures| it.ec2_calls.get(operation).copied().unwrap_or(0);
        let values = cards().map(|it| calls(it).to_string()).collect();
        metrics.push(plain(format!("  {operation}"), values));
    }
    metrics.extend([
        number("EC2 calls throttled", |it| it.throttled as f64, count),
        number("pod wait, p50", |it| it.pod_wait_ms.p50 as f64, wait),
        number("pod wait, p95", |it| it.pod_wait_ms.p95 as f64, wait),
        number("pod wait, p99", |it| it.pod_wait_ms.p99 as f64, wait),
        number("pod wait, longest", |it| it.pod_wait_ms.max as f64, wait),
        plain(
            "pods with an address".to_owned(),
            cards()
                .map(|it| format!("{} of {}", it.pods.served, it.pods.arrived))
                .collect(),
        ),
        number(
            "pods waiting at the end",
            |it| it.pods.waiting as f64,
            count,
        ),
    ]);
    let reasons: BTreeSet<&str> = cards()
        .flat_map(|it| it.pods.refused.keys().copied())
        .collect();
    if reasons.is_empty() {
        metrics.push(number("requests refused", |_| 0.0, count));
    }
    for reason in reasons {
        let refused = |it: &Figures| it.pods.refused.get(reason).copied().unwrap_or(0);
        metrics.push(Metric {
            name: format!("requests refused: {reason}"),
            values: cards().map(|it| refused(it).to_string()).collect(),
            cost: cards().map(|it| refused(it) as f64).collect(),
        });
    }
    if cards().any(|it| it.pods.elsewhere > 0) {
        let values = cards().map(|it| it.pods.elsewhere.to_string()).collect();
        metrics.push(plain("pods placed elsewhere".to_owned(), values));
    }
    metrics.extend([
        number("ENIs attached", |it| it.eni_churn.attached as f64, count),
        number("ENIs detached", |it| it.eni_churn.detached as f64, count),
        plain(
            "hours watched".to_owned(),
            cards().map(|it| format!("{:.2}", it.hours)).collect(),
        ),
    ]);
    metrics
}
