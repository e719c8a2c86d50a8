//! Plots as inline SVG. The picture stretches to the page's width; labels are text of the page, so
//! that they stay readable on a phone.

use std::fmt::Write as _;

use onsen_core::time::Millis;

use super::scale::Tick;

/// The picture's own units; the page stretches it.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 240.0;

/// One plot under construction.
pub(super) struct Plot {
    shapes: String,
    x: Vec<Tick>,
    y: Vec<Tick>,
    title: String,
}

impl Plot {
    /// An empty plot with its axes. `title` is what a screen reader says.
    pub(super) fn new(title: String, x: Vec<Tick>, y: Vec<Tick>) -> Self {
        let mut shapes = String::new();
        for (at, _) in &y {
            let y = HEIGHT * (1.0 - at);
            // Writing to a String cannot fail.
            let _ = write!(shapes, r#"<path class="grid" d="M0 {y:.1}H{WIDTH}"/>"#);
        }
        for (at, _) in &x {
            let x = WIDTH * at;
            let _ = write!(shapes, r#"<path class="grid" d="M{x:.1} 0V{HEIGHT}"/>"#);
        }
        Self {
            shapes,
            x,
            y,
            title,
        }
    }

    /// A filled course: one value for each step of equal length.
    pub(super) fn area(&mut self, class: &str, values: &[f64], top: f64) {
        let step = WIDTH / values.len().max(1) as f64;
        let mut path = format!("M0 {HEIGHT}");
        let mut last = 0.0;
        for (number, value) in values.iter().enumerate() {
            let y = height(*value, top);
            if number == 0 || (y - last).abs() > 0.01 {
                let _ = write!(path, "H{:.1}V{y:.1}", number as f64 * step);
                last = y;
            }
        }
        let _ = write!(path, "H{WIDTH}V{HEIGHT}Z");
        let _ = write!(self.shapes, r#"<path class="{class}" d="{path}"/>"#);
    }

    /// Bars: one value for each step of equal length.
    pub(super) fn bars(&mut self, class: &str, values: &[f64], top: f64) {
        let step = WIDTH / values.len().max(1) as f64;
        let mut path = String::new();
        for (number, value) in values.iter().enumerate().filter(|(_, it)| **it > 0.0) {
            let (x, y) = (number as f64 * step, height(*value, top));
            let _ = write!(
                path,
                "M{x:.1} {HEIGHT}V{y:.1}h{:.2}V{HEIGHT}Z",
                step.max(1.0) * 0.86
            );
        }
        let _ = write!(self.shapes, r#"<path class="{class}" d="{path}"/>"#);
    }

    /// A line in steps through points from 0 to 1 on both axes.
    pub(super) fn steps(&mut self, class: &str, points: &[(f64, f64)]) {
        let mut path = String::new();
        for (number, (x, y)) in points.iter().enumerate() {
            let (x, y) = (
                x.clamp(0.0, 1.0) * WIDTH,
                (1.0 - y.clamp(0.0, 1.0)) * HEIGHT,
            );
            let _ = match number {
                0 => write!(path, "M{x:.1} {y:.1}"),
                _ => write!(path, "H{x:.1}V{y:.1}"),
            };
        }
        let _ = write!(self.shapes, r#"<path class="{class}" d="{path}"/>"#);
    }

    /// The whole of it as HTML.
    pub(super) fn finish(self) -> String {
        let mut text = String::from(r#"<div class="plot"><div class="y" aria-hidden="true">"#);
        for (at, label) in &self.y {
            let top = (1.0 - at) * 100.0;
            let _ = write!(text, r#"<span style="top:{top:.1}%">{label}</span>"#);
        }
        let _ = write!(
            text,
            r#"</div><svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg><div class="x" aria-hidden="true">"#,
            super::page::escaped(&self.title),
            self.shapes
        );
        for (at, label) in &self.x {
            let left = at * 100.0;
            // The last label must not leave the page.
            let end = if *at > 0.97 { r#" class="end""# } else { "" };
            let _ = write!(text, r#"<span{end} style="left:{left:.1}%">{label}</span>"#);
        }
        text.push_str("</div></div>");
        text
    }
}

fn height(value: f64, top: f64) -> f64 {
    HEIGHT * (1.0 - (value / top).clamp(0.0, 1.0))
}

/// Waits on a logarithmic axis: 0 is a millisecond, 1 is `longest`.
pub(super) fn log_time(wait: Millis, longest: Millis) -> f64 {
    (wait.max(1) as f64).ln() / (longest.max(10) as f64).ln()
}
