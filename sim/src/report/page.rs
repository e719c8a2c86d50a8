//! The page: scorecard and plots in one file that needs no other.

use std::fmt::Write as _;

use onsen_core::time::{MINUTE, Millis, SECOND};

use super::plot::{Plot, log_time};
use super::scale::{self, Tick};
use super::{Metric, headline, label, letters, scorecard};
use crate::simulate::{Demand, Run, Scene};

const STYLE: &str = include_str!("page.css");
/// Of so many pods one may have waited longer than the last line of the plot shows.
const RAREST: f64 = 0.001;
/// Waits end here at the most.
const LONGEST_TICK: Millis = 60 * MINUTE;

/// The page. `command` is how it was made.
pub fn html(scene: &Scene, runs: &[Run], command: &str) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Onsen: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escaped(&headline(scene))
    );
    header(&mut page, scene, runs);
    table(&mut page, runs);
    held_and_used(&mut page, runs);
    calls(&mut page, runs);
    waits(&mut page, runs);
    pools(&mut page, runs);
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<footer><p>Made by</p><pre>{}</pre><p>Seed {}. The same command gives the same page: time, EC2 and pods \
         are simulated; policy and core are those of a node.</p></footer>\n</main>\n</body>\n</html>\n",
        escaped(command),
        scene.seed
    );
    page
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn header(page: &mut String, scene: &Scene, runs: &[Run]) {
    let _ = write!(
        page,
        "<header><h1>What a warm pool costs</h1><p>{}</p>",
        escaped(&headline(scene))
    );
    if let Demand::Workload(workload) = &scene.demand {
        let _ = write!(page, "<p class=\"about\">{}</p>", escaped(&workload.about));
    }
    page.push_str("<ol class=\"legend\">");
    for (number, (letter, run)) in letters(runs).iter().zip(runs).enumerate() {
        let _ = write!(
            page,
            "<li><b class=\"letter s{}\">{letter}</b> {}</li>",
            number % 6,
            escaped(&label(run))
        );
    }
    page.push_str("</ol></header>\n");
}

fn table(page: &mut String, runs: &[Run]) {
    page.push_str("<section><h2>Scorecard</h2><div class=\"scroll\"><table><thead><tr><th></th>");
    for letter in letters(runs) {
        let _ = write!(page, "<th>{letter}</th>");
    }
    page.push_str("</tr></thead><tbody>");
    for metric in scorecard(runs) {
        row(page, &metric);
    }
    page.push_str("</tbody></table></div></section>\n");
}

fn row(page: &mut String, metric: &Metric) {
    let detail = metric.name.starts_with("  ");
    let _ = write!(
        page,
        "<tr{}><th scope=\"row\">{}</th>",
        if detail { " class=\"detail\"" } else { "" },
        escaped(metric.name.trim_start())
    );
    let least = metric.cost.iter().copied().fold(f64::INFINITY, f64::min);
    let most = metric.cost.iter().copied().fold(0.0, f64::max);
    let first = metric.cost.first().copied().unwrap_or(0.0);
    for (number, value) in metric.values.iter().enumerate() {
        let cost = metric.cost.get(number).copied();
        // Marked only where there is something to choose.
        let best = most > least && cost.is_some_and(|cost| cost <= least);
        let class = if best { " class=\"best\"" } else { "" };
        let _ = write!(page, "<td{class}>{}", escaped(value));
        if let Some(cost) = cost
            && number > 0
            && first > 0.0
            && !detail
        {
            let percent = (cost / first - 1.0) * 100.0;
            let sign = if percent < 0.0 { '\u{2212}' } else { '+' };
            let _ = match percent.abs() {
                same if same < 0.5 => write!(page, " <small>=</small>"),
                much if much >= 1_000.0 => {
                    write!(page, " <small>\u{d7}{:.0}</small>", cost / first)
                }
                some => write!(page, " <small>{sign}{some:.0}&nbsp;%</small>"),
            };
        }
        page.push_str("</td>");
    }
    page.push_str("</tr>\n");
}

/// Opens a section with its heading and one sentence.
fn section(page: &mut String, heading: &str, sentence: &str) {
    let _ = write!(
        page,
        "<section><h2>{heading}</h2><p class=\"about\">{sentence}</p>"
    );
}

/// One plot for each run, under its letter.
fn panel(page: &mut String, run: &Run, number: usize, letter: &str, plot: Plot) {
    let _ = writeln!(
        page,
        "<figure><figcaption><b class=\"letter s{}\">{letter}</b> {}</figcaption>{}</figure>",
        number % 6,
        escaped(&run.policy),
        plot.finish()
    );
}

fn held_and_used(page: &mut String, runs: &[Run]) {
    section(
        page,
        "Addresses held against used",
        "<span class=\"key held\"></span>attached to the node, the most in each moment \
         <span class=\"key used\"></span>held by pods. What lies between is idle.",
    );
    let end = scale::end(runs);
    let courses: Vec<_> = (runs.iter())
        .map(|run| {
            let of = |quantity| scale::course(&run.nodes, end, quantity);
            (of(|it| it.addresses), of(|it| it.assigned))
        })
        .collect();
    let held = courses.iter().flat_map(|(held, _)| held).copied().max();
    let (top, ticks) = scale::amounts(f64::from(held.unwrap_or(0)));
    for (number, (letter, run)) in letters(runs).iter().zip(runs).enumerate() {
        let Some((held, used)) = courses.get(number) else {
            continue;
        };
        let title = format!("{letter}: addresses held and used over time");
        let mut plot = Plot::new(title, scale::times(end), ticks.clone());
        plot.area("held", &floats(held), top);
        plot.area("used", &floats(used), top);
        panel(page, run, number, letter, plot);
    }
    page.push_str("</section>\n");
}

