//! What takes too long for each run: the same tests with more cases, and long simulations.
//!
//! In: nothing, or the name of one job. Out: exit code 0 when all held. Jobs run one after another, to the
//! end even when one fails.

use clap::Args;

use crate::failure::Failure;
use crate::policies;
use crate::run::{cargo, root, run, say};

#[derive(Args)]
pub(crate) struct Options {
    /// Say what would be run, and run nothing
    #[arg(long)]
    list: bool,
    /// Only this job
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// One thing that is run at night.
struct Job {
    name: &'static str,
    about: &'static str,
    /// Of cargo. The whole workspace is built, as everywhere.
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

const JOBS: &[Job] = &[RANDOM_POOLS, FAULT_SEARCH];

const RANDOM_POOLS: Job = Job {
    name: "random-pools",
    about: "the default policy against the second model of the documented warm pool, on 100,000 random pools \
            in each mode, and both policies' way to rest",
    arguments: &[
        "test",
        "--workspace",
        "--locked",
        "--test",
        "compare",
        "--test",
        "properties",
    ],
    environment: &[("ONSEN_CASES", "100000")],
};

const FAULT_SEARCH: Job = Job {
    name: "fault-search",
    about: "100,000,000 steps of nodes in a bad world, each followed by all checks of the laws",
    arguments: &[
        "test",
        "--workspace",
        "--locked",
        "--test",
        "faults",
        "no_law_breaks_in",
    ],
    environment: &[("ONSEN_STEPS", "100000000")],
};

/// Runs them.
pub(crate) fn nightly(options: &Options) -> Result<(), Failure> {
    let jobs: Vec<&Job> = JOBS
        .iter()
        .filter(|job| options.only.as_ref().is_none_or(|only| only == job.name))
        .collect();
    if jobs.is_empty() {
        let names: Vec<_> = JOBS.iter().map(|job| job.name).collect();
        return Err(Failure::Unreadable(format!(
            "no job of that name; there are {}",
            names.join(", ")
        )));
    }
    if options.list {
        for job in jobs {
            println!("{}: {}", job.name, job.about);
            println!("    {}", line(job));
        }
        return Ok(());
    }
    policies::build(root())?;
    let mut failed = Vec::new();
    for job in &jobs {
        say(&format!("== {}: {}", job.name, job.about));
        let mut command = cargo(job.arguments);
        command.envs(job.environment.iter().copied());
        if let Err(failure) = run(&mut command) {
            say(&format!("FAIL  {}: {}", job.name, failure.chain()));
            failed.push(job.name);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::Checks {
        failed: failed.len(),
        all: jobs.len(),
        names: failed.join(", "),
    })
}

fn line(job: &Job) -> String {
    let environment = (job.environment.iter()).map(|(key, value)| format!("{key}={value} "));
    environment.collect::<String>() + "cargo " + &job.arguments.join(" ")
}
