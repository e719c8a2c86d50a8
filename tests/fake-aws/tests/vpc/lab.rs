//! A running fake AWS with three nodes in two subnets, and what a test does inside them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use onsen_harness::netns::Netns;
use onsen_harness::{http, private};
use serde_json::{Value, json};

/// Set in the executable's second run, to a file by which it proves that the test ran.
const INSIDE: &str = "ONSEN_FAKE_AWS_TEST_INSIDE";
/// Only guards against hanging.
const LONG: Duration = Duration::from_mins(1);

/// Runs `body`, which a test function gives, in private namespaces; or says why that is not possible.
pub(crate) fn inside<F: FnOnce()>(body: F) {
    if let Some(proof) = std::env::var_os(INSIDE) {
        std::fs::write(proof, "").unwrap();
        private::prepare().unwrap_or_else(|error| panic!("{}", error.chain()));
        return body();
    }
    // The closure's type is `vpc::name_of_the_test::{{closure}}`.
    let name = std::any::type_name::<F>()
        .split("::")
        .nth(1)
        .expect("a closure of a test");
    if let Some(reason) = private::why_not() {
        // Not through `println!`: libtest would swallow it.
        drop(writeln!(std::io::stderr(), "not run: {name}: {reason}"));
        return;
    }
    // The parent may be killed: its death must end the child too.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare"]);
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let directory = tempfile::tempdir().unwrap();
    let proof = directory.path().join("ran");
    let status = command
        .args(["--net", "--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, &proof)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .status()
        .unwrap();
    assert!(
        status.success(),
        "{name} failed inside its namespaces: {status}"
    );
    assert!(proof.exists(), "{name} did not run");
}

/// Asks until there is something.
pub(crate) fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    onsen_harness::wait::wait_for(what, LONG, || Ok(look()))
        .unwrap_or_else(|error| panic!("{}", error.chain()))
}

/// A link as a node sees it.
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) mac: String,
    pub(crate) mtu: u64,
    pub(crate) up: bool,
}

/// An HTTP response.
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    }

    /// The text of the first XML element called `name`.
    pub(crate) fn element(&self, name: &str) -> String {
        let after = self
            .body
            .split_once(&format!("<{name}>"))
            .map(|(_, after)| after);
        let text = after
            .and_then(|it| it.split_once(&format!("</{name}>")))
            .map(|(text, _)| text.to_owned());
        text.unwrap_or_else(|| panic!("no <{name}> in {}", self.body))
    }
}

