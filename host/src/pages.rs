//! The status pages as JSON. All times are milliseconds since the Unix epoch.

use std::net::IpAddr;

use onsen_core::cidr::Unit;
use onsen_core::snapshot::{EniPhase, KeepReason, Role};
use onsen_core::status::{BlockStatus, EniStatus, HoldingStatus};
use onsen_core::time::Millis;
use serde_json::{Value, json};

use crate::daemon::Daemon;

/// The node in numbers.
pub(crate) fn status(daemon: &Daemon) -> Value {
    let now = daemon.tools.clock.now();
    let summary = daemon.node.summary(now);
    let counts = daemon.tools.ec2.counts();
    let plate = &daemon.nameplate;
    json!({
        "node": {
            "name": plate.name,
            "instance_id": plate.instance,
            "instance_type": plate.instance_type,
            "zone": plate.zone,
            "primary_address": plate.address,
        },
        "daemon": {
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "started_at": daemon.tools.clock.started_at(),
            "now": now,
        },
        "policy": daemon.life.status(),
        "shadow": daemon.life.compared,
        "limits": {
            "enis": summary.limits.enis,
            "slots_per_eni": summary.limits.slots_per_eni,
            "prefixes": summary.limits.prefixes,
        },
        "pool": {
            "enis": summary.enis,
            "addresses": summary.addresses,
            "prefixes": summary.prefixes,
            "assigned": summary.assigned,
            "cooling": summary.cooling,
            "warm": summary.warm,
            "waiting": summary.waiting,
            "in_flight": summary.in_flight,
            "throttled_until": summary.throttled_until,
        },
        "ec2": {"calls": counts.calls, "errors": counts.errors},
        "last_decision": daemon.ledger.last_decision(),
        "reports": daemon.ledger.reports(),
    })
}

/// Counters and gauges as text; an object when they cannot be written.
pub(crate) fn metrics(daemon: &Daemon) -> Value {
    let now = daemon.tools.clock.now();
    let summary = daemon.node.summary(now);
    let per_slot = match summary.unit {
        Unit::Address => 1,
        Unit::Prefix => summary.limits.addresses_per_prefix,
    };
    let ledger = &daemon.ledger;
    let metrics = ledger.metrics();
    metrics.life(&daemon.life.status(), &daemon.life.compared);
    metrics.pool(&summary, &daemon.node.enis(now), per_slot, ledger.calls());
    match metrics.text() {
        Ok(text) => Value::String(text),
        Err(error) => json!({"error": error.to_string()}),
    }
}

/// ENIs and their blocks.
pub(crate) fn enis(daemon: &Daemon) -> Value {
    let now: Millis = daemon.tools.clock.now();
    let cooling = daemon.node.cooling();
    let enis = daemon.node.enis(now);
    enis.iter().map(|it| eni(it, &cooling)).collect()
}

/// Addresses held.
pub(crate) fn pods(daemon: &Daemon) -> Value {
    daemon.node.holdings().iter().map(pod).collect()
}

fn eni(eni: &EniStatus, cooling: &[(IpAddr, Millis)]) -> Value {
    let blocks: Value = eni.blocks.iter().map(|it| block(it, cooling)).collect();
    json!({
        "id": eni.id.as_str(),
        "role": match eni.role {
            Role::Primary => "primary",
            Role::Secondary => "secondary",
            Role::Trunk => "trunk",
            Role::Efa => "efa",
        },
        "phase": match eni.phase {
            EniPhase::Attaching => "attaching",
            EniPhase::Ready => "ready",
            EniPhase::Detaching => "detaching",
        },
        "card": eni.card,
        "device_index": eni.device_index,
        "subnet": eni.subnet.as_str(),
        "mac": eni.mac.to_string(),
        "primary_address": eni.primary,
        "since": eni.since,
        "free_slots": eni.free_slots,
        "keep": eni.keep.map(KeepReason::word),
        "kept_until": eni.kept_until,
        "excluded": eni.excluded,
        "blocks": blocks,
    })
}

fn block(block: &BlockStatus, cooling: &[(IpAddr, Millis)]) -> Value {
    let cools: Value = (cooling.iter())
        .filter(|(address, _)| block.cidr.contains(*address))
        .map(|(address, until)| json!({"address": address, "until": until}))
        .collect();
    json!({
        "cidr": block.cidr.to_string(),
        "assigned": block.assigned,
        "cooling": block.cooling,
        "free": block.free,
        "hold": block.hold,
        "cools": cools,
    })
}

fn pod(holding: &HoldingStatus) -> Value {
    let allocation = &holding.allocation;
    json!({
        "namespace": allocation.pod.namespace,
        "name": allocation.pod.name,
        "network": allocation.key.network,
        "container": allocation.key.container,
        "interface": allocation.key.interface,
        "address": allocation.address,
        "eni": holding.eni.as_ref().map(onsen_core::ids::EniId::as_str),
        "card": holding.card,
        "device_index": holding.device_index,
        "since": allocation.since,
    })
}
