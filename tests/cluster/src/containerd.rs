//! containerd with runc, driven through the CRI as the kubelet drives it.
//!
//! It runs in a node's network namespace and calls the plugins of a conflist as on a real node. Its image is
//! made here: one static program that sleeps.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use onsen_harness::netns::Netns;
use onsen_harness::node::Node;
use onsen_harness::process::{Process, output, tool, with_log};
use onsen_harness::wait::wait_for;
use onsen_harness::{HarnessError, Result, programs};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(1);
const IMAGE: &str = "lab.example/pause:1";
/// All that a sandbox needs to do.
const PAUSE: &str = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n";
/// Programs of the folder of tools that containerd calls by name.
const PLUGINS: [&str; 2] = ["loopback", "portmap"];

/// A running containerd. Dropping it ends it and its sandboxes.
#[derive(Debug)]
pub struct Containerd {
    process: Process,
    dir: PathBuf,
    tools: PathBuf,
}

/// Why a sandbox was not made: what the kubelet puts into the pod's event.
type Refused = String;

impl Containerd {
    /// Starts it on a node with the shipped conflist.
    pub fn start(lab: &Path, node: &Node, conflist: &str) -> Result<Self> {
        let dir = lab.join("containerd");
        let (bin, conf) = (dir.join("cni-bin"), dir.join("cni-conf"));
        for folder in [&bin, &conf] {
            std::fs::create_dir_all(folder)
                .map_err(HarnessError::io(format!("create {}", folder.display())))?;
        }
        let write = |path: PathBuf, text: &str| {
            std::fs::write(&path, text)
                .map_err(HarnessError::io(format!("write {}", path.display())))
        };
        let link = |from: PathBuf, name: &str| {
            std::os::unix::fs::symlink(from, bin.join(name))
                .map_err(HarnessError::io(format!("link {name}")))
        };
        let found = |name| programs::tool(name).map_err(HarnessError::Protocol);
        link(node.plugin.program.clone(), "aws-cni")?;
        for name in PLUGINS {
            link(found(name)?, name)?;
        }
        write(conf.join("10-aws.conflist"), conflist)?;
        write(dir.join("config.toml"), &config(&dir))?;
        let containerd = found("containerd")?;
        let tools = containerd.parent().unwrap_or(Path::new("/")).to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(tools.clone()).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(path).unwrap_or_default();
        let mut command = Netns::existing(&node.instance.netns).command("env");
        // The plugin's only word of where this lab's daemon is.
        command
            .arg(format!("PATH={}", path.display()))
            .arg(format!("ONSEN_SOCKET={}", node.plugin.socket.display()))
            .arg(containerd)
            .arg("--config")
            .arg(dir.join("config.toml"));
        let mut this = Self {
            process: Process::start("containerd", &command, &dir.join("containerd.log"))?,
            dir,
            tools,
        };
        let image = this.make_image()?;
        this.wait_ready()?;
        this.ctr(&["images", "import", &image.to_string_lossy()])?;
        Ok(this)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let log = self.dir.join("containerd.log");
        wait_for("containerd answering", PATIENCE, || {
            self.process.must_run()?;
            Ok(self.crictl(&["version"]).ok())
        })
        .map(drop)
        .map_err(|error| with_log(error, &log))
    }

    /// An archive as `docker save` writes it.
    fn make_image(&self) -> Result<PathBuf> {
        let dir = self.dir.join("image");
        let write = |name: &str, text: &str| {
            std::fs::write(dir.join(name), text)
                .map_err(HarnessError::io(format!("write {name} of the image")))
        };
        std::fs::create_dir_all(&dir).map_err(HarnessError::io("create the image's folder"))?;
        write("pause.c", PAUSE)?;
        let run = |program: &str, arguments: &[&str]| {
            output(Command::new(program).current_dir(&dir).args(arguments))
        };
        run("cc", &["-static", "-o", "pause", "pause.c"])?;
        run("tar", &["-cf", "layer.tar", "pause"])?;
        let digest = run("sha256sum", &["layer.tar"])?;
        let digest = digest.split_whitespace().next().unwrap_or_default();
        let config = json!({
            "architecture": architecture(), "os": "linux",
            "config": {"Entrypoint": ["/pause"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        });
        write("config.json", &config.to_string())?;
        let manifest =
            json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
        write("manifest.json", &manifest.to_string())?;
        let files = [
            "-cf",
            "image.tar",
            "manifest.json",
            "config.json",
            "layer.tar",
        ];
        run("tar", &files)?;
        Ok(dir.join("image.tar"))
    }

    /// Makes a pod's sandbox, network and all; its id, or why not.
    pub fn run_pod(&self, name: &str) -> Result<std::result::Result<String, Refused>> {
        let config = json!({
            "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "attempt": 0},
            "log_directory": self.dir.join("pods"),
            "linux": {},
        });
        let file = self.dir.join(format!("{name}.json"));
        std::fs::write(&file, config.to_string()).map_err(HarnessError::io("write a sandbox"))?;
        match self.crictl(&["runp", &file.to_string_lossy()]) {
            Ok(id) => Ok(Ok(id.trim().to_owned())),
            Err(HarnessError::Tool { stderr, .. }) => Ok(Err(stderr)),
            Err(other) => Err(other),
        }
    }

    /// The address of a sandbox.
    pub fn address(&self, id: &str) -> Result<String> {
        let text = self.crictl(&["inspectp", id])?;
        let status: Value = serde_json::from_str(&text).map_err(|source| HarnessError::Json {
            what: format!("crictl inspectp {id}"),
            text: text.clone(),
            source,
        })?;
        let address = status.pointer("/status/network/ip").and_then(Value::as_str);
        address.map(str::to_owned).ok_or_else(|| {
            HarnessError::Protocol(format!("the sandbox {id} has no address: {text}"))
        })
    }

    /// Stops and removes a sandbox, as the kubelet does.
    pub fn remove_pod(&self, id: &str) -> Result<()> {
        self.crictl(&["stopp", id])?;
        self.crictl(&["rmp", id]).map(drop)
    }

    /// Ids of the sandboxes there are.
    pub fn pods(&self) -> Result<Vec<String>> {
        let list = self.crictl(&["pods", "--quiet"])?;
        Ok(list.split_whitespace().map(str::to_owned).collect())
    }

    fn crictl(&self, arguments: &[&str]) -> Result<String> {
        let endpoint = format!("unix://{}", self.socket().display());
        let program = self.tools.join("crictl").display().to_string();
        // One connection, one answer: the bound guards against hanging.
        let options = ["--runtime-endpoint", &endpoint, "--timeout", "120s"];
        let mut command = Command::new(program);
        command.env("HOME", &self.dir).args(options).args(arguments);
        output(&mut command)
    }

    fn ctr(&self, arguments: &[&str]) -> Result<String> {
        let socket = self.socket().display().to_string();
        let program = self.tools.join("ctr").display().to_string();
        tool(
            &program,
            &[&["--address", &socket, "--namespace", "k8s.io"], arguments].concat(),
        )
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Shims outlive containerd: what is left of a failed test would hold the lab's namespaces.
        for id in self.pods().unwrap_or_default() {
            drop(self.remove_pod(&id));
        }
    }
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    }
}

/// All in the lab's folder; what a machine may lack is done without.
fn config(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
[grpc]
  address = "{dir}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}"
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{dir}/cni-bin"
    conf_dir = "{dir}/cni-conf"
"#
    )
}
