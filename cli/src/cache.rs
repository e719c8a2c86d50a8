//! Where compiled policies are kept: a language runtime takes a minute to compile, and a
//! hundredth of a second to take from here.

use std::path::PathBuf;

/// A folder of the user's own; absent when the user has no home.
pub(crate) fn folder() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))?;
    cache.is_absolute().then(|| cache.join("onsen/compiled"))
}
