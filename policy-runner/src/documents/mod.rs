//! Snapshots and decisions as JSON, for people and for files.
//!
//! In: JSON that a person or a program wrote. Out: the core's values, or an error that names the
//! place. And back: the core's values as JSON with every field written out.
//!
//! The names are those of `wit/policy.wit` with `_` for `-`; enum cases keep their `-`. Where the
//! contract's form serves speed and not people, the documents differ:
//! - an ENI holds its blocks as a list of objects, not as places in parallel lists;
//! - a block's CIDR is text, and `repeat` stands for more of the kind that follow it;
//! - settings and labels are objects, `{"WARM_IP_TARGET": 5}`;
//! - a memo is text in Base64;
//! - actions name ENI ids and CIDRs beside their places.
//!
//! Reading forgives what is left out: each field says in `docs/snapshot.schema.json` what stands in
//! its place. It does not forgive a field that it does not know.
//!
//! What must hold: value → JSON → value changes nothing.

mod decision;
mod defaults;
#[cfg(test)]
mod schema;
mod snapshot;
mod text;
mod words;

pub use decision::{DecisionDocument, in_words};
pub use snapshot::{SnapshotDocument, cidr as block};
pub use text::{Scalar, Span};

use onsen_core::snapshot::Snapshot;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a document says nothing that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is no JSON, or not of the right shape.
    #[error("line {line}, column {column}{}: {message}", at(path))]
    Shape {
        /// Line, counted from 1.
        line: usize,
        /// Column, counted from 1.
        column: usize,
        /// Which field, `enis[0].role`; empty outside of any.
        path: String,
        /// What is wrong, and what is allowed.
        message: String,
    },
    /// Its parts do not fit together.
    #[error("{path}: {message}")]
    Meaning {
        /// Which field.
        path: String,
        /// What is wrong, and what is allowed.
        message: String,
    },
}

fn at(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!(", {path}")
    }
}

impl DocumentError {
    fn meaning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Meaning {
            path: path.into(),
            message: message.into(),
        }
    }
}

impl From<&Snapshot> for SnapshotDocument {
    fn from(from: &Snapshot) -> Self {
        snapshot::write(from)
    }
}

/// Reads a document.
pub fn read<T: DeserializeOwned>(json: &str) -> Result<T, DocumentError> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let shape = |path: String, error: &serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        // serde_json puts the place at the end; here it comes first.
        let text = error.to_string();
        let message = text.strip_suffix(&format!(" at line {line} column {column}"));
        DocumentError::Shape {
            line,
            column,
            path: if path == "." { String::new() } else { path },
            message: message.unwrap_or(&text).to_owned(),
        }
    };
    let value = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| shape(error.path().to_string(), error.inner()))?;
    reader.end().map_err(|error| shape(String::new(), &error))?;
    Ok(value)
}

/// Writes a document, for people.
pub fn write(document: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(document)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests;
