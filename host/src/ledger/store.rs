//! Where the ledger's records are kept: the newest in memory, more of them on disk.
//!
//! In: drafts from the loop. Out: lines of a recording, for the pages. A thread of its own turns drafts
//! into lines, so that neither JSON nor the disk makes the loop wait.
//! Must hold: memory and disk are bounded; numbers go on after a restart; a line that a crash cut short
//! is dropped at the next start; a disk that fails costs the file, not the records in memory.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use onsen_core::proposal::Proposal;
use onsen_core::snapshot::Snapshot;
use onsen_core::time::Millis;
use onsen_policy_runner::documents::{DecisionDocument, SnapshotDocument};
use onsen_policy_runner::recording::{self, Decision, Event, Header, Record};
use serde::Deserialize;

/// Bytes of lines kept in memory.
const MEMORY: usize = 4 << 20;
/// Bytes of one file; there are two at most.
const FILE: u64 = 4 << 20;
/// Drafts that may wait for the thread; more are lost, and counted.
const QUEUE: usize = 4096;

const CURRENT: &str = "current.onsenrec";
const PREVIOUS: &str = "previous.onsenrec";

/// What the loop hands over.
pub(super) enum Draft {
    /// As it is.
    Ready(Event),
    /// A decision, whose documents are still to be made.
    Decision {
        decision: Box<Decision>,
        snapshot: Arc<Snapshot>,
        proposal: Option<Proposal>,
    },
}

/// One line in memory.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Number of the record.
    pub(crate) seq: u64,
    /// Its JSON, with the end of the line.
    pub(crate) text: Arc<str>,
}

/// The records in memory, for those who read them.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    ring: Arc<Mutex<Ring>>,
    header: Arc<str>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
}

impl Ring {
    fn push(&mut self, line: Line) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.bytes > MEMORY
            && let Some(old) = self.lines.pop_front()
        {
            self.bytes -= old.text.len();
        }
    }
}

impl Shelf {
    /// The first line of a recording.
    pub(crate) fn header(&self) -> &str {
        &self.header
    }

    /// The lines behind the record of that number, oldest first.
    pub(crate) fn after(&self, seq: u64) -> Vec<Line> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let from = ring.lines.partition_point(|line| line.seq <= seq);
        ring.lines.range(from..).cloned().collect()
    }
}

/// What an earlier life has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Number of its last record.
    pub(super) seq: u64,
    /// Number of its last decision.
    pub(super) decision: u64,
}

/// The loop's end of the thread.
#[derive(Debug)]
pub(super) struct Store {
    drafts: Option<SyncSender<(Millis, Draft)>>,
    thread: Option<JoinHandle<()>>,
    lost: u64,
}

impl Store {
    /// Reads what is there and starts the thread. Without a folder, or when it cannot be used, the ledger
    /// is in memory only.
    pub(super) fn open(
        folder: Option<&Path>,
        header: &Header,
    ) -> Result<(Self, Shelf, Left), io::Error> {
        let header: Arc<str> = recording::line(header)?.into();
        let mut ring = Ring::default();
        let mut left = Left::default();
        let disk = folder.and_then(|folder| {
            Disk::open(folder, &header, &mut ring, &mut left)
                .inspect_err(|error| {
                    tracing::warn!(
                        "the ledger of decisions is kept in memory only: {}: {error}",
                        folder.display()
                    );
                })
                .ok()
        });
        let ring = Arc::new(Mutex::new(ring));
        let (drafts, inbox) = sync_channel(QUEUE);
        let shelf = Shelf {
            ring: Arc::clone(&ring),
            header,
        };
        let last = left.seq;
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || keep(&inbox, &ring, disk, last))?;
        let store = Self {
            drafts: Some(drafts),
            thread: Some(thread),
            lost: 0,
        };
        Ok((store, shelf, left))
    }

    /// Hands a draft over. Never waits: when the thread is far behind, the draft is lost.
    pub(super) fn put(&mut self, at: Millis, draft: Draft) {
        let Some(drafts) = &self.drafts else { return };
        if let Err(TrySendError::Full(_)) = drafts.try_send((at, draft)) {
            self.lost += 1;
            if self.lost.is_power_of_two() {
                tracing::warn!(
                    lost = self.lost,
                    "the ledger falls behind: records are lost"
                );
            }
        }
    }
}

