//! `onsen simulate`: policies side by side on simulated nodes, in virtual time.
//!
//! In: policies with settings, a node, pods or a workload. Out: a scorecard for people, a document
//! for programs, or a page with plots.

mod candidates;
mod faults;
mod table;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use onsen_core::snapshot::Setting;
use onsen_policy_runner::Policy;
use onsen_policy_runner::reference::{Reference, ReferenceError};
use onsen_sim::account::{Cidr, InstanceType};
use onsen_sim::report;
use onsen_sim::simulate::{self, Arrival, Candidate, Demand, Run, Scene};
use onsen_sim::workload::Workload;
use serde::Serialize;

use crate::Format;
use crate::cache;
use crate::error::CliError;
use candidates::Candidates;

/// What decides when a policy fails, as on a node.
const BUILT_IN: &str = "builtin:default-warm-eni";

#[derive(Args)]
#[command(after_help = "\
The daemon starts at time 0 and the first pod comes 5 s later. Pods that find no address are tried again
as kubelet does. With --pods a run goes on until nothing moves any more. Figures of a workload are those
of its duration; the pool at the end is that at rest. Several policies meet the same pods.

Examples:
  onsen simulate --policy default-warm-eni --instance-type m5.large --pods 20
  onsen simulate --policy default-warm-eni --set WARM_IP_TARGET=2 --instance-type m5.large --pods 20 --then-down-to 3
  onsen simulate --policy default-warm-eni --policy prefix-frugal --workload tests/policies/workloads/daily-wave.yaml
  onsen simulate --policy default-warm-eni --policy default-warm-eni --set ENABLE_PREFIX_DELEGATION=true \\
    --workload tests/policies/workloads/cron-burst.yaml --format html --output report.html

With --faults nothing is compared: nodes live in a bad world, seed after seed, and the first law of
docs/invariants.md that breaks ends the search with the command that repeats it.
  onsen simulate --faults --seed 1 --steps 1000000
  onsen simulate --faults --seed 4711 --policy builtin:default-warm-eni")]
pub(crate) struct Arguments {
    #[command(flatten)]
    candidates: Candidates,
    #[arg(
        long,
        value_name = "TYPE",
        required_unless_present_any = ["workload", "faults"],
        help = "Such as m5.large; a workload names one, which this overrides"
    )]
    instance_type: Option<String>,
    #[arg(
        long,
        value_name = "N",
        help = "Pods that kubelet runs at most, as the policy is told; 0: not known, the default without a workload"
    )]
    max_pods: Option<u32>,
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "workload",
        required_unless_present_any = ["workload", "faults"],
        help = "So many pods come to each node"
    )]
    pods: Option<u32>,
    #[arg(
        long,
        value_name = "M",
        requires = "pods",
        help = "Once at rest the newest pods leave at once, until M are left"
    )]
    then_down_to: Option<u32>,
    /// How the pods come
    #[arg(long, value_enum, requires = "pods", default_value_t = Come::OneByOne)]
    arrival: Come,
    /// A file that says when pods come and go; docs/workloads.md describes it
    #[arg(long, value_name = "FILE")]
    workload: Option<PathBuf>,
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=200),
        help = "Nodes, each with pods of its own, in one account with one subnet")]
    nodes: u32,
    /// Of latencies, EC2's choices and workloads
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[arg(
        long,
        value_name = "CIDR",
        default_value = "10.0.0.0/18",
        help = "The subnet, /16 to /28; a small one shows what happens when addresses run out"
    )]
    subnet: Cidr,
    /// Write here instead of to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    faults: faults::Arguments,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Come {
    /// One each second
    OneByOne,
    /// All at once
    Burst,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Document<'a> {
    scene: SceneDocument<'a>,
    /// The nodes of the first run, whose shape is a promise.
    nodes: &'a [simulate::NodeRun],
    runs: &'a [Run],
}

#[derive(Serialize)]
struct SceneDocument<'a> {
    instance_type: &'a str,
    max_pods: u32,
    nodes: u32,
    seed: u64,
    subnet: Cidr,
    demand: String,
}

