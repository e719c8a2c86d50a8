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
    let told = project::onsen_without_tools(
        parent.path(),
        &["policy", "new", "calm-pool", "--lang", "js"],
    );
    assert!(told.status.success(), "{told:?}");
    let folder = parent.path().join("calm-pool");
    let told = project::onsen_without_tools(&folder, &["policy", "build"]);
    let words = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(!told.status.success());
    assert!(
        words.contains("componentize-qjs is missing: run `npm install`"),
        "{words}"
    );
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
