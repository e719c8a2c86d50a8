//! `onsen policy replay`: asks a policy again what a node asked, and shows where the answers differ.
//!
//! In: a recording, a policy. Out: each decision that would differ; or the recording as a scenario.
//! Must hold: the recorded policy with the recorded settings gives the recorded answers, to the last byte;
//! another policy never sees a memo that is not its own.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each question is about one kind of event"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use onsen_core::cidr::Unit;
use onsen_core::snapshot::{Setting, Snapshot};
use onsen_policy_runner::Policy;
use onsen_policy_runner::documents::{DecisionDocument, in_words};
use onsen_policy_runner::recording::{self, Decider, Decision, Event, Recording};
use onsen_policy_runner::reference::Reference;
use serde::Serialize;

use crate::cache;
use crate::error::CliError;
use crate::eval::setting;
use crate::table::pairs;

/// Differences shown to people; programs get all.
const SHOWN: usize = 20;

#[derive(Args)]
#[command(after_help = "\
Exit code: 0 no decision would differ, 1 some would, or the recorded policy does not give its recorded answers.

Examples:
  onsen policy replay node.onsenrec --policy builtin:prefix-frugal
  onsen policy replay node.onsenrec --policy builtin:default-warm-eni --set WARM_IP_TARGET=5
  onsen policy replay node.onsenrec --to-scenario > node.yaml
  onsen policy replay node.onsenrec --to-scenario --decision 41 > decision.yaml")]
pub(crate) struct Arguments {
    /// A recording, as `onsen record` makes it
    file: PathBuf,
    #[arg(
        long,
        value_name = "REF",
        help = "builtin:NAME or file:PATH",
        required_unless_present = "to_scenario",
        conflicts_with = "to_scenario"
    )]
    policy: Option<String>,
    /// A setting; outranks the recorded one
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting, conflicts_with = "to_scenario")]
    set: Vec<(String, String)>,
    /// Print a scenario for `onsen policy test`: the node, and the pods that came and went
    #[arg(long)]
    to_scenario: bool,
    /// With --to-scenario: this one decision, with what was asked for as what is expected
    #[arg(long, value_name = "ID", requires = "to_scenario")]
    decision: Option<u64>,
}

/// What a replay showed.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Questions put again.
    replayed: usize,
    /// Answers that ask for something else.
    differ: usize,
    /// Answers that ask for the same in other words, or with another memo or wake-up.
    differ_in_words: usize,
    /// Rounds of the built-in default, which stood in for the chosen policy: not put again.
    left_out: usize,
    /// The policy is the recorded one with its recorded settings: no answer may differ by a byte.
    exact: bool,
    /// In the order of the recording.
    differences: Vec<Difference>,
}

#[derive(Debug, Serialize)]
struct Difference {
    id: u64,
    at: u64,
    trigger: String,
    only_words: bool,
    recorded: Side,
    replayed: Side,
}

#[derive(Debug, Serialize)]
struct Side {
    actions: Vec<String>,
    reason: String,
    failure: Option<String>,
}

/// What to print, and the exit code.
pub(crate) fn replay(arguments: &Arguments, as_json: bool) -> Result<(String, u8), CliError> {
    let recording = read(&arguments.file)?;
    if arguments.to_scenario {
        return Ok((scenario(arguments, &recording)?, 0));
    }
    let reference: Reference = arguments.policy.as_deref().unwrap_or_default().parse()?;
    let engine = cache::engine()?;
    let policy = reference.load(&engine)?;
    let report = compare(&recording, &policy, &arguments.set, &arguments.file)?;
    let differs = report.differ > 0 || (report.exact && report.differ_in_words > 0);
    let text = if as_json {
        onsen_policy_runner::documents::write(&report).map_err(CliError::Document)?
    } else {
        for_people(&report, &recording, &reference, &policy)
    };
    Ok((text, u8::from(differs)))
}

fn read(path: &Path) -> Result<Recording, CliError> {
    let text = std::fs::read_to_string(path).map_err(|source| CliError::Read {
        path: path.to_owned(),
        source,
    })?;
    recording::read(&text).map_err(|source| CliError::Recording {
        path: path.to_owned(),
        source,
    })
}

fn decisions(recording: &Recording) -> impl Iterator<Item = (u64, &Decision)> {
    recording
        .records
        .iter()
        .filter_map(|record| match &record.event {
            Event::Decision(decision) => Some((record.at, &**decision)),
            _ => None,
        })
}

