//! The plugin as a runtime executes it: a process with an environment and stdin, against a daemon that
//! speaks the real protocol over a real socket, in network namespaces that vanish with the test.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

#[path = "../../net/tests/lab/mod.rs"]
mod lab;

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{Arc, Mutex},
};

use lab::{Place, in_fresh_namespace, lines, node, node_wiring, second_eni, sh, still};
use onsen_net::Net;
use onsen_rpc::{
    AddNetworkReply, AddNetworkRequest, DelNetworkReply, DelNetworkRequest, DeleteNpReply,
    DeleteNpRequest, EnforceNpReply, EnforceNpRequest, IpAllocationMetadata, REASON_METADATA,
    UNKNOWN_POD,
    cni_backend_server::{CniBackend, CniBackendServer},
    np_backend_server::{NpBackend, NpBackendServer},
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::UnixListener, process::Command};
use tonic::{Request, Response, Status};

/// A daemon with one address to give, and a policy agent; both remember what they were asked.
#[derive(Default)]
struct Fake {
    held: Option<String>,
    policy_mode: String,
    vlan: i32,
    empty: bool,
    adds: Vec<AddNetworkRequest>,
    dels: Vec<DelNetworkRequest>,
    enforced: Vec<EnforceNpRequest>,
    forgotten: Vec<DeleteNpRequest>,
}

#[derive(Clone, Default)]
struct Daemon(Arc<Mutex<Fake>>);

impl Daemon {
    fn with<T>(&self, work: impl FnOnce(&mut Fake) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }
}

fn allocation() -> IpAllocationMetadata {
    IpAllocationMetadata {
        ipv4_addr: "10.0.0.100".into(),
        ipv6_addr: String::new(),
        device_number: 1,
        route_table_id: 2,
    }
}

#[tonic::async_trait]
impl CniBackend for Daemon {
    async fn add_network(
        &self,
        request: Request<AddNetworkRequest>,
    ) -> Result<Response<AddNetworkReply>, Status> {
        let request = request.into_inner();
        self.with(|fake| {
            let container = request.container_id.clone();
            fake.adds.push(request);
            if fake.empty || fake.held.as_ref().is_some_and(|held| *held != container) {
                let mut response = Response::new(AddNetworkReply::default());
                response.metadata_mut().insert(
                    REASON_METADATA,
                    "node-full: 1 of 1%20in use".parse().unwrap(),
                );
                return Ok(response);
            }
            fake.held = Some(container);
            Ok(Response::new(AddNetworkReply {
                success: true,
                ip_allocation_metadata: vec![allocation()],
                pod_vlan_id: fake.vlan,
                network_policy_mode: fake.policy_mode.clone(),
                ..AddNetworkReply::default()
            }))
        })
    }

    async fn del_network(
        &self,
        request: Request<DelNetworkRequest>,
    ) -> Result<Response<DelNetworkReply>, Status> {
        let request = request.into_inner();
        self.with(|fake| {
            let container = request.container_id.clone();
            fake.dels.push(request);
            if fake.held.take_if(|held| *held == container).is_none() {
                return Err(Status::unknown(format!(
                    "2 errors: {UNKNOWN_POD}, {UNKNOWN_POD}"
                )));
            }
            Ok(Response::new(DelNetworkReply {
                success: true,
                ip_allocation_metadata: vec![allocation()],
                pod_vlan_id: 0,
                network_policy_mode: fake.policy_mode.clone(),
            }))
        })
    }
}

#[tonic::async_trait]
impl NpBackend for Daemon {
    async fn enforce_np_to_pod(
        &self,
        request: Request<EnforceNpRequest>,
    ) -> Result<Response<EnforceNpReply>, Status> {
        self.with(|fake| fake.enforced.push(request.into_inner()));
        Ok(Response::new(EnforceNpReply { success: true }))
    }

    async fn delete_pod_np(
        &self,
        request: Request<DeleteNpRequest>,
    ) -> Result<Response<DeleteNpReply>, Status> {
        self.with(|fake| fake.forgotten.push(request.into_inner()));
        Ok(Response::new(DeleteNpReply { success: true }))
    }
}

