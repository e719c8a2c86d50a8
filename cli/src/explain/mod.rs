//! `onsen explain`: why a pod waited or got nothing, why an ENI is held, who has an address, what a
//! decision was made of. In sentences.
//!
//! In: the daemon's pages and its ledger. Out: sentences, each of which can be checked against them.
//! Must hold: what is not known is said to be not known; nothing is guessed from names.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each question is about one kind of event"
)]

mod decision;
mod eni;
mod pod;

use std::net::IpAddr;

use clap::Subcommand;
use onsen_policy_runner::recording::{self, Add, Call, Decision, Event, Record};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::client::{self, Endpoint};
use crate::documents::{Eni, Pod, Status};
use crate::error::CliError;
use crate::views::{duration, seconds};

/// An ADD that took longer than this waited for something.
const WAITED: u64 = 200;

/// What is to be explained.
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  onsen explain pod default/web-0
  onsen explain eni eni-0123456789abcdef0
  onsen explain address 10.0.3.17
  onsen explain decision 41")]
pub(crate) enum Subject {
    /// Why a pod waited for its address, or got none
    Pod {
        /// NAMESPACE/NAME; without NAMESPACE it is default
        name: String,
    },
    /// Why an ENI is held, and when it may go
    Eni {
        /// Its id
        id: String,
    },
    /// Who has an address, or when it is free
    Address {
        /// The address
        address: IpAddr,
    },
    /// What a decision saw, wanted, and led to
    Decision {
        /// Its number
        id: u64,
    },
}

/// All that is known when something is explained.
pub(crate) struct Facts {
    pub(crate) status: Status,
    pub(crate) enis: Vec<Eni>,
    pub(crate) pods: Vec<Pod>,
    /// Oldest first.
    pub(crate) records: Vec<Record>,
}

/// The sentences, for people or as JSON.
pub(crate) fn explain(
    endpoint: &Endpoint,
    subject: &Subject,
    as_json: bool,
) -> Result<String, CliError> {
    let ledger = client::get(endpoint, "/onsen/v1/ledger")?;
    let facts = Facts {
        status: page(endpoint, "/onsen/v1/status")?,
        enis: page(endpoint, "/onsen/v1/enis")?,
        pods: page(endpoint, "/onsen/v1/pods")?,
        records: recording::read(&ledger).map_err(CliError::Ledger)?.records,
    };
    let sentences = match subject {
        Subject::Pod { name } => pod::explain(&facts, name),
        Subject::Eni { id } => eni::explain(&facts, id),
        Subject::Address { address } => eni::explain_address(&facts, *address),
        Subject::Decision { id } => decision::explain(&facts, *id),
    };
    if as_json {
        return Ok(format!("{:#}\n", json!({ "sentences": sentences })));
    }
    Ok(sentences.into_iter().map(|line| line + "\n").collect())
}

fn page<T: DeserializeOwned>(endpoint: &Endpoint, path: &str) -> Result<T, CliError> {
    let text = client::get(endpoint, path)?;
    serde_json::from_str(&text).map_err(|source| CliError::Unreadable { text, source })
}

impl Facts {
    fn now(&self) -> u64 {
        self.status.daemon.now
    }

    /// `3 min ago`.
    fn ago(&self, at: u64) -> String {
        format!("{} ago", self.age(at))
    }

    /// `3 min`, for what began then.
    fn age(&self, since: u64) -> String {
        duration(self.now().saturating_sub(since))
    }

    /// `in 12 s`.
    fn until(&self, at: u64) -> String {
        match at.saturating_sub(self.now()) {
            0 => "now".to_owned(),
            left if left < 60_000 => format!("in {}", seconds(left)),
            left => format!("in {}", duration(left)),
        }
    }

    /// The newest decision of that number: numbers begin anew when the ledger was lost.
    fn decision(&self, id: u64) -> Option<(u64, &Decision)> {
        self.records
            .iter()
            .rev()
            .find_map(|record| match &record.event {
                Event::Decision(decision) if decision.id == id => Some((record.at, &**decision)),
                _ => None,
            })
    }

    /// Calls and when they ended, oldest first.
    fn calls(&self) -> impl DoubleEndedIterator<Item = (u64, &Call)> {
        self.records
            .iter()
            .filter_map(|record| match &record.event {
                Event::Call(call) => Some((record.at, call)),
                _ => None,
            })
    }

    /// Answers to ADDs and when they left, oldest first.
    fn adds(&self) -> impl DoubleEndedIterator<Item = (u64, &Add)> {
        self.records
            .iter()
            .filter_map(|record| match &record.event {
                Event::Add(add) => Some((record.at, add)),
                _ => None,
            })
    }

    /// Since when the ledger tells of this node.
    fn remembers(&self) -> String {
        match self.records.first() {
            Some(first) => format!("the ledger of this node begins {}", self.ago(first.at)),
            None => "the ledger of this node is empty".to_owned(),
        }
    }
}

/// `a`, `a and b`, `a, b and 3 more`.
fn listed(names: &[String], shown: usize) -> String {
    let more = names.len().saturating_sub(shown);
    let mut parts: Vec<String> = names.iter().take(shown).cloned().collect();
    if more > 0 {
        parts.push(format!("{more} more"));
    }
    match parts.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// `1 address`, `3 addresses`.
fn counted(count: u32, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    }
}

#[cfg(test)]
mod tests;
