//! Starts policy projects and builds them to Wasm components.
//!
//! In: a folder, a language, the tools of that language. Out: a project made from a template;
//! `build/policy.wasm`, a component of the contract.
//!
//! Must hold: nothing here asks a network by itself; a component that is handed out imports
//! nothing but the log; a tool that is missing is named together with the way to get it.
//!
//! A project's folders `wit/` and `onsen/` belong to this crate: the contract, the helper module
//! of the language and its generated bindings. They are written when the project is made, or when
//! it is built and they are not there.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")
)]

mod bindings;
mod component;
mod error;
mod languages;
pub mod rust;
mod templates;
pub mod tools;

use std::fs;
use std::path::{Path, PathBuf};

pub use component::componentise;
pub use error::BuildError;
pub use languages::Language;
pub use templates::{contract, create};

/// Where a project's component lies, seen from its folder.
pub const OUTPUT: &str = "build/policy.wasm";

/// What of this crate goes into every component: for caches of components.
pub fn recipe() -> &'static [u8] {
    concat!(
        include_str!("languages.rs"),
        include_str!("rust.rs"),
        include_str!("component.rs"),
        include_str!("deny_all.wat")
    )
    .as_bytes()
}

/// Builds the project in this folder; the path of its component.
pub fn build(folder: &Path) -> Result<PathBuf, BuildError> {
    let language = Language::detect(folder)?;
    templates::complete(folder, language)?;
    let output = folder.join(OUTPUT);
    let scratch = folder.join("build");
    fs::create_dir_all(&scratch).map_err(BuildError::io("create", &scratch))?;
    match language {
        Language::Rust => rust::build(folder, &output),
        Language::Go => languages::go(folder, &output),
        Language::Js => languages::js(folder, &output),
        Language::Python => languages::python(folder, &output),
        Language::C => languages::c(folder, &output),
    }?;
    let built = fs::read(&output).map_err(BuildError::io("read", &output))?;
    component::check_imports(&built).map_err(|why| BuildError::Component {
        module: output.clone(),
        why,
    })?;
    Ok(output)
}