/// The sockets and the log of one test.
struct Bench {
    folder: tempfile::TempDir,
    daemon: Daemon,
    server: Option<tokio::task::JoinHandle<()>>,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            daemon: Daemon::default(),
            server: None,
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("ipamd.sock")
    }

    fn agent_socket(&self) -> PathBuf {
        self.folder.path().join("npa.sock")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("plugin.log")).unwrap()
    }

    async fn start_daemon(&mut self) {
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter
            .set_service_status("", tonic_health::ServingStatus::Serving)
            .await;
        let router = tonic::transport::Server::builder()
            .add_service(CniBackendServer::new(self.daemon.clone()))
            .add_service(health);
        self.server = Some(serve(router, &self.socket()));
    }

    fn start_agent(&self) {
        let router = tonic::transport::Server::builder()
            .add_service(NpBackendServer::new(self.daemon.clone()));
        serve(router, &self.agent_socket());
    }

    async fn stop_daemon(&mut self) {
        let server = self.server.take().unwrap();
        server.abort();
        let _ = server.await;
        std::fs::remove_file(self.socket()).unwrap();
    }

    fn conf(&self, version: &str) -> Value {
        json!({
            "cniVersion": version,
            "name": "aws-cni",
            "type": "aws-cni",
            "mtu": "9001",
            "vethPrefix": "eni",
            "pluginLogFile": self.folder.path().join("plugin.log"),
            "pluginLogLevel": "DEBUG",
        })
    }

    fn call<'a>(&'a self, command: &'a str, conf: Value) -> Call<'a> {
        Call {
            bench: self,
            command,
            conf,
            netns: PathBuf::new(),
            container: "c1",
            pod: "web-0",
        }
    }

    /// ADD for the usual pod, which must work.
    async fn added(&self, pod: &Place, version: &str) -> Value {
        let output = self.call("ADD", self.conf(version)).inside(pod).run().await;
        assert!(
            output.status.success(),
            "{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn serve(router: tonic::transport::server::Router, socket: &Path) -> tokio::task::JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    let incoming = futures_util::stream::unfold(listener, |listener| async {
        let stream = listener.accept().await.map(|(stream, _)| stream);
        Some((stream, listener))
    });
    tokio::spawn(async move { router.serve_with_incoming(incoming).await.unwrap() })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

struct Call<'a> {
    bench: &'a Bench,
    command: &'a str,
    conf: Value,
    netns: PathBuf,
    container: &'a str,
    pod: &'a str,
}

impl Call<'_> {
    fn inside(mut self, pod: &Place) -> Self {
        self.netns = pod.path();
        self
    }

    fn with_result(mut self, result: &Value) -> Self {
        self.conf["prevResult"] = result.clone();
        self
    }

    async fn run(self) -> Output {
        let arguments = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID=u1",
            self.pod, self.container
        );
        let environment = [
            ("CNI_COMMAND", self.command),
            ("CNI_CONTAINERID", self.container),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
            ("CNI_ARGS", &arguments),
        ];
        let mut command = plugin(&environment);
        command
            .env("CNI_NETNS", &self.netns)
            .env("ONSEN_SOCKET", self.bench.socket())
            .env("ONSEN_POLICY_AGENT_SOCKET", self.bench.agent_socket());
        run(command, &self.conf.to_string()).await
    }

    /// The code and the message of a request that must fail.
    async fn refused(self) -> (u64, String) {
        refused(&self.run().await)
    }

    async fn succeeds(self) {
        let output = self.run().await;
        assert!(
            output.status.success(),
            "{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        assert_eq!(text(&output.stdout), "");
    }
}

fn plugin(environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aws-cni"));
    command.env_clear().envs(environment.iter().copied());
    command
}

async fn run(mut command: Command, stdin: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A plugin that refuses its environment does not read.
    let _ = child
        .stdin
        .take()
        .unwrap()
        .write_all(stdin.as_bytes())
        .await;
    child.wait_with_output().await.unwrap()
}

fn refused(output: &Output) -> (u64, String) {
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    (
        error["code"].as_u64().unwrap(),
        error["msg"].as_str().unwrap().into(),
    )
}

/// A node that the daemon has set up.
async fn ready_node() -> Place {
    let vpc = node();
    let net = Net::open().unwrap();
    net.set_up_node(&node_wiring()).await.unwrap();
    net.set_up_eni(&second_eni()).await.unwrap();
    vpc
}

fn routing() -> String {
    still(&sh(
        "ip rule; ip route show table all | grep -v eni; ip -br link | grep -v ^eni || true",
    ))
}

