//! What a node needs around the daemon so that a container image can stand in for the one of the
//! Amazon VPC CNI: programs on the host, sysctls, the CNI configuration, a health probe.
//!
//! In: the environment, the files of the image, instance metadata, the daemon's health. Out: files in the
//! host's CNI folders, sysctls, exit codes that kubelet understands.
//! Must hold: a file on the host is replaced whole or not at all, since a runtime may be executing it;
//! no file of anybody is removed; the configuration, which makes kubelet call a node ready, is written
//! only after the daemon serves.
//!
//! Deliberately absent: `egress-cni`, the IPv6 sysctls: this version serves IPv4.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")
)]

pub mod conflist;
pub mod health;
pub mod imds;
pub mod install;
pub mod iptables;
pub mod settings;
pub mod sysctl;

/// An error and its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some errors repeat their cause in their own words.
        let words = error.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
