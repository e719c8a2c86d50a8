//! `onsen decisions`: what was decided lately, why, and what followed.
//!
//! In: the daemon's decisions. Out: some lines for each, the newest last, as in a log; with `--follow`
//! each new one as it comes.

use std::time::Duration;

use clap::Args;
use onsen_policy_runner::recording::{Call, Decider, Decision};
use serde::{Deserialize, Serialize};

use crate::client::{self, Endpoint};
use crate::error::CliError;
use crate::views::{duration, now, seconds};

/// Between two looks with `--follow`.
const PERIOD: Duration = Duration::from_secs(1);

#[derive(Args)]
#[command(after_help = "\
Examples:
  onsen decisions --last 5
  onsen decisions --follow --format json | jq .reason")]
pub(crate) struct Arguments {
    /// Only so many of the newest
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,
    /// Go on, and print each decision when it is there
    #[arg(long)]
    follow: bool,
}

/// One of `/onsen/v1/decisions`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Decided {
    pub(crate) at: u64,
    #[serde(flatten)]
    pub(crate) decision: Decision,
    #[serde(default)]
    pub(crate) calls: Vec<Called>,
}

/// An EC2 call that followed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Called {
    pub(crate) at: u64,
    #[serde(flatten)]
    pub(crate) call: Call,
}

/// What to print; with `--follow` it prints by itself and ends only with an error.
pub(crate) fn decisions(
    endpoint: &Endpoint,
    arguments: &Arguments,
    as_json: bool,
) -> Result<String, CliError> {
    let first = get(endpoint, &format!("last={}", arguments.last))?;
    if !arguments.follow {
        if as_json {
            return pretty(&first);
        }
        return Ok(if first.is_empty() {
            "nothing was decided yet\n".to_owned()
        } else {
            for_people(&first, now())
        });
    }
    let mut shown = 0;
    let mut next = first;
    loop {
        if as_json {
            for decided in &next {
                let mut line = serde_json::to_string(decided).map_err(CliError::Document)?;
                line.push('\n');
                crate::print(&line)?;
            }
        } else {
            crate::print(&for_people(&next, now()))?;
        }
        shown = next.last().map_or(shown, |newest| newest.decision.id);
        std::thread::sleep(PERIOD);
        next = get(endpoint, &format!("after={shown}"))?;
    }
}

fn get(endpoint: &Endpoint, query: &str) -> Result<Vec<Decided>, CliError> {
    let text = client::get(endpoint, &format!("/onsen/v1/decisions?{query}"))?;
    serde_json::from_str(&text).map_err(|source| CliError::Unreadable { text, source })
}

fn pretty(document: &impl Serialize) -> Result<String, CliError> {
    let mut text = serde_json::to_string_pretty(document).map_err(CliError::Document)?;
    text.push('\n');
    Ok(text)
}

/// Some lines for each.
fn for_people(decisions: &[Decided], now: u64) -> String {
    let mut lines = Vec::new();
    for Decided {
        at,
        decision,
        calls,
    } in decisions
    {
        lines.push(headline(decision, *at, now));
        if let Some(failure) = &decision.failure {
            lines.push(format!("    fail  {}: {}", failure.kind, failure.message));
        }
        let accepted = decision.accepted.iter();
        lines.extend(accepted.map(|action| format!("    do    {action}")));
        let dropped = decision.dropped.iter();
        lines.extend(dropped.map(|it| format!("    drop  {}: {}", it.action, it.why)));
        lines.extend(
            calls
                .iter()
                .map(|it| format!("    ec2   {}", call(&it.call))),
        );
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn headline(decision: &Decision, at: u64, now: u64) -> String {
    let decider = match decision.decider {
        Decider::Chosen => decision.policy.name.clone(),
        Decider::BuiltIn => format!("{} as the fallback", decision.policy.name),
    };
    let fallback = (decision.fallback.as_ref()).map_or(String::new(), |why| format!(" [{why}]"));
    let reason = match &decision.failure {
        Some(_) => "no answer",
        None => &decision.reason,
    };
    format!(
        "{} ago, #{} by {decider} on {} in {} us: {reason}{fallback}",
        duration(now.saturating_sub(at)),
        decision.id,
        decision.trigger,
        decision.micros,
    )
}

/// A call in a line.
pub(crate) fn call(call: &Call) -> String {
    let took = seconds(call.millis);
    match (&call.gave, &call.code) {
        (_, Some(code)) => format!(
            "{} {}: {code} after {took}: {}",
            call.action, call.request, call.message
        ),
        (Some(gave), None) if gave != "done" => {
            format!("{} {}: {gave} in {took}", call.action, call.request)
        }
        (_, None) => format!("{} {}: done in {took}", call.action, call.request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_come_with_what_was_done_dropped_and_answered() {
        let text = r#"[
            {"at":1000,"id":1,"trigger":"start","decider":"chosen","policy":{"name":"p","version":"1","digest":"d"},
             "snapshot_digest":"","reason":"a","accepted":["attach an ENI"],"micros":1,"fuel":1,
             "calls":[{"at":1400,"action":"CreateNetworkInterface","request":"a new ENI","gave":null,"code":"UnauthorizedOperation","message":"no","millis":400}]},
            {"at":1500,"id":2,"trigger":"timer","decider":"chosen","policy":{"name":"p","version":"1","digest":"d"},
             "snapshot_digest":"","failure":{"kind":"trap","message":"it trapped"},"micros":1,"fuel":0},
            {"at":1600,"id":3,"trigger":"timer","decider":"built-in","policy":{"name":"q","version":"1","digest":"e"},
             "snapshot_digest":"","reason":"b","fallback":"it trapped","dropped":[{"action":"detach eni-1","why":"assigned"}],"micros":1,"fuel":1}
        ]"#;
        let list: Vec<Decided> = serde_json::from_str(text).unwrap();
        assert_eq!(
            for_people(&list, 3000),
            "2 s ago, #1 by p on start in 1 us: a\n\
             \x20   do    attach an ENI\n\
             \x20   ec2   CreateNetworkInterface a new ENI: UnauthorizedOperation after 0.4 s: no\n\
             1 s ago, #2 by p on timer in 1 us: no answer\n\
             \x20   fail  trap: it trapped\n\
             1 s ago, #3 by q as the fallback on timer in 1 us: b [it trapped]\n\
             \x20   drop  detach eni-1: assigned\n"
        );
    }
}