fn floats(values: &[u32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

fn calls(page: &mut String, runs: &[Run]) {
    let end = scale::end(runs);
    let bars: Vec<_> = runs
        .iter()
        .map(|run| scale::calls(&run.nodes, end))
        .collect();
    let minutes = bars.first().map_or(1, |(minutes, _)| *minutes);
    let each = match minutes {
        1 => String::new(),
        many => format!(" Each bar is the mean of {many} minutes."),
    };
    section(
        page,
        "EC2 calls per minute",
        &format!(
            "<span class=\"key reads\"></span>calls that only look \
             <span class=\"key writes\"></span>calls that change something.{each}"
        ),
    );
    let highest = bars.iter().flat_map(|(_, bars)| bars);
    let highest = highest.map(|(_, total)| *total).fold(0.0, f64::max);
    let (top, ticks) = scale::amounts(highest);
    for (number, (letter, run)) in letters(runs).iter().zip(runs).enumerate() {
        let Some((_, bars)) = bars.get(number) else {
            continue;
        };
        let title = format!("{letter}: EC2 calls per minute over time");
        let mut plot = Plot::new(title, scale::times(end), ticks.clone());
        let all: Vec<f64> = bars.iter().map(|(_, total)| *total).collect();
        let changes: Vec<f64> = bars.iter().map(|(changes, _)| *changes).collect();
        plot.bars("reads", &all, top);
        plot.bars("writes", &changes, top);
        panel(page, run, number, letter, plot);
    }
    page.push_str("</section>\n");
}

fn waits(page: &mut String, runs: &[Run]) {
    let sorted: Vec<Vec<Millis>> = (runs.iter())
        .map(|run| {
            let all = run.nodes.iter().flat_map(|node| &node.waits);
            let mut all: Vec<Millis> = all.copied().collect();
            all.sort_unstable();
            all
        })
        .collect();
    let longest = sorted.iter().filter_map(|waits| waits.last()).max();
    let Some(longest) = longest.copied() else {
        return;
    };
    section(
        page,
        "Pods that waited longer for an address",
        "The share of pods whose wait was longer than the time below: the lower and the further to the \
         left, the better. Both axes are logarithmic. A pod that finds a warm address waits for the write \
         of the checkpoint only.",
    );
    let end = LONGEST_TICK.min(longest.saturating_mul(2)).max(10 * SECOND);
    let y: Vec<Tick> = [
        (1.0, "100 %"),
        (0.1, "10 %"),
        (0.01, "1 %"),
        (RAREST, "0.1 %"),
    ]
    .map(|(share, label)| (rank(share), label.to_owned()))
    .to_vec();
    let title = "share of pods that waited longer, by policy".to_owned();
    let mut plot = Plot::new(title, wait_ticks(end), y);
    for (number, waits) in sorted.iter().enumerate() {
        let mut points = vec![(0.0, 1.0)];
        for (at, wait) in waits.iter().enumerate() {
            let longer = (waits.len() - at - 1) as f64 / waits.len() as f64;
            // Of equal waits the last one says how many waited longer.
            if waits.get(at + 1) != Some(wait) {
                points.push((log_time(*wait, end), rank(longer)));
            }
        }
        plot.steps(&format!("line s{}", number % 6), &points);
    }
    let _ = writeln!(page, "<figure>{}</figure></section>", plot.finish());
}

/// A share on a logarithmic axis: 1 is all pods, 0 is the rarest.
fn rank(share: f64) -> f64 {
    if share <= RAREST {
        0.0
    } else {
        1.0 - share.log10() / RAREST.log10()
    }
}

fn wait_ticks(end: Millis) -> Vec<Tick> {
    const TICKS: [(Millis, &str); 6] = [
        (1, "1 ms"),
        (10, "10 ms"),
        (100, "0.1 s"),
        (SECOND, "1 s"),
        (10 * SECOND, "10 s"),
        (2 * MINUTE, "2 min"),
    ];
    TICKS
        .iter()
        .filter(|(at, _)| *at <= end)
        .map(|(at, label)| (log_time(*at, end), (*label).to_owned()))
        .collect()
}

fn pools(page: &mut String, runs: &[Run]) {
    section(
        page,
        "Pools at the end",
        "Each node when nothing moves any more. Slots are counted ENI by ENI, in attach order.",
    );
    page.push_str(
        "<div class=\"scroll\"><table><thead><tr><th></th><th>node</th><th>ENIs</th><th>slots in use</th>\
         <th>addresses</th><th>prefixes</th><th>pods</th><th>warm</th><th>cooling</th><th>at rest</th></tr></thead><tbody>",
    );
    for (letter, run) in letters(runs).iter().zip(runs) {
        for node in &run.nodes {
            let last = &node.last;
            let slots: Vec<String> = last.per_eni.iter().map(ToString::to_string).collect();
            let _ = writeln!(
                page,
                "<tr><th scope=\"row\">{letter}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td>{}</td><td>{}</td><td>{}</td></tr>",
                escaped(&node.name),
                last.enis,
                slots.join(" + "),
                last.addresses,
                last.prefixes,
                last.assigned,
                last.warm,
                last.cooling,
                if last.at_rest { "yes" } else { "no" }
            );
        }
    }
    page.push_str("</tbody></table></div></section>\n");
}
