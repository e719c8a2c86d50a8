//! Recordings: what a node decided, on which snapshot, and what followed, one JSON document a line.
//!
//! In: what a daemon saw. Out: lines that people, `onsen explain` and `onsen policy replay` read. The
//! daemon's ledger on disk and what `onsen record` prints have this one form: a [`Header`], then
//! [`Record`]s in the order in which things happened. docs/seeing.md describes it for people.
//!
//! Must hold: a snapshot and a proposal come back as they went in, to the last byte of the memo; a
//! line that is not whole is never taken for a record; fields that a reader does not know are passed
//! over, so that a version may gain some.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use onsen_core::proposal::Proposal;
use onsen_core::snapshot::Snapshot;
use onsen_core::time::Millis;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::documents::{DecisionDocument, DocumentError, SnapshotDocument};
use crate::{CONTRACT, Policy};

/// What the first line of a recording says it is.
pub const FORMAT: &str = "onsen-recording";
/// The version that this library writes, and the only one that it reads.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The contract that the snapshots are of.
    pub contract: String,
    /// Version of the daemon.
    pub daemon: String,
    /// Kubernetes' name of the node; empty when it was left out.
    #[serde(default)]
    pub node: String,
    /// Settings of the daemon that are not in snapshots: `IP_COOLDOWN_PERIOD`.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

impl Header {
    /// The header that this version writes.
    pub fn new(daemon: &str, node: &str, settings: BTreeMap<String, String>) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            contract: CONTRACT.to_owned(),
            daemon: daemon.to_owned(),
            node: node.to_owned(),
            settings,
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number on this node, without gaps in one life of the daemon.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub at: Millis,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Event {
    /// The daemon started.
    Start {
        /// Its version.
        daemon: String,
    },
    /// A policy was asked, and answered or failed.
    Decision(Box<Decision>),
    /// An EC2 call that changes something has ended.
    Call(Call),
    /// A sandbox asked for an address and got its answer.
    Add(Add),
    /// A sandbox gave its address back.
    Del(Del),
    /// Another policy or other settings were put in force, or were not.
    Policy(PolicyChange),
    /// The daemon told people something.
    Report {
        /// `info`, `warning` or `error`.
        severity: String,
        /// A word for machines.
        code: String,
        /// A sentence.
        message: String,
    },
}

/// Which policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyName {
    /// Its name.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// Digest of the component.
    pub digest: String,
}

impl From<&Policy> for PolicyName {
    fn from(policy: &Policy) -> Self {
        Self {
            name: policy.metadata().name.clone(),
            version: policy.metadata().version.clone(),
            digest: policy.digest().to_owned(),
        }
    }
}

/// Who was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decider {
    /// The policy that the operator chose.
    #[default]
    Chosen,
    /// The built-in default, in its place.
    BuiltIn,
}

/// One question to a policy, its answer, and what was made of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Number of the snapshot.
    pub id: u64,
    /// Why it was asked, in the contract's word.
    pub trigger: String,
    /// Who was asked.
    pub decider: Decider,
    /// Which policy that is.
    pub policy: PolicyName,
    /// Why the built-in default was asked instead of the chosen policy.
    #[serde(default)]
    pub fallback: Option<String>,
    /// SHA-256 of the snapshot's JSON.
    pub snapshot_digest: String,
    /// What the policy saw. Left out where only the outcome is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotDocument>,
    /// What it answered. Absent when it failed, and where only the outcome is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<DecisionDocument>,
    /// Why there is no proposal.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// The policy's sentence.
    #[serde(default)]
    pub reason: String,
    /// What was sent on its way, one sentence each.
    #[serde(default)]
    pub accepted: Vec<String>,
    /// What the check dropped.
    #[serde(default)]
    pub dropped: Vec<Dropped>,
    /// 0 to 100.
    #[serde(default)]
    pub pressure: u8,
    /// Time the answer took.
    pub micros: u64,
    /// Fuel the guest burnt.
    pub fuel: u64,
}

