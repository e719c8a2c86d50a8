//! An AWS account on one machine, for tests and demonstrations: the EC2 Query API and the instance metadata
//! service over HTTP, and a VPC of network namespaces in which packets flow only as EC2 would let them.
//!
//! It needs root, or a user namespace with a network and a mount namespace of its own, and a `/run/netns` it may
//! write. When all is up it prints one line of JSON. SIGTERM and SIGINT take everything down again.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::wildcard_enum_match_arm,
        reason = "a test fails by panicking"
    )
)]

mod control;
mod ec2;
mod fabric;
mod hold;
mod http;
mod imds;
mod query;
mod reply;
mod topology;
mod world;

use std::fs::File;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::Parser;
use onsen_sim::account::{Account, Cidr, ConfigError};
use serde_json::{Value, json};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};

use crate::fabric::{INTERNET, LINK_LOCAL, ROUTER};
use crate::topology::{Topology, TopologyError};
use crate::world::{EC2_PORT, World, WorldError, unix_ms};

const HELP: &str = r#"THE TOPOLOGY, with its defaults; only `nodes` must be given:
  {"region": "eu-west-1", "zone": "eu-west-1a", "vpc_cidr": "10.0.0.0/16",
   "subnets": [{"cidr": "10.0.0.0/24", "zone": null, "tags": {}, "reservations": []}],
   "nodes": [{"name": "node-1", "instance_type": "m5.large", "subnet": 0}]}

A reservation keeps a part of a subnet: {"cidr": "10.0.0.128/25", "type": "prefix"}, or "explicit".

THE CONTROL SOCKET speaks HTTP and JSON:
  GET /_state     ENIs, subnets, calls by action and node, dropped packets, faults that are on
  GET /_log       the last 1000 EC2 calls
  GET /_fault     the catalogue of faults, and those that are on
  POST /_fault    switch a fault on; all but `name` may be left out:
                  {"name": "reply-lost", "operation": "AssignPrivateIpAddresses", "node": "node-1",
                   "count": 1, "probability": 0.5, "duration_ms": 60000, "delay_ms": 30000}
  DELETE /_fault  switch all faults off
  GET /_hold      the calls that are held now
  POST /_hold     hold the next call of an operation: before it takes effect, or with "after" before its reply
                  {"operation": "AttachNetworkInterface", "node": "node-1", "after": true}
  DELETE /_hold   let all held calls go on, and hold no more"#;

/// An AWS account on one machine: the EC2 Query API, instance metadata and a VPC of network namespaces.
#[derive(Debug, Parser)]
#[command(version, after_long_help = HELP)]
struct Arguments {
    /// What to build: a JSON file
    #[arg(long)]
    topology: PathBuf,
    /// The Unix socket for looking in and for faults
    #[arg(long)]
    control: PathBuf,
    /// Multiplies all latencies of EC2, devices and metadata; 1 is realistic
    #[arg(long, default_value_t = 1.0)]
    latency_scale: f64,
    /// Multiplies the age of what Describe shows; 1 is realistic, 0 shows every change at once
    #[arg(long, default_value_t = 0.0)]
    read_lag_scale: f64,
    /// Decides ids, addresses and latencies
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to log; stderr when absent
    #[arg(long)]
    log: Option<PathBuf>,
}

/// Why there is nothing to serve.
#[derive(Debug, thiserror::Error)]
enum MainError {
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("the topology cannot be built: {0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    World(#[from] WorldError),
    #[error("cannot open the log {0}: {1}")]
    Log(PathBuf, std::io::Error),
    #[error("cannot listen on the control socket {0}: {1}")]
    Control(PathBuf, std::io::Error),
    #[error("the control socket {0} is in use by another process")]
    ControlInUse(PathBuf),
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fake-aws: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), MainError> {
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false);
    match &arguments.log {
        Some(path) => {
            let file = File::create(path).map_err(|source| MainError::Log(path.clone(), source))?;
            log.with_writer(Mutex::new(file)).init();
        }
        None => log.with_writer(std::io::stderr).init(),
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(arguments))
}

async fn serve(arguments: &Arguments) -> Result<(), MainError> {
    // Before anything is made, so that a signal cannot leave it behind.
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let config = Topology::read(&arguments.topology)?
        .config(arguments.latency_scale, arguments.read_lag_scale)?;
    let region = config.region.clone();
    let now_ms = unix_ms();
    let account = Account::new(config, arguments.seed, now_ms)?;
    let control = listen(&arguments.control)?;
    let nodes = nodes(&account);
    let started = World::start(account, region, now_ms);
    let (world, listeners, thread) =
        started.inspect_err(|_| drop(std::fs::remove_file(&arguments.control)))?;

    let (for_ec2, for_imds, for_control) =
        (Arc::clone(&world), Arc::clone(&world), Arc::clone(&world));
    let tokens = imds::Tokens::default();
    tokio::spawn(http::serve_tcp(
        TcpListener::from_std(listeners.ec2)?,
        move |peer, request| Box::pin(ec2::handle(Arc::clone(&for_ec2), peer, request)),
    ));
    tokio::spawn(http::serve_tcp(
        TcpListener::from_std(listeners.imds)?,
        move |peer, request| {
            let (world, tokens) = (Arc::clone(&for_imds), Arc::clone(&tokens));
            Box::pin(async move { Ok(imds::handle(&world, &tokens, peer, &request).await) })
        },
    ));
    tokio::spawn(http::serve_unix(control, move |request| {
        Box::pin(control::handle(Arc::clone(&for_control), request))
    }));

    let ready = json!({
        "ready": true,
        "ec2_endpoint": format!("http://{LINK_LOCAL}:{EC2_PORT}"),
        "imds_endpoint": format!("http://{LINK_LOCAL}"),
        "router_netns": ROUTER,
        "internet_address": INTERNET,
        "nodes": nodes,
    });
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{ready}")?;
    stdout.flush()?;

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("taking everything down");
    world.stop();
    if thread.join().is_err() {
        tracing::error!("the fabric's thread panicked; some namespaces may be left");
    }
    std::fs::remove_file(&arguments.control)?;
    Ok(())
}

/// The control socket, in place of one that nobody listens on any more.
fn listen(path: &Path) -> Result<UnixListener, MainError> {
    if path.exists() {
        if UnixStream::connect(path).is_ok() {
            return Err(MainError::ControlInUse(path.to_owned()));
        }
        std::fs::remove_file(path).map_err(|source| MainError::Control(path.to_owned(), source))?;
    }
    UnixListener::bind(path).map_err(|source| MainError::Control(path.to_owned(), source))
}

/// What a test needs to know of the nodes.
fn nodes(account: &Account) -> Vec<Value> {
    let cidr_of = |id: &str| -> Option<Cidr> {
        account
            .subnets()
            .find(|it| it.subnet_id == id)
            .map(|it| it.cidr)
    };
    let mut nodes: Vec<Value> = Vec::new();
    for it in account.instances() {
        let (Some(eni), Some(cidr)) = (it.enis.first(), cidr_of(&it.subnet_id)) else {
            continue;
        };
        nodes.push(json!({
            "name": it.name,
            "netns": it.name,
            "instance_id": it.instance_id,
            "instance_type": it.instance_type,
            "zone": it.zone,
            "primary_eni": eni.id,
            "primary_mac": eni.mac,
            "primary_address": eni.primary,
            "subnet_id": it.subnet_id,
            "subnet_cidr": cidr,
            "gateway": cidr.at(1),
        }));
    }
    nodes.sort_by_key(|it| it.get("name").map(ToString::to_string));
    nodes
}
