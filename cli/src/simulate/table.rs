//! The scorecard for people.

use std::fmt::Write as _;

use onsen_sim::report;
use onsen_sim::simulate::{Final, Run, Scene};

/// Nodes that are told one by one.
const TOLD: usize = 8;

/// What was simulated, the figures side by side, and each node at the end.
pub(super) fn for_people(scene: &Scene, runs: &[Run]) -> String {
    let mut text = format!("{}\n\n", report::headline(scene));
    let letters = report::letters(runs);
    for (letter, run) in letters.iter().zip(runs) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{letter}  {}", report::label(run));
    }
    text.push('\n');
    let mut rows = vec![
        std::iter::once(String::new())
            .chain(letters.clone())
            .collect(),
    ];
    for metric in report::scorecard(runs) {
        rows.push(std::iter::once(metric.name).chain(metric.values).collect());
    }
    text.push_str(&aligned(&rows));
    for (letter, run) in letters.iter().zip(runs) {
        text.push('\n');
        for node in run.nodes.iter().take(TOLD) {
            let _ = writeln!(
                text,
                "{letter}  {} at the end: {}",
                node.name,
                last(&node.last)
            );
        }
        if run.nodes.len() > TOLD {
            let more = run.nodes.len() - TOLD;
            let _ = writeln!(text, "{letter}  and {more} more nodes: see --format json");
        }
    }
    text
}

fn last(last: &Final) -> String {
    let slots: Vec<String> = last.per_eni.iter().map(ToString::to_string).collect();
    let prefixes = match last.prefixes {
        0 => String::new(),
        1 => " in 1 prefix".to_owned(),
        many => format!(" in {many} prefixes"),
    };
    format!(
        "{} (slots in use: {}), {} addresses{prefixes}: {} held by pods, {} warm, {} cooling; {}",
        if last.enis == 1 {
            "1 ENI".to_owned()
        } else {
            format!("{} ENIs", last.enis)
        },
        slots.join(" + "),
        last.addresses,
        last.assigned,
        last.warm,
        last.cooling,
        if last.at_rest {
            "at rest"
        } else {
            "NOT at rest"
        }
    )
}

/// Columns: the first to the left, numbers to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if column == 0 {
                write!(line, "{cell:width$}")
            } else {
                write!(line, "  {cell:>width$}")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
