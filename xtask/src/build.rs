//! Builds the policies and then every program, in one cargo call for the whole workspace.

use std::path::PathBuf;

use crate::failure::Failure;
use crate::policies;
use crate::run::{cargo, root, run, target_folder};

/// Builds all; the folder that holds the programs.
pub(crate) fn build(release: bool) -> Result<PathBuf, Failure> {
    policies::build(root())?;
    let mut command = cargo(&["build", "--workspace", "--locked"]);
    if release {
        command.arg("--release");
    }
    run(&mut command)?;
    Ok(target_folder()?.join(if release { "release" } else { "debug" }))
}