/// Why a policy gave no answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A word for machines, `trap`.
    pub kind: String,
    /// A sentence.
    pub message: String,
}

/// An action that was dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// The action in words.
    pub action: String,
    /// The reason's word.
    pub why: String,
}

/// How an EC2 call ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The decision that it carries out; absent when the daemon itself needs it.
    pub decision: Option<u64>,
    /// EC2's name of the action.
    pub action: String,
    /// The ENI that it is about; a new one's id when EC2 told it.
    pub eni: Option<String>,
    /// What was asked for, in words.
    pub request: String,
    /// What EC2 gave, in words; absent when it gave nothing usable.
    pub gave: Option<String>,
    /// EC2's error code, or `unknown` when no usable answer came.
    pub code: Option<String>,
    /// EC2's words with that code.
    #[serde(default)]
    pub message: String,
    /// Time it took, waiting for its turn included.
    pub millis: u64,
}

/// How a sandbox's request for an address ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Add {
    /// `NAMESPACE/NAME`.
    pub pod: String,
    /// How long it waited.
    pub waited: Millis,
    /// What it got.
    pub address: Option<String>,
    /// On which ENI.
    pub eni: Option<String>,
    /// The reason's word when it got nothing, `node-full`.
    pub refused: Option<String>,
    /// The sentence that goes with it.
    #[serde(default)]
    pub message: String,
    /// The newest decision when the answer left.
    pub decision: Option<u64>,
}

/// An address that was given back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Del {
    /// `NAMESPACE/NAME`.
    pub pod: String,
    /// Which address.
    pub address: String,
}

/// A policy, or settings, put in force or refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyChange {
    /// Where it comes from, as the operator wrote it.
    pub reference: String,
    /// What is in force now.
    pub policy: PolicyName,
    /// Its settings.
    pub settings: BTreeMap<String, String>,
    /// Why the wish was not granted; what ran goes on.
    pub refused: Option<String>,
}

/// A recording that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Its first line.
    pub header: Header,
    /// The others.
    pub records: Vec<Record>,
    /// The last line was cut short and is left out.
    pub torn: bool,
}

/// Why text is no recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The first line is no header.
    #[error("line 1 is not the header of an Onsen recording")]
    Header(#[source] serde_json::Error),
    /// Another version.
    #[error("it is {format:?} version {version}; this program reads {FORMAT:?} version {VERSION}")]
    Version {
        /// What it says it is.
        format: String,
        /// Of which version.
        version: u32,
    },
    /// A line in the middle cannot be read.
    #[error("line {line} is no record")]
    Line {
        /// Counted from 1.
        line: usize,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
}

/// Reads a recording. A last line that was cut short is left out.
pub fn read(text: &str) -> Result<Recording, RecordingError> {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let header: Header = serde_json::from_str(first).map_err(RecordingError::Header)?;
    if header.format != FORMAT || header.version != VERSION {
        return Err(RecordingError::Version {
            format: header.format,
            version: header.version,
        });
    }
    let whole = text.ends_with('\n');
    let mut recording = Recording {
        header,
        ..Recording::default()
    };
    let lines: Vec<&str> = rest.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        match serde_json::from_str(line) {
            Ok(record) => recording.records.push(record),
            Err(_) if at + 1 == lines.len() && !whole => recording.torn = true,
            Err(source) => {
                let line = at + 2;
                return Err(RecordingError::Line { line, source });
            }
        }
    }
    Ok(recording)
}

/// Writes one line, its end included.
pub fn line(document: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string(document)?;
    text.push('\n');
    Ok(text)
}

/// SHA-256 of a snapshot's JSON, `sha256:` and 64 hexadecimal digits.
pub fn snapshot_digest(document: &SnapshotDocument) -> Result<String, serde_json::Error> {
    let mut digest = String::from("sha256:");
    for byte in Sha256::digest(serde_json::to_vec(document)?) {
        // Writing to a String cannot fail.
        let _ = write!(digest, "{byte:02x}");
    }
    Ok(digest)
}