#[test]
fn a_pod_is_added_talks_and_is_deleted_as_often_as_the_runtime_likes() {
    in_fresh_namespace(|| async {
        let vpc = ready_node().await;
        let clean = routing();
        let mut bench = Bench::new();
        bench.start_daemon().await;
        let pod = Place::new();

        let result = bench.added(&pod, "0.4.0").await;
        assert_eq!(
            result,
            json!({
                "cniVersion": "0.4.0",
                "interfaces": [
                    {"name": "eni0d7763386da"},
                    {"name": "eth0", "mac": "2", "sandbox": pod.path()},
                    {"name": "dummy0d7763386da", "mac": "0", "sandbox": "1"},
                ],
                "ips": [{"version": "4", "interface": 1, "address": "10.0.0.100/32"}],
                "dns": {},
            })
        );
        let asked = bench.daemon.with(|fake| fake.adds[0].clone());
        assert_eq!(
            asked,
            AddNetworkRequest {
                k8s_pod_name: "web-0".into(),
                k8s_pod_namespace: "default".into(),
                k8s_pod_infra_container_id: "c1".into(),
                netns: pod.path().display().to_string(),
                if_name: "eth0".into(),
                network_name: "aws-cni".into(),
                container_id: "c1".into(),
                client_version: String::new(),
                requires_multi_nic_attachment: false,
            }
        );
        sh("ping -c1 -W2 10.0.0.100");
        pod.sh("ping -c1 -W2 10.0.1.1");
        pod.sh("ping -c1 -W2 198.51.100.9");
        vpc.sh("ping -c1 -W2 -I 10.0.1.1 10.0.0.100");

        bench
            .call("CHECK", bench.conf("0.4.0"))
            .inside(&pod)
            .with_result(&result)
            .succeeds()
            .await;
        bench
            .call("DEL", bench.conf("0.4.0"))
            .inside(&pod)
            .with_result(&result)
            .succeeds()
            .await;
        let gone = bench
            .call("CHECK", bench.conf("0.4.0"))
            .inside(&pod)
            .with_result(&result)
            .refused()
            .await;
        assert_eq!(
            (gone.0, gone.1.starts_with("check cmd: missing: ")),
            (999, true),
            "{}",
            gone.1
        );
        // The last DEL of a runtime has neither namespace nor result.
        bench.call("DEL", bench.conf("0.4.0")).succeeds().await;
        pod.sh("ip link del eth0");
        assert_eq!(routing(), clean);
        let reasons = bench.daemon.with(|fake| {
            fake.dels
                .iter()
                .map(|del| del.reason.clone())
                .collect::<Vec<_>>()
        });
        assert_eq!(reasons, ["PodDeleted", "PodDeleted"]);
        assert_eq!(
            bench.daemon.with(|fake| fake.dels[0].k8s_pod_uid.clone()),
            "u1"
        );

        for line in bench.log().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            for member in ["level", "ts", "caller", "msg"] {
                assert!(line[member].is_string(), "{line}");
            }
        }
    });
}

#[test]
fn a_configuration_of_1_1_0_gets_a_result_of_1_1_0() {
    in_fresh_namespace(|| async {
        let _vpc = ready_node().await;
        let mut bench = Bench::new();
        bench.start_daemon().await;
        let pod = Place::new();
        let result = bench.added(&pod, "1.1.0").await;
        assert_eq!(
            result["ips"],
            json!([{"interface": 1, "address": "10.0.0.100/32"}])
        );
        assert_eq!(
            result.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["cniVersion", "interfaces", "ips"]
        );

        bench.call("GC", bench.conf("1.1.0")).succeeds().await;
        assert_eq!(bench.call("GC", bench.conf("0.4.0")).refused().await.0, 1);
        bench.call("STATUS", bench.conf("1.1.0")).succeeds().await;
        bench.stop_daemon().await;
        assert_eq!(
            bench.call("STATUS", bench.conf("1.1.0")).refused().await.0,
            50
        );
    });
}

#[test]
fn two_adds_at_once_give_one_pod_one_address() {
    in_fresh_namespace(|| async {
        let _vpc = ready_node().await;
        let mut bench = Bench::new();
        bench.start_daemon().await;
        let pod = Place::new();
        let (one, two) = tokio::join!(bench.added(&pod, "0.4.0"), bench.added(&pod, "0.4.0"));
        assert_eq!(one, two);
        pod.sh("ping -c1 -W2 10.0.1.1");
        assert_eq!(lines(&sh("ip rule show pref 1536")).len(), 1);
        assert_eq!(
            bench.daemon.with(|fake| (fake.adds.len(), fake.dels.len())),
            (2, 0)
        );
    });
}

