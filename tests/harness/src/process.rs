//! Long-lived programs under supervision, and short-lived tools.
//!
//! A supervised program writes to a log file; whoever finds it ended gets the end of that log. The
//! kernel kills it when the thread that started it ends (`setpriv --pdeathsig`), so start programs
//! from a thread that outlives their use.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{HarnessError, Result};
use crate::wait::wait_for;

/// How much of a log goes into an error.
const TAIL_LINES: usize = 30;

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` so that it dies with the calling thread. Its stderr, and its stdout unless
    /// `Stdio::piped()` was asked for by [`Process::start_piped`], are appended to `log`.
    pub fn start(name: &str, command: &Command, log: &Path) -> Result<Self> {
        let file = open_log(log)?;
        Self::spawn(name, command, log, Stdio::from(file))
    }

    /// As [`Process::start`], with stdout as a pipe for a ready line.
    pub fn start_piped(name: &str, command: &Command, log: &Path) -> Result<(Self, ChildStdout)> {
        let mut process = Self::spawn(name, command, log, Stdio::piped())?;
        let stdout = process.child.stdout.take().ok_or_else(|| {
            HarnessError::Protocol(format!("{name} was started without a pipe for its output"))
        })?;
        Ok((process, stdout))
    }

    fn spawn(name: &str, command: &Command, log: &Path, stdout: Stdio) -> Result<Self> {
        let mut tied = Command::new("setpriv");
        tied.args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args())
            // The operator's own AWS settings must not leak into the programs.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for (key, value) in command.get_envs() {
            if let Some(value) = value {
                tied.env(key, value);
            }
        }
        let child = tied
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(open_log(log)?)
            .spawn()
            .map_err(|source| HarnessError::Spawn {
                program: line(command),
                source,
            })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The status with which it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .map_err(HarnessError::io(format!("look after {}", self.name)))
    }

    /// An error with the end of the log unless the program runs.
    pub fn must_run(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => Err(HarnessError::Ended {
                name: self.name.clone(),
                status,
                log: self.log_tail(),
            }),
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(drop)
            .map_err(HarnessError::io(format!("kill {}", self.name)))
    }

    /// SIGTERM, and waits for the program to end by itself.
    pub fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        let pid = Pid::from_raw(self.id().cast_signed());
        kill(pid, Signal::SIGTERM)
            .map_err(|errno| HarnessError::io(format!("stop {}", self.name))(errno.into()))?;
        let what = format!("the end of {} after SIGTERM", self.name);
        let log = self.log.clone();
        wait_for(&what, within, || self.ended()).map_err(|error| with_log(error, &log))
    }

    /// Last lines of its log.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; nothing is left to do then.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Puts the end of a log into an error that says something came too late.
pub fn with_log(mut error: HarnessError, path: &Path) -> HarnessError {
    if let HarnessError::Late { log, .. } = &mut error
        && log.is_empty()
    {
        *log = format!("\nthe end of {}:\n{}", path.display(), log_tail(path));
    }
    error
}

/// Last lines of a log file.
pub fn log_tail(path: &Path) -> String {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(TAIL_LINES);
            lines.get(from..).unwrap_or_default().join("\n")
        }
        Err(error) => format!("(no log: {error})"),
    }
}

fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(HarnessError::io(format!("open the log {}", path.display())))
}

/// Runs a tool to its end; its standard output, or an error that carries what it said.
pub fn tool<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    output(&mut command)
}

/// Runs a command to its end; its standard output, or an error that carries what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|source| HarnessError::Spawn {
        program: line(command),
        source,
    })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(HarnessError::Tool {
            command: line(command),
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}

/// A command as a person would type it.
pub fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ended_is_reported_with_the_end_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo what a pity >&2; exit 3"]);
        let mut process = Process::start("poor", &command, &dir.path().join("log")).unwrap();
        process.child.wait().unwrap();
        let error = process.must_run().unwrap_err().to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("what a pity"), "{error}");
    }

    #[test]
    fn the_environment_of_the_caller_does_not_reach_a_process() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("env");
        command.env("ONLY", "this");
        let (mut process, stdout) =
            Process::start_piped("env", &command, &dir.path().join("log")).unwrap();
        let text = std::io::read_to_string(stdout).unwrap();
        process.child.wait().unwrap();
        let names: Vec<&str> = text
            .lines()
            .filter_map(|l| Some(l.split_once('=')?.0))
            .collect();
        assert_eq!(
            names.into_iter().collect::<std::collections::BTreeSet<_>>(),
            ["ONLY", "PATH"].into()
        );
    }

    #[test]
    fn a_failing_tool_says_its_command_and_its_words() {
        let error = tool("sh", &["-c", "echo no >&2; false"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("sh -c echo no >&2; false"), "{error}");
        assert!(error.ends_with(": no"), "{error}");
    }
}
