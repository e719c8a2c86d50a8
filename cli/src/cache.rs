//! The engine of this program. It keeps what it compiles: a language runtime takes a minute to
//! compile, and a hundredth of a second to take from the user's cache.

use std::path::PathBuf;

use onsen_policy_runner::{Engine, Limits};

use crate::error::CliError;

/// An engine with the limits of a node. Without a cache that can be used it compiles every time.
pub(crate) fn engine() -> Result<Engine, CliError> {
    let limits = Limits::default();
    if let Ok(engine) = Engine::new(limits, folder()) {
        return Ok(engine);
    }
    Engine::new(limits, None).map_err(CliError::Engine)
}

/// A folder of the user's own; absent when the user has no home.
fn folder() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))?;
    cache.is_absolute().then(|| cache.join("onsen/compiled"))
}
