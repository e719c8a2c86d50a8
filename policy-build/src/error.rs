//! Why a project cannot be made or built, in words for its author.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// A failure of `new` or `build`.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The name would not do as the name of a package.
    #[error(
        "{0:?} cannot be the name of a policy: take small letters, digits and `-`, a letter first"
    )]
    Name(String),
    /// No template has this name.
    #[error("there is no template for {0:?}; there are rust, go, js, python and c")]
    Language(String),
    /// Something is there already.
    #[error("{} is not empty: choose another name or folder", .0.display())]
    Occupied(PathBuf),
    /// Nothing says which language the project is in.
    #[error(
        "{} is no policy project: it has none of {}; start one with `onsen policy new`",
        .0.display(),
        crate::Language::marks()
    )]
    NoProject(PathBuf),
    /// A tool of the language is not installed.
    #[error("{tool} is missing: {how}")]
    MissingTool {
        /// Its name.
        tool: String,
        /// How to get it.
        how: String,
    },
    /// A tool said no; it has told why.
    #[error("`{command}` failed ({status})")]
    Tool {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// A command could not be started.
    #[error("cannot start `{command}`")]
    Start {
        /// The command line.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or folder cannot be used.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The contract gives no bindings.
    #[error("no bindings can be made of {}: {why}", path.display())]
    Bindings {
        /// The contract's file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The module gives no component that a node would take.
    #[error("{} makes no policy: {why}", module.display())]
    Component {
        /// What was to become one.
        module: PathBuf,
        /// Why not.
        why: String,
    },
}

impl BuildError {
    /// For `map_err` at a call of the file system.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
