//! How scenarios went, for people and as JSON.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use onsen_sim::scenario::{Failure, Verdict};
use serde::Serialize;

use crate::error::CliError;
use crate::table::table;

/// A scenario that was tried.
#[derive(Serialize)]
pub(super) struct Tried {
    pub(super) file: PathBuf,
    #[serde(flatten)]
    pub(super) verdict: Verdict,
}

/// A file that is no scenario.
#[derive(Serialize)]
pub(super) struct Unreadable {
    pub(super) file: PathBuf,
    pub(super) error: String,
}

/// All of them.
pub(super) struct Report {
    pub(super) tried: Vec<Tried>,
    pub(super) unreadable: Vec<Unreadable>,
    pub(super) took: Duration,
}

/// The report as JSON.
#[derive(Serialize)]
struct Document<'a> {
    ok: usize,
    failed: usize,
    scenarios: Vec<Entry<'a>>,
    unreadable: &'a [Unreadable],
}

#[derive(Serialize)]
struct Entry<'a> {
    ok: bool,
    #[serde(flatten)]
    tried: &'a Tried,
}

impl<'a> Entry<'a> {
    fn new(tried: &'a Tried) -> Self {
        Self {
            ok: tried.verdict.is_ok(),
            tried,
        }
    }
}

/// Colours, where they help.
#[derive(Clone, Copy)]
pub(super) struct Style {
    colours: bool,
}

impl Style {
    /// Colours on a terminal, unless the user has said that he wants none.
    pub(super) fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            colours: wanted && std::io::stdout().is_terminal(),
        }
    }

    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self { colours: false }
    }

    fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    fn bad(self, text: &str) -> String {
        self.paint("31;1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

impl Report {
    fn failed(&self) -> usize {
        self.tried.iter().filter(|it| !it.verdict.is_ok()).count()
    }

    /// 2 outranks 1: what is not understood was not tried.
    pub(super) fn exit_code(&self) -> u8 {
        match (self.unreadable.len(), self.failed()) {
            (0, 0) => 0,
            (0, _) => 1,
            _ => 2,
        }
    }

    pub(super) fn json(&self) -> Result<String, CliError> {
        let document = Document {
            ok: self.tried.len() - self.failed(),
            failed: self.failed(),
            scenarios: self.tried.iter().map(Entry::new).collect(),
            unreadable: &self.unreadable,
        };
        onsen_policy_runner::documents::write(&document).map_err(CliError::Document)
    }

    pub(super) fn for_people(&self, style: Style) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        for tried in &self.tried {
            let verdict = &tried.verdict;
            let word = if verdict.is_ok() {
                style.good("ok    ")
            } else {
                style.bad("failed")
            };
            let _ = writeln!(
                text,
                "{word}  {}: {}  ({}, {})",
                tried.file.display(),
                verdict.name,
                time(verdict.virtual_ms),
                counted(verdict.decisions as usize, "decision"),
            );
            for told in &verdict.as_upstream {
                let _ = writeln!(text, "        upstream: {told}");
            }
            for failure in &verdict.failures {
                text.push_str(&explain(failure));
            }
            if !verdict.last_decisions.is_empty() {
                text.push_str("        the last decisions:\n");
            }
            for line in &verdict.last_decisions {
                let _ = writeln!(text, "          {line}");
            }
        }
        for it in &self.unreadable {
            let word = style.bad("unreadable");
            let _ = writeln!(text, "{word}  {}: {}", it.file.display(), it.error);
        }
        let (all, failed) = (self.tried.len(), self.failed());
        let _ = write!(
            text,
            "{}: {} ok, {failed} failed",
            counted(all, "scenario"),
            all - failed
        );
        if !self.unreadable.is_empty() {
            let files = counted(self.unreadable.len(), "file");
            let _ = write!(text, ", {files} unreadable");
        }
        let _ = writeln!(text, ", in {:.1} s", self.took.as_secs_f64());
        text
    }
}

fn explain(failure: &Failure) -> String {
    let mut text = String::new();
    let place = failure
        .line
        .map_or(String::new(), |line| format!("line {line}, "));
    let _ = writeln!(text, "        {place}after {}:", time(failure.at_ms));
    if let Some(error) = &failure.error {
        let _ = writeln!(text, "          {error}");
    }
    if failure.differences.is_empty() {
        return text;
    }
    let mut rows = Vec::new();
    for difference in &failure.differences {
        let mut expected = difference.expected.lines();
        let mut actual = difference.actual.lines();
        let mut what = difference.what.as_str();
        loop {
            let (left, right) = (expected.next(), actual.next());
            if left.is_none() && right.is_none() {
                break;
            }
            let cell = |text: Option<&str>| text.unwrap_or_default().to_owned();
            rows.push([
                std::mem::take(&mut what).to_owned(),
                cell(left),
                cell(right),
            ]);
        }
    }
    for line in table(["", "EXPECTED", "ACTUAL"], &rows).lines() {
        let _ = writeln!(text, "          {line}");
    }
    text
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Virtual time, to the second; below one, to the millisecond.
fn time(ms: u64) -> String {
    let (minutes, seconds) = (ms / 60_000, ms / 1_000 % 60);
    match (minutes, seconds) {
        (0, 0) => format!("{ms} ms"),
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}
