//! Other network namespaces.
//!
//! A namespace belongs to a thread, so it is entered on a thread of its own that ends afterwards. A
//! worker of an async runtime must never change its namespace: other tasks run on it too.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, setns};

use crate::NetError;

/// An open network namespace.
#[derive(Debug)]
pub struct Namespace {
    path: PathBuf,
    file: File,
}

impl Namespace {
    /// Opens a namespace by its path.
    pub fn open(path: &Path) -> Result<Self, NetError> {
        let file = File::open(path).map_err(|source| NetError::Namespace {
            path: path.into(),
            source,
        })?;
        Ok(Self {
            path: path.into(),
            file,
        })
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, NetError> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Runs a closure inside the namespace, on a thread of its own.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetError> {
        let enter = || setns(&self.file, CloneFlags::CLONE_NEWNET);
        let outcome = thread::scope(|scope| {
            let thread = thread::Builder::new().spawn_scoped(scope, || {
                enter().map_err(io::Error::from)?;
                Ok(work())
            })?;
            thread
                .join()
                .map_err(|_panic| io::Error::other("the thread inside it panicked"))?
        });
        outcome.map_err(|source| NetError::Namespace {
            path: self.path.clone(),
            source,
        })
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
