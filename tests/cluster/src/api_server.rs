//! etcd and kube-apiserver, as a cluster runs them: TLS, tokens of service accounts, RBAC.
//!
//! Both run in the router's namespace of the lab; nodes reach the API server at the service address that
//! every pod of a cluster is told.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use onsen_harness::netns::Netns;
use onsen_harness::node::Node;
use onsen_harness::process::{Process, output, tool, with_log};
use onsen_harness::wait::wait_until;
use onsen_harness::{HarnessError, Result, programs};
use serde_json::{Value, json};

/// The namespace of the DaemonSet.
pub const NAMESPACE: &str = "kube-system";
/// The ConfigMap of the rules.
pub const CONFIG_MAP: &str = "onsen-policy";
/// The first address of the services, which is the API server's.
const ADDRESS: &str = "10.100.0.1";
const SERVICES: &str = "10.100.0.0/16";
/// The router of the lab, which every node reaches.
const ROUTER: &str = "vpc";
/// Where a pod finds its token.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const PATIENCE: Duration = Duration::from_mins(3);
/// The administrator of this cluster, who lives for one test.
const ADMIN: &str = "administrator,admin,1,system:masters\n";

/// A running API server. Dropping it ends it.
#[derive(Debug)]
pub struct ApiServer {
    server: Process,
    // Ends after the API server.
    _etcd: Process,
    netns: Netns,
    dir: PathBuf,
}

impl ApiServer {
    /// Starts both and applies what `deploy/` gives a cluster. The lab's router must be there.
    pub fn start(lab: &Path, manifest: &Path) -> Result<Self> {
        let dir = lab.join("api-server");
        std::fs::create_dir_all(&dir)
            .map_err(HarnessError::io("create the API server's folder"))?;
        std::fs::write(dir.join("tokens.csv"), ADMIN)
            .map_err(HarnessError::io("write the administrator's token"))?;
        let key = dir.join("accounts.key");
        let key = key.to_string_lossy();
        tool("openssl", &["genrsa", "-out", &key, "2048"])?;
        let netns = Netns::existing(ROUTER);
        netns.tool("ip", &["link", "set", "lo", "up"])?;
        netns.tool(
            "ip",
            &["address", "add", &format!("{ADDRESS}/32"), "dev", "lo"],
        )?;
        let etcd = start_etcd(&netns, &dir)?;
        let server = start_server(&netns, &dir)?;
        let mut this = Self {
            server,
            _etcd: etcd,
            netns,
            dir,
        };
        this.write_kubeconfig()?;
        this.wait_ready()?;
        this.kubectl(&["apply", "-f", &manifest.to_string_lossy()])?;
        Ok(this)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let log = self.dir.join("server.log");
        wait_until("the API server being ready", PATIENCE, || {
            self.server.must_run()?;
            // It serves before it has made the namespaces that everything is in.
            let asked = self
                .kubectl(&["get", "--raw", "/readyz"])
                .and_then(|_| self.kubectl(&["get", "namespace", NAMESPACE]));
            Ok(asked.map(drop).map_err(|error| error.chain()))
        })
        .map_err(|error| with_log(error, &log))
    }

    /// `kill -9`.
    pub fn stop(&mut self) -> Result<()> {
        self.server.kill()
    }

    /// Starts it again on the same etcd.
    pub fn resume(&mut self) -> Result<()> {
        self.server = start_server(&self.netns, &self.dir)?;
        self.wait_ready()
    }