/// Runs them; what to print.
pub(crate) fn simulate(arguments: &Arguments, format: Format) -> Result<String, CliError> {
    if arguments.faults.wanted() {
        let json = format == Format::Json;
        return faults::search(
            &arguments.faults,
            arguments.seed,
            &arguments.candidates.all,
            json,
        );
    }
    let scene = scene(arguments)?;
    let engine = cache::engine()?;
    let built_in = Arc::new(BUILT_IN.parse::<Reference>()?.load(&engine)?);
    let mut known = BTreeMap::new();
    let mut runs = Vec::new();
    for wanted in &arguments.candidates.all {
        let reference: Reference = wanted.reference.parse()?;
        let name = reference.to_string();
        let policy = match known.get(&name) {
            Some(policy) => Arc::clone(policy),
            None => Arc::new(reference.load(&engine)?),
        };
        known.insert(name.clone(), Arc::clone(&policy));
        warn(&reference, &policy, &wanted.settings)?;
        let candidate = Candidate {
            reference: name,
            settings: wanted.settings.clone(),
            policy,
        };
        runs.push(run(&scene, &candidate, &built_in)?);
    }
    let text = match format {
        Format::Table => table::for_people(&scene, &runs),
        Format::Json => {
            let document = Document {
                scene: SceneDocument {
                    instance_type: &scene.instance_type,
                    max_pods: scene.max_pods,
                    nodes: scene.nodes,
                    seed: scene.seed,
                    subnet: scene.subnet,
                    demand: report::demand(&scene.demand),
                },
                nodes: runs.first().map_or(&[], |run| &run.nodes),
                runs: &runs,
            };
            onsen_policy_runner::documents::write(&document).map_err(CliError::Document)?
        }
        Format::Html => report::html(&scene, &runs, &command_line()),
    };
    let Some(path) = &arguments.output else {
        return Ok(text);
    };
    std::fs::write(path, text).map_err(|source| CliError::Write {
        path: path.clone(),
        source,
    })?;
    Ok(String::new())
}

fn scene(arguments: &Arguments) -> Result<Scene, CliError> {
    let workload = arguments.workload.as_deref().map(read).transpose()?;
    let told = workload.as_ref();
    let instance_type = (arguments.instance_type.clone())
        .or_else(|| told.map(|it| it.instance_type.clone()))
        .unwrap_or_default();
    if InstanceType::find(&instance_type).is_none() {
        return Err(CliError::InstanceType(instance_type));
    }
    // What a file says of its own type says nothing of another one.
    let own_type = told.filter(|it| it.instance_type == instance_type);
    let max_pods = (arguments.max_pods)
        .or_else(|| own_type.map(|it| it.max_pods))
        .unwrap_or(0);
    let pods = arguments.pods.unwrap_or(0);
    if let Some(left) = arguments.then_down_to.filter(|left| *left > pods) {
        return Err(CliError::DownTo { pods, left });
    }
    Ok(Scene {
        instance_type,
        max_pods,
        nodes: arguments.nodes,
        seed: arguments.seed,
        subnet: arguments.subnet,
        demand: match workload {
            Some(workload) => Demand::Workload(workload),
            None => Demand::Pods {
                pods,
                then_down_to: arguments.then_down_to,
                arrival: match arguments.arrival {
                    Come::OneByOne => Arrival::OneByOne,
                    Come::Burst => Arrival::Burst,
                },
            },
        },
    })
}

fn read(path: &Path) -> Result<Workload, CliError> {
    let text = std::fs::read_to_string(path).map_err(|source| CliError::Read {
        path: path.to_owned(),
        source,
    })?;
    Workload::read(&text).map_err(|source| CliError::Workload {
        path: path.to_owned(),
        source,
    })
}

/// Tells what the policy does not take of its settings. It decides all the same, as on a node.
fn warn(
    reference: &Reference,
    policy: &Policy,
    settings: &BTreeMap<String, String>,
) -> Result<(), CliError> {
    let list: Vec<Setting> = (settings.iter())
        .map(|(key, value)| Setting {
            key: key.clone(),
            value: value.clone(),
        })
        .collect();
    let problems = policy
        .configure(&list)
        .map_err(|source| ReferenceError::Refused {
            reference: reference.clone(),
            source,
        })?;
    for problem in problems {
        eprintln!("onsen: {reference}: {}: {}", problem.key, problem.message);
    }
    Ok(())
}

fn run(scene: &Scene, candidate: &Candidate, built_in: &Arc<Policy>) -> Result<Run, CliError> {
    let mut stderr = std::io::stderr();
    let shows = stderr.is_terminal();
    let mut told = 0;
    let mut progress = |percent: usize| {
        if shows && percent > told {
            told = percent;
            // A picture for waiting people: nothing is lost when it cannot be shown.
            let _ = write!(stderr, "\r{} {percent:3} %", candidate.reference);
        }
    };
    let run = simulate::run(scene, candidate, built_in, &mut progress);
    if shows {
        // Clears the line.
        let _ = write!(std::io::stderr(), "\r\x1b[2K");
    }
    Ok(run?)
}

/// How this program was called, for the report's reader to repeat.
fn command_line() -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    let words = std::env::args().skip(1).map(|word| {
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    std::iter::once("onsen".to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}
