//! The tools of the languages in which policies are written, for the tests of the templates.
//!
//! In: the versions that the templates name. Out: a folder outside of the checkout with a node
//! package and a Python environment; clang and wasi-libc from Debian. Must hold: nothing here is
//! needed to build or run Onsen. What cannot be had is told, and the tests that want it print
//! `not run`.

use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::run::{root, run, say};
use crate::setup::{has, install as install_packages, is_root};
use crate::tools;

const DEBIAN_PACKAGES: [&str; 4] = [
    "clang-19",
    "lld-19",
    "wasi-libc",
    "libclang-rt-19-dev-wasm32",
];

/// Installs for one language, into this folder.
type Step = fn(&Path) -> Result<(), Failure>;

/// Installs what is missing and can be had.
pub(crate) fn install() {
    let steps: [(&str, Step); 3] = [("C", for_c), ("JavaScript", for_js), ("Python", for_python)];
    for (language, step) in steps {
        let folder = tools::folder()
            .ok_or_else(|| Failure::Missing("neither ONSEN_TOOLS nor HOME is set".to_owned()));
        if let Err(why) = folder.and_then(|folder| step(&folder)) {
            say(&format!(
                "setup: policies in {language} will not be tried: {}",
                why.chain()
            ));
        }
    }
}

fn for_c(_: &Path) -> Result<(), Failure> {
    let complete = has("clang-19")
        && has("wasm-ld-19")
        && Path::new("/usr/include/wasm32-wasi").is_dir()
        && Path::new("/usr/lib/llvm-19/lib/clang/19/lib").is_dir();
    if complete {
        return Ok(());
    }
    if !is_root() || !has("apt-get") {
        return Err(Failure::Missing(format!(
            "as root on Debian, run apt-get install {}",
            DEBIAN_PACKAGES.join(" ")
        )));
    }
    install_packages(&DEBIAN_PACKAGES)
}

fn for_js(folder: &Path) -> Result<(), Failure> {
    let place = folder.join("js");
    let template = root().join("policies/examples/js/package.json");
    if place.join("node_modules/.bin/componentize-qjs").is_file() && same(&template, &place)? {
        return Ok(());
    }
    need("npm")?;
    copy(&template, &place)?;
    run(Command::new("npm")
        .current_dir(&place)
        .args(["install", "--no-audit", "--no-fund"]))
}

fn for_python(folder: &Path) -> Result<(), Failure> {
    let place = folder.join("python");
    let template = root().join("policies/examples/python/requirements.txt");
    if place.join("bin/componentize-py").is_file() && same(&template, &place)? {
        return Ok(());
    }
    need("python3")?;
    copy(&template, &place)?;
    run(Command::new("python3").args(["-m", "venv"]).arg(&place))?;
    run(Command::new(place.join("bin/pip"))
        .args(["install", "--quiet", "--requirement"])
        .arg(&template))
}

fn need(program: &str) -> Result<(), Failure> {
    if has(program) {
        return Ok(());
    }
    Err(Failure::Missing(format!("{program} is not installed")))
}

/// Whether what is installed was installed for this template.
fn same(template: &Path, place: &Path) -> Result<bool, Failure> {
    let wanted =
        std::fs::read(template).map_err(Failure::io(format!("read {}", template.display())))?;
    Ok(std::fs::read(place.join(name(template))).is_ok_and(|kept| kept == wanted))
}

fn copy(template: &Path, place: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(place)
        .and_then(|()| std::fs::copy(template, place.join(name(template))))
        .map(drop)
        .map_err(Failure::io(format!("fill {}", place.display())))
}

fn name(path: &Path) -> &std::ffi::OsStr {
    path.file_name().unwrap_or_default()
}