impl Decision {
    /// The snapshot as the policy saw it; absent when it was left out.
    pub fn snapshot(&self) -> Option<Result<Snapshot, DocumentError>> {
        let document = self.snapshot.clone()?;
        // A recorded snapshot has every field written out: nothing needs to be looked up.
        Some(document.into_snapshot(|_| None))
    }

    /// What the policy answered; absent when it failed, or when it was left out.
    pub fn proposal(&self) -> Option<Proposal> {
        self.proposal.clone().map(DecisionDocument::into_proposal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, Limits, builtin};

    fn decision() -> (Snapshot, Decision) {
        let document: SnapshotDocument = crate::documents::read(
            r#"{"limits": {"enis": 3, "slots_per_eni": 9, "prefixes": true, "trunk": true},
                "enis": [{"blocks": [{"repeat": 4, "assigned": 1}]}], "memo": "AAEC/w=="}"#,
        )
        .unwrap();
        let snapshot = document.into_snapshot(|_| None).unwrap();
        let document = SnapshotDocument::from(&snapshot);
        let engine = Engine::new(Limits::default(), None).unwrap();
        let policy = engine
            .load(builtin::get("default-warm-eni").unwrap())
            .unwrap();
        let decided = policy.decide(&snapshot).unwrap();
        let decision = Decision {
            id: 1,
            trigger: "timer".into(),
            policy: (&policy).into(),
            snapshot_digest: snapshot_digest(&document).unwrap(),
            snapshot: Some(document),
            proposal: Some(DecisionDocument::new(&decided.proposal, &snapshot)),
            fuel: decided.fuel,
            ..Decision::default()
        };
        (snapshot, decision)
    }

    fn recorded(events: Vec<Event>) -> String {
        let header = Header::new("0.1.0", "node-1", BTreeMap::new());
        let mut text = line(&header).unwrap();
        for (seq, event) in (1..).zip(events) {
            text += &line(&Record { seq, at: 7, event }).unwrap();
        }
        text
    }

    #[test]
    fn a_snapshot_and_a_proposal_come_back_as_they_went_in() {
        let (snapshot, decision) = decision();
        let text = recorded(vec![Event::Decision(Box::new(decision.clone()))]);
        let recording = read(&text).unwrap();
        let Event::Decision(back) = &recording.records[0].event else {
            panic!("{text}");
        };
        assert_eq!(**back, decision);
        assert_eq!(back.snapshot().unwrap().unwrap(), snapshot);
        assert_eq!(recorded(vec![recording.records[0].event.clone()]), text);
        assert!(!recording.torn);
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_one_in_the_middle_is_an_error() {
        let del = || Event::Del(Del::default());
        let text = recorded(vec![del(), del()]);
        for cut in 1..30 {
            let recording = read(&text[..text.len() - cut]).unwrap();
            // Without the end of the line all of the record is there.
            assert_eq!(recording.records.len(), if cut == 1 { 2 } else { 1 });
            assert_eq!(recording.torn, cut > 1);
        }
        let broken = text.replacen("\"seq\":1", "\"seq\":", 1);
        let error = read(&broken).unwrap_err().to_string();
        assert_eq!(error, "line 2 is no record");
    }

    #[test]
    fn another_version_is_named_and_unknown_fields_are_passed_over() {
        let text = recorded(vec![Event::Start { daemon: "9".into() }]);
        let more = text.replace("\"at\":7", "\"at\":7,\"novelty\":{\"a\":[1]}");
        assert_eq!(read(&more).unwrap().records, read(&text).unwrap().records);
        let newer = text.replace("\"version\":1", "\"version\":2");
        let error = read(&newer).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
        assert!(matches!(read("hello"), Err(RecordingError::Header(_))));
    }
}