impl Drop for Store {
    /// Writes what is under way.
    fn drop(&mut self) {
        self.drafts = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread of the ledger has failed");
        }
    }
}

fn keep(
    inbox: &Receiver<(Millis, Draft)>,
    ring: &Mutex<Ring>,
    mut disk: Option<Disk>,
    mut seq: u64,
) {
    while let Ok((at, draft)) = inbox.recv() {
        seq += 1;
        let text = match finished(draft).and_then(|event| {
            let record = Record { seq, at, event };
            recording::line(&record)
        }) {
            Ok(text) => text,
            Err(error) => {
                tracing::error!("a record of the ledger cannot be written as JSON: {error}");
                continue;
            }
        };
        if let Some(Err(error)) = disk.as_mut().map(|disk| disk.append(&text)) {
            tracing::warn!("the ledger of decisions is kept in memory only from now on: {error}");
            disk = None;
        }
        let text = text.into();
        let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.push(Line { seq, text });
    }
}

fn finished(draft: Draft) -> Result<Event, serde_json::Error> {
    match draft {
        Draft::Ready(event) => Ok(event),
        Draft::Decision {
            mut decision,
            snapshot,
            proposal,
        } => {
            let document = SnapshotDocument::from(&*snapshot);
            decision.snapshot_digest = recording::snapshot_digest(&document)?;
            decision.snapshot = Some(document);
            decision.proposal = proposal.map(|it| DecisionDocument::new(&it, &snapshot));
            Ok(Event::Decision(decision))
        }
    }
}

/// Two files: the one that grows, and the one before it.
#[derive(Debug)]
struct Disk {
    folder: PathBuf,
    header: Arc<str>,
    file: File,
    bytes: u64,
}

impl Disk {
    fn open(
        folder: &Path,
        header: &Arc<str>,
        ring: &mut Ring,
        left: &mut Left,
    ) -> Result<Self, io::Error> {
        fs::create_dir_all(folder)?;
        take_in(&folder.join(PREVIOUS), ring, left)?;
        let current = folder.join(CURRENT);
        let whole = take_in(&current, ring, left)?;
        let mut disk = Self {
            folder: folder.to_owned(),
            header: Arc::clone(header),
            file: append_to(&current)?,
            bytes: whole,
        };
        // What follows the last whole line was being written when an earlier life ended.
        disk.file.set_len(whole)?;
        if whole == 0 {
            disk.write(&Arc::clone(header))?;
        }
        Ok(disk)
    }

    fn append(&mut self, text: &str) -> Result<(), io::Error> {
        if self.bytes + text.len() as u64 > FILE {
            let current = self.folder.join(CURRENT);
            fs::rename(&current, self.folder.join(PREVIOUS))?;
            self.file = append_to(&current)?;
            self.bytes = 0;
            self.write(&Arc::clone(&self.header))?;
        }
        self.write(text)
    }

    fn write(&mut self, text: &str) -> Result<(), io::Error> {
        self.file.write_all(text.as_bytes())?;
        self.bytes += text.len() as u64;
        Ok(())
    }
}

/// It names pods: only this user may read it.
fn append_to(path: &Path) -> Result<File, io::Error> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// What is needed of a record to put it on the shelf.
#[derive(Deserialize)]
struct Tag {
    seq: u64,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    id: u64,
}

