//! The languages: how a project is recognised, and the commands that build it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use crate::component::embed_and_componentise;
use crate::error::BuildError;
use crate::tools::{find, need, run};

/// A language with a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// The smallest and fastest guests.
    Rust,
    /// The standard compiler.
    Go,
    /// `QuickJS`.
    Js,
    /// `CPython`.
    Python,
    /// clang and wasi-libc.
    C,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rust, Self::Go, Self::Js, Self::Python, Self::C];

    /// As written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Go => "go",
            Self::Js => "js",
            Self::Python => "python",
            Self::C => "c",
        }
    }

    /// The file by which a project is recognised.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::Go => "go.mod",
            Self::Js => "package.json",
            Self::Python => "pyproject.toml",
            Self::C => "policy.c",
        }
    }

    /// What must be done once in a new project, in a shell.
    pub fn prepare(self) -> Option<&'static str> {
        match self {
            Self::Js => Some("npm install"),
            Self::Python => {
                Some("python3 -m venv .venv && .venv/bin/pip install -r requirements.txt")
            }
            Self::Rust | Self::Go | Self::C => None,
        }
    }

    /// The command that runs a project's unit tests.
    pub fn unit_tests(self) -> &'static str {
        match self {
            Self::Rust => "cargo test",
            Self::Go => "go test ./...",
            Self::Js => "npm test",
            Self::Python => "python3 -m unittest",
            Self::C => "make test",
        }
    }

    pub(crate) fn marks() -> String {
        Self::ALL.map(Self::mark).join(", ")
    }

    /// The language of the project in a folder.
    pub fn detect(folder: &Path) -> Result<Self, BuildError> {
        Self::ALL
            .into_iter()
            .find(|language| folder.join(language.mark()).is_file())
            .ok_or_else(|| BuildError::NoProject(folder.to_owned()))
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Language {
    type Err = BuildError;

    fn from_str(text: &str) -> Result<Self, BuildError> {
        Self::ALL
            .into_iter()
            .find(|language| language.name() == text)
            .ok_or_else(|| BuildError::Language(text.to_owned()))
    }
}

pub(crate) fn go(folder: &Path, output: &Path) -> Result<(), BuildError> {
    let go = need("go", "install Go 1.24 or newer (https://go.dev/dl)")?;
    let module = output.with_extension("core.wasm");
    run(Command::new(go)
        .current_dir(folder)
        .env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        .args([
            "build",
            "-buildmode=c-shared",
            "-trimpath",
            "-ldflags=-s -w",
            "-o",
        ])
        .arg(absolute(&module)?)
        .arg("./onsen/internal/component"))?;
    embed_and_componentise(folder, &module, output)
}

pub(crate) fn js(folder: &Path, output: &Path) -> Result<(), BuildError> {
    let tool = packaged(
        folder,
        "node_modules/.bin",
        "componentize-qjs",
        "with Node 20 or newer, run `npm install` in the project's folder",
    )?;
    // Its interpreter.
    need("node", "install Node 20 or newer (https://nodejs.org)")?;
    run(Command::new(tool)
        .current_dir(folder)
        .args([
            "--wit",
            "wit",
            "--world",
            "ipam-policy",
            "--stub-wasi",
            "--sync",
        ])
        .args([
            "--module-root",
            ".",
            "--js",
            "onsen/component.js",
            "--output",
        ])
        .arg(absolute(output)?))
}

pub(crate) fn python(folder: &Path, output: &Path) -> Result<(), BuildError> {
    let tool = packaged(
        folder,
        ".venv/bin",
        "componentize-py",
        "with Python 3.10 or newer, run `python3 -m venv .venv && .venv/bin/pip install -r requirements.txt` \
         in the project's folder",
    )?;
    run(Command::new(tool)
        .current_dir(folder)
        .args([
            "--quiet",
            "--wit-path",
            "wit",
            "--world",
            "ipam-policy",
            "componentize",
        ])
        .args(["--stub-wasi", "onsen.component", "--output"])
        .arg(absolute(output)?)
        // The order of sets must not differ from build to build.
        .env("PYTHONHASHSEED", "0"))
}

pub(crate) fn c(folder: &Path, output: &Path) -> Result<(), BuildError> {
    let clang = find_clang()?;
    let module = output.with_extension("core.wasm");
    run(Command::new(&clang)
        .current_dir(folder)
        .args([
            "--target=wasm32-wasi",
            "-mexec-model=reactor",
            "-O2",
            "-Wall",
            "-Wextra",
        ])
        .args(["-Wl,--strip-all", "-Wl,-z,stack-size=131072", "-o"])
        .arg(absolute(&module)?)
        .args([
            "policy.c",
            "onsen/onsen.c",
            "onsen/component.c",
            "onsen/ipam_policy.c",
        ]))?;
    embed_and_componentise(folder, &module, output)
}

/// A clang that has the C library for Wasm: wasi-sdk's, or the newest of Debian's.
fn find_clang() -> Result<PathBuf, BuildError> {
    if let Some(sdk) = std::env::var_os("WASI_SDK_PATH") {
        let clang = PathBuf::from(sdk).join("bin/clang");
        return need(
            &clang.to_string_lossy(),
            "set WASI_SDK_PATH to the folder of a wasi-sdk",
        );
    }
    let missing = |tool: &str| BuildError::MissingTool {
        tool: tool.to_owned(),
        how: "on Debian, `apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32`; \
              elsewhere unpack wasi-sdk and set WASI_SDK_PATH"
            .to_owned(),
    };
    let clang = (15..=30)
        .rev()
        .map(|version| format!("clang-{version}"))
        .chain(["clang".to_owned()])
        .find_map(|name| find(&name))
        .ok_or_else(|| missing("clang"))?;
    let library = ["/usr/include/wasm32-wasi", "/usr/share/wasi-sysroot"];
    if library.iter().any(|folder| Path::new(folder).is_dir()) {
        return Ok(clang);
    }
    Err(missing("wasi-libc, the C library for Wasm,"))
}

/// A tool that the project installs for itself, else one on the path.
fn packaged(folder: &Path, place: &str, tool: &str, how: &str) -> Result<PathBuf, BuildError> {
    let local = absolute(folder)?.join(place).join(tool);
    if local.is_file() {
        return Ok(local);
    }
    need(tool, how)
}

fn absolute(path: &Path) -> Result<PathBuf, BuildError> {
    std::path::absolute(path).map_err(BuildError::io("find", path))
}
