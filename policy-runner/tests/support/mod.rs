//! Loads guests for the tests.

use onsen_policy_runner::{Engine, Limits, Policy, PolicyError};

/// Loads a guest under these limits.
pub(crate) fn load(limits: Limits, wasm: &[u8]) -> Result<Policy, PolicyError> {
    Engine::new(limits, None).unwrap().load(wasm)
}
