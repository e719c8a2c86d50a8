//! What can go wrong between us and the kernel.

use std::{fmt, io, path::PathBuf, process::ExitStatus};

use nix::errno::Errno;

/// A MAC as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub(crate) [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// Why the kernel does not carry what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// No netlink socket.
    #[error("cannot open a netlink socket")]
    Open {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The task that drives the socket ended before the kernel answered.
    #[error("cannot {attempted}: the netlink socket is closed")]
    Closed {
        /// What was being tried.
        attempted: String,
    },
    /// The kernel refused a request.
    #[error("cannot {attempted}")]
    Refused {
        /// What was being tried.
        attempted: String,
        /// What the kernel said.
        #[source]
        errno: Errno,
    },
    /// The list changed under each of our attempts to read it.
    #[error("cannot {attempted}: it changed during each of {attempts} attempts")]
    Interrupted {
        /// What was being tried.
        attempted: String,
        /// How often.
        attempts: u32,
    },
    /// No link has this MAC. A link may appear some seconds after EC2 says that its ENI is attached.
    #[error("no link has the MAC {mac}")]
    NoLink {
        /// The MAC looked for.
        mac: Mac,
    },
    /// A link that was there a moment ago, or must be there, is not.
    #[error("no link is called {name}")]
    NoLinkNamed {
        /// The name looked for.
        name: String,
    },
    /// The primary ENI belongs to the machine image; setting it up like any other would cut the node off.
    #[error("the primary ENI {mac} must be left as the machine image set it up")]
    PrimaryEni {
        /// Its MAC.
        mac: Mac,
    },
    /// A network namespace could not be entered.
    #[error("cannot enter the network namespace {}", path.display())]
    Namespace {
        /// Its path.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A setting under `/proc/sys` could not be written.
    #[error("cannot write {value} to {path}")]
    Sysctl {
        /// Which setting.
        path: String,
        /// Which value.
        value: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// No random bytes for a MAC.
    #[error("cannot read /dev/urandom")]
    Random {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The IPv6 address did not become usable.
    #[error("the address {address} on {link} is still tentative after {seconds} s, or a duplicate")]
    NotUsable {
        /// Which address.
        address: std::net::IpAddr,
        /// On which link.
        link: String,
        /// How long we waited.
        seconds: u64,
    },
    /// A check found something missing.
    #[error("missing: {what}")]
    Missing {
        /// What should be there.
        what: String,
    },
    /// A program is not installed.
    #[error("the program {program} is not installed: install the package {package}")]
    NoProgram {
        /// Which program.
        program: &'static str,
        /// The Debian package it is in; most distributions call it the same.
        package: &'static str,
    },
    /// A program could not be run.
    #[error("cannot run {command}")]
    Run {
        /// The command line.
        command: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("{command}: {status}: {stderr}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
}

impl NetError {
    /// Whether the kernel refused with this errno.
    pub(crate) fn is(&self, wanted: Errno) -> bool {
        matches!(self, Self::Refused { errno, .. } if *errno == wanted)
    }
}

/// Takes *it is not there* for success; which errno says that depends on the kind of thing.
pub(crate) fn absent_is_fine(result: Result<(), NetError>, absent: Errno) -> Result<(), NetError> {
    match result {
        Err(error) if error.is(absent) => Ok(()),
        other => other,
    }
}
