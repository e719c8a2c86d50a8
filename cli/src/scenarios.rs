//! `onsen policy test`: runs scenario files against a policy.
//!
//! In: files and folders, a policy. Out: one line for each scenario, what differs for those that
//! fail, a summary. Exit code 1 when a scenario fails, 2 when a file cannot be understood.

mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use onsen_policy_runner::reference::Reference;
use onsen_sim::scenario::{self, Deciders, Scenario, Verdict};

use crate::cache;
use crate::error::CliError;
use report::{Report, Tried, Unreadable};

/// What decides when the policy under test fails, as on a node.
const BUILT_IN: &str = "default-warm-eni";
/// Between two looks at files that are watched.
const WATCH_PERIOD: Duration = Duration::from_millis(300);

#[derive(Args)]
#[command(after_help = "\
Exit code: 0 all as expected, 1 a scenario failed, 2 a file cannot be understood.
docs/policies/testing.md says how to write scenarios.

Examples:
  onsen policy test tests/policies/scenarios --policy builtin:default-warm-eni
  onsen policy test my-scenarios burst.yaml --policy file:my.wasm --filter burst --watch")]
pub(crate) struct Arguments {
    /// Scenario files, and folders of them (*.yaml, *.yml)
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[arg(long, value_name = "REF", help = "builtin:NAME or file:PATH")]
    policy: String,
    /// Let scenarios live under the rules of upstream that they name: each must fail as it says
    #[arg(long)]
    upstream: bool,
    /// Only scenarios with this text in their file or name
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Run again whenever a scenario file or the policy changes
    #[arg(long)]
    watch: bool,
}

/// Runs them; what to print, and the exit code.
pub(crate) fn test(arguments: &Arguments, as_json: bool) -> Result<(String, u8), CliError> {
    let once = || {
        let report = run(arguments)?;
        let text = if as_json {
            report.json()?
        } else {
            report.for_people(report::Style::of_stdout())
        };
        Ok::<_, CliError>((text, report.exit_code()))
    };
    if !arguments.watch {
        return once();
    }
    loop {
        let before = stamps(arguments);
        match once() {
            Ok((text, _)) => crate::print(&text)?,
            Err(error) => eprintln!("onsen: {}", error.chain()),
        }
        while stamps(arguments) == before {
            std::thread::sleep(WATCH_PERIOD);
        }
        if !as_json {
            crate::print("\n")?;
        }
    }
}

/// When each file that matters was last written.
fn stamps(arguments: &Arguments) -> BTreeMap<PathBuf, Option<SystemTime>> {
    let mut files = find(&arguments.paths).unwrap_or_default();
    if let Ok(Reference::File(path)) = arguments.policy.parse() {
        files.push(path);
    }
    let stamp = |path: PathBuf| {
        let written = std::fs::metadata(&path).and_then(|facts| facts.modified());
        (path, written.ok())
    };
    files.into_iter().map(stamp).collect()
}

fn run(arguments: &Arguments) -> Result<Report, CliError> {
    let started = Instant::now();
    let (scenarios, unreadable) = load(arguments)?;
    let deciders = deciders(&arguments.policy)?;
    let tried = try_all(&scenarios, &deciders, arguments.upstream);
    if tried.is_empty() && unreadable.is_empty() {
        return Err(CliError::NoScenario);
    }
    Ok(Report {
        tried,
        unreadable,
        took: started.elapsed(),
    })
}

fn deciders(policy: &str) -> Result<Deciders, CliError> {
    let engine = cache::engine()?;
    let chosen = Arc::new(policy.parse::<Reference>()?.load(&engine)?);
    let default = Reference::BuiltIn(BUILT_IN.to_owned());
    let built_in = if chosen.metadata().name == BUILT_IN {
        Arc::clone(&chosen)
    } else {
        Arc::new(default.load(&engine)?)
    };
    Ok(Deciders { chosen, built_in })
}

/// A scenario and its file.
type Found = (PathBuf, Scenario);

fn load(arguments: &Arguments) -> Result<(Vec<Found>, Vec<Unreadable>), CliError> {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for file in find(&arguments.paths)? {
        let text = std::fs::read_to_string(&file).map_err(|source| CliError::Read {
            path: file.clone(),
            source,
        })?;
        match scenario::read(&text) {
            Ok(scenarios) => found.extend(scenarios.into_iter().map(|it| (file.clone(), it))),
            Err(error) => unreadable.push(Unreadable {
                file,
                error: error.to_string(),
            }),
        }
    }
    if let Some(filter) = &arguments.filter {
        found.retain(|(file, scenario)| {
            format!("{}: {}", file.display(), scenario.name()).contains(filter)
        });
    }
    if found.is_empty() && unreadable.is_empty() {
        return Err(CliError::NoScenario);
    }
    Ok((found, unreadable))
}

/// All files, folders opened, sorted within each argument.
fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        let metadata = std::fs::metadata(path).map_err(|source| CliError::Read {
            path: path.clone(),
            source,
        })?;
        if metadata.is_dir() {
            let mut inside = Vec::new();
            search(path, &mut inside)?;
            inside.sort();
            files.append(&mut inside);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn search(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), CliError> {
    let failed = |source| CliError::Read {
        path: folder.to_owned(),
        source,
    };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            search(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|ending| ending == "yaml" || ending == "yml")
        {
            files.push(path);
        }
    }
    Ok(())
}

/// Tries each scenario, on all cores; the order stays.
fn try_all(scenarios: &[Found], deciders: &Deciders, upstream: bool) -> Vec<Tried> {
    let next = AtomicUsize::new(0);
    let verdicts: Mutex<BTreeMap<usize, Option<Verdict>>> = Mutex::new(BTreeMap::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(scenarios.len()) {
            scope.spawn(|| {
                while let Some((at, (_, scenario))) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    scenarios.get(at).map(|it| (at, it))
                } {
                    let verdict = if upstream {
                        scenario.run_as_upstream(deciders)
                    } else {
                        Some(scenario.run(deciders))
                    };
                    let mut verdicts = verdicts.lock().unwrap_or_else(PoisonError::into_inner);
                    verdicts.insert(at, verdict);
                }
            });
        }
    });
    let verdicts = verdicts
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let files = scenarios.iter().map(|(file, _)| file.clone());
    files
        .zip(verdicts.into_values())
        .filter_map(|(file, verdict)| {
            let verdict = verdict?;
            Some(Tried { file, verdict })
        })
        .collect()
}

#[cfg(test)]
mod tests;
