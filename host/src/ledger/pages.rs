//! The ledger's pages: raw lines for recordings, decisions with what followed for people.
//!
//! In: lines from the shelf, what was asked for. Out: text. Runs on a blocking thread: there may be
//! megabytes to read.

use serde::Deserialize;
use serde_json::{Value, json};

use super::store::{Line, Shelf};

/// What a reader may ask for.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Wanted {
    /// Only what came after this record, or this decision.
    #[serde(default)]
    after: u64,
    /// Only so many of the newest decisions.
    last: Option<usize>,
}

/// A recording: the header, and the records after a number.
pub(crate) fn lines(shelf: &Shelf, wanted: Wanted) -> String {
    let lines = shelf.after(wanted.after);
    let mut text = String::from(shelf.header());
    text.extend(lines.iter().map(|line| &*line.text));
    text
}

/// The decisions after a number, oldest first, each with the EC2 calls that followed. Snapshots and
/// proposals are left out: they are in the recording.
pub(crate) fn decisions(shelf: &Shelf, wanted: Wanted) -> Value {
    decisions_of(&shelf.after(0), wanted)
}

fn decisions_of(lines: &[Line], wanted: Wanted) -> Value {
    let mut decisions: Vec<Value> = Vec::new();
    for line in lines {
        // Our own lines are JSON objects.
        let Ok(Value::Object(mut record)) = serde_json::from_str(&line.text) else {
            continue;
        };
        match record.get("kind").and_then(Value::as_str) {
            Some("decision") => {
                for heavy in ["kind", "seq", "snapshot", "proposal"] {
                    record.remove(heavy);
                }
                record.insert("calls".to_owned(), json!([]));
                decisions.push(Value::Object(record));
            }
            Some("call") => {
                let Some(of) = record.get("decision").and_then(Value::as_u64) else {
                    continue;
                };
                let found = decisions.iter_mut().rfind(|it| it["id"] == of);
                let calls = found.and_then(|it| it["calls"].as_array_mut());
                if let Some(calls) = calls {
                    for known in ["kind", "seq", "decision"] {
                        record.remove(known);
                    }
                    calls.push(Value::Object(record));
                }
            }
            _ => {}
        }
    }
    decisions.retain(|it| it["id"].as_u64().is_some_and(|id| id > wanted.after));
    let surplus = (wanted.last).map_or(0, |last| decisions.len().saturating_sub(last));
    decisions.drain(..surplus);
    Value::Array(decisions)
}