#[test]
fn without_a_daemon_add_fails_and_del_tears_down_by_the_result() {
    in_fresh_namespace(|| async {
        let _vpc = ready_node().await;
        let clean = routing();
        let mut bench = Bench::new();
        bench.start_daemon().await;
        let pod = Place::new();
        let mut result = bench.added(&pod, "0.4.0").await;
        bench.stop_daemon().await;

        let other = Place::new();
        let (code, said) = bench
            .call("ADD", bench.conf("0.4.0"))
            .inside(&other)
            .refused()
            .await;
        assert_eq!(code, 999);
        assert!(
            said.starts_with("add cmd: Error received from AddNetwork gRPC call: Unavailable")
                && said.contains("No such file or directory"),
            "{said}"
        );

        // Plugins after us have appended theirs.
        result["interfaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "v6if0", "sandbox": "x"}));
        let before = sh("ip rule; ip route");
        bench.call("DEL", bench.conf("0.4.0")).succeeds().await;
        assert_eq!(
            sh("ip rule; ip route"),
            before,
            "without a result nothing can be torn down"
        );
        for _ in 0..2 {
            bench
                .call("DEL", bench.conf("0.4.0"))
                .inside(&pod)
                .with_result(&result)
                .succeeds()
                .await;
        }
        pod.sh("ip link del eth0");
        assert_eq!(routing(), clean);
    });
}

#[test]
fn a_daemon_without_addresses_says_why() {
    in_fresh_namespace(|| async {
        let mut bench = Bench::new();
        bench.start_daemon().await;
        bench.daemon.with(|fake| fake.empty = true);
        let pod = Place::new();
        assert_eq!(
            bench
                .call("ADD", bench.conf("0.4.0"))
                .inside(&pod)
                .refused()
                .await,
            (
                999,
                "add cmd: failed to assign an IP address to container: node-full: 1 of 1 in use"
                    .into()
            )
        );
        assert_eq!(lines(&pod.sh("ip -br link")).len(), 1);
    });
}

#[test]
fn an_address_that_cannot_be_wired_goes_back_at_once() {
    in_fresh_namespace(|| async {
        let _vpc = ready_node().await;
        let clean = routing();
        let mut bench = Bench::new();
        bench.start_daemon().await;
        let pod = Place::new();
        pod.sh("ip link add eth0 type veth peer name other");
        let (code, said) = bench
            .call("ADD", bench.conf("0.4.0"))
            .inside(&pod)
            .refused()
            .await;
        assert_eq!(
            (code, said.as_str()),
            (
                999,
                "add command: failed to setup network: cannot create the links eth0 and eni0d7763386da: \
                 EEXIST: File exists"
            )
        );
        bench.daemon.with(|fake| {
            assert_eq!(fake.dels[0].reason, "SetupNSFailed");
            assert_eq!(fake.held, None);
        });
        assert_eq!(routing(), clean);
    });
}

#[test]
fn a_branch_pod_is_refused_and_its_late_dels_touch_nothing() {
    in_fresh_namespace(|| async {
        let mut bench = Bench::new();
        bench.start_daemon().await;
        bench.daemon.with(|fake| fake.vlan = 4);
        let pod = Place::new();
        let (code, said) = bench
            .call("ADD", bench.conf("0.4.0"))
            .inside(&pod)
            .refused()
            .await;
        assert!(
            code == 999 && said.contains("branch ENIs") && said.contains("VLAN 4"),
            "{said}"
        );
        assert_eq!(bench.daemon.with(|fake| fake.held.clone()), None);

        let upstreams = json!({
            "cniVersion": "0.4.0",
            "interfaces": [
                {"name": "vlan0d7763386da"},
                {"name": "eth0", "mac": "0", "sandbox": "x"},
                {"name": "dummy0d7763386da", "mac": "4"},
            ],
            "ips": [{"version": "4", "interface": 1, "address": "10.0.0.100/32", "gateway": "10.0.0.1"}],
        });
        let dels = bench.daemon.with(|fake| fake.dels.len());
        bench
            .call("DEL", bench.conf("0.4.0"))
            .with_result(&upstreams)
            .succeeds()
            .await;
        let (code, _) = bench
            .call("DEL", bench.conf("0.4.0"))
            .inside(&pod)
            .with_result(&upstreams)
            .refused()
            .await;
        assert_eq!(code, 999);
        assert_eq!(
            bench.daemon.with(|fake| fake.dels.len()),
            dels,
            "the daemon is not asked"
        );
    });
}

#[test]
fn network_policies_are_enforced_and_forgotten_when_the_daemon_names_a_mode() {
    in_fresh_namespace(|| async {
        let _vpc = ready_node().await;
        let mut bench = Bench::new();
        bench.start_daemon().await;
        bench
            .daemon
            .with(|fake| fake.policy_mode = "standard".into());
        let pod = Place::new();

        // No agent yet: the pod keeps its address, which the runtime's DEL takes back.
        let (code, said) = bench
            .call("ADD", bench.conf("0.4.0"))
            .inside(&pod)
            .refused()
            .await;
        assert!(
            code == 999 && said.starts_with("add cmd: failed to setup network policy"),
            "{said}"
        );
        assert_eq!(
            bench
                .daemon
                .with(|fake| (fake.held.clone(), fake.dels.len())),
            (Some("c1".into()), 0)
        );
        let (code, _) = bench
            .call("DEL", bench.conf("0.4.0"))
            .inside(&pod)
            .refused()
            .await;
        assert_eq!(code, 999, "the runtime must come again");

        bench.start_agent();
        let result = bench.added(&pod, "0.4.0").await;
        bench
            .call("DEL", bench.conf("0.4.0"))
            .inside(&pod)
            .with_result(&result)
            .succeeds()
            .await;
        bench.daemon.with(|fake| {
            assert_eq!(fake.enforced.len(), 1);
            assert_eq!(fake.enforced[0].network_policy_mode, "standard");
            assert_eq!(fake.enforced[0].interface_count, 1);
            assert_eq!(fake.forgotten[0].k8s_pod_name, "web-0");
        });
    });
}

#[test]
fn the_nodes_own_namespace_is_no_pod() {
    in_fresh_namespace(|| async {
        let mut bench = Bench::new();
        bench.start_daemon().await;
        let mut call = bench.call("ADD", bench.conf("0.4.0"));
        call.netns = "/proc/thread-self/ns/net".into();
        assert_eq!(call.refused().await.0, 8);
        assert!(bench.daemon.with(|fake| fake.adds.is_empty()));
    });
}

#[tokio::test]
async fn bad_requests_are_refused_with_the_code_of_the_specification() {
    let full = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/nonexistent"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", "K8S_POD_NAME=web-0"),
    ];
    let conf = r#"{"cniVersion":"0.4.0","name":"aws-cni"}"#;
    let check = async |changed: Option<(&str, &str)>, conf: &str, code: u64, words: &str| {
        let mut environment = full.to_vec();
        if let Some((name, value)) = changed {
            environment.retain(|(known, _)| *known != name);
            environment.push((name, value));
        }
        let output = run(plugin(&environment), conf).await;
        let (got, said) = refused(&output);
        assert!(
            got == code && said.contains(words),
            "{changed:?} {conf}: {}",
            text(&output.stdout)
        );
    };
    check(
        Some(("CNI_COMMAND", "FLY")),
        conf,
        4,
        "unknown CNI_COMMAND: FLY",
    )
    .await;
    check(Some(("CNI_CONTAINERID", "")), conf, 4, "CNI_CONTAINERID").await;
    check(Some(("CNI_NETNS", "")), conf, 4, "CNI_NETNS").await;
    check(
        Some(("CNI_CONTAINERID", "../x")),
        conf,
        4,
        "invalid CNI_CONTAINERID",
    )
    .await;
    check(Some(("CNI_IFNAME", "a/b")), conf, 4, "invalid CNI_IFNAME").await;
    check(Some(("CNI_ARGS", "COLOUR=red")), conf, 999, "COLOUR").await;
    check(
        None,
        conf,
        999,
        "cannot enter the network namespace /nonexistent: No such file",
    )
    .await;
    check(None, "", 6, "error unmarshall network config").await;
    check(None, "{\"name\":", 6, "error unmarshall network config").await;
    check(
        None,
        r#"{"cniVersion":"9.9.9","name":"x"}"#,
        1,
        "incompatible CNI versions",
    )
    .await;
    check(None, r#"{"cniVersion":"0.4.0"}"#, 7, "missing network name").await;
    check(Some(("CNI_COMMAND", "CHECK")), conf, 999, "no prevResult").await;
    check(
        Some(("CNI_COMMAND", "CHECK")),
        r#"{"cniVersion":"0.3.1","name":"x"}"#,
        1,
        "does not allow CHECK",
    )
    .await;
}

#[tokio::test]
async fn the_versions_are_told_without_a_configuration() {
    let output = run(plugin(&[("CNI_COMMAND", "VERSION")]), "").await;
    assert_eq!(
        serde_json::from_slice::<Value>(&output.stdout).unwrap(),
        json!({
            "cniVersion": "1.1.0",
            "supportedVersions": ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        })
    );
    let output = run(plugin(&[]), "").await;
    assert!(output.status.success() && output.stdout.is_empty());
    assert!(text(&output.stderr).contains("1.1.0"));
}
