//! The template of each language, tried as a new author would: made, tested with the language's own
//! tool, built, checked, run through its scenarios. And all of them decide alike.
//!
//! A language whose tools are not installed prints `not run`. Components are kept from run to run
//! by a digest of the sources, for a language runtime takes a minute to build and to compile.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may panic"
)]
#![allow(clippy::allow_attributes, reason = "expectations differ by target")]

mod conformance;
mod costs;
mod project;

use onsen_policy_build::Language;
use project::Project;

fn lives(language: Language) {
    let Some(project) = Project::of(language) else {
        return;
    };
    project.run_unit_tests();
    let component = project.component();
    let checked = project.onsen(&["policy", "check", "build/policy.wasm"]);
    assert!(
        checked.contains("keep-n-free") && checked.contains("KEEP_FREE"),
        "{checked}"
    );
    let reference = format!("file:{}", component.display());
    let told = project.onsen(&["policy", "test", "scenarios", "--policy", &reference]);
    assert!(told.contains("1 ok, 0 failed"), "{told}");
}

#[test]
fn a_policy_in_rust_lives() {
    lives(Language::Rust);
}

#[test]
fn a_policy_in_go_lives() {
    lives(Language::Go);
}

#[test]
fn a_policy_in_javascript_lives() {
    lives(Language::Js);
}

#[test]
fn a_policy_in_python_lives() {
    lives(Language::Python);
}

#[test]
fn a_policy_in_c_lives() {
    lives(Language::C);
}

#[test]
fn a_missing_tool_is_named_with_the_way_to_get_it() {
    let parent = tempfile::tempdir().unwrap();
    for (language, sentence) in [
        (
            Language::Rust,
            "cargo is missing: install Rust (https://rustup.rs)",
        ),
        (Language::Go, "go is missing: install Go 1.24 or newer"),
        (
            Language::Js,
            "componentize-qjs is missing: with Node 20 or newer, run `npm install`",
        ),
        (
            Language::Python,
            "componentize-py is missing: with Python 3.10 or newer, run `python3 -m venv .venv &&",
        ),
        (
            Language::C,
            "clang is missing: on Debian, `apt-get install clang-19 lld-19 wasi-libc",
        ),
    ] {
        let name = language.name();
        let new = ["policy", "new", name, "--lang", name];
        let told = project::onsen_without_tools(parent.path(), &new);
        assert!(told.status.success(), "{told:?}");
        let folder = parent.path().join(name);
        for format in ["table", "json"] {
            let build = ["policy", "build", "--format", format];
            let told = project::onsen_without_tools(&folder, &build);
            assert_eq!(told.status.code(), Some(1), "{language}");
            assert!(told.stdout.is_empty(), "{told:?}");
            let words = String::from_utf8(told.stderr).unwrap();
            assert!(words.starts_with(&format!("onsen: {sentence}")), "{words}");
            assert_eq!(words.lines().count(), 1, "{words}");
        }
        assert!(!folder.join("build/policy.wasm").exists());
    }
}

#[test]
fn an_interpreter_that_is_gone_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let new = ["policy", "new", "calm", "--lang", "js"];
    project::onsen_without_tools(parent.path(), &new);
    let folder = parent.path().join("calm");
    let tool = folder.join("node_modules/.bin/componentize-qjs");
    std::fs::create_dir_all(tool.parent().unwrap()).unwrap();
    std::fs::write(&tool, "#!/usr/bin/env node\n").unwrap();
    let told = project::onsen_without_tools(&folder, &["policy", "build"]);
    let words = String::from_utf8(told.stderr).unwrap();
    assert!(
        words.starts_with("onsen: node is missing: install Node 20"),
        "{words}"
    );
}

#[test]
fn what_was_built_is_told_to_programs_as_json() {
    let Some(project) = Project::of(Language::C) else {
        return;
    };
    let told = project.onsen(&["policy", "build", "--format", "json"]);
    let document: serde_json::Value = serde_json::from_str(&told).unwrap();
    let path = project
        .folder()
        .join(document["component"].as_str().unwrap());
    let bytes = std::fs::metadata(path).unwrap().len();
    assert_eq!(document["bytes"], bytes);
}

#[test]
fn a_folder_without_a_project_is_told_what_makes_one() {
    let folder = tempfile::tempdir().unwrap();
    let told = project::onsen_without_tools(folder.path(), &["policy", "build"]);
    let words = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(
        words.contains("is no policy project") && words.contains("policy new"),
        "{words}"
    );
}
