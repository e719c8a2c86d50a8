//! Network namespaces by name: made, entered, removed.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, setns};

use crate::error::{HarnessError, Result};
use crate::process::{output, tool};

/// A network namespace under `/run/netns`.
#[derive(Debug)]
pub struct Netns {
    name: String,
    owned: bool,
}

impl Netns {
    /// Makes one; it is removed when the value is dropped.
    pub fn create(name: &str) -> Result<Self> {
        tool("ip", &["netns", "add", name])?;
        Ok(Self {
            name: name.to_owned(),
            owned: true,
        })
    }

    /// One that somebody else makes and removes.
    pub fn existing(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            owned: false,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path.
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// A command that runs `program` inside. Only the network namespace changes, as for a
    /// program on a real node: `ip netns exec` would replace /sys too.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs a tool inside to its end; what it printed.
    pub fn tool(&self, program: &str, args: &[&str]) -> Result<String> {
        output(self.command(program).args(args))
    }

    /// Runs `work` on a thread inside. Sockets opened there stay in the namespace wherever they
    /// are used later.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> std::io::Result<T> + Send) -> Result<T> {
        let path = self.path();
        let what = format!("work in the network namespace {}", self.name);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let file = std::fs::File::open(&path)?;
                setns(file, CloneFlags::CLONE_NEWNET)?;
                work()
            });
            match thread.join() {
                Ok(result) => result.map_err(HarnessError::io(what)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Removes it now; the kernel takes its links along.
    pub fn remove(&mut self) -> Result<()> {
        self.owned = false;
        tool("ip", &["netns", "delete", &self.name]).map(drop)
    }

    /// True when one echo request to `address` is answered.
    pub fn can_ping(&self, address: std::net::IpAddr) -> Result<bool> {
        let mut command = self.command("ping");
        command.args(["-n", "-q", "-c", "1", "-W", "2", &address.to_string()]);
        match output(&mut command) {
            Ok(_) => Ok(true),
            // 1: no answer; 2: no route and the like. Both mean that it cannot be reached.
            Err(HarnessError::Tool { status, .. }) if matches!(status.code(), Some(1 | 2)) => {
                Ok(false)
            }
            Err(other) => Err(other),
        }
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if self.owned {
            // Leftovers vanish with the private namespaces at the latest.
            drop(tool("ip", &["netns", "delete", &self.name]));
        }
    }
}
