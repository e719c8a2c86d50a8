//! `onsend`, the daemon of a node: gives pods their addresses and keeps the warm pool as the policy
//! wants it.
//!
//! In: the environment, the plugin's requests, EC2, IMDS, the kernel. Out: effects that the core
//! (`onsen-core`) asked for. This program owns all I/O and decides nothing about the pool.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that panics fails, which is what it should do"
    )
)]

mod checkpoint;
mod clock;
mod daemon;
mod ec2;
mod imds;
mod introspection;
mod kubernetes;
mod ledger;
mod logging;
mod metrics;
mod pages;
mod policies;
mod recover;
mod requests;
mod rpc_server;
mod settings;
mod start;
mod text;
mod upstream_pages;
mod words;

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::daemon::Daemon;
use crate::kubernetes::Kubernetes;
use crate::rpc_server::Claim;
use crate::settings::{Problem, Settings};

const HELP: &str = "\
onsend: the Onsen node daemon

Gives pods addresses of the VPC and keeps a warm pool of them, as a policy decides.
It is configured by environment variables, those of the Amazon VPC CNI and ONSEN_*.

Usage: onsend [OPTION]

Options:
      --check-settings      Print what the environment sets and exit, with 1 when a value is bad
      --compile-policy DIR  Compile the component on stdin into the cache DIR and exit
  -h, --help                Print this help
  -V, --version             Print the version

Examples:
  ONSEN_POLICY=builtin:prefix-frugal onsend
  AWS_VPC_ENI_MTU=1500 onsend --check-settings
";

/// A policy's guest may use 1 MiB of stack, and the host needs some beneath it.
const THREAD_STACK: usize = 4 * 1024 * 1024;
/// Answers that are ready when the daemon stops get this long to leave.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {}
        ["-h" | "--help"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ["-V" | "--version"] => {
            println!("onsend {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        ["--check-settings"] => return check_settings(),
        ["--compile-policy", cache] => return compile_policy(Path::new(cache)),
        _ => {
            eprintln!("onsend: unexpected arguments {arguments:?}\n\n{HELP}");
            return ExitCode::from(2);
        }
    }
    let settings = match read_settings() {
        Ok(settings) => settings,
        Err(problems) => {
            complain(&problems);
            return ExitCode::FAILURE;
        }
    };
    if let Err(why) = logging::start(&settings) {
        eprintln!("onsend: {why}");
        return ExitCode::FAILURE;
    }
    match live(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn read_settings() -> Result<Settings, Vec<Problem>> {
    Settings::read(&|name| std::env::var(name).ok())
}

fn check_settings() -> ExitCode {
    match read_settings() {
        Ok(settings) => {
            println!("{settings:#?}");
            complain(&settings.ignored);
            if settings.ignored.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(problems) => {
            complain(&problems);
            ExitCode::FAILURE
        }
    }
}

fn compile_policy(cache: &Path) -> ExitCode {
    match policies::compile_into(cache, std::io::stdin()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("onsend: {why}");
            ExitCode::FAILURE
        }
    }
}

fn complain(problems: &[Problem]) {
    for problem in problems {
        eprintln!("onsend: {problem}");
    }
}

/// One life, from the claim of the socket to the last answer.
fn live(settings: &Settings) -> Result<(), String> {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        "onsend starts"
    );
    for problem in &settings.ignored {
        tracing::error!("{problem}");
    }
    if !settings.unsupported.is_empty() {
        tracing::warn!(
            "set and not supported by this version, so without effect: {}",
            settings.unsupported.join(", ")
        );
    }
    // Before anything on the node is touched: another daemon may be at work.
    let claim = rpc_server::claim(&settings.socket).map_err(|error| error.to_string())?;
    let _state = checkpoint::claim(&settings.checkpoint).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_stack_size(THREAD_STACK)
        .max_blocking_threads(8)
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let lived = runtime.block_on(run(settings, &claim));
    // What still runs beside the loop (an EC2 call, a compilation) dies here as it would by kill -9.
    runtime.shutdown_timeout(Duration::from_millis(100));
    lived
}

async fn run(settings: &Settings, claim: &Claim) -> Result<(), String> {
    let mut stop = pin!(stop_signal()?);
    let clock = Clock::start();
    let (mailbox, inbox) = mpsc::unbounded_channel();
    let kubernetes = Kubernetes::new(settings).await?;
    let cluster = kubernetes.as_ref().map(|kubernetes| {
        let (ears, cluster) = Kubernetes::cluster();
        kubernetes.listen(ears, mailbox.clone());
        cluster
    });
    let ready = tokio::select! {
        () = &mut stop => return Ok(()),
        ready = start::start(settings, clock, mailbox.clone(), cluster) => ready?,
    };
    introspection::start(settings, &mailbox, ready.beginning.ledger.shelf());
    let mut daemon = Daemon::begin(ready.beginning);
    if let Some(kubernetes) = &kubernetes
        && let Some(events) = daemon.life.events()
    {
        kubernetes.tell(daemon.life.follow(), events);
    }
    tokio::spawn(ready.watcher.watch(daemon.snapshots(), mailbox.clone()));
    let listener = claim.listen().map_err(|error| error.to_string())?;
    let (close, closed) = oneshot::channel::<()>();
    let served = tokio::spawn(rpc_server::serve(
        listener,
        mailbox,
        ready.constants,
        ready.vpc_cidrs,
        clock,
        async move {
            // An error says the same: nobody will tell any more.
            let _ = closed.await;
        },
    ));
    tracing::info!(socket = %settings.socket.display(), "ready: serving pods");
    daemon.run(inbox, stop).await;
    tracing::info!("stopping");
    let _ = close.send(());
    match tokio::time::timeout(LAST_ANSWERS, served).await {
        Ok(Ok(Err(error))) => Err(format!("the gRPC server failed: {}", text::chain(&error))),
        // Clients may keep idle connections open for ever.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Resolves when the daemon is told to stop.
fn stop_signal() -> Result<impl Future<Output = ()>, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
