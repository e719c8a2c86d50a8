//! Between the core's values and the generated types of the contract, field by field.
//!
//! Must hold: nothing is judged or changed here.

use onsen_core::cidr::Unit;
use onsen_core::proposal::{Action, Placement, Proposal, Request};
use onsen_core::snapshot::{
    EniPhase, Family, KeepReason, Operation, Outcome, Role, Setting, Snapshot, SnapshotEni, Trigger,
};

use crate::bindings::onsen::policy::log;
use crate::bindings::onsen::policy::types as wit;
use crate::policy::{LogLevel, Metadata, Problem, SettingKind, SettingSpec};

#[cfg(test)]
pub(crate) mod back;

pub(crate) fn snapshot(from: &Snapshot) -> wit::Snapshot {
    wit::Snapshot {
        decision_id: from.decision_id,
        now: from.now,
        utc_offset: from.utc_offset,
        uptime: from.uptime,
        trigger: match from.trigger {
            Trigger::Start => wit::Trigger::Start,
            Trigger::Timer => wit::Trigger::Timer,
            Trigger::Demand => wit::Trigger::Demand,
            Trigger::Outcome => wit::Trigger::Outcome,
            Trigger::Change => wit::Trigger::Change,
        },
        node: wit::Node {
            instance_type: from.node.instance_type.clone(),
            zone: from.node.zone.clone(),
            labels: from.node.labels.iter().map(setting).collect(),
            family: match from.node.family {
                Family::Ipv4 => wit::Family::Ipv4,
                Family::Ipv6 => wit::Family::Ipv6,
            },
            max_pods: from.node.max_pods,
            schedulable: from.node.schedulable,
            terminating: from.node.terminating,
        },
        limits: wit::Limits {
            enis: from.limits.enis,
            other_cards: from.limits.other_cards.clone(),
            slots_per_eni: from.limits.slots_per_eni,
            prefixes: from.limits.prefixes,
            addresses_per_prefix: from.limits.addresses_per_prefix,
            trunk: from.limits.trunk,
        },
        unit: unit(from.unit),
        enis: from.enis.iter().map(eni).collect(),
        blocks: wit::Blocks {
            base_high: from.blocks.base_high.clone(),
            base: from.blocks.base.clone(),
            length: from.blocks.length.clone(),
            assigned: from.blocks.assigned.clone(),
            cooling: from.blocks.cooling.clone(),
            cooling_until: from.blocks.cooling_until.clone(),
            idle_since: from.blocks.idle_since.clone(),
            free: from.blocks.free.clone(),
            releasable: from.blocks.releasable.clone(),
        },
        demand: wit::Demand {
            waiting: from.demand.waiting.clone(),
            scheduled: from.demand.scheduled,
            adds_1m: from.demand.adds_1m,
            adds_5m: from.demand.adds_5m,
            adds_15m: from.demand.adds_15m,
            deletes_1m: from.demand.deletes_1m,
            deletes_5m: from.demand.deletes_5m,
            deletes_15m: from.demand.deletes_15m,
        },
        subnets: from
            .subnets
            .iter()
            .map(|subnet| wit::Subnet {
                id: subnet.id.clone(),
                own: subnet.own,
                free_addresses: subnet.free_addresses,
                read_at: subnet.read_at,
                no_addresses_at: subnet.no_addresses_at,
                no_prefixes_at: subnet.no_prefixes_at,
            })
            .collect(),
        ec2: wit::Ec2 {
            grow_budget: from.ec2.grow_budget,
            release_budget: from.ec2.release_budget,
            in_flight: from.ec2.in_flight,
            throttled_until: from.ec2.throttled_until,
            outcomes: from.ec2.outcomes.iter().map(outcome).collect(),
        },
        settings: from.settings.iter().map(setting).collect(),
        memo: from.memo.clone(),
    }
}

pub(crate) fn setting(from: &Setting) -> wit::Setting {
    wit::Setting {
        key: from.key.clone(),
        value: from.value.clone(),
    }
}

