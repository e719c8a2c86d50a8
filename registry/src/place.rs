//! Where a policy lies: `REGISTRY/REPOSITORY@sha256:DIGEST` to fetch, `REGISTRY/REPOSITORY:TAG` to push.

use std::fmt;
use std::str::FromStr;

use oci_client::Reference;

use crate::error::RegistryError;

const PINNED: &str =
    "REGISTRY/REPOSITORY@sha256: and 64 hexadecimal digits; a tag can change and is not enough";
const TAGGED: &str = "REGISTRY/REPOSITORY:TAG";

/// One artifact for ever: its manifest's digest is part of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned(Reference);

/// A name that may mean another artifact tomorrow. Policies are pushed to it, never fetched from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged(Reference);

impl Pinned {
    pub(crate) fn reference(&self) -> &Reference {
        &self.0
    }

    /// The manifest's digest.
    pub fn digest(&self) -> &str {
        // There is one: `from_str` and `Tagged::pinned` are the only makers.
        self.0.digest().unwrap_or_default()
    }

    /// Another artifact of the same repository.
    pub(crate) fn beside(&self, digest: String) -> Reference {
        let (registry, repository) = (self.0.registry(), self.0.repository());
        Reference::with_digest(registry.to_owned(), repository.to_owned(), digest)
    }

    /// The tag under which cosign kept the signatures of this artifact.
    pub(crate) fn signatures(&self) -> Reference {
        let tag = format!("{}.sig", self.digest().replace(':', "-"));
        Reference::with_tag(
            self.0.registry().to_owned(),
            self.0.repository().to_owned(),
            tag,
        )
    }
}

impl Tagged {
    pub(crate) fn reference(&self) -> &Reference {
        &self.0
    }

    pub(crate) fn pinned(&self, digest: String) -> Pinned {
        Pinned(Reference::with_digest(
            self.0.registry().to_owned(),
            self.0.repository().to_owned(),
            digest,
        ))
    }
}

impl FromStr for Pinned {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let place = read(text, PINNED)?;
        let digest = place.digest().and_then(|it| it.strip_prefix("sha256:"));
        let whole = digest.is_some_and(|digest| {
            digest.len() == 64
                && digest
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        });
        if whole {
            Ok(Self(place))
        } else {
            Err(unreadable(text, PINNED))
        }
    }
}

impl FromStr for Tagged {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let place = read(text, TAGGED)?;
        // Without a tag the parser gives "latest", which nobody wrote.
        let written = place
            .tag()
            .is_some_and(|tag| text.ends_with(&format!(":{tag}")));
        if place.digest().is_none() && written {
            Ok(Self(place))
        } else {
            Err(unreadable(text, TAGGED))
        }
    }
}

/// A reference that names its registry: nothing is taken to lie on Docker Hub.
fn read(text: &str, wanted: &'static str) -> Result<Reference, RegistryError> {
    let registry = text.split_once('/').map_or("", |(registry, _)| registry);
    let named = registry.contains(['.', ':']) || registry == "localhost";
    text.parse()
        .ok()
        .filter(|_| named)
        .ok_or_else(|| unreadable(text, wanted))
}

fn unreadable(text: &str, wanted: &'static str) -> RegistryError {
    RegistryError::Unreadable {
        text: text.to_owned(),
        wanted,
    }
}

/// True when `registry` is this machine, which no network lies between.
pub(crate) fn is_loopback(registry: &str) -> bool {
    let host = registry
        .rsplit_once(':')
        .map_or(registry, |(host, _)| host)
        .trim_start_matches('[')
        .trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Tagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_pinned_place_is_read_as_it_is_printed() {
        for start in ["ghcr.io/a/b", "127.0.0.1:5000/p", "localhost/x/y"] {
            let text = format!("{start}@{DIGEST}");
            let place: Pinned = text.parse().unwrap();
            assert_eq!((place.to_string(), place.digest()), (text, DIGEST));
        }
    }

    #[test]
    fn a_place_without_digest_or_registry_is_refused_with_what_is_wanted() {
        for text in [
            "",
            "ghcr.io/a/b",
            "ghcr.io/a/b:v1",
            "ghcr.io/a/b@sha256:abc",
            &format!("a/b@{DIGEST}"),
            &format!("p@{DIGEST}"),
            "ghcr.io/a/b@sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ] {
            let error = text.parse::<Pinned>().unwrap_err().to_string();
            assert!(error.contains("@sha256:"), "{error}");
        }
    }

    #[test]
    fn a_push_needs_a_tag_that_was_written() {
        assert!("ghcr.io/a/b:v1".parse::<Tagged>().is_ok());
        for text in ["ghcr.io/a/b", "localhost:5000/b", "a:v1"] {
            assert!(text.parse::<Tagged>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for yes in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:1",
            "127.8.0.1",
            "[::1]:5000",
        ] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in [
            "ghcr.io",
            "10.0.0.1:5000",
            "127.0.0.1.evil.example",
            "localhost.example:80",
        ] {
            assert!(!is_loopback(no), "{no}");
        }
    }
}
