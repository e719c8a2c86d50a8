//! Where a policy comes from: `builtin:NAME`, `file:PATH`, `configmap:KEY` or
//! `oci:REGISTRY/REPOSITORY@sha256:DIGEST`.
//!
//! In: text that a person wrote. Out: the component's bytes, or the loaded policy.
//! People may leave the first word out: the name of a built-in policy is one, and so is the path of
//! a file that exists. What is printed always has it.
//! The bytes of the last two kinds are not here: a node or a registry has them.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::builtin::{self, Absent};
use crate::{Engine, Policy, PolicyError};

/// Where a policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// One that this program carries.
    BuiltIn(String),
    /// A component on disk.
    File(PathBuf),
    /// A key of the ConfigMap that chose it.
    ConfigMap(String),
    /// In a registry: `REGISTRY/REPOSITORY@sha256:DIGEST`. Always with a digest, since a tag may mean
    /// something else tomorrow.
    Oci(String),
}

/// Why a reference leads to no policy.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// It is no reference.
    #[error("{text:?} names no policy: write file:PATH of a component, configmap:KEY, oci:REGISTRY/REPOSITORY@sha256:DIGEST, or one of {known}", known = builtins())]
    Unreadable {
        /// What was written.
        text: String,
    },
    /// The program does not carry it.
    #[error(transparent)]
    Absent(#[from] Absent),
    /// The file cannot be read.
    #[error("policy {reference} cannot be read")]
    Read {
        /// Which.
        reference: Reference,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no component of a size that can be right.
    #[error("policy {reference} has more than the {limit} bytes that a component may have")]
    TooLarge {
        /// Which.
        reference: Reference,
        /// What a component may have.
        limit: usize,
    },
    /// Its bytes are somewhere else.
    #[error("policy {0} is not on this machine: fetch it first and name its file")]
    Elsewhere(Reference),
    /// It is no policy that can run.
    #[error("policy {reference} would be refused")]
    Refused {
        /// Which.
        reference: Reference,
        /// Why.
        #[source]
        source: PolicyError,
    },
}

fn builtins() -> String {
    let names: Vec<_> = builtin::names()
        .iter()
        .map(|name| format!("builtin:{name}"))
        .collect();
    names.join(", ")
}

/// What Kubernetes takes as a key of a ConfigMap. It is no path: the file of that name is looked for
/// in one folder only.
fn is_key(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.bytes().all(fits) && !text.starts_with("..") && text != "."
}

fn is_pinned(text: &str) -> bool {
    let Some((repository, digest)) = text.split_once("@sha256:") else {
        return false;
    };
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    repository.contains('/') && digest.len() == 64 && digest.bytes().all(hex)
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("builtin", name)) if !name.is_empty() => Ok(Self::BuiltIn(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("configmap", key)) if is_key(key) => Ok(Self::ConfigMap(key.to_owned())),
            Some(("oci", place)) if is_pinned(place) => Ok(Self::Oci(place.to_owned())),
            _ if builtin::names().contains(&text) => Ok(Self::BuiltIn(text.to_owned())),
            _ if Path::new(text).is_file() => Ok(Self::File(text.into())),
            _ => Err(ReferenceError::Unreadable {
                text: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(name) => write!(f, "builtin:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::ConfigMap(key) => write!(f, "configmap:{key}"),
            Self::Oci(place) => write!(f, "oci:{place}"),
        }
    }
}

impl Reference {
    /// The component, which may have at most `limit` bytes.
    pub fn bytes(&self, limit: usize) -> Result<Cow<'static, [u8]>, ReferenceError> {
        match self {
            Self::BuiltIn(name) => Ok(builtin::get(name)?.into()),
            Self::File(path) => {
                let mut bytes = Vec::new();
                // One more byte tells a larger one, without reading all of it.
                let read = File::open(path)
                    .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes));
                match read {
                    Ok(length) if length <= limit => Ok(bytes.into()),
                    Ok(_) => Err(ReferenceError::TooLarge {
                        reference: self.clone(),
                        limit,
                    }),
                    Err(source) => Err(ReferenceError::Read {
                        reference: self.clone(),
                        source,
                    }),
                }
            }
            Self::ConfigMap(_) | Self::Oci(_) => Err(ReferenceError::Elsewhere(self.clone())),
        }
    }

    /// The policy, compiled and checked.
    pub fn load(&self, engine: &Engine) -> Result<Policy, ReferenceError> {
        engine
            .load(&self.bytes(engine.limits().component_bytes)?)
            .map_err(|source| ReferenceError::Refused {
                reference: self.clone(),
                source,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    #[test]
    fn all_kinds_are_read_as_they_are_printed() {
        let pinned = format!("oci:r.example:5000/a/b@sha256:{}", "0f".repeat(32));
        for text in [
            "builtin:prefix-frugal",
            "builtin:absent",
            "file:a:b.wasm",
            "configmap:my_policy.wasm.gz",
            &pinned,
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_key_is_no_path_and_a_registry_wants_a_digest() {
        for text in [
            "configmap:",
            "configmap:..",
            "configmap:../secret",
            "configmap:a/b",
            "oci:r.example/a",
            "oci:r.example/a:v1",
            "oci:r.example/a@sha256:0f",
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains("@sha256:DIGEST"), "{error}");
        }
    }

    #[test]
    fn a_file_without_end_is_not_read_to_the_end() {
        let endless = Reference::File("/dev/zero".into());
        let error = endless.bytes(1 << 20).unwrap_err();
        assert!(
            matches!(
                error,
                ReferenceError::TooLarge {
                    limit: 1_048_576,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn what_a_node_or_a_registry_has_is_not_here() {
        let reference: Reference = "configmap:p.wasm".parse().unwrap();
        let error = reference.bytes(1 << 20).unwrap_err();
        assert!(matches!(error, ReferenceError::Elsewhere(_)), "{error}");
    }

    #[test]
    fn a_bare_name_and_an_existing_path_are_understood() {
        let bare: Reference = "prefix-frugal".parse().unwrap();
        assert_eq!(bare.to_string(), "builtin:prefix-frugal");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.wasm");
        std::fs::write(&path, b"no component").unwrap();
        let file: Reference = path.to_str().unwrap().parse().unwrap();
        assert_eq!(file, Reference::File(path));
        let engine = Engine::new(Limits::default(), None).unwrap();
        let refused = file.load(&engine).unwrap_err();
        assert!(
            matches!(refused, ReferenceError::Refused { .. }),
            "{refused}"
        );
    }

    #[test]
    fn what_names_nothing_is_told_what_could() {
        for text in ["", "default", "builtin:", "file:", "./absent.wasm"] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(
                error.contains("file:PATH") && error.contains("builtin:default-warm-eni"),
                "{error}"
            );
        }
        let engine = Engine::new(Limits::default(), None).unwrap();
        let absent = Reference::BuiltIn("absent".into()).load(&engine);
        assert!(absent.unwrap_err().to_string().contains("prefix-frugal"));
    }

    #[test]
    fn a_built_in_policy_loads() {
        let engine = Engine::new(Limits::default(), None).unwrap();
        let reference: Reference = "builtin:default-warm-eni".parse().unwrap();
        let policy = reference.load(&engine).unwrap();
        assert_eq!(policy.metadata().name, "default-warm-eni");
    }
}