/// Reads a file of an earlier life; how many of its bytes are whole lines of this format.
fn take_in(path: &Path, ring: &mut Ring, left: &mut Left) -> Result<u64, io::Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    let known = lines
        .next()
        .and_then(|line| serde_json::from_str::<Header>(line).ok())
        .is_some_and(|header| {
            header.format == recording::FORMAT && header.version == recording::VERSION
        });
    if !known {
        // Another version's: its numbers mean nothing to us.
        return Ok(0);
    }
    for line in lines {
        let Ok(tag) = serde_json::from_str::<Tag>(line) else {
            continue;
        };
        left.seq = left.seq.max(tag.seq);
        if tag.kind == "decision" {
            left.decision = left.decision.max(tag.id);
        }
        ring.push(Line {
            seq: tag.seq,
            text: line.into(),
        });
    }
    let whole = bytes.iter().rposition(|byte| *byte == b'\n');
    Ok(whole.map_or(0, |at| at as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use onsen_policy_runner::recording::Del;

    fn header() -> Header {
        Header::new("0.1.0", "node-1", std::collections::BTreeMap::new())
    }

    fn del(pod: &str) -> Draft {
        Draft::Ready(Event::Del(Del {
            pod: pod.into(),
            address: "10.0.0.9".into(),
        }))
    }

    fn decision(id: u64) -> Draft {
        Draft::Decision {
            decision: Box::new(Decision {
                id,
                ..Decision::default()
            }),
            snapshot: Arc::new(Snapshot {
                decision_id: id,
                ..Snapshot::default()
            }),
            proposal: Some(Proposal::default()),
        }
    }

    fn life(folder: &Path, drafts: Vec<Draft>) -> (Vec<u64>, Left) {
        let (mut store, shelf, left) = Store::open(Some(folder), &header()).unwrap();
        for draft in drafts {
            store.put(7, draft);
        }
        drop(store);
        (shelf.after(0).iter().map(|line| line.seq).collect(), left)
    }

    #[test]
    fn numbers_go_on_after_a_restart_and_the_file_is_a_recording() {
        let folder = tempfile::tempdir().unwrap();
        let (seqs, left) = life(folder.path(), vec![decision(41), del("a/b")]);
        assert_eq!((seqs, left), (vec![1, 2], Left::default()));
        let (seqs, left) = life(folder.path(), vec![del("a/c")]);
        assert_eq!(seqs, [1, 2, 3]);
        assert_eq!(
            left,
            Left {
                seq: 2,
                decision: 41
            }
        );
        let text = fs::read_to_string(folder.path().join(CURRENT)).unwrap();
        let recording = recording::read(&text).unwrap();
        assert_eq!(recording.records.len(), 3);
        let Event::Decision(decision) = &recording.records[0].event else {
            panic!("{text}");
        };
        assert!(decision.snapshot.is_some() && decision.snapshot_digest.starts_with("sha256:"));
    }

    #[test]
    fn a_record_that_a_crash_cut_short_is_dropped_wherever_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        life(folder.path(), vec![del("a/b"), del("a/c")]);
        let path = folder.path().join(CURRENT);
        let whole = fs::read(&path).unwrap();
        for cut in 1..60 {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let (seqs, left) = life(folder.path(), vec![del("a/d")]);
            assert_eq!((seqs, left.seq), (vec![1, 2], 1), "{cut} bytes were lost");
            let text = fs::read_to_string(&path).unwrap();
            let recording = recording::read(&text).unwrap();
            assert!(text.contains("a/d") && recording.records.len() == 2);
        }
    }

    #[test]
    fn memory_and_disk_are_bounded_and_the_newest_stay() {
        let folder = tempfile::tempdir().unwrap();
        let long = "x".repeat(100_000);
        let drafts = (0..150).map(|_| del(&long)).collect();
        let (seqs, _) = life(folder.path(), drafts);
        assert_eq!(seqs.last(), Some(&150));
        assert!(seqs.len() < 45, "{}", seqs.len());
        for name in [CURRENT, PREVIOUS] {
            let size = fs::metadata(folder.path().join(name)).unwrap().len();
            assert!(size <= FILE && size > 100_000, "{name} has {size} bytes");
        }
    }

    #[test]
    fn a_file_of_another_version_is_not_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CURRENT);
        fs::write(
            &path,
            "{\"format\":\"onsen-recording\",\"version\":9}\n{\"seq\":5}\n",
        )
        .unwrap();
        let (seqs, left) = life(folder.path(), vec![del("a/b")]);
        assert_eq!((seqs, left), (vec![1], Left::default()));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(recording::read(&text).unwrap().records.len(), 1);
    }

    #[test]
    fn without_a_usable_folder_the_records_are_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let (seqs, _) = life(&file.join("below"), vec![del("a/b")]);
        assert_eq!(seqs, [1]);
    }
}
