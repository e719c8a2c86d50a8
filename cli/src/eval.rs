//! `onsen policy eval`: one snapshot in, one decision out.

use std::fmt::Write as _;
use std::io::Read;

use clap::Args;
use onsen_core::proposal::Placement;
use onsen_core::snapshot::Snapshot;
use onsen_policy_runner::documents::{self, DecisionDocument, SnapshotDocument};
use onsen_policy_runner::reference::{Reference, ReferenceError};
use onsen_policy_runner::{Decided, LogLevel, Metadata, Problem};
use onsen_sim::account::InstanceType;
use serde::Serialize;

use crate::cache;
use crate::error::CliError;
use crate::table::pairs;

#[derive(Args)]
#[command(after_help = "\
Everything in a snapshot may be left out; docs/snapshot.schema.json says what stands in its place.

Examples:
  echo '{}' | onsen policy eval --policy builtin:default-warm-eni --snapshot -
  onsen policy eval --policy ./my.wasm --set WARM_IP_TARGET=5 --snapshot node.json --format json")]
pub(crate) struct Arguments {
    #[arg(long, value_name = "REF", help = "builtin:NAME or file:PATH")]
    policy: String,
    /// A setting; outranks the snapshot's
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// A JSON document; - reads standard input
    #[arg(long, value_name = "FILE")]
    snapshot: String,
}

/// Splits `KEY=VALUE`.
pub(crate) fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// What is printed as JSON: the decision, and what came with it.
#[derive(Serialize)]
struct Evaluation<'a> {
    #[serde(flatten)]
    decision: DecisionDocument,
    policy: Named<'a>,
    fuel: u64,
    log: Vec<Line<'a>>,
    problems: Vec<Complaint<'a>>,
}

#[derive(Serialize)]
struct Named<'a> {
    reference: String,
    name: &'a str,
    version: &'a str,
    digest: &'a str,
}

#[derive(Serialize)]
struct Line<'a> {
    level: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct Complaint<'a> {
    key: &'a str,
    message: &'a str,
}

/// The decision, for people or as JSON.
pub(crate) fn eval(arguments: &Arguments, as_json: bool) -> Result<String, CliError> {
    let snapshot = read(arguments)?;
    let reference: Reference = arguments.policy.parse()?;
    let engine = cache::engine()?;
    let policy = reference.load(&engine)?;
    let problems =
        policy
            .configure(&snapshot.settings)
            .map_err(|source| ReferenceError::Refused {
                reference: reference.clone(),
                source,
            })?;
    let decided = policy
        .decide(&snapshot)
        .map_err(|source| CliError::Undecided {
            policy: reference.to_string(),
            source,
        })?;
    if !as_json {
        let metadata = policy.metadata();
        return Ok(for_people(
            &reference, metadata, &snapshot, &decided, &problems,
        ));
    }
    let evaluation = Evaluation {
        decision: DecisionDocument::new(&decided.proposal, &snapshot),
        policy: Named {
            reference: reference.to_string(),
            name: &policy.metadata().name,
            version: &policy.metadata().version,
            digest: policy.digest(),
        },
        fuel: decided.fuel,
        log: decided
            .log
            .iter()
            .map(|line| Line {
                level: level(line.level),
                message: &line.message,
            })
            .collect(),
        problems: problems
            .iter()
            .map(|problem| Complaint {
                key: &problem.key,
                message: &problem.message,
            })
            .collect(),
    };
    documents::write(&evaluation).map_err(CliError::Document)
}

fn read(arguments: &Arguments) -> Result<Snapshot, CliError> {
    let from = &arguments.snapshot;
    let mut json = String::new();
    let done = if from == "-" {
        std::io::stdin().read_to_string(&mut json).map(drop)
    } else {
        std::fs::read_to_string(from).map(|text| json = text)
    };
    done.map_err(|source| CliError::Read {
        path: from.into(),
        source,
    })?;
    let misread = |source| CliError::Snapshot {
        from: if from == "-" {
            "on standard input"
        } else {
            from
        }
        .to_owned(),
        source,
    };
    let mut document: SnapshotDocument = documents::read(&json).map_err(misread)?;
    document.set(arguments.set.iter().cloned());
    let limits_of = |name: &str| InstanceType::find(name).map(|kind| kind.limits());
    document.into_snapshot(limits_of).map_err(misread)
}

fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
    }
}

fn for_people(
    reference: &Reference,
    metadata: &Metadata,
    snapshot: &Snapshot,
    decided: &Decided,
    problems: &[Problem],
) -> String {
    let proposal = &decided.proposal;
    let mut text = String::new();
    if proposal.actions.is_empty() {
        text.push_str("no action\n");
    }
    for (at, action) in proposal.actions.iter().enumerate() {
        let words = documents::in_words(&action.request, snapshot);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:>2}. {words}\n    {}", at + 1, action.reason);
    }
    text.push('\n');
    let wake = proposal.wake_after.map_or_else(
        || "at the host's own period".to_owned(),
        |after| format!("after {} s", after as f64 / 1_000.0),
    );
    let placement = match proposal.placement {
        Placement::Pack => "pack",
        Placement::Spread => "spread",
        Placement::AddressesFirst => "single addresses first",
    };
    text.push_str(&pairs(&[
        ("reason", proposal.reason.clone()),
        ("wake", wake),
        ("pressure", format!("{} of 100", proposal.pressure)),
        ("placement", placement.to_owned()),
        (
            "policy",
            format!("{} {} ({reference})", metadata.name, metadata.version),
        ),
        ("fuel", decided.fuel.to_string()),
    ]));
    for problem in problems {
        let _ = writeln!(text, "warning: {}: {}", problem.key, problem.message);
    }
    for line in &decided.log {
        let _ = writeln!(text, "log: {}: {}", level(line.level), line.message);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn arguments(snapshot: &str, set: &[(&str, &str)]) -> (tempfile::TempDir, Arguments) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.json");
        std::fs::write(&path, snapshot).unwrap();
        let set = set
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let arguments = Arguments {
            policy: "default-warm-eni".to_owned(),
            set: set.collect(),
            snapshot: path.to_str().unwrap().to_owned(),
        };
        (folder, arguments)
    }

    #[test]
    fn a_bare_node_grows_and_says_why() {
        let (_folder, arguments) = arguments("{}", &[]);
        let text = eval(&arguments, false).unwrap();
        assert!(text.contains("9 addresses more on eni-0"), "{text}");
        assert!(text.contains("fuel"), "{text}");
        let json: Value = serde_json::from_str(&eval(&arguments, true).unwrap()).unwrap();
        let grow = &json["actions"][0]["request"]["grow"];
        assert_eq!(
            (&grow["count"], &grow["eni_id"]),
            (&9.into(), &"eni-0".into())
        );
        assert_eq!(json["policy"]["reference"], "builtin:default-warm-eni");
        assert!(json["fuel"].as_u64().unwrap() > 0);
    }

    #[test]
    fn set_outranks_the_snapshot_and_bad_settings_are_warnings() {
        let json = r#"{"settings": {"WARM_IP_TARGET": 1}}"#;
        let (_folder, three) = arguments(json, &[("WARM_IP_TARGET", "3")]);
        assert!(eval(&three, false).unwrap().contains("3 addresses more"));
        let (_folder, bad) = arguments(json, &[("WARM_IP_TARGET", "many")]);
        let text = eval(&bad, false).unwrap();
        assert!(text.contains("warning: WARM_IP_TARGET: "), "{text}");
    }

    #[test]
    fn errors_name_the_file_the_place_and_what_is_possible() {
        let (_folder, misspelt) = arguments("{\"eniz\": []}", &[]);
        let why = eval(&misspelt, false).unwrap_err().chain();
        assert!(
            why.contains("node.json: line 1, column ") && why.contains("`enis`"),
            "{why}"
        );
        let (_folder, mut unknown) = arguments("{}", &[]);
        unknown.policy = "defualt".to_owned();
        let why = eval(&unknown, false).unwrap_err().chain();
        assert!(why.contains("builtin:default-warm-eni"), "{why}");
        unknown.snapshot = "/nonexistent.json".to_owned();
        let why = eval(&unknown, false).unwrap_err().chain();
        assert!(why.starts_with("cannot read /nonexistent.json"), "{why}");
        assert!(setting("no value").is_err() && setting("=1").is_err());
    }
}
