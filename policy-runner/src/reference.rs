//! Where a policy comes from: `builtin:NAME` or `file:PATH`.
//!
//! In: text that a person wrote. Out: the component's bytes, or the loaded policy.
//! People may leave the first word out: the name of a built-in policy is one, and so is the path of
//! a file that exists. What is printed always has it.

use std::borrow::Cow;
use std::fmt;
use std::io;
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
}

/// Why a reference leads to no policy.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// It is no reference.
    #[error("{text:?} names no policy: write file:PATH of a component, or one of {known}", known = builtins())]
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

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("builtin", name)) if !name.is_empty() => Ok(Self::BuiltIn(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
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
        }
    }
}

impl Reference {
    /// The component.
    pub fn bytes(&self) -> Result<Cow<'static, [u8]>, ReferenceError> {
        match self {
            Self::BuiltIn(name) => Ok(builtin::get(name)?.into()),
            Self::File(path) => match std::fs::read(path) {
                Ok(bytes) => Ok(bytes.into()),
                Err(source) => Err(ReferenceError::Read {
                    reference: self.clone(),
                    source,
                }),
            },
        }
    }

    /// The policy, compiled and checked.
    pub fn load(&self, engine: &Engine) -> Result<Policy, ReferenceError> {
        engine
            .load(&self.bytes()?)
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
    fn both_kinds_are_read_as_they_are_printed() {
        for text in ["builtin:prefix-frugal", "builtin:absent", "file:a:b.wasm"] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
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
