//! Measures the release build and prints JSON on stdout.
//!
//! In: the release programs, 100 pods on a node with a warm pool. Out: times of ADD and DEL as
//! processes, the bare kernel work of the same wiring by `ip -batch` in the same run, the gRPC call
//! alone, `decide` on three sizes of node, memory of the daemon, sizes of the programs.
//! What must hold: figures are compared within one run only; nothing here passes or fails.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;
use onsen_harness::cni::{Added, Plugin, Pod};
use onsen_harness::netns::Netns;
use onsen_harness::node::Node;
use onsen_harness::process::output;
use onsen_harness::{Lab, LabOptions, private, programs};
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::run::{cargo, run, say};
use crate::{build, setup};

/// Programs whose sizes are told.
const PROGRAMS: [&str; 3] = ["onsend", "aws-cni", "onsen"];
/// Guards against hanging.
const PATIENCE: Duration = Duration::from_mins(1);

/// How the measurement runs.
#[derive(Args)]
pub(crate) struct Options {
    /// Pods that are started and stopped
    #[arg(long, default_value_t = 100)]
    pods: usize,
    /// Use the programs as they are: no setup, no build
    #[arg(long)]
    built: bool,
}

/// Builds, measures, prints.
pub(crate) fn bench(options: &Options) -> Result<(), Failure> {
    if private::is_inside() {
        private::prepare()?;
        println!("{:#}", measure(options.pods)?);
        return Ok(());
    }
    let program = if options.built {
        std::env::current_exe().map_err(Failure::io("find the running program"))?
    } else {
        setup::setup()?;
        let folder = build::build(true)?;
        let examples = ["-p", "onsen-rpc", "-p", "onsen-policy-runner", "--examples"];
        run(cargo(&["build", "--release", "--locked"]).args(examples))?;
        folder.join("xtask")
    };
    if let Some(reason) = private::why_not() {
        return Err(Failure::Missing(reason));
    }
    let pods = options.pods.to_string();
    Err(private::exec(&program, &["bench", "--built", "--pods", &pods]).into())
}

fn measure(count: usize) -> Result<Value, Failure> {
    let folder = programs::folder()?;
    let mut options = LabOptions {
        instance_types: vec!["m5.8xlarge"],
        latency_scale: 0.0,
        ..LabOptions::default()
    };
    let wanted = count + 10;
    let cache = std::env::temp_dir().join(format!("onsen-bench-{}", std::process::id()));
    options.settings.extend([
        ("WARM_IP_TARGET".to_owned(), wanted.to_string()),
        ("ONSEN_CACHE_DIR".to_owned(), cache.display().to_string()),
    ]);
    say("starting a node and filling its pool");
    let mut lab = Lab::start(&options)?;
    let node = lab.node();
    let full = |status: &onsen_harness::node::Status| status.pool.warm as usize >= wanted;
    node.wait_status("a full pool", PATIENCE, full)?;
    let mut report = Map::new();
    report.insert("pods".to_owned(), json!(count));
    report.insert("memory_idle_kib".to_owned(), json!(memory(node)?));
    // The second start finds the policy compiled.
    node.stop_daemon()?;
    node.start()?;
    node.wait_ready()?;
    node.wait_status("a full pool after a restart", PATIENCE, full)?;
    report.insert("memory_restarted_kib".to_owned(), json!(memory(node)?));

    say("the gRPC call alone");
    report.insert("grpc".to_owned(), grpc(&folder, node, count)?);
    node.wait_status("a full pool again", PATIENCE, full)?;

    say("ADD and DEL as processes");
    let plugin = node.plugin.clone();
    report.insert("cni".to_owned(), cni(&plugin, count)?);
    report.insert("memory_after_kib".to_owned(), json!(memory(node)?));

    say("the same kernel work by ip -batch");
    report.insert(
        "bare_kernel".to_owned(),
        bare(&Netns::existing(&plugin.netns), count)?,
    );
    drop(lab);
    std::fs::remove_dir_all(&cache).map_err(Failure::io(format!("remove {}", cache.display())))?;

    say("decide");
    report.insert("decide".to_owned(), program(&folder, "decide", None)?);
    let sizes: Map<String, Value> = PROGRAMS
        .iter()
        .map(|name| ((*name).to_owned(), json!(size(&folder.join(name)))))
        .collect();
    report.insert("program_bytes".to_owned(), Value::Object(sizes));
    Ok(Value::Object(report))
}

