//! Finding and running programs, where people can see what these say.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::BuildError;

/// Where a program lies on the path.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// A program on the path, or the error that says how to get it.
pub(crate) fn need(program: &str, how: &str) -> Result<PathBuf, BuildError> {
    find(program).ok_or_else(|| BuildError::MissingTool {
        tool: program.to_owned(),
        how: how.to_owned(),
    })
}

/// Runs a command to its end; all it says goes to standard error.
pub fn run(command: &mut Command) -> Result<(), BuildError> {
    let line = line(command);
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(BuildError::Tool {
            command: line,
            status,
        }),
        Err(source) => Err(BuildError::Start {
            command: line,
            source,
        }),
    }
}

/// Runs a command to its end and gives its standard output, without the white space around it.
pub fn output(command: &mut Command) -> Result<String, BuildError> {
    let line = line(command);
    match command.stderr(Stdio::inherit()).output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => Err(BuildError::Tool {
            command: line,
            status: output.status,
        }),
        Err(source) => Err(BuildError::Start {
            command: line,
            source,
        }),
    }
}

/// A command as one would type it, without quotes.
pub fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
