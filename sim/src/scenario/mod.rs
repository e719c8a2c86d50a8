//! Scenario files: what must be so, written down so that a person can read it and a machine can try it.
//!
//! In: YAML text, a policy. Out: a verdict, with the differences between what was expected and what
//! was. A scenario is either the life of a node, step by step in virtual time on [`crate::world`],
//! or one decision on one snapshot.
//!
//! What must hold: the same file and the same policy give the same verdict; a file that cannot be
//! understood in full is not run at all.

mod decision;
mod expect;
mod format;
mod life;
mod recorded;
mod rows;
#[cfg(test)]
pub(crate) mod schema;
mod short;
mod upstream;

use std::sync::Arc;

use onsen_policy_runner::Policy;
use onsen_policy_runner::documents::DocumentError;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use decision::write_decision;
pub use recorded::{WriteError, write_life};

use crate::world::Spoil;
use format::Document;
use upstream::Rule;

/// Why a file is no scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// It is no YAML, or not of the right shape.
    #[error("line {line}, column {column}: {message}")]
    Shape {
        /// Line, counted from 1.
        line: u64,
        /// Column, counted from 1.
        column: u64,
        /// What is wrong, and what is allowed.
        message: String,
    },
    /// `$name` names no column.
    #[error("line {line}: ${name} is no column of `rows`; there are {}", known.join(", "))]
    UnknownColumn {
        /// Line, counted from 1.
        line: usize,
        /// What was written.
        name: String,
        /// What could be.
        known: Vec<String>,
    },
    /// A column says nothing.
    #[error("row {row}: the column {column} is used nowhere")]
    UnusedColumn {
        /// Row, counted from 1.
        row: usize,
        /// Which.
        column: String,
    },
    /// The parts do not make a scenario.
    #[error("{0}")]
    Meaning(&'static str),
    /// The snapshot's parts do not fit together.
    #[error("snapshot: {0}")]
    Snapshot(#[from] DocumentError),
}

/// A scenario that can be run.
#[derive(Clone, Debug)]
pub struct Scenario {
    name: String,
    document: Document,
}

/// Who decides.
#[derive(Clone, Debug)]
pub struct Deciders {
    /// The policy under test.
    pub chosen: Arc<Policy>,
    /// What decides when it fails.
    pub built_in: Arc<Policy>,
}

/// How a scenario went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// What was not as expected; empty when all was.
    pub failures: Vec<Failure>,
    /// How long the node lived, in virtual time.
    pub virtual_ms: u64,
    /// How often the policy was asked.
    pub decisions: u32,
    /// The last decisions before the first failure, oldest first, in words.
    pub last_decisions: Vec<String>,
    /// What went wrong under upstream's rules, when it lived under them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub as_upstream: Vec<String>,
}

/// One look at which things were not as expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Line of the step in the file; absent when no step is to blame.
    pub line: Option<u64>,
    /// When, in virtual time since the start.
    pub at_ms: u64,
    /// What differs; empty when `error` says it all.
    pub differences: Vec<Difference>,
    /// Why the scenario could not go on.
    pub error: Option<String>,
}

/// Something that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What: `pool.enis`.
    pub what: String,
    /// As it should be.
    pub expected: String,
    /// As it is.
    pub actual: String,
}

impl Verdict {
    /// Whether all was as expected.
    pub fn is_ok(&self) -> bool {
        self.failures.is_empty()
    }
}

/// The scenarios of a file: one, or one for each row of its table.
pub fn read(text: &str) -> Result<Vec<Scenario>, ScenarioError> {
    let mut scenarios = Vec::new();
    for row in rows::expand(text)? {
        let document: Document = parse(&row.text)?;
        document.check()?;
        scenarios.push((row.number, document));
    }
    let names: Vec<_> = scenarios.iter().map(|(_, it)| it.name.clone()).collect();
    let all = scenarios.into_iter().map(|(number, document)| {
        let alike = names.iter().filter(|name| **name == document.name).count();
        let name = match number {
            Some(number) if alike > 1 => format!("{} #{number}", document.name),
            _ => document.name.clone(),
        };
        Scenario { name, document }
    });
    Ok(all.collect())
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, ScenarioError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let (line, column) = error
            .location()
            .map_or((1, 1), |place| (place.line(), place.column()));
        // The place comes first here.
        let message = error.without_snippet().to_string();
        let behind = format!(" at line {line}, column {column}");
        ScenarioError::Shape {
            line,
            column,
            message: message.strip_suffix(&behind).unwrap_or(&message).to_owned(),
        }
    })
}

impl Document {
    /// Everything that a shape cannot say.
    fn check(&self) -> Result<(), ScenarioError> {
        let lives = !self.steps.is_empty();
        match (&self.snapshot, &self.expect) {
            (Some(_), Some(_))
                if lives || self.always.is_some() || self.given != format::Given::default() =>
            {
                Err(ScenarioError::Meaning(
                    "`snapshot` is for one decision: leave `given`, `always` and `steps` out",
                ))
            }
            (Some(_), None) => Err(ScenarioError::Meaning(
                "`snapshot` needs an `expect` beside it",
            )),
            (None, Some(_)) => Err(ScenarioError::Meaning(
                "`expect` at the top belongs to a `snapshot`; in a life it is part of a step",
            )),
            (None, None) if !lives => Err(ScenarioError::Meaning(
                "nothing happens: write `steps`, or `snapshot` and `expect`",
            )),
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }
    }
}

impl Scenario {
    /// One line that tells it from the others of its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tries it.
    pub fn run(&self, deciders: &Deciders) -> Verdict {
        let verdict = match (&self.document.snapshot, &self.document.expect) {
            (Some(snapshot), Some(expected)) => decision::run(snapshot, expected, &deciders.chosen),
            _ => life::run(&self.document, &Spoil::default(), deciders),
        };
        Verdict {
            name: self.name.clone(),
            ..verdict
        }
    }

    /// Lets it live under the rules of upstream that it names, where it must go wrong as it says. Absent
    /// when it names none.
    pub fn run_as_upstream(&self, deciders: &Deciders) -> Option<Verdict> {
        let upstream = self.document.upstream.as_ref()?;
        let mut document = self.document.clone();
        document.given.settings.extend(upstream.settings.clone());
        let spoil = upstream.rule.map_or_else(Spoil::default, Rule::spoil);
        let verdict = upstream.judge(life::run(&document, &spoil, deciders));
        Some(Verdict {
            name: self.name.clone(),
            ..verdict
        })
    }
}

#[cfg(test)]
mod tests;
