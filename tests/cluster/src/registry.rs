//! Debian's `docker-registry`, where a node of the lab reaches it without TLS: on the node's own loopback.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use onsen_harness::netns::Netns;
use onsen_harness::process::{Process, output, with_log};
use onsen_harness::wait::wait_for;
use onsen_harness::{HarnessError, Result, programs};
use serde_json::json;

const ADDRESS: &str = "127.0.0.1:5000";
/// The user `onsen` with the password `warm`, as `htpasswd -B` writes it.
const PASSWORDS: &str = "onsen:$2y$05$abcdefghijklmnopqrstuuvp0euTNKfyMJdPppMxrlIGaOs8IdIIm\n";
const PATIENCE: Duration = Duration::from_mins(1);

/// A running registry. Dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    process: Process,
    netns: Netns,
    dir: PathBuf,
}

impl Registry {
    /// Starts it in the namespace of a node, with nothing in it.
    pub fn start(lab: &Path, node: &str) -> Result<Self> {
        Self::configured(lab, node, "")
    }

    /// As [`Registry::start`], for the user `onsen` with the password `warm` only.
    pub fn start_private(lab: &Path, node: &str) -> Result<Self> {
        let passwords = lab.join("htpasswd");
        std::fs::write(&passwords, PASSWORDS).map_err(HarnessError::io("write a password"))?;
        let passwords = passwords.display();
        let auth = format!("auth: {{htpasswd: {{realm: lab, path: {passwords}}}}}\n");
        let this = Self::configured(lab, node, &auth)?;
        std::fs::write(this.login(), pull_secret("warm"))
            .map_err(HarnessError::io("write a login"))?;
        Ok(this)
    }

    fn configured(lab: &Path, node: &str, more: &str) -> Result<Self> {
        let dir = lab.join("registry");
        std::fs::create_dir_all(&dir).map_err(HarnessError::io("create the registry's folder"))?;
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}/data}}}}\nhttp: {{addr: {ADDRESS}}}\n{more}",
            dir.display()
        );
        std::fs::write(dir.join("config.yml"), config)
            .map_err(HarnessError::io("write the registry's configuration"))?;
        let netns = Netns::existing(node);
        let mut this = Self {
            process: launch(&netns, &dir)?,
            netns,
            dir,
        };
        this.wait_ready()?;
        Ok(this)
    }

    /// The administrator's, where a password is wanted.
    fn login(&self) -> PathBuf {
        self.dir.join("login.json")
    }

    fn wait_ready(&mut self) -> Result<()> {
        let log = self.dir.join("registry.log");
        wait_for("the registry listening", PATIENCE, || {
            self.process.must_run()?;
            Ok(self
                .netns
                .run(|| std::net::TcpStream::connect(ADDRESS))
                .ok())
        })
        .map(drop)
        .map_err(|error| with_log(error, &log))
    }

    /// `kill -9`.
    pub fn stop(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again with what it had.
    pub fn resume(&mut self) -> Result<()> {
        self.process = launch(&self.netns, &self.dir)?;
        self.wait_ready()
    }

    /// Signs what a reference names as `cosign sign` does, or as it did before version 3.
    pub fn sign(&self, reference: &str, key: &Key, as_before: bool) -> Result<()> {
        let cosign = programs::tool("cosign").map_err(HarnessError::Protocol)?;
        let mut sign = self.netns.command(cosign);
        sign.env("COSIGN_PASSWORD", "")
            .env("HOME", &self.dir)
            .args(["sign", "--yes", "--allow-http-registry", "--key"])
            .arg(&key.private)
            // No transparency log is in reach here.
            .args(["--use-signing-config=false", "--tlog-upload=false"])
            .arg(format!("--new-bundle-format={}", !as_before))
            .arg(reference.trim_start_matches("oci:"));
        output(&mut sign).map(drop)
    }

    /// Pushes a component with `onsen`; the reference that names it for good.
    pub fn push(&self, name: &str, component: &[u8]) -> Result<String> {
        let file = self.dir.join(format!("{name}.wasm"));
        std::fs::write(&file, component).map_err(HarnessError::io("write a component"))?;
        let mut push = self.netns.command(programs::path("onsen")?);
        push.args(["policy", "push"])
            .arg(&file)
            .arg(format!("oci:{ADDRESS}/policies/{name}:v1"));
        if self.login().is_file() {
            push.arg("--registry-config").arg(self.login());
        }
        let said = output(&mut push)?;
        let reference = said
            .split_whitespace()
            .find(|word| word.starts_with("oci:") && word.contains("@sha256:"));
        reference.map(str::to_owned).ok_or_else(|| {
            HarnessError::Protocol(format!("onsen policy push names no digest: {said}"))
        })
    }
}

/// A pair of keys that cosign made.
#[derive(Debug)]
pub struct Key {
    private: PathBuf,
    /// The public one, for a node.
    pub public: PathBuf,
}

impl Key {
    /// Makes a pair in a folder.
    pub fn generate(folder: &Path, name: &str) -> Result<Self> {
        let at = folder.join(name);
        let mut make = Command::new(programs::tool("cosign").map_err(HarnessError::Protocol)?);
        make.env("COSIGN_PASSWORD", "")
            .args(["generate-key-pair", "--output-key-prefix"])
            .arg(&at);
        output(&mut make)?;
        Ok(Self {
            private: at.with_extension("key"),
            public: at.with_extension("pub"),
        })
    }
}

/// What a pull secret for this registry holds, with that password of the user `onsen`.
pub fn pull_secret(password: &str) -> String {
    let login = json!({"username": "onsen", "password": password});
    json!({"auths": {ADDRESS: login}}).to_string()
}

fn launch(netns: &Netns, dir: &Path) -> Result<Process> {
    let program = programs::tool("docker-registry").map_err(HarnessError::Protocol)?;
    let mut command = netns.command(program);
    command.arg("serve").arg(dir.join("config.yml"));
    Process::start("docker-registry", &command, &dir.join("registry.log"))
}
