//! `onsen record`: a recording of a live node on standard output.
//!
//! In: the daemon's ledger, line by line. Out: a recording that `onsen policy replay` reads.
//! Must hold: it is bounded in time and size; the names of pods leave the node only when asked for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use onsen_policy_runner::recording::{self, Event, Record};

use crate::client::{self, Endpoint};
use crate::error::CliError;

/// Between two looks; the daemon keeps far more than comes in that time.
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Args)]
#[command(after_help = "\
Examples:
  onsen record --for 10m > node.onsenrec
  onsen record --past --for 0s --pod-names > now.onsenrec")]
pub(crate) struct Arguments {
    /// How long
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    span: Duration,
    /// Begin with what the daemon still remembers
    #[arg(long)]
    past: bool,
    /// Keep the names of pods; without it they are pod-1, pod-2, ...
    #[arg(long)]
    pod_names: bool,
    /// Stop when the recording has so many megabytes
    #[arg(long, value_name = "MB", default_value_t = 64)]
    max_size: u64,
}

/// Records; prints by itself.
pub(crate) fn record(endpoint: &Endpoint, arguments: &Arguments) -> Result<(), CliError> {
    let end = Instant::now() + arguments.span;
    let mut names = (!arguments.pod_names).then(Pseudonyms::default);
    let limit = arguments.max_size << 20;
    let (mut written, mut last, mut first) = (0, 0, true);
    loop {
        let text = client::get(endpoint, &format!("/onsen/v1/ledger?after={last}"))?;
        let mut read = recording::read(&text).map_err(CliError::Ledger)?;
        if first {
            emit(&mut written, &read.header)?;
        }
        last = read.records.last().map_or(last, |record| record.seq);
        if first && !arguments.past {
            read.records.clear();
        }
        first = false;
        for mut record in read.records {
            if let Some(names) = &mut names {
                names.hide(&mut record);
            }
            emit(&mut written, &record)?;
            if written >= limit {
                eprintln!("onsen: the recording has reached --max-size and ends here");
                return Ok(());
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(PERIOD));
    }
}

fn emit(written: &mut u64, document: &impl serde::Serialize) -> Result<(), CliError> {
    let line = recording::line(document).map_err(CliError::Document)?;
    *written += line.len() as u64;
    crate::print(&line)
}

/// Gives pods other names, the same for the same pod.
#[derive(Default)]
struct Pseudonyms(BTreeMap<String, String>);

impl Pseudonyms {
    fn of(&mut self, pod: &str) -> String {
        let next = self.0.len() + 1;
        let name = self.0.entry(pod.to_owned());
        name.or_insert_with(|| format!("pod-{next}")).clone()
    }

    fn hide(&mut self, record: &mut Record) {
        match &mut record.event {
            Event::Add(add) => add.pod = self.of(&add.pod),
            Event::Del(del) => del.pod = self.of(&del.pod),
            // Some reports name pods in the middle of a sentence.
            Event::Report { message, .. } if message.contains(" pod ") => {
                "left out: it names a pod".clone_into(message);
            }
            Event::Report { .. }
            | Event::Start { .. }
            | Event::Decision(_)
            | Event::Call(_)
            | Event::Policy(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onsen_policy_runner::recording::{Add, Del};

    #[test]
    fn names_of_pods_are_replaced_everywhere_and_stay_apart() {
        let mut names = Pseudonyms::default();
        let mut hidden = |event: Event| {
            let mut record = Record {
                seq: 1,
                at: 1,
                event,
            };
            names.hide(&mut record);
            recording::line(&record).unwrap()
        };
        let pod = |name: &str| format!("secret/{name}");
        let add = |name: &str| {
            Event::Add(Add {
                pod: pod(name),
                ..Add::default()
            })
        };
        assert!(hidden(add("a")).contains("\"pod-1\""));
        assert!(hidden(add("b")).contains("\"pod-2\""));
        let del = Del {
            pod: pod("a"),
            address: "10.0.0.1".into(),
        };
        assert!(hidden(Event::Del(del)).contains("\"pod-1\""));
        let report = Event::Report {
            severity: "error".into(),
            code: "address-lost".into(),
            message: "10.0.0.1 of pod secret/c is gone".into(),
        };
        let line = hidden(report);
        assert!(
            line.contains("address-lost") && !line.contains("secret"),
            "{line}"
        );
    }
}