/// See the module. The namespaces are there as long as it is, even where a method uses nothing else of it.
pub(crate) struct Lab {
    pub(crate) ready: Value,
    process: Child,
    directory: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let node = |name: &str, subnet: u8| json!({ "name": name, "instance_type": "m5.large", "subnet": subnet });
        let topology = json!({
            "subnets": [{ "cidr": "10.0.0.0/24" }, { "cidr": "10.0.1.0/24" }],
            "nodes": [node("node-0", 0), node("node-1", 0), node("node-2", 1)],
        });
        std::fs::write(directory.path().join("topology.json"), topology.to_string()).unwrap();
        let mut process = command(&directory, "control")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("ready line {line:?}: {error}"));
        Self {
            ready,
            process,
            directory,
        }
    }

    /// Tries to start a second one beside it.
    pub(crate) fn start_again(&self) -> Output {
        command(&self.directory, "control-2")
            .stderr(Stdio::piped())
            .output()
            .unwrap()
    }

    /// A field of a node in the ready line.
    pub(crate) fn node(&self, name: &str, field: &str) -> String {
        let nodes = self.ready["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|it| it["name"] == name).unwrap();
        node[field].as_str().unwrap().to_owned()
    }

    /// An EC2 call from a node; the parameters without the version.
    pub(crate) fn ec2(&self, node: &str, parameters: &str) -> Response {
        self.try_ec2(node, parameters).expect("a response")
    }

    /// As [`Lab::ec2`]; none when the connection ends without a response.
    pub(crate) fn try_ec2(&self, node: &str, parameters: &str) -> Option<Response> {
        let signed = "AWS4-HMAC-SHA256 Credential=AKID/20260102/eu-west-1/ec2/aws4_request, SignedHeaders=host, Signature=0";
        let body = format!("{parameters}&Version=2016-11-15");
        exchange(node, 8773, "POST", "/", &[("Authorization", signed)], &body)
    }

    pub(crate) fn http(
        &self,
        node: &str,
        port: u16,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        exchange(node, port, method, path, headers, body).expect("a response")
    }

    /// A request to the control socket: the body of the answer.
    pub(crate) fn control(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> onsen_harness::Result<String> {
        let socket = self.directory.path().join("control");
        http::request(&socket, method, path, (!body.is_empty()).then_some(body))
    }

    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.control("GET", "/_state", "").unwrap()).unwrap()
    }

    /// How many packets of an ENI the source check has dropped.
    pub(crate) fn dropped(&self, eni: &str) -> u64 {
        self.state()["dropped_packets"]["by_eni"][eni]
            .as_u64()
            .unwrap()
    }

    pub(crate) fn no_fabric_errors(&self) {
        assert_eq!(self.state()["fabric_errors"], json!([]));
    }

    /// Runs a tool in a node.
    pub(crate) fn run(&self, node: &str, program: &str, arguments: &[&str]) -> String {
        Netns::existing(node)
            .tool(program, arguments)
            .unwrap_or_else(|error| panic!("{}", error.chain()))
    }

    /// Whether `target` answers a packet that a node sends from `source`.
    pub(crate) fn reaches(&self, node: &str, source: &str, target: &str) -> bool {
        // Long, since it only takes that long when the answer is no.
        ping(node, source, target, "10")
    }

    /// Whether `target` is silent to what a node sends from `source`.
    pub(crate) fn is_cut_off(&self, node: &str, source: &str, target: &str) -> bool {
        !ping(node, source, target, "1")
    }

    pub(crate) fn links(&self, node: &str) -> Vec<Link> {
        let links: Value = serde_json::from_str(&self.run(node, "ip", &["-json", "link"])).unwrap();
        let link = |it: &Value| Link {
            name: it["ifname"].as_str().unwrap().to_owned(),
            mac: it["address"].as_str().unwrap().to_owned(),
            mtu: it["mtu"].as_u64().unwrap(),
            up: it["flags"].as_array().unwrap().contains(&json!("UP")),
        };
        links.as_array().unwrap().iter().map(link).collect()
    }

    pub(crate) fn terminate(&mut self) -> ExitStatus {
        kill(
            Pid::from_raw(self.process.id().try_into().unwrap()),
            Signal::SIGTERM,
        )
        .unwrap();
        self.process.wait().unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The namespaces go with the test's own.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn ping(node: &str, source: &str, target: &str, wait_s: &str) -> bool {
    let mut command = Netns::existing(node).command("ping");
    command.args(["-n", "-q", "-c", "1", "-W", wait_s, "-I", source, target]);
    command.output().unwrap().status.success()
}

fn command(directory: &tempfile::TempDir, control: &str) -> Command {
    let path = |name: &str| -> PathBuf { directory.path().join(name) };
    let mut command = Command::new(env!("CARGO_BIN_EXE_fake-aws"));
    command
        .arg("--topology")
        .arg(path("topology.json"))
        .arg("--control")
        .arg(path(control));
    command
        .arg("--log")
        .arg(path(&format!("{control}.log")))
        .args(["--latency-scale", "0.02"]);
    command
}

/// One request from a node to the link-local services; none when the connection ends without a response.
fn exchange(
    node: &str,
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<Response> {
    let stream = Netns::existing(node).run(|| TcpStream::connect(("169.254.169.254", port)));
    let mut stream = stream.unwrap_or_else(|error| panic!("{}", error.chain()));
    stream.set_read_timeout(Some(LONG)).unwrap();
    let headers = headers
        .iter()
        .map(|(name, value)| {
            format!(
                "{name}: {value}
"
            )
        })
        .collect::<Vec<_>>()
        .concat();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some(Response {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