    /// What `kubectl` prints for the administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut kubectl = command(&self.netns, "kubectl")?;
        kubectl
            .env("HOME", &self.dir)
            .env("KUBECONFIG", self.kubeconfig())
            .args(arguments);
        output(&mut kubectl)
    }

    /// A folder for `PATH` with a `kubectl` that speaks to this API server from everywhere.
    pub fn kubectl_folder(&self) -> Result<PathBuf> {
        let folder = self.dir.join("bin");
        std::fs::create_dir_all(&folder).map_err(HarnessError::io("create a folder"))?;
        let script = format!(
            "#!/bin/sh\nHOME={} KUBECONFIG={} exec nsenter --net={} -- {} \"$@\"\n",
            self.dir.display(),
            self.kubeconfig().display(),
            self.netns.path().display(),
            programs::tool("kubectl")
                .map_err(HarnessError::Protocol)?
                .display()
        );
        let path = folder.join("kubectl");
        std::fs::write(&path, script)
            .and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(0o755)))
            .map_err(HarnessError::io("write a script for kubectl"))?;
        Ok(folder)
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.conf")
    }

    fn write_kubeconfig(&self) -> Result<()> {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
            "clusters": [{"name": "lab", "cluster": {
                "server": format!("https://{ADDRESS}"), "certificate-authority": self.authority()}}],
            "users": [{"name": "admin", "user": {"token": "administrator"}}],
        });
        std::fs::write(self.kubeconfig(), config.to_string())
            .map_err(HarnessError::io("write a kubeconfig"))
    }

    /// An object as JSON.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[&["get", "-o", "json"], arguments].concat())?;
        serde_json::from_str(&text).map_err(|source| HarnessError::Json {
            what: format!("kubectl get {}", arguments.join(" ")),
            text,
            source,
        })
    }

    /// Makes the object, or what is there like it.
    pub fn apply(&self, object: &Value) -> Result<()> {
        let path = self.dir.join("object.json");
        std::fs::write(&path, object.to_string()).map_err(HarnessError::io("write an object"))?;
        self.apply_file(&path)
    }

    fn apply_file(&self, path: &Path) -> Result<()> {
        let path = path.to_string_lossy();
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &path])
            .map(drop)
    }

    /// Makes the object of a node, as its kubelet does.
    pub fn add_node(&self, name: &str, labels: &Value) -> Result<()> {
        self.apply(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}))
    }

    /// Edits the ConfigMap of the rules: its text, and components by key.
    pub fn set_rules(&self, rules: &str, components: &[(&str, &[u8])]) -> Result<()> {
        let folder = self.dir.join("config-map");
        // Absent the first time.
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).map_err(HarnessError::io("create a folder"))?;
        let files = [("rules.yaml", rules.as_bytes())];
        for (key, bytes) in files.iter().chain(components) {
            std::fs::write(folder.join(key), bytes).map_err(HarnessError::io("write a key"))?;
        }
        let from = format!("--from-file={}", folder.display());
        let object = self.kubectl(&[
            "create",
            "configmap",
            CONFIG_MAP,
            "-n",
            NAMESPACE,
            &from,
            "--dry-run=client",
            "-o",
            "json",
        ])?;
        let path = self.dir.join("config-map.json");
        std::fs::write(&path, object).map_err(HarnessError::io("write the ConfigMap"))?;
        self.apply_file(&path)
    }

    /// The reasons and texts of the events of one object, oldest first.
    pub fn events(&self, kind: &str, name: &str) -> Result<Vec<(String, String)>> {
        let selector = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let list = self.get(&["events", "-A", "--field-selector", &selector])?;
        let text = |event: &Value, field: &str| {
            let text = event.get(field).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let events = list.get("items").and_then(Value::as_array);
        Ok(events
            .into_iter()
            .flatten()
            .map(|event| (text(event, "reason"), text(event, "message")))
            .collect())
    }

    /// What a node says that it runs, by its annotation.
    pub fn annotation(&self, node: &str) -> Result<Value> {
        let node = self.get(&["node", node])?;
        let text = node.pointer("/metadata/annotations/onsen~1policy");
        let text = text.and_then(Value::as_str).unwrap_or("null");
        serde_json::from_str(text).map_err(|source| HarnessError::Json {
            what: "the annotation onsen/policy".to_owned(),
            text: text.to_owned(),
            source,
        })
    }

    /// Gives a node's daemon what a pod of the DaemonSet finds: the API server's address, and the token of its
    /// service account. It is told nothing by files any more.
    pub fn adopt(&self, node: &mut Node) -> Result<()> {
        for by_file in ["ONSEN_POLICY_FILE", "ONSEN_NODE_LABELS_FILE"] {
            node.settings.remove(by_file);
        }
        node.settings.extend(BTreeMap::from([
            ("KUBERNETES_SERVICE_HOST".to_owned(), ADDRESS.to_owned()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned()),
            // Else the person's own kubeconfig would be found.
            ("HOME".to_owned(), self.dir.display().to_string()),
        ]));
        let token = self.kubectl(&["create", "token", "aws-node", "-n", NAMESPACE])?;
        let authority = std::fs::read(self.authority())
            .map_err(HarnessError::io("read the API server's certificate"))?;
        // `/run` is the lab's own.
        let private = std::fs::canonicalize("/var/run").is_ok_and(|path| path == Path::new("/run"));
        if !private {
            let why = "/var/run is not /run here: a token would be left on the machine";
            return Err(HarnessError::Protocol(why.to_owned()));
        }
        let account = Path::new(ACCOUNT);
        std::fs::create_dir_all(account)
            .map_err(HarnessError::io("create the account's folder"))?;
        for (name, bytes) in [
            ("ca.crt", authority.as_slice()),
            ("token", token.trim().as_bytes()),
            ("namespace", NAMESPACE.as_bytes()),
        ] {
            std::fs::write(account.join(name), bytes)
                .map_err(HarnessError::io(format!("write the account's {name}")))?;
        }
        Ok(())
    }

    /// The certificate file holds the authority that signed it, too.
    fn authority(&self) -> PathBuf {
        self.dir.join("certificates/apiserver.crt")
    }
}

fn command(netns: &Netns, name: &'static str) -> Result<Command> {
    let program = programs::tool(name).map_err(HarnessError::Protocol)?;
    Ok(netns.command(program))
}

fn start_etcd(netns: &Netns, dir: &Path) -> Result<Process> {
    let mut etcd = command(netns, "etcd")?;
    etcd.arg("--data-dir").arg(dir.join("etcd")).args([
        "--listen-client-urls",
        "http://127.0.0.1:2379",
        "--advertise-client-urls",
        "http://127.0.0.1:2379",
        "--listen-peer-urls",
        "http://127.0.0.1:2380",
        "--initial-advertise-peer-urls",
        "http://127.0.0.1:2380",
        "--initial-cluster",
        "default=http://127.0.0.1:2380",
        // Nothing here outlives the test.
        "--unsafe-no-fsync",
    ]);
    Process::start("etcd", &etcd, &dir.join("etcd.log"))
}

fn start_server(netns: &Netns, dir: &Path) -> Result<Process> {
    let mut server = command(netns, "kube-apiserver")?;
    for (option, file) in [
        ("--cert-dir", "certificates"),
        ("--token-auth-file", "tokens.csv"),
        ("--service-account-key-file", "accounts.key"),
        ("--service-account-signing-key-file", "accounts.key"),
    ] {
        server.arg(option).arg(dir.join(file));
    }
    server.args([
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        "--secure-port=443",
        &format!("--advertise-address={ADDRESS}"),
        &format!("--service-cluster-ip-range={SERVICES}"),
        "--service-account-issuer=https://lab.example",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged",
    ]);
    Process::start("kube-apiserver", &server, &dir.join("server.log"))
}
