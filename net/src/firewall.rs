//! Source NAT and connection marks, by running `iptables` and `nft`.
//!
//! What is right is left as it is. A chain of our own that is wrong is replaced in one transaction, so
//! no packet of a running pod goes out untranslated.

use std::{
    ffi::OsStr,
    io,
    process::{Output, Stdio},
};

use onsen_wiring::{Backend, ChainRule, Firewall, NftTable, NodeWiring};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::NetError;

/// Exit status of iptables for *there is no such rule or chain*.
const ABSENT: i32 = 1;
/// Exit status of iptables when the chain that a rule jumps to does not exist, so neither does the rule.
const NO_TARGET: i32 = 2;

pub(crate) async fn set_up(wiring: &NodeWiring, primary_link: &str) -> Result<(), NetError> {
    // Detection comes before anything else: a legacy program on an nftables host would create
    // tables of old, which then stand in everybody's way.
    let backend = detect().await?;
    let Some(firewall) = wiring.firewall(primary_link, backend) else {
        return Ok(());
    };
    // Marks are set by the new place before the old one stops, whichever is which.
    if let Some(table) = &firewall.nft {
        set_nft_table(table).await?;
    }
    set_iptables(&firewall).await?;
    if firewall.nft.is_none() {
        delete_nft_table().await?;
    }
    Ok(())
}

async fn detect() -> Result<Backend, NetError> {
    let output = succeed("iptables", &["--version"], "").await?;
    Ok(if output.contains("legacy") {
        Backend::Legacy
    } else {
        Backend::NfTables
    })
}

async fn set_iptables(firewall: &Firewall) -> Result<(), NetError> {
    for rule in firewall.rules.iter().filter(|rule| !rule.wanted) {
        while iptables_rule("-D", rule).await? {}
    }
    for chain in &firewall.chains {
        let listing = iptables(&["-t", chain.table, "-S", chain.name])
            .await?
            .unwrap_or_default();
        if chain.matches(&listing) {
            continue;
        }
        if let Some(text) = chain.restore() {
            succeed("iptables-restore", &["--noflush", "--wait"], &text).await?;
        } else {
            iptables(&["-t", chain.table, "-F", chain.name]).await?;
            iptables(&["-t", chain.table, "-X", chain.name]).await?;
        }
    }
    // Order counts within a chain: once a rule had to be appended, those after it must follow it.
    let mut appended: Vec<(&str, &str)> = Vec::new();
    for rule in firewall.rules.iter().filter(|rule| rule.wanted) {
        let place = (rule.table, rule.chain);
        if iptables_rule("-C", rule).await? {
            if !appended.contains(&place) {
                continue;
            }
            iptables_rule("-D", rule).await?;
        }
        iptables_rule("-A", rule).await?;
        appended.push(place);
    }
    Ok(())
}

/// Runs one command on a rule. False when the rule, or the chain it jumps to, is not there.
async fn iptables_rule(command: &str, rule: &ChainRule) -> Result<bool, NetError> {
    let mut arguments = vec!["-t", rule.table, command, rule.chain];
    arguments.extend(rule.arguments.iter().map(String::as_str));
    let output = iptables(&arguments).await?;
    if output.is_none() && command == "-A" {
        return Err(NetError::Missing {
            what: format!("iptables chain for the rule {:?}", rule.arguments),
        });
    }
    Ok(output.is_some())
}

/// What iptables printed, or nothing when it found no such rule or chain.
async fn iptables(arguments: &[&str]) -> Result<Option<String>, NetError> {
    let mut all = vec!["--wait"];
    all.extend(arguments);
    let output = run("iptables", &all, "").await?;
    if matches!(output.status.code(), Some(ABSENT | NO_TARGET)) {
        return Ok(None);
    }
    check("iptables", &all, &output).map(Some)
}

async fn set_nft_table(table: &NftTable) -> Result<(), NetError> {
    let listing = run("nft", &["-s", "list", "table", "ip", NftTable::NAME], "").await?;
    if listing.status.success() && table.matches(&String::from_utf8_lossy(&listing.stdout)) {
        return Ok(());
    }
    succeed("nft", &["-f", "-"], &table.script())
        .await
        .map(drop)
}

async fn delete_nft_table() -> Result<(), NetError> {
    // Adding first makes the deletion succeed where there is none. A node without nft has no table.
    let script = format!("add table ip {0}\ndelete table ip {0}\n", NftTable::NAME);
    match succeed("nft", &["-f", "-"], &script).await {
        Err(NetError::NoProgram { .. }) => Ok(()),
        other => other.map(drop),
    }
}

async fn succeed(
    program: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<String, NetError> {
    let output = run(program, arguments, input).await?;
    check(program, arguments, &output)
}

fn check(program: &str, arguments: &[&str], output: &Output) -> Result<String, NetError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(NetError::Failed {
        command: format!("{program} {}", arguments.join(" ")),
        status: output.status,
        stderr: String::from_utf8_lossy(&output.stderr).trim().into(),
    })
}

async fn run<A: AsRef<OsStr>>(
    program: &'static str,
    arguments: &[A],
    input: &str,
) -> Result<Output, NetError> {
    let failed = |source: io::Error| {
        if source.kind() == io::ErrorKind::NotFound {
            NetError::NoProgram {
                program,
                package: if program == "nft" {
                    "nftables"
                } else {
                    "iptables"
                },
            }
        } else {
            NetError::Run {
                command: program.into(),
                source,
            }
        }
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input to the end says why by its exit status.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    child.wait_with_output().await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_program_is_told_with_the_package_it_is_in() {
        let error = succeed("no-iptables-here", &["--version"], "")
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the program no-iptables-here is not installed: install the package iptables"
        );
    }

    #[tokio::test]
    async fn a_failing_program_is_told_with_its_arguments_and_words() {
        let error = succeed("ls", &["/no such folder"], "")
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("ls /no such folder: exit status: 2: "),
            "{error}"
        );
    }
}
