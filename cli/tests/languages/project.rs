//! A project made from a template, and the tools it is built with.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use onsen_policy_build::{Language, OUTPUT};
use sha2::{Digest, Sha256};

const ONSEN: &str = env!("CARGO_BIN_EXE_onsen");

/// A new project of one language, in a folder of its own.
pub(crate) struct Project {
    language: Language,
    parent: tempfile::TempDir,
    name: &'static str,
}

impl Project {
    /// Makes it with `onsen policy new`; absent when the language's tools are.
    pub(crate) fn of(language: Language) -> Option<Self> {
        if let Some(reason) = why_not(language) {
            println!("not run: policies in {language}: {reason}");
            return None;
        }
        let project = Self {
            language,
            parent: tempfile::tempdir().unwrap(),
            name: "keep-n-free",
        };
        let mut new = onsen(project.parent.path());
        new.args(["policy", "new", project.name, "--lang", language.name()]);
        succeed(&mut new);
        Some(project)
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.parent.path().join(self.name)
    }

    /// Runs what the README says.
    pub(crate) fn run_unit_tests(&self) {
        let mut command = Command::new("sh");
        command
            .args(["-c", self.language.unit_tests()])
            .current_dir(self.folder());
        environment(&mut command);
        succeed(&mut command);
    }

    /// Runs `onsen` in the project's folder; what it prints.
    pub(crate) fn onsen(&self, arguments: &[&str]) -> String {
        succeed(onsen(&self.folder()).args(arguments))
    }

    /// Builds the component, or takes the one that was built of the same sources before.
    pub(crate) fn component(&self) -> PathBuf {
        // Two tests may want the same one.
        static ONE_AT_A_TIME: [Mutex<()>; 5] = [const { Mutex::new(()) }; 5];
        let place = Language::ALL.iter().position(|it| *it == self.language);
        let lock = &ONE_AT_A_TIME[place.unwrap()];
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = cache()
            .join("components")
            .join(format!("{}.wasm", digest(&self.folder())));
        let output = self.folder().join(OUTPUT);
        if !kept.is_file() {
            self.onsen(&["policy", "build"]);
            fs::create_dir_all(kept.parent().unwrap()).unwrap();
            // Whole or not there: another process may look.
            let half = kept.with_extension(format!("{}.half", std::process::id()));
            fs::copy(&output, &half).unwrap();
            fs::rename(&half, &kept).unwrap();
        }
        fs::create_dir_all(output.parent().unwrap()).unwrap();
        fs::copy(&kept, &output).unwrap();
        output
    }
}

/// Where tools and components are kept between runs.
pub(crate) fn cache() -> PathBuf {
    let given = std::env::var_os("ONSEN_TOOLS").map(PathBuf::from);
    given.unwrap_or_else(|| std::env::home_dir().unwrap().join(".cache/onsen/tools"))
}

/// Runs `onsen` where none of the languages' tools can be found.
pub(crate) fn onsen_without_tools(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(ONSEN);
    command
        .current_dir(folder)
        .args(arguments)
        .env("PATH", "/nonexistent")
        .env_remove("WASI_SDK_PATH");
    command.output().unwrap()
}

fn onsen(folder: &Path) -> Command {
    let mut command = Command::new(ONSEN);
    command.current_dir(folder);
    environment(&mut command);
    command
}

/// The tools of `cargo xtask setup` on the path; builds of Rust share one folder.
fn environment(command: &mut Command) {
    let bins = ["js/node_modules/.bin", "python/bin"].map(|bin| cache().join(bin));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = bins.into_iter().chain(std::env::split_paths(&path));
    command
        .env("PATH", std::env::join_paths(all).unwrap())
        .env("CARGO_TARGET_DIR", cache().join("target"))
        // Compiled policies, and what the tools themselves keep.
        .env("XDG_CACHE_HOME", cache())
        .env("GOFLAGS", "-mod=mod")
        .env("GOTOOLCHAIN", "local");
    // Flags of the tests' own build are not the project's.
    for name in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"] {
        command.env_remove(name);
    }
}

/// Why a language cannot be tried on this machine.
fn why_not(language: Language) -> Option<String> {
    let (program, hint) = match language {
        Language::Rust => return None,
        Language::Go => ("go", "install Go 1.24 or newer"),
        Language::Js => ("componentize-qjs", "run `cargo xtask setup`"),
        Language::Python => ("componentize-py", "run `cargo xtask setup`"),
        Language::C => ("clang-19", "run `cargo xtask setup`"),
    };
    let mut probe = Command::new("sh");
    probe.args(["-c", &format!("command -v {program}")]);
    environment(&mut probe);
    let found = probe.output().unwrap().status.success();
    (!found).then(|| format!("{program} is missing: {hint}"))
}

fn succeed(command: &mut Command) -> String {
    let output: Output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Of all files that go into a component, and of the program that builds it.
fn digest(folder: &Path) -> String {
    let mut hasher = Sha256::new();
    let mut files = Vec::new();
    list(folder, &mut files);
    files.sort();
    for file in files {
        let name: OsString = file.strip_prefix(folder).unwrap().into();
        hasher.update(name.as_encoded_bytes());
        hasher.update(fs::read(&file).unwrap());
    }
    hasher.update(onsen_policy_build::recipe());
    let mut text = String::new();
    for byte in hasher.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if ["build", "target", "__pycache__", "Cargo.lock"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            list(&path, files);
        } else {
            files.push(path);
        }
    }
}
