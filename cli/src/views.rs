//! What people see of the daemon's documents.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::documents::{Decision, Eni, Pod, Status};
use crate::table::{pairs, table};

/// Characters of a sandbox id that tell it apart.
const ID: usize = 12;

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// `onsen status`.
pub(crate) fn status(status: &Status) -> String {
    let now = status.daemon.now;
    let (node, policy, pool) = (&status.node, &status.policy, &status.pool);
    let mut lines = vec![
        (
            "node",
            format!(
                "{} ({}, {}, {}, {})",
                node.name, node.instance_id, node.instance_type, node.zone, node.primary_address
            ),
        ),
        (
            "daemon",
            format!(
                "onsend {}, process {}, up {}",
                status.daemon.version,
                status.daemon.pid,
                duration(now.saturating_sub(status.daemon.started_at))
            ),
        ),
        (
            "policy",
            format!(
                "{} {} from {}, in force for {}{}",
                policy.name,
                policy.version,
                policy.reference,
                duration(now.saturating_sub(policy.since)),
                if policy.on_probation {
                    ", on probation"
                } else {
                    ""
                }
            ),
        ),
        ("digest", policy.digest.clone()),
    ];
    if let Some(rule) = &policy.rule {
        lines.push(("rule", rule.clone()));
    }
    if !policy.settings.is_empty() {
        let settings: Vec<String> = policy
            .settings
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        lines.push(("settings", settings.join(" ")));
    }
    if let Some(good) = &policy.last_good {
        lines.push(("last good", format!("{}, {}", good.reference, good.digest)));
    }
    lines.extend(shadow(status));
    lines.push((
        "life",
        format!(
            "{} swaps, {} refusals, {} rollbacks",
            policy.swaps, policy.refusals, policy.rollbacks
        ),
    ));
    if let Some(error) = &policy.last_error {
        lines.push(("last error", error.clone()));
    }
    lines.push((
        "pool",
        format!(
            "{} of {} ENIs, {} addresses ({} prefixes): {} assigned, {} cooling, {} warm; {} pods wait",
            pool.enis,
            status.limits.enis,
            pool.addresses,
            pool.prefixes,
            pool.assigned,
            pool.cooling,
            pool.warm,
            pool.waiting
        ),
    ));
    lines.push((
        "limits",
        format!(
            "{} ENIs with {} slots each",
            status.limits.enis, status.limits.slots_per_eni
        ),
    ));
    let mut calls: Vec<String> = status
        .ec2
        .calls
        .iter()
        .map(|(action, count)| format!("{action} {count}"))
        .collect();
    if pool.in_flight > 0 {
        calls.push(format!("{} in flight", pool.in_flight));
    }
    if pool.throttled_until > now {
        calls.push(format!(
            "throttled for {}",
            duration(pool.throttled_until - now)
        ));
    }
    lines.push(("EC2 calls", or_none(&calls)));
    let errors: Vec<String> = status
        .ec2
        .errors
        .iter()
        .flat_map(|(action, codes)| {
            codes
                .iter()
                .map(move |(code, n)| format!("{action} {code} {n}"))
        })
        .collect();
    lines.push(("EC2 errors", or_none(&errors)));
    if let Some(decision) = &status.last_decision {
        lines.push(("decided", one_decision(decision, now)));
    }
    let mut text = pairs(&lines);
    if !status.reports.is_empty() {
        text.push('\n');
        let rows: Vec<[String; 4]> = status
            .reports
            .iter()
            .map(|report| {
                [
                    ago(report.at, now),
                    report.severity.clone(),
                    report.code.clone(),
                    report.message.clone(),
                ]
            })
            .collect();
        text.push_str(&table(["REPORTED", "SEVERITY", "CODE", "MESSAGE"], &rows));
    }
    text
}

/// `onsen pods`.
pub(crate) fn pods(pods: &[Pod], now: u64) -> String {
    let rows: Vec<[String; 6]> = pods
        .iter()
        .map(|pod| {
            [
                pod.namespace.clone(),
                pod.name.clone(),
                pod.address.clone(),
                pod.eni.clone().unwrap_or_else(|| "gone".to_owned()),
                pod.container.chars().take(ID).collect(),
                ago(pod.since, now),
            ]
        })
        .collect();
    table(
        ["NAMESPACE", "POD", "ADDRESS", "ENI", "SANDBOX", "SINCE"],
        &rows,
    )
}

/// The policy that is compared, when one is asked for.
fn shadow(status: &Status) -> Option<(&'static str, String)> {
    let (policy, figures) = (&status.policy, &status.shadow);
    let text = match (&policy.shadow, &policy.shadow_error) {
        (Some(shadow), _) => format!(
            "{} differs in {} of {} decisions, failed in {}",
            shadow.reference, figures.differed, figures.compared, figures.failed
        ),
        (None, Some(error)) => error.clone(),
        (None, None) => return None,
    };
    Some(("shadow", text))
}

