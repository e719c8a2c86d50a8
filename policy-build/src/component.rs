//! Core modules become components; components are looked at before they leave.
//!
//! Must hold: a component imports nothing but the log. Modules of C and Go want WASI; they get an
//! adapter that grants nothing (`deny_all.wat`), so that time stands still for them, chance is a
//! fixed sequence and there is no file, and the component imports no WASI.

use std::path::Path;

use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding, embed_component_metadata};

use crate::bindings;
use crate::error::BuildError;

/// A policy may import these, whatever their version. `types` holds no function.
const ALLOWED_IMPORTS: [&str; 2] = ["onsen:policy/log@", "onsen:policy/types@"];

/// What C and Go call their system.
const WASI: &str = "wasi_snapshot_preview1";
const DENY_ALL: &str = include_str!("deny_all.wat");

/// Wraps a core module that carries its types (Rust's bindings put them there).
pub fn componentise(module: &[u8]) -> Result<Vec<u8>, String> {
    let adapter = wat::parse_str(DENY_ALL).map_err(|error| error.to_string())?;
    let component = ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| encoder.adapter(WASI, &adapter))
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| format!("{error:#}"))?;
    check_imports(&component)?;
    Ok(component)
}

/// Turns the file of a core module without types into the component of a project.
pub(crate) fn embed_and_componentise(
    folder: &Path,
    module: &Path,
    output: &Path,
) -> Result<(), BuildError> {
    let failed = |why: String| BuildError::Component {
        module: module.to_owned(),
        why,
    };
    let mut bytes = std::fs::read(module).map_err(BuildError::io("read", module))?;
    let (resolve, world) = bindings::world(folder)?;
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| failed(format!("{error:#}")))?;
    let component = componentise(&bytes).map_err(failed)?;
    std::fs::write(output, component).map_err(BuildError::io("write", output))
}

/// Says what a component imports that no policy may.
pub(crate) fn check_imports(component: &[u8]) -> Result<(), String> {
    let decoded = wit_component::decode(component).map_err(|error| format!("{error:#}"))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err("it decodes as a package".to_owned());
    };
    for key in resolve.worlds[world].imports.keys() {
        let name = resolve.name_world_key(key);
        if !ALLOWED_IMPORTS
            .iter()
            .any(|allowed| name.starts_with(allowed))
        {
            return Err(format!(
                "it imports {name}; a policy may import only the log"
            ));
        }
    }
    Ok(())
}
