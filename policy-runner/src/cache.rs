//! Compiled policies on disk.
//!
//! A file's name is the component's digest and a hash of the engine's version, configuration and
//! processor features. Must hold: the directory belongs to this process's user and nobody else
//! can write to it, because its files are run as native code; a file is whole or not there.

use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::error::PolicyError;

pub(crate) struct Cache {
    directory: PathBuf,
    engine: u64,
}

impl Cache {
    pub(crate) fn open(directory: PathBuf, engine: &Engine) -> Result<Self, PolicyError> {
        if let Err(why) = make_private(&directory) {
            return Err(PolicyError::Cache {
                path: directory,
                why,
            });
        }
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            directory,
            engine: hasher.finish(),
        })
    }

    fn path(&self, digest: &str) -> PathBuf {
        let digest = digest.trim_start_matches("sha256:");
        self.directory
            .join(format!("{digest}-{:016x}.cwasm", self.engine))
    }

    /// Absent when it is not there, or was made by another engine.
    #[expect(
        unsafe_code,
        reason = "deserialising trusts its input; this is the one place"
    )]
    pub(crate) fn get(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        if !path.is_file() {
            return None;
        }
        // SAFETY: only this process's user can write to the directory, and files come into it
        // whole (`put`), written from what `precompile_component` gave.
        unsafe { Component::deserialize_file(engine, path) }.ok()
    }

    pub(crate) fn put(&self, digest: &str, code: &[u8]) -> Result<(), PolicyError> {
        let path = self.path(digest);
        write_whole(&path, code).map_err(|error| PolicyError::Cache {
            path: self.directory.clone(),
            why: format!("cannot write {}: {error}", path.display()),
        })
    }
}

fn make_private(directory: &Path) -> Result<(), String> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| format!("it cannot be made: {error}"))?;
    let look = |path: &Path| {
        fs::metadata(path).map_err(|error| format!("cannot look at {}: {error}", path.display()))
    };
    let facts = look(directory)?;
    // The kernel shows a process's own directory as owned by its effective user.
    let myself = look(Path::new("/proc/self"))?.uid();
    if facts.uid() != myself {
        return Err(format!(
            "it belongs to user {}, not to user {myself}",
            facts.uid()
        ));
    }
    if facts.mode() & 0o022 != 0 {
        return Err(format!(
            "others may write to it (mode {:o})",
            facts.mode() & 0o7777
        ));
    }
    Ok(())
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Two processes may write the same file; each renames its own.
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let write = || {
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    })
}
