//! What can go wrong in a request, and the code and words a runtime gets for it.
//!
//! The words are upstream's where upstream has some: they appear in the events of pods, and people
//! have alerts on them.

use std::{error::Error, fmt::Write, io, path::PathBuf};

use onsen_net::NetError;
use serde::Serialize;

use crate::{conf::SUPPORTED, request::Command};

#[derive(Debug, thiserror::Error)]
pub(crate) enum CniError {
    #[error("incompatible CNI versions")]
    Incompatible { config: String },
    #[error("config version does not allow {command}")]
    NotAllowed { command: Command, config: String },
    #[error("unknown CNI_COMMAND: {0}")]
    UnknownCommand(String),
    #[error("required env variables [{}] missing", names.join(","))]
    MissingEnvironment { names: Vec<&'static str> },
    #[error("invalid {name}: {value:?} {why}")]
    InvalidEnvironment {
        name: &'static str,
        value: String,
        why: &'static str,
    },
    #[error("error reading from stdin")]
    Stdin { source: io::Error },
    #[error("error unmarshall network config")]
    Undecodable { source: serde_json::Error },
    #[error("missing network name")]
    NoNetworkName,
    #[error(
        "invalid network name: {0:?} must begin with a letter or digit and go on with those, `_`, `.` or `-`"
    )]
    NetworkName(String),
    #[error("plugin's netns and netns from CNI_NETNS should not be the same")]
    OwnNamespace { netns: PathBuf },
    #[error("failed to load k8s config from arg: {0}")]
    Arguments(String),
    #[error("vethPrefix {0:?} has more than 4 characters")]
    VethPrefix(String),
    #[error("cannot start the runtime")]
    Runtime { source: io::Error },
    #[error("cannot lock {} against a second request for the same pod", netns.display())]
    Lock { netns: PathBuf, source: io::Error },

    #[error("add cmd: Error received from AddNetwork gRPC call: {0}")]
    AddRefused(String),
    #[error("add cmd: failed to assign an IP address to container{}", reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default())]
    NoAddress { reason: Option<String> },
    #[error("add command: failed to setup network: {}", chain(.0))]
    Setup(SetupError),
    #[error("add cmd: failed to setup network policy: {0}")]
    Policy(String),

    #[error("del cmd: failed to process delete request")]
    DelRefused,
    #[error("del cmd: failed to tear down {address}")]
    Teardown { address: String, source: NetError },
    #[error("del cmd: failed to set up connection to the network policy agent: {0}")]
    PolicyAgent(String),
    #[error("del cmd: branch ENIs are not supported: VLAN {0} is left as it is")]
    BranchLeft(i64),
    #[error("del cmd: cannot read the VLAN {0:?} in prevResult")]
    BadVlan(String),

    #[error("check cmd: the configuration has no prevResult to check")]
    NothingToCheck,
    #[error("check cmd: prevResult has no {0}")]
    Incomplete(String),
    #[error("check cmd: {}", chain(.0))]
    Check(NetError),
    #[error("the daemon is not ready to give addresses: {0}")]
    NotReady(String),
}

/// Why a pod that has its addresses is still without a network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error("branch ENIs (security groups for pods) are not supported, and the pod has VLAN {0}")]
    Branch(i32),
    #[error("the daemon gave {0:?}, which is no address")]
    NoAddress(String),
    #[error("the daemon gave route table {0}")]
    NoTable(i32),
    #[error("the daemon gave no address")]
    Empty,
}

/// An error with all it was caused by. Some libraries repeat the cause in their own words; it is said once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        if !text.ends_with(&said) {
            let _ = write!(text, ": {said}");
        }
        next = source.source();
    }
    text
}

impl CniError {
    fn code(&self) -> u32 {
        match self {
            Self::Incompatible { .. } | Self::NotAllowed { .. } => 1,
            Self::UnknownCommand(_)
            | Self::MissingEnvironment { .. }
            | Self::InvalidEnvironment { .. } => 4,
            Self::Stdin { .. } => 5,
            Self::Undecodable { .. } => 6,
            Self::NoNetworkName | Self::NetworkName(_) => 7,
            Self::OwnNamespace { .. } => 8,
            Self::NotReady(_) => 50,
            Self::Arguments(_)
            | Self::VethPrefix(_)
            | Self::Runtime { .. }
            | Self::Lock { .. }
            | Self::AddRefused(_)
            | Self::NoAddress { .. }
            | Self::Setup(_)
            | Self::Policy(_)
            | Self::DelRefused
            | Self::Teardown { .. }
            | Self::PolicyAgent(_)
            | Self::BranchLeft(_)
            | Self::BadVlan(_)
            | Self::NothingToCheck
            | Self::Incomplete(_)
            | Self::Check(_) => 999,
        }
    }

    fn details(&self) -> Option<String> {
        if let Self::Incompatible { config } = self {
            Some(format!(
                "config is {config:?}, plugin supports {SUPPORTED:?}"
            ))
        } else if let Self::NotAllowed { config, .. } = self {
            Some(format!("config is {config:?}"))
        } else if let Self::OwnNamespace { netns } = self {
            Some(netns.display().to_string())
        } else {
            self.source().map(chain)
        }
    }

    /// The details as they go behind the message in a log line.
    pub(crate) fn details_suffix(&self) -> String {
        self.details()
            .map(|details| format!(": {details}"))
            .unwrap_or_default()
    }

    /// What the runtime reads.
    pub(crate) fn to_json(&self, version: &str) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Reply<'a> {
            cni_version: &'a str,
            code: u32,
            msg: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            details: Option<String>,
        }
        crate::result::to_json(&Reply {
            cni_version: version,
            code: self.code(),
            msg: self.to_string(),
            details: self.details(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_reads_code_message_and_details() {
        let error = CniError::Incompatible {
            config: "9.9".into(),
        };
        let json: serde_json::Value = serde_json::from_str(&error.to_json("1.1.0")).unwrap();
        assert_eq!(json["cniVersion"], "1.1.0");
        assert_eq!(json["code"], 1);
        assert_eq!(json["msg"], "incompatible CNI versions");
        assert!(
            json["details"]
                .as_str()
                .unwrap()
                .starts_with("config is \"9.9\", plugin supports")
        );
    }

    #[test]
    fn an_exhausted_pool_is_told_in_upstreams_words_and_the_reason() {
        let told = |reason: Option<&str>| {
            CniError::NoAddress {
                reason: reason.map(Into::into),
            }
            .to_string()
        };
        assert_eq!(
            told(None),
            "add cmd: failed to assign an IP address to container"
        );
        assert_eq!(
            told(Some("node-full: 27 of 27 in use")),
            "add cmd: failed to assign an IP address to container: node-full: 27 of 27 in use"
        );
    }

    #[test]
    fn a_cause_is_told_with_its_own_cause() {
        let source = NetError::Open {
            source: io::Error::other("no memory"),
        };
        let error = CniError::Setup(source.into());
        assert_eq!(
            error.to_string(),
            "add command: failed to setup network: cannot open a netlink socket: no memory"
        );
    }
}
