//! What can go wrong between a node and a registry.

use oci_client::errors::OciDistributionError;

/// Why a policy could not be fetched, pushed or trusted.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The text names nothing in a registry.
    #[error("{text:?} is not {wanted}")]
    Unreadable {
        /// What was written.
        text: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The credentials are not what `docker login` writes.
    #[error("the registry credentials cannot be read: {0}")]
    Credentials(String),
    /// The key is no public key of the kind that signatures are checked with.
    #[error("the public key cannot be used: {0}")]
    Key(&'static str),
    /// The HTTP client does not start.
    #[error("the HTTP client for registries does not start")]
    Client(#[source] Box<OciDistributionError>),
    /// The registry, or the way to it, failed.
    #[error("cannot {what} for {place}")]
    Request {
        /// What was tried: `get the manifest`.
        what: &'static str,
        /// Of which artifact.
        place: String,
        /// How it failed.
        #[source]
        source: Box<OciDistributionError>,
    },
    /// It did not answer in time.
    #[error("{place} was not there within {seconds} s")]
    TooSlow {
        /// Which artifact.
        place: String,
        /// How long was waited.
        seconds: u64,
    },
    /// What is there is no policy.
    #[error("{place} is no policy: {why}")]
    NotAPolicy {
        /// Which artifact.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// The component is larger than the caller takes.
    #[error("the component of {place} has {bytes} bytes; {limit} are allowed")]
    TooLarge {
        /// Which artifact.
        place: String,
        /// Its size, as far as it was read.
        bytes: u64,
        /// What is allowed.
        limit: u64,
    },
    /// Nobody who holds the key has signed it.
    #[error("{place} is not signed with the key: {why}")]
    Unsigned {
        /// Which artifact.
        place: String,
        /// What was found instead.
        why: String,
    },
}
