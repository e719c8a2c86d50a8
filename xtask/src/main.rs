//! `cargo xtask`: the one tool to set up, build, test, measure and show Onsen.
//!
//! In: a subcommand. Out: progress on stderr, results on stdout, exit code 0 only when all held.
//! What must hold: it depends on nothing of ours but the harness, so that it builds in seconds, and
//! it runs cargo always for the whole workspace: a build of one package picks other features and
//! would compile the EC2 SDK again, which takes ten minutes.

mod bench;
mod build;
mod ci;
mod contract;
mod demo;
mod docs;
mod failure;
mod languages;
mod layers;
mod licences;
mod nightly;
mod policies;
mod purity;
mod run;
mod setup;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    about = "Sets up, builds, tests, measures and shows Onsen"
)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make this machine ready: install what is missing (Debian, as root) or list it
    Setup {
        /// With what takes long: an API server of Kubernetes, containerd
        #[arg(long)]
        all: bool,
    },
    /// Build the Rust policies to Wasm components, policies/built/NAME.wasm
    Policies,
    /// Build the policies and all programs; the last line on stdout is the folder that holds them
    Build {
        /// Optimised, as shipped. Takes half an hour of processor time the first time
        #[arg(long)]
        release: bool,
    },
    /// Show the whole of it on this machine, in namespaces of its own: no AWS account, no cluster
    Demo(demo::Options),
    /// Measure the release build and print JSON: ADD, DEL, the gRPC call, `decide`, memory, sizes
    Bench(bench::Options),
    /// Set up, build, and run every test, those of the kernel included
    Test {
        /// Get an API server of Kubernetes and containerd first; building them takes minutes, once
        #[arg(long)]
        all: bool,
    },
    /// All gates, all tests, the demo and the commands of the documents: what CI runs
    Ci,
    /// What takes too long for `ci`: more random cases, long simulations
    Nightly(nightly::Options),
    /// Run only the fast gates of `ci`: format, layers, licences, purity
    Gates,
    /// Write docs/policies/what-a-policy-sees.md from wit/policy.wit
    Contract,
    /// Run the commands that README.md and docs/ show
    Docs {
        /// Only documents whose path has this in it
        #[arg(default_value = "")]
        part: String,
    },
    /// Measure the policies over the workloads and write the tables of docs/scorecard.md and the cookbook
    Scorecard,
    /// Measure a policy in each language and write the table of docs/policies/costs.md
    Costs,
}

fn main() -> ExitCode {
    match perform(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            run::say(&format!("error: {}", failure.chain()));
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<(), Failure> {
    match task {
        Task::Setup { all } => tools::setup(all),
        Task::Build { release } => {
            let folder = build::build(release)?;
            println!("{}", folder.display());
            Ok(())
        }
        Task::Policies => policies::build(run::root()),
        Task::Demo(options) => demo::demo(&options),
        Task::Bench(options) => bench::bench(&options),
        Task::Test { all } => test::test(all),
        Task::Ci => ci::ci(),
        Task::Nightly(options) => nightly::nightly(&options),
        Task::Gates => ci::gates(),
        Task::Contract => contract::write(),
        Task::Docs { part } => docs::run_all(&part),
        Task::Scorecard => test::renew("scorecard"),
        Task::Costs => test::renew("languages"),
    }
}
