//! Puts a component into a registry, and says by which reference nodes fetch it.

use std::path::PathBuf;

use onsen_registry::{Credentials, Registry, Tagged};
use serde_json::json;

use crate::check::accepted;
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
    let (component, _) = accepted(&arguments.file)?;
    let place = arguments.place.strip_prefix("oci:");
    let place: Tagged = place.unwrap_or(&arguments.place).parse()?;
    let credentials = match &arguments.registry_config {
        Some(path) => {
            let config = std::fs::read(path).map_err(|source| CliError::Read {
                path: path.clone(),
                source,
            })?;
            Credentials::from_docker_config(&config)?
        }
        None => Credentials::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let pinned =
        runtime.block_on(Registry::new(credentials).push(&place, component.into_owned()))?;
    let reference = format!("oci:{pinned}");
    if as_json {
        return Ok(format!("{:#}\n", json!({"reference": reference})));
    }
    Ok(format!("{reference}\n"))
}