fn cni(plugin: &Plugin, count: usize) -> Result<Value, Failure> {
    let pods: Vec<Pod> = (0..count)
        .map(|number| Pod::create(&format!("bench-{number}")))
        .collect::<Result<_, _>>()?;
    let (mut adds, mut dels, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for pod in &pods {
        let start = Instant::now();
        added.push(plugin.must_add(pod)?);
        adds.push(start.elapsed());
    }
    for (pod, Added { result, .. }) in pods.iter().zip(&added) {
        let start = Instant::now();
        plugin.must_del(pod, Some(result))?;
        dels.push(start.elapsed());
    }
    Ok(json!({"add": percentiles(adds), "del": percentiles(dels)}))
}

/// What wiring a pod costs when `ip` does it: one process on the host, one in the pod.
fn bare(host: &Netns, count: usize) -> Result<Value, Failure> {
    let mut times = Vec::new();
    for number in 0..count {
        let pod = Netns::create(&format!("bare-{number}"))?;
        let address = IpAddr::from([10, 99, (number / 250) as u8, (number % 250) as u8]);
        let link = format!("bare{number}");
        let batch = [
            format!(
                "link add {link} mtu 9001 type veth peer name eth0 mtu 9001 netns {}",
                pod.name()
            ),
            format!("link set {link} up"),
            format!("route replace {address}/32 dev {link} scope link"),
            format!("rule add to {address}/32 pref 512 lookup main"),
            format!("rule add from {address}/32 pref 1536 lookup 2"),
        ];
        let inside = [
            "link set eth0 up".to_owned(),
            "route add 169.254.1.1/32 dev eth0 scope link".to_owned(),
            "route add default via 169.254.1.1 dev eth0".to_owned(),
            format!("address add {address}/32 dev eth0"),
            "neighbour add 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent".to_owned(),
        ];
        let start = Instant::now();
        ip(host, &batch)?;
        ip(&pod, &inside)?;
        times.push(start.elapsed());
        host.tool(
            "ip",
            &["rule", "del", "to", &address.to_string(), "pref", "512"],
        )?;
        host.tool(
            "ip",
            &["rule", "del", "from", &address.to_string(), "pref", "1536"],
        )?;
    }
    Ok(percentiles(times))
}

fn ip(netns: &Netns, lines: &[String]) -> Result<(), Failure> {
    let file = std::env::temp_dir().join("onsen-bench.batch");
    std::fs::write(&file, lines.join("\n") + "\n")
        .map_err(Failure::io(format!("write {}", file.display())))?;
    netns.tool("ip", &["-batch", &file.to_string_lossy()])?;
    Ok(())
}

fn grpc(folder: &Path, node: &Node, count: usize) -> Result<Value, Failure> {
    let socket = node.plugin.socket.clone();
    program(folder, "call", Some((socket, count)))
}

/// Runs an example program that prints JSON.
fn program(folder: &Path, name: &str, call: Option<(PathBuf, usize)>) -> Result<Value, Failure> {
    let path = folder.join("examples").join(name);
    let mut command = Command::new(&path);
    if let Some((socket, count)) = call {
        command.env("ONSEN_SOCKET", socket).arg(count.to_string());
    }
    let text = output(&mut command)?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::Unreadable(format!("{} prints no JSON: {error}", path.display())))
}

/// Resident memory of the daemon in KiB.
fn memory(node: &Node) -> Result<u64, Failure> {
    let id = node
        .daemon_id()
        .ok_or_else(|| Failure::Missing("the daemon does not run".to_owned()))?;
    let path = format!("/proc/{id}/status");
    let text = std::fs::read_to_string(&path).map_err(Failure::io(format!("read {path}")))?;
    text.lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| Failure::Unreadable(format!("{path} has no VmRSS")))
}

/// Absent for a program that was not built.
fn size(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|data| data.len())
}

fn percentiles(mut times: Vec<Duration>) -> Value {
    times.sort();
    let at = |percent: usize| {
        let last = times.len().saturating_sub(1);
        times
            .get(last * percent / 100)
            .map(|time| time.as_secs_f64() * 1e3)
    };
    json!({"p50_ms": at(50), "p99_ms": at(99)})
}
