//! Policies in an OCI registry: fetched by digest, pushed by name, their signatures checked.
//!
//! In: a reference with a digest, credentials as `docker login` writes them. Out: the component's
//! bytes, or a typed error that says what was asked of which registry.
//!
//! Must hold:
//! - nothing is fetched by a tag: a reference without a digest is no [`Pinned`], and both the
//!   manifest and the component are compared with their digests;
//! - nothing above the caller's limit is read into memory;
//! - plain HTTP is spoken to loopback addresses only.
//!
//! A policy is an artifact of one layer of media type `application/wasm`, the shape that other
//! tools for Wasm in registries write and read.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        reason = "a test may panic"
    )
)]

mod client;
mod credentials;
mod error;
mod place;
mod signature;

pub use client::Registry;
pub use credentials::Credentials;
pub use error::RegistryError;
pub use place::{Pinned, Tagged};
pub use signature::PublicKey;
