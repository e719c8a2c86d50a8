//! The policies that come with Onsen, embedded as components.

include!(concat!(env!("OUT_DIR"), "/builtins.rs"));

/// Why there is no such component in this program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// The program was built before the policies were.
    #[error("policy {0} is not part of this program: run `cargo xtask policies`, then build again")]
    NotBuilt(String),
    /// Nothing comes under this name.
    #[error("there is no built-in policy {0:?}; there are {known}", known = names().join(", "))]
    Unknown(String),
}

/// The component of that name.
pub fn get(name: &str) -> Result<&'static [u8], Absent> {
    match BUILTINS.iter().find(|(known, _)| *known == name) {
        Some((_, Some(wasm))) => Ok(wasm),
        Some((_, None)) => Err(Absent::NotBuilt(name.to_owned())),
        None => Err(Absent::Unknown(name.to_owned())),
    }
}

/// All names, whether built or not.
pub fn names() -> &'static [&'static str] {
    const NAMES: &[&str] = &["default-warm-eni", "prefix-frugal"];
    NAMES
}
