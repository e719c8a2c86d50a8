//! `onsen`: looks at a live node, and tries a policy out before it is used.
//!
//! In: a command and where the daemon answers. Out: a table for people or JSON for programs on
//! stdout; exit code 1 with one clear sentence on stderr when something cannot be told.
//! What must hold: it changes nothing on a node; it never links the daemon.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")
)]

mod cache;
mod check;
mod client;
mod decisions;
mod documents;
mod error;
mod eval;
mod explain;
mod max_pods;
mod project;
mod push;
mod record;
mod replay;
mod scenarios;
mod shadow;
mod simulate;
mod table;
mod views;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use serde_json::Value;

use client::Endpoint;
use error::CliError;

const EXAMPLES: &str = "\
Examples:
  onsen status
  onsen pods --format json
  onsen enis --endpoint unix:/run/onsen/status.sock
  onsen decisions --follow
  onsen explain pod default/web-0
  onsen record --for 10m > node.onsenrec
  onsen policy new my-policy --lang go
  onsen policy build
  onsen policy check build/policy.wasm
  onsen policy eval --policy prefix-frugal --set FRUGAL_MAX_FREE=8 --snapshot node.json
  onsen policy test scenarios --policy file:my-policy.wasm
  onsen policy push build/policy.wasm registry.example.com/policies/mine:v1
  onsen max-pods --instance-type m5.large --prefix-delegation
  onsen simulate --policy default-warm-eni --policy prefix-frugal --instance-type m5.large --pods 20
  onsen completions bash > /etc/bash_completion.d/onsen";

#[derive(Parser)]
#[command(version, about = "Looks at a live Onsen node and checks policies", after_help = EXAMPLES)]
struct Arguments {
    /// Where the daemon answers: http://HOST:PORT or unix:PATH
    #[arg(
        long,
        global = true,
        env = "ONSEN_ENDPOINT",
        default_value = "http://127.0.0.1:61679"
    )]
    endpoint: Endpoint,
    /// For people or for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(subcommand)]
    command: Task,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Aligned columns
    Table,
    /// A document
    Json,
    /// A page with plots; for `simulate`
    Html,
}

#[derive(Subcommand)]
enum Task {
    /// The node at a glance: policy, pool, EC2 calls, last decision, reports
    Status,
    /// Pods with their addresses and ENIs
    Pods,
    /// ENIs with their blocks
    Enis,
    /// What the policy decided lately, and why
    Decisions(decisions::Arguments),
    /// Why a pod waited, why an ENI is held, who has an address, what a decision led to
    #[command(subcommand)]
    Explain(explain::Subject),
    /// How the shadow policy compares with the one in force
    Shadow,
    /// Record a live node: what was decided on what, and what followed
    Record(record::Arguments),
    /// Look at a policy
    #[command(subcommand)]
    Policy(PolicyTask),
    /// How many pods an instance type can give addresses to, step by step
    MaxPods(max_pods::Arguments),
    /// Policies side by side on simulated nodes, in virtual time
    Simulate(Box<simulate::Arguments>),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  onsen completions zsh > ~/.zfunc/_onsen")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Subcommand)]
enum PolicyTask {
    /// Start a policy of your own from a template: a project with tests and scenarios
    New(project::New),
    /// Build the policy project in this folder to build/policy.wasm
    Build(project::Build),
    /// Would a node take this component? Exit code 1 and a reason when not
    #[command(after_help = "Example:\n  onsen policy check policies/built/prefix-frugal.wasm")]
    Check {
        /// A Wasm component
        file: PathBuf,
    },
    /// Ask a policy for one decision on a snapshot
    Eval(eval::Arguments),
    /// Ask a policy again what a node asked, and show what would differ
    Replay(replay::Arguments),
    /// Put a component into an OCI registry and print the reference that names it for good
    Push(push::Arguments),
    /// Run scenario files against a policy: no cluster, no AWS, no root, virtual time
    Test(scenarios::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match perform(&arguments).and_then(|(text, code)| print(&text).map(|()| code)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("onsen: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

/// What to print, and the exit code.
fn perform(arguments: &Arguments) -> Result<(String, u8), CliError> {
    let json = arguments.format == Format::Json;
    if arguments.format == Format::Html && !matches!(arguments.command, Task::Simulate(_)) {
        return Err(CliError::NoPage);
    }
    let ask = |path| client::get(&arguments.endpoint, path);
    let text = match &arguments.command {
        Task::Status => show(json, &ask("/onsen/v1/status")?, views::status),
        Task::Pods => show(json, &ask("/onsen/v1/pods")?, |pods: &Vec<_>| {
            views::pods(pods, views::now())
        }),
        Task::Enis => show(json, &ask("/onsen/v1/enis")?, |enis: &Vec<_>| {
            views::enis(enis)
        }),
        Task::Decisions(task) => decisions::decisions(&arguments.endpoint, task, json),
        Task::Explain(subject) => explain::explain(&arguments.endpoint, subject, json),
        Task::Shadow => show(json, &ask("/onsen/v1/status")?, shadow::shadow),
        Task::Record(task) => record::record(&arguments.endpoint, task).map(|()| String::new()),
        Task::Policy(PolicyTask::New(arguments)) => project::new(arguments, json),
        Task::Policy(PolicyTask::Build(arguments)) => project::build_here(arguments, json),
        Task::Policy(PolicyTask::Check { file }) => check::check(file, json),
        Task::Policy(PolicyTask::Eval(arguments)) => eval::eval(arguments, json),
        Task::Policy(PolicyTask::Replay(arguments)) => return replay::replay(arguments, json),
        Task::Policy(PolicyTask::Push(arguments)) => push::push(arguments, json),
        Task::Policy(PolicyTask::Test(arguments)) => return scenarios::test(arguments, json),
        Task::MaxPods(arguments) => max_pods::max_pods(arguments, json),
        Task::Simulate(task) => simulate::simulate(task, arguments.format),
        Task::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "onsen", &mut script);
            Ok(String::from_utf8_lossy(&script).into_owned())
        }
    }?;
    Ok((text, 0))
}

/// A document as it is, or as the table that `view` makes of it.
fn show<T: serde::de::DeserializeOwned>(
    json: bool,
    text: &str,
    view: impl FnOnce(&T) -> String,
) -> Result<String, CliError> {
    let unreadable = |source| CliError::Unreadable {
        text: text.to_owned(),
        source,
    };
    if json {
        let value: Value = serde_json::from_str(text).map_err(unreadable)?;
        return Ok(format!("{value:#}\n"));
    }
    Ok(view(&serde_json::from_str(text).map_err(unreadable)?))
}

fn print(text: &str) -> Result<(), CliError> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // `onsen pods | head` closes the pipe early: that is not a failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(CliError::Output),
    }
}