/// `onsen enis`.
pub(crate) fn enis(enis: &[Eni]) -> String {
    let rows: Vec<[String; 11]> = enis
        .iter()
        .map(|eni| {
            let sum = |count: fn(&crate::documents::Block) -> u32| {
                eni.blocks.iter().map(count).sum::<u32>().to_string()
            };
            let prefixes = eni
                .blocks
                .iter()
                .filter(|block| is_prefix(&block.cidr))
                .count();
            [
                eni.id.clone(),
                eni.role.clone(),
                eni.phase.clone(),
                eni.device_index.to_string(),
                eni.primary_address.clone(),
                format!("{}+{prefixes}p", eni.blocks.len() - prefixes),
                sum(|block| block.assigned),
                sum(|block| block.cooling),
                sum(|block| block.free),
                eni.free_slots.to_string(),
                eni.keep.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let mut text = table(
        [
            "ENI",
            "ROLE",
            "PHASE",
            "INDEX",
            "PRIMARY",
            "BLOCKS",
            "ASSIGNED",
            "COOLING",
            "WARM",
            "SLOTS LEFT",
            "KEPT BECAUSE",
        ],
        &rows,
    );
    for eni in enis {
        let blocks: Vec<&str> = eni.blocks.iter().map(|block| block.cidr.as_str()).collect();
        let blocks = if blocks.is_empty() {
            "no blocks".to_owned()
        } else {
            blocks.join(" ")
        };
        let line = format!("\n{} {} {}: {blocks}\n", eni.id, eni.mac, eni.subnet);
        text.push_str(&line);
    }
    text
}

fn one_decision(decision: &Decision, now: u64) -> String {
    let fallback = decision
        .fallback
        .as_ref()
        .map_or(String::new(), |why| format!(" [{why}]"));
    format!(
        "{} ago, #{} by {} on {} in {} us: {}{fallback}",
        duration(now.saturating_sub(decision.at)),
        decision.id,
        decision.decider,
        decision.trigger,
        decision.micros.unwrap_or(0),
        decision.reason
    )
}

fn is_prefix(cidr: &str) -> bool {
    cidr.split_once('/')
        .is_some_and(|(_, length)| !matches!(length, "32" | "128"))
}

fn or_none(items: &[String]) -> String {
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}

fn ago(at: u64, now: u64) -> String {
    format!("{} ago", duration(now.saturating_sub(at)))
}

/// A length of time in seconds and tenths.
pub(crate) fn seconds(millis: u64) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}

/// A length of time in its largest unit that is not zero.
pub(crate) fn duration(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_their_largest_unit() {
        for (millis, expected) in [
            (0, "0 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (7_200_000, "2 h"),
            (200_000_000, "2 d"),
        ] {
            assert_eq!(duration(millis), expected);
        }
    }

    #[test]
    fn a_node_is_told_at_a_glance() {
        let text = include_str!("../testdata/status.json");
        let status: Status = serde_json::from_str(text).unwrap();
        let shown = super::status(&status);
        for part in [
            "node-1 (i-1, m5.large, eu-west-1a, 10.0.0.10)",
            "up 1 min",
            "default-warm-eni 0.1.0 from builtin:default-warm-eni",
            "WARM_ENI_TARGET=1",
            "2 of 3 ENIs, 18 addresses (0 prefixes): 10 assigned, 1 cooling, 7 warm; 0 pods wait",
            "AssignPrivateIpAddresses 2, CreateNetworkInterface 1, 1 in flight, throttled for 4 s",
            "CreateNetworkInterface UnauthorizedOperation 1",
            "#7 by chosen on demand in 42 us: 7 warm of 9 wanted",
            "ec2-denied",
        ] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
    }

    #[test]
    fn prefixes_and_addresses_are_counted_apart() {
        let text = r#"[{"id":"eni-1","role":"primary","phase":"ready","card":0,"device_index":0,"subnet":"subnet-1","mac":"02:00:00:00:00:01","primary_address":"10.0.0.10","since":1,"free_slots":7,"keep":"primary","blocks":[
            {"cidr":"10.0.0.16/28","assigned":3,"cooling":1,"free":12,"hold":""},
            {"cidr":"10.0.0.5/32","assigned":1,"cooling":0,"free":0,"hold":""}]}]"#;
        let list: Vec<Eni> = serde_json::from_str(text).unwrap();
        let shown = enis(&list);
        assert!(shown.contains("1+1p    4         1        12"), "{shown}");
        assert!(
            shown.contains("subnet-1: 10.0.0.16/28 10.0.0.5/32"),
            "{shown}"
        );
    }
}
