//! What outlives the daemon: the last good policy, and the one that was rolled back.
//!
//! In: a policy that has proved good, or has not. Out: two files in the private folder of compiled
//! policies, and what they said at the last end.
//! Must hold: a file is whole or not there; a component counts only with the digest written beside it;
//! trouble with these files is logged and stops nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use onsen_core::time::Millis;
use onsen_policy_runner::reference::Reference;
use serde::{Deserialize, Serialize};

use super::Candidate;

const FACTS: &str = "policy-life.json";
const COMPONENT: &str = "last-good.wasm";

/// What is on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// It ran well.
    #[serde(default)]
    pub(super) last_good: Option<LastGood>,
    /// It did not.
    #[serde(default)]
    pub(super) rolled_back: Option<RolledBack>,
}

/// The policy to go back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastGood {
    pub(super) reference: String,
    pub(super) digest: String,
    pub(super) settings: BTreeMap<String, String>,
    /// Digest of the public key that vouched for it; absent when none was asked for.
    #[serde(default)]
    pub(super) key: Option<String>,
}

/// The policy not to come back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RolledBack {
    pub(super) digest: String,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) at: Millis,
    pub(super) why: String,
}

impl RolledBack {
    pub(super) fn is(&self, candidate: &Candidate) -> bool {
        self.digest == candidate.policy.digest() && self.settings == candidate.settings
    }
}

/// The folder. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Keep {
    folder: PathBuf,
    /// Number of the newest state that was written; held while one is.
    written: Arc<Mutex<u64>>,
    last: u64,
}

impl Keep {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            written: Arc::default(),
            last: 0,
        }
    }

    /// What was kept; nothing when nothing was.
    pub(super) fn load(&self) -> Kept {
        let path = self.folder.join(FACTS);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!("{} is not what was written: {error}", path.display());
                Kept::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => {
                tracing::warn!("{} cannot be read: {error}", path.display());
                Kept::default()
            }
        }
    }

    /// The component of the last good policy, and where it once came from.
    pub(super) fn component(&self, good: &LastGood) -> Option<(Reference, Cow<'static, [u8]>)> {
        let reference = good.reference.parse().ok()?;
        let path = self.folder.join(COMPONENT);
        let bytes = fs::read(&path)
            .inspect_err(|error| tracing::warn!("{} cannot be read: {error}", path.display()))
            .ok()?;
        if onsen_policy_runner::digest(&bytes) == good.digest {
            return Some((reference, bytes.into()));
        }
        tracing::warn!("{} is not the policy {}", path.display(), good.digest);
        None
    }

    /// Stores on another thread. An older state never comes after a newer one.
    pub(super) fn store_beside(&mut self, kept: Kept, component: Option<Arc<Cow<'static, [u8]>>>) {
        self.last += 1;
        let (keep, number) = (self.clone(), self.last);
        tokio::task::spawn_blocking(move || {
            let mut written = keep.written.lock().unwrap_or_else(PoisonError::into_inner);
            // The component goes to disk in any case; without its facts it counts for nothing.
            if let Some(bytes) = component.as_deref() {
                keep.try_to(|| write(&keep.folder.join(COMPONENT), bytes));
            }
            if *written < number {
                *written = number;
                keep.store(&kept, None);
            }
        });
    }

    /// Blocks. `component` is written when it is another than before.
    pub(super) fn store(&self, kept: &Kept, component: Option<&[u8]>) {
        self.try_to(|| {
            if let Some(bytes) = component {
                write(&self.folder.join(COMPONENT), bytes)?;
            }
            let facts = serde_json::to_vec_pretty(kept)?;
            write(&self.folder.join(FACTS), &facts)
        });
    }

    fn try_to(&self, store: impl FnOnce() -> io::Result<()>) {
        if let Err(error) = store() {
            tracing::warn!(
                "the life of policies cannot be kept in {}: {error}",
                self.folder.display()
            );
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(bytes: &[u8]) -> LastGood {
        LastGood {
            reference: "configmap:p.wasm".into(),
            digest: onsen_policy_runner::digest(bytes),
            settings: BTreeMap::from([("A".into(), "1".into())]),
            key: None,
        }
    }

    #[test]
    fn what_is_kept_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep::new(folder.path().to_owned());
        assert_eq!(keep.load(), Kept::default());
        let kept = Kept {
            last_good: Some(good(b"p")),
            rolled_back: Some(RolledBack {
                digest: "sha256:1".into(),
                settings: BTreeMap::new(),
                at: 7,
                why: "it trapped".into(),
            }),
        };
        keep.store(&kept, Some(b"p"));
        assert_eq!(keep.load(), kept);
        let (reference, bytes) = keep.component(&good(b"p")).unwrap();
        assert_eq!(
            (reference.to_string().as_str(), &*bytes),
            ("configmap:p.wasm", &b"p"[..])
        );
    }

    #[test]
    fn a_component_with_another_digest_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep::new(folder.path().to_owned());
        assert_eq!(keep.component(&good(b"p")), None);
        keep.store(&Kept::default(), Some(b"q"));
        assert_eq!(keep.component(&good(b"p")), None);
        fs::write(folder.path().join(FACTS), "{").unwrap();
        assert_eq!(keep.load(), Kept::default());
    }
}