fn compare(
    recording: &Recording,
    policy: &Policy,
    set: &[(String, String)],
    path: &Path,
) -> Result<Report, CliError> {
    let mut report = Report {
        exact: set.is_empty()
            && decisions(recording)
                .filter(|(_, it)| it.decider == Decider::Chosen)
                .all(|(_, it)| it.policy.digest == policy.digest()),
        ..Report::default()
    };
    // What the policy itself wanted to remember, when it is not the one that was recorded.
    let mut memo = Vec::new();
    for (at, decision) in decisions(recording) {
        let Some(snapshot) = decision.snapshot() else {
            continue;
        };
        if decision.decider == Decider::BuiltIn {
            report.left_out += 1;
            continue;
        }
        let mut snapshot = snapshot.map_err(|source| CliError::Snapshot {
            from: format!("of decision {} in {}", decision.id, path.display()),
            source,
        })?;
        let own = set.is_empty() && decision.policy.digest == policy.digest();
        if !own {
            snapshot.memo = std::mem::take(&mut memo);
            for (key, value) in set {
                put(&mut snapshot, key, value);
            }
        }
        let answer = policy.decide(&snapshot);
        report.replayed += 1;
        if let Ok(decided) = &answer {
            memo.clone_from(&decided.proposal.memo);
        }
        let (then, now) = (decision.proposal(), answer.as_ref().ok());
        let same = match (&decision.proposal, now) {
            (Some(recorded), Some(decided)) => {
                *recorded == DecisionDocument::new(&decided.proposal, &snapshot)
            }
            (None, None) => true,
            _ => false,
        };
        if same {
            continue;
        }
        let requests = |proposal: &onsen_core::proposal::Proposal| -> Vec<_> {
            let actions = proposal.actions.iter();
            actions.map(|action| action.request.clone()).collect()
        };
        let only_words = then.as_ref().map(requests) == now.map(|it| requests(&it.proposal));
        if only_words {
            report.differ_in_words += 1;
        } else {
            report.differ += 1;
        }
        let side = |proposal: Option<&onsen_core::proposal::Proposal>, failure: Option<String>| {
            let words = |action: &onsen_core::proposal::Action| {
                let request = in_words(&action.request, &snapshot);
                format!("{request}: {}", action.reason)
            };
            Side {
                actions: proposal
                    .map_or_else(Vec::new, |it| it.actions.iter().map(words).collect()),
                reason: proposal.map_or_else(String::new, |it| it.reason.clone()),
                failure,
            }
        };
        let failed = decision.failure.as_ref().map(|it| it.message.clone());
        report.differences.push(Difference {
            id: decision.id,
            at,
            trigger: decision.trigger.clone(),
            only_words,
            recorded: side(then.as_ref(), failed),
            replayed: side(
                now.map(|it| &it.proposal),
                answer.as_ref().err().map(ToString::to_string),
            ),
        });
    }
    Ok(report)
}

/// Sets what an operator would have set.
fn put(snapshot: &mut Snapshot, key: &str, value: &str) {
    let settings = &mut snapshot.settings;
    settings.retain(|setting| setting.key != key);
    settings.push(Setting {
        key: key.to_owned(),
        value: value.to_owned(),
    });
    settings.sort();
    if key == "ENABLE_PREFIX_DELEGATION" {
        let wanted = matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True");
        snapshot.unit = if wanted && snapshot.limits.prefixes {
            Unit::Prefix
        } else {
            Unit::Address
        };
    }
}

fn scenario(arguments: &Arguments, recording: &Recording) -> Result<String, CliError> {
    let file = arguments.file.display();
    let Some(id) = arguments.decision else {
        return onsen_sim::scenario::write_life(recording, &file.to_string())
            .map_err(CliError::Scenario);
    };
    let absent = || CliError::NoDecision {
        id,
        path: arguments.file.clone(),
    };
    let (_, decision) = decisions(recording)
        .find(|(_, it)| it.id == id && it.snapshot.is_some())
        .ok_or_else(absent)?;
    let snapshot = decision.snapshot().ok_or_else(absent)?;
    let snapshot = snapshot.map_err(|source| CliError::Snapshot {
        from: format!("of decision {id} in {file}"),
        source,
    })?;
    let proposal = decision.proposal().ok_or_else(absent)?;
    let requests: Vec<_> = proposal.actions.into_iter().map(|it| it.request).collect();
    let name = format!("decision {id} of {}", recording.header.node);
    let about = format!("{} decided so in {file}.", decision.policy.name);
    onsen_sim::scenario::write_decision(&name, &about, &snapshot, &requests)
        .map_err(|error| CliError::Scenario(error.into()))
}

fn for_people(
    report: &Report,
    recording: &Recording,
    reference: &Reference,
    policy: &Policy,
) -> String {
    let all: Vec<_> = decisions(recording).collect();
    let span = match (all.first(), all.last()) {
        (Some((first, _)), Some((last, _))) => Duration::from_millis(last.saturating_sub(*first)),
        _ => Duration::ZERO,
    };
    let mut result = format!(
        "{} of {} decisions would differ, {} more in words only",
        report.differ, report.replayed, report.differ_in_words
    );
    if report.exact && report.differences.is_empty() {
        result = format!(
            "all {} decisions are the recorded ones, byte for byte",
            report.replayed
        );
    }
    if report.left_out > 0 {
        let _ = write!(
            result,
            "; {} by the built-in default are left out",
            report.left_out
        );
    }
    let metadata = policy.metadata();
    let mut text = pairs(&[
        (
            "recording",
            format!(
                "{}, {} decisions in {}",
                recording.header.node,
                all.len(),
                humantime::format_duration(Duration::from_secs(span.as_secs()))
            ),
        ),
        (
            "policy",
            format!("{} {} from {reference}", metadata.name, metadata.version),
        ),
        ("result", result),
    ]);
    let telling = |it: &&Difference| !it.only_words || report.exact;
    let shown: Vec<_> = report.differences.iter().filter(telling).collect();
    for difference in shown.iter().take(SHOWN) {
        let at = UNIX_EPOCH + Duration::from_millis(difference.at);
        let _ = write!(
            text,
            "\n#{} at {} on {}\n{}{}",
            difference.id,
            humantime::format_rfc3339_seconds(at),
            difference.trigger,
            side("recorded", &difference.recorded),
            side("replayed", &difference.replayed)
        );
    }
    if shown.len() > SHOWN {
        let _ = writeln!(text, "\n({} more: --format json)", shown.len() - SHOWN);
    }
    text
}

fn side(name: &str, side: &Side) -> String {
    let mut text = match &side.failure {
        Some(why) => format!("  {name}  no answer: {why}\n"),
        None => format!("  {name}  {}\n", side.reason),
    };
    for action in &side.actions {
        let _ = writeln!(text, "    {action}");
    }
    if side.actions.is_empty() && side.failure.is_none() {
        text.push_str("    nothing\n");
    }
    text
}

#[cfg(test)]
mod tests;
