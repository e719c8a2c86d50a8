//! Puts a component into a registry, and says by which reference nodes fetch it.

use std::path::PathBuf;

use onsen_policy_runner::{Engine, Limits};
use onsen_registry::{Credentials, Registry, Tagged};
use serde_json::json;

use crate::error::CliError;

/// `onsen policy push`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  onsen policy push build/policy.wasm registry.example.com/policies/mine:v1"
)]
pub(crate) struct Arguments {
    /// A Wasm component
    file: PathBuf,
    /// REGISTRY/REPOSITORY:TAG
    place: String,
    /// `config.json` as `docker login` writes it; without it nobody logs in
    #[arg(long, env = "ONSEN_REGISTRY_CONFIG")]
    registry_config: Option<PathBuf>,
}

/// Pushes what a node would take, and nothing else.
pub(crate) fn push(arguments: &Arguments, as_json: bool) -> Result<String, CliError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| CliError::Read {
            path: path.clone(),
            source,
        })
    };
    let component = read(&arguments.file)?;
    Engine::new(Limits::default(), None)
        .map_err(CliError::Engine)?
        .load(&component)
        .map_err(|source| CliError::Policy {
            path: arguments.file.clone(),
            source,
        })?;
    let place = arguments.place.strip_prefix("oci:");
    let place: Tagged = place.unwrap_or(&arguments.place).parse()?;
    let credentials = match &arguments.registry_config {
        Some(path) => Credentials::from_docker_config(&read(path)?)?,
        None => Credentials::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let pinned = runtime.block_on(Registry::new(credentials).push(&place, component))?;
    let reference = format!("oci:{pinned}");
    if as_json {
        return Ok(format!("{:#}\n", json!({"reference": reference})));
    }
    Ok(format!("{reference}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_node_would_take_is_not_pushed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notes.wasm");
        std::fs::write(&file, "hello").unwrap();
        let arguments = Arguments {
            file,
            // Nobody is asked: the reserved port 1 answers to none.
            place: "127.0.0.1:1/policies/notes:v1".to_owned(),
            registry_config: None,
        };
        let text = push(&arguments, false).unwrap_err().chain();
        assert!(text.contains("notes.wasm would be refused"), "{text}");
    }
}
