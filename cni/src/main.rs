//! `aws-cni`: the plugin that the container runtime executes for every pod.
//!
//! In: the `CNI_*` environment and a network configuration on stdin. Out: a result or an error as JSON on
//! stdout, and nothing else there. The daemon says which addresses a pod has; the plugin makes the
//! links, routes and rules. It keeps nothing: what DEL needs when the daemon is down travels in the
//! result that the runtime hands back.
//!
//! It runs in the runtime's environment, on the host's files, once per request: so all settings come
//! with the configuration, and starting must be cheap.
//!
//! Deliberately absent: branch ENIs (security groups for pods), which get an error, and `egress-cni`.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")
)]

mod add;
mod agent;
mod check;
mod conf;
mod daemon;
mod del;
mod error;
mod log;
mod request;
mod result;

use std::{
    io::{Read, Write},
    process::ExitCode,
};

use conf::{Conf, SUPPORTED};
use error::CniError;
use log::Log;
use request::{Command, Request};

/// More than any runtime sends; a bound on what a broken one can make us hold.
const STDIN_LIMIT: u64 = 16 << 20;

fn main() -> ExitCode {
    let command = match Command::from_environment() {
        Ok(Some(command)) => command,
        Ok(None) => {
            eprintln!(
                "aws-cni {}: a CNI plugin, started by the container runtime",
                env!("CARGO_PKG_VERSION")
            );
            eprintln!("CNI protocol versions supported: {}", SUPPORTED.join(", "));
            return ExitCode::SUCCESS;
        }
        Err(error) => return finish(SUPPORTED_NEWEST, Err(error)),
    };
    if command == Command::Version {
        return finish(SUPPORTED_NEWEST, Ok(result::version()));
    }
    match read_conf(command) {
        Ok(conf) => {
            let version = conf.cni_version.clone();
            finish(&version, run(command, conf))
        }
        Err(error) => finish(SUPPORTED_NEWEST, Err(error)),
    }
}

const SUPPORTED_NEWEST: &str = SUPPORTED[SUPPORTED.len() - 1];

fn read_conf(command: Command) -> Result<Conf, CniError> {
    command.check_environment()?;
    let mut stdin = Vec::new();
    std::io::stdin()
        .take(STDIN_LIMIT)
        .read_to_end(&mut stdin)
        .map_err(|source| CniError::Stdin { source })?;
    Conf::parse(&stdin)
}

fn run(command: Command, conf: Conf) -> Result<String, CniError> {
    let log = Log::open(&conf.log_file, conf.log_level);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| CniError::Runtime { source })?;
    let outcome = runtime.block_on(perform(command, conf, &log));
    if let Err(error) = &outcome {
        log.error(format_args!(
            "{command} failed: {error}{}",
            error.details_suffix()
        ));
    }
    outcome
}

async fn perform(command: Command, conf: Conf, log: &Log) -> Result<String, CniError> {
    command.check_version(&conf.cni_version)?;
    match command {
        Command::Add => add::add(&Request::from_environment(conf)?, log).await,
        Command::Del => del::del(&Request::from_environment(conf)?, log).await,
        Command::Check => check::check(&Request::from_environment(conf)?, log).await,
        Command::Status => check::status().await,
        // Attachments that the runtime forgot are the daemon's to find: it knows which links are left.
        Command::Gc => Ok(String::new()),
        Command::Version => Ok(result::version()),
    }
}

fn finish(version: &str, outcome: Result<String, CniError>) -> ExitCode {
    let (text, code) = match outcome {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => (error.to_json(version), ExitCode::FAILURE),
    };
    // A runtime that closed our stdout is told by the exit status alone.
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_closed) => ExitCode::FAILURE,
    }
}
