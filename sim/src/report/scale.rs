//! Axes: round ends, round ticks, and courses of time on a grid.
#![expect(
    clippy::cast_sign_loss,
    reason = "amounts and lengths of time: none is negative"
)]

use onsen_core::time::{MINUTE, Millis, SECOND};

use super::decimals;
use crate::simulate::{NodeRun, Run};
use crate::world::{CallMade, Sample};

/// Steps along the time axis.
pub(super) const GRID: usize = 600;
/// At most so many ticks fit on a phone.
const TICKS: u64 = 6;

/// A tick: where on the axis, from 0 to 1, and its label.
pub(super) type Tick = (f64, String);

/// From 0 to a round number that is at least `highest`, and the ticks.
pub(super) fn amounts(highest: f64) -> (f64, Vec<Tick>) {
    let rough = highest.max(1.0) / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= rough)
        .unwrap_or(10.0);
    let step = (factor * power).max(if highest <= 2.0 { 0.5 } else { 1.0 });
    let count = (highest.max(1.0) / step).ceil();
    let top = count * step;
    let ticks = (0..=count as u32).map(|number| {
        let value = f64::from(number) * step;
        (value / top, decimals(value))
    });
    (top, ticks.collect())
}

/// Ticks of a time axis that ends at `end`.
pub(super) fn times(end: Millis) -> Vec<Tick> {
    const HOUR: Millis = 60 * MINUTE;
    const STEPS: [(Millis, Millis, &str); 12] = [
        (10 * SECOND, SECOND, "s"),
        (30 * SECOND, SECOND, "s"),
        (MINUTE, MINUTE, "min"),
        (2 * MINUTE, MINUTE, "min"),
        (5 * MINUTE, MINUTE, "min"),
        (10 * MINUTE, MINUTE, "min"),
        (20 * MINUTE, MINUTE, "min"),
        (HOUR, HOUR, "h"),
        (2 * HOUR, HOUR, "h"),
        (4 * HOUR, HOUR, "h"),
        (12 * HOUR, HOUR, "h"),
        (24 * HOUR, HOUR, "h"),
    ];
    let fits = |(step, ..): &&(Millis, Millis, &str)| end / step <= TICKS;
    let (step, unit, name) = STEPS
        .iter()
        .find(fits)
        .or(STEPS.last())
        .copied()
        .unwrap_or((HOUR, HOUR, "h"));
    let ticks = (0..=end / step).map(|number| {
        let at = number * step;
        (
            at as f64 / end.max(1) as f64,
            format!("{} {name}", at / unit),
        )
    });
    ticks.collect()
}

/// When the longest run ends.
pub(super) fn end(runs: &[Run]) -> Millis {
    let hours = runs.iter().map(|run| run.scorecard.hours);
    let longest = hours.fold(0.0, f64::max);
    ((longest * 3_600_000.0).round() as Millis).max(1)
}

/// The most of a quantity in each step of the grid, all nodes together.
pub(super) fn course(nodes: &[NodeRun], end: Millis, of: fn(&Sample) -> u32) -> Vec<u32> {
    let mut sum = vec![0; GRID];
    for node in nodes {
        let mut samples = node.samples.iter().peekable();
        let mut current = 0;
        for (step, total) in sum.iter_mut().enumerate() {
            let until = end * (step as Millis + 1) / GRID as Millis;
            let mut most = current;
            while let Some(sample) = samples.next_if(|sample| sample.at < until) {
                current = of(sample);
                most = most.max(current);
            }
            *total += most;
        }
    }
    sum
}

/// Calls per minute in each step: those that change something, and all. The length of a step is a
/// whole number of minutes and comes first.
pub(super) fn calls(nodes: &[NodeRun], end: Millis) -> (Millis, Vec<(f64, f64)>) {
    const BARS: Millis = 240;
    let minutes = end.div_ceil(MINUTE * BARS).max(1);
    let step = minutes * MINUTE;
    let mut bars = vec![(0.0, 0.0); end.div_ceil(step) as usize];
    let all = nodes.iter().flat_map(|node| &node.calls);
    for CallMade { at, operation, .. } in all {
        let Some((changes, total)) = bars.get_mut((at / step) as usize) else {
            continue;
        };
        let share = 1.0 / minutes as f64;
        *total += share;
        if !operation.name().starts_with("Describe") {
            *changes += share;
        }
    }
    (minutes, bars)
}
