//! `onsen simulate --faults`: nodes in a bad world, and every law checked after each step.
//!
//! In: a seed, and how many steps. Out: what was checked and met; or the law that broke, made as small
//! as it gets, with the command that repeats it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::Arc;

use clap::Args;
use onsen_policy_runner::reference::Reference;
use onsen_policy_runner::{Engine, Limits};
use onsen_sim::faults::{self, Lived, Options};
use serde::Serialize;

use super::candidates::Wanted;
use crate::error::CliError;

#[derive(Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Everything goes wrong that can: crashes, full disks, set clocks, and EC2 at its worst
    #[arg(long, conflicts_with_all = ["workload", "pods", "instance_type", "output"])]
    faults: bool,
    /// Seeds from --seed on are lived until so many steps are checked; without it the one seed
    #[arg(long, value_name = "N", requires = "faults", default_value_t = 1)]
    steps: u64,
    /// Steps of each seed's storm, before all faults end and the nodes must come to rest
    #[arg(long, value_name = "N", requires = "faults", default_value_t = faults::STORM)]
    storm: u64,
    /// Faults and deeds to leave out, by name
    #[arg(long, value_name = "NAMES", requires = "faults", value_delimiter = ',',
        value_parser = clap::builder::PossibleValuesParser::new(faults::names()), hide_possible_values = true)]
    without: Vec<String>,
}

impl Arguments {
    pub(super) fn wanted(&self) -> bool {
        self.faults
    }
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Document {
    first_seed: u64,
    last_seed: u64,
    steps: u64,
    virtual_ms: u64,
    /// Situations met, by name.
    met: BTreeMap<&'static str, u64>,
}

/// Searches; what to print.
pub(super) fn search(
    arguments: &Arguments,
    first: u64,
    policies: &[Wanted],
    json: bool,
) -> Result<String, CliError> {
    let mut options = Options {
        storm: arguments.storm,
        without: arguments.without.iter().cloned().collect(),
        ..Options::default()
    };
    if !policies.is_empty() {
        let engine = Engine::new(Limits::default(), None).map_err(CliError::Engine)?;
        for wanted in policies {
            let reference: Reference = wanted.reference.parse()?;
            let policy = Arc::new(reference.load(&engine)?);
            options.components.push((reference.to_string(), policy));
        }
    }
    let shows = std::io::stderr().is_terminal();
    let mut all = Lived::default();
    let mut seed = first;
    loop {
        let lived = faults::live(seed, &options)
            .map_err(|broken| CliError::Law(faults::shrink(broken, &options)))?;
        all.steps += lived.steps;
        all.virtual_ms += lived.virtual_ms;
        all.marks.add(&lived.marks);
        if shows {
            // A picture for waiting people: nothing is lost when it cannot be shown.
            let _ = write!(std::io::stderr(), "\r\x1b[2K{} steps", all.steps);
        }
        if all.steps >= arguments.steps {
            break;
        }
        seed += 1;
    }
    if shows {
        let _ = write!(std::io::stderr(), "\r\x1b[2K");
    }
    let document = Document {
        first_seed: first,
        last_seed: seed,
        steps: all.steps,
        virtual_ms: all.virtual_ms,
        met: all.marks.iter().collect(),
    };
    if json {
        return onsen_policy_runner::documents::write(&document).map_err(CliError::Document);
    }
    Ok(for_people(&document))
}

fn for_people(document: &Document) -> String {
    let mut text = format!(
        "no law broke in {} steps: seeds {} to {}, {} hours of virtual time\n",
        document.steps,
        document.first_seed,
        document.last_seed,
        document.virtual_ms / 3_600_000
    );
    for (name, count) in &document.met {
        let _ = writeln!(text, "{count:>10}  {name}"); // writing to a String cannot fail
    }
    text
}
