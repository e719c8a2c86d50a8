//! Generated code of the contract, for the languages whose tools do not make it themselves.
//!
//! Go: the generator's module `wit_component` becomes packages below `onsen/internal/`, and its
//! run-time library is the small one of the template, so that a project needs no download. C: a
//! header and a source in `onsen/`.

use std::fs;
use std::path::Path;

use wit_bindgen_core::{Files, WorldGenerator};
use wit_parser::{Resolve, WorldId};

use crate::BuildError;
use crate::templates::write;

/// The world of the contract.
const WORLD: &str = "ipam-policy";

/// The contract of a project, and its world.
pub(crate) fn world(folder: &Path) -> Result<(Resolve, WorldId), BuildError> {
    let path = folder.join("wit/policy.wit");
    let text = fs::read_to_string(&path).map_err(BuildError::io("read", &path))?;
    let mut resolve = Resolve::default();
    let chosen = resolve
        .push_str(&path, &text)
        .and_then(|package| resolve.select_world(&[package], Some(WORLD)));
    match chosen {
        Ok(world) => Ok((resolve, world)),
        Err(error) => Err(BuildError::Bindings {
            path,
            why: format!("{error:#}"),
        }),
    }
}

fn generate(folder: &Path, mut generator: Box<dyn WorldGenerator>) -> Result<Files, BuildError> {
    let (mut resolve, world) = world(folder)?;
    let mut files = Files::default();
    generator
        .generate(&mut resolve, world, &mut files)
        .map_err(|error| BuildError::Bindings {
            path: folder.join("wit/policy.wit"),
            why: format!("{error:#}"),
        })?;
    Ok(files)
}

pub(crate) fn c(folder: &Path) -> Result<(), BuildError> {
    let options = wit_bindgen_c::Opts {
        no_object_file: true,
        ..wit_bindgen_c::Opts::default()
    };
    for (name, bytes) in generate(folder, options.build())?.iter() {
        write(&folder.join("onsen").join(name), bytes)?;
    }
    Ok(())
}

pub(crate) fn go(folder: &Path) -> Result<(), BuildError> {
    let manifest = folder.join("go.mod");
    let text = fs::read_to_string(&manifest).map_err(BuildError::io("read", &manifest))?;
    let module = text
        .lines()
        .find_map(|line| line.strip_prefix("module "))
        .unwrap_or_default()
        .trim();
    let internal = folder.join("onsen/internal");
    let ours = format!("\"{module}/onsen/internal/");
    for (name, bytes) in generate(folder, wit_bindgen_go::Opts::default().build())?.iter() {
        let place = match name {
            "go.mod" => continue,
            "wit_exports.go" => "component/wit_exports.go",
            other => other,
        };
        let text = String::from_utf8_lossy(bytes)
            .replace("\"wit_component/", &ours)
            .replace("\"go.bytecodealliance.org/pkg/", &ours);
        write(&internal.join(place), text.as_bytes())?;
    }
    Ok(())
}