fn eni(from: &SnapshotEni) -> wit::Eni {
    wit::Eni {
        id: from.id.clone(),
        role: match from.role {
            Role::Primary => wit::Role::Primary,
            Role::Secondary => wit::Role::Secondary,
            Role::Trunk => wit::Role::Trunk,
            Role::Efa => wit::Role::Efa,
        },
        state: match from.phase {
            EniPhase::Attaching => wit::EniState::Attaching,
            EniPhase::Ready => wit::EniState::Ready,
            EniPhase::Detaching => wit::EniState::Detaching,
        },
        subnet: from.subnet,
        device_index: from.device_index,
        card: from.card,
        excluded: from.excluded,
        since: from.since,
        idle_since: from.idle_since,
        free_slots: from.free_slots,
        in_flight: from.in_flight,
        in_flight_unit: unit(from.in_flight_unit),
        busy: from.busy,
        keep: from.keep.map(keep),
        first_block: from.first_block,
        block_count: from.block_count,
    }
}

fn keep(from: KeepReason) -> wit::KeepReason {
    match from {
        KeepReason::Primary => wit::KeepReason::Primary,
        KeepReason::Trunk => wit::KeepReason::Trunk,
        KeepReason::Efa => wit::KeepReason::Efa,
        KeepReason::Assigned => wit::KeepReason::Assigned,
        KeepReason::Cooling => wit::KeepReason::Cooling,
        KeepReason::TooYoung => wit::KeepReason::TooYoung,
        KeepReason::InFlight => wit::KeepReason::InFlight,
        KeepReason::Unconfirmed => wit::KeepReason::Unconfirmed,
    }
}

fn outcome(from: &Outcome) -> wit::Outcome {
    wit::Outcome {
        at: from.at,
        operation: match from.operation {
            Operation::AttachEni => wit::Operation::AttachEni,
            Operation::Grow => wit::Operation::Grow,
            Operation::Release => wit::Operation::Release,
            Operation::DetachEni => wit::Operation::DetachEni,
        },
        eni: from.eni,
        subnet: from.subnet,
        unit: unit(from.unit),
        asked: from.asked,
        done: from.done,
        code: from.code.clone(),
    }
}

fn unit(from: Unit) -> wit::Unit {
    match from {
        Unit::Address => wit::Unit::Address,
        Unit::Prefix => wit::Unit::Prefix,
    }
}

fn unit_back(from: wit::Unit) -> Unit {
    match from {
        wit::Unit::Address => Unit::Address,
        wit::Unit::Prefix => Unit::Prefix,
    }
}

pub(crate) fn proposal(from: wit::Decision) -> Proposal {
    Proposal {
        actions: from
            .actions
            .into_iter()
            .map(|action| Action {
                request: request(action.request),
                reason: action.reason,
            })
            .collect(),
        reason: from.reason,
        wake_after: from.wake_after,
        memo: from.memo,
        placement: match from.placement {
            wit::Placement::Pack => Placement::Pack,
            wit::Placement::Spread => Placement::Spread,
            wit::Placement::AddressesFirst => Placement::AddressesFirst,
        },
        pressure: from.pressure,
    }
}

fn request(from: wit::Request) -> Request {
    match from {
        wit::Request::AttachEni(attach) => Request::AttachEni {
            subnet: attach.subnet,
            unit: unit_back(attach.unit),
            blocks: attach.blocks,
            card: attach.card,
        },
        wit::Request::Grow(grow) => Request::Grow {
            eni: grow.eni,
            unit: unit_back(grow.unit),
            count: grow.count,
        },
        wit::Request::Release(release) => Request::Release {
            eni: release.eni,
            blocks: release.blocks,
        },
        wit::Request::DetachEni(eni) => Request::DetachEni { eni },
    }
}

impl From<wit::Metadata> for Metadata {
    fn from(from: wit::Metadata) -> Self {
        Self {
            name: from.name,
            version: from.version,
            doc: from.doc,
            settings: from
                .settings
                .into_iter()
                .map(|spec| SettingSpec {
                    key: spec.key,
                    kind: match spec.kind {
                        wit::SettingKind::Boolean => SettingKind::Boolean,
                        wit::SettingKind::Integer => SettingKind::Integer,
                        wit::SettingKind::Text => SettingKind::Text,
                    },
                    default: spec.default,
                    min: spec.min,
                    max: spec.max,
                    doc: spec.doc,
                })
                .collect(),
        }
    }
}

impl From<wit::Problem> for Problem {
    fn from(from: wit::Problem) -> Self {
        Self {
            key: from.key,
            message: from.message,
        }
    }
}

impl From<log::Level> for LogLevel {
    fn from(from: log::Level) -> Self {
        match from {
            log::Level::Debug => Self::Debug,
            log::Level::Info => Self::Info,
            log::Level::Warn => Self::Warn,
        }
    }
}
