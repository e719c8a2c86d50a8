//! The way back, for tests only: from the contract's types to the core's values, and from a
//! proposal to the contract's decision. What goes there and back must be what it was.

use onsen_core::cidr::Unit;
use onsen_core::proposal::{Placement, Proposal, Request};
use onsen_core::snapshot::{
    Blocks, Demand, Ec2Facts, EniPhase, Family, KeepReason, Limits, NodeFacts, Operation, Outcome,
    Role, Setting, Snapshot, SnapshotEni, SnapshotSubnet, Trigger,
};

use crate::bindings::onsen::policy::types as wit;

macro_rules! words {
    ($($name:ident = $core:ident { $($case:ident),+ })+) => {$(
        impl From<wit::$name> for $core {
            fn from(from: wit::$name) -> Self {
                match from { $(wit::$name::$case => Self::$case),+ }
            }
        }
    )+};
}

words! {
    Unit = Unit { Address, Prefix }
    Family = Family { Ipv4, Ipv6 }
    Trigger = Trigger { Start, Timer, Demand, Outcome, Change }
    Role = Role { Primary, Secondary, Trunk, Efa }
    EniState = EniPhase { Attaching, Ready, Detaching }
    KeepReason = KeepReason {
        Primary, Trunk, Efa, Assigned, Cooling, TooYoung, InFlight, Unconfirmed
    }
    Operation = Operation { AttachEni, Grow, Release, DetachEni }
}

fn settings(from: Vec<wit::Setting>) -> Vec<Setting> {
    let setting = |it: wit::Setting| Setting {
        key: it.key,
        value: it.value,
    };
    from.into_iter().map(setting).collect()
}

pub(crate) fn snapshot(from: wit::Snapshot) -> Snapshot {
    Snapshot {
        decision_id: from.decision_id,
        now: from.now,
        utc_offset: from.utc_offset,
        uptime: from.uptime,
        trigger: from.trigger.into(),
        node: NodeFacts {
            instance_type: from.node.instance_type,
            zone: from.node.zone,
            labels: settings(from.node.labels),
            family: from.node.family.into(),
            max_pods: from.node.max_pods,
            schedulable: from.node.schedulable,
            terminating: from.node.terminating,
        },
        limits: Limits {
            enis: from.limits.enis,
            other_cards: from.limits.other_cards,
            slots_per_eni: from.limits.slots_per_eni,
            prefixes: from.limits.prefixes,
            addresses_per_prefix: from.limits.addresses_per_prefix,
            trunk: from.limits.trunk,
        },
        unit: from.unit.into(),
        enis: from.enis.into_iter().map(eni).collect(),
        blocks: Blocks {
            base_high: from.blocks.base_high,
            base: from.blocks.base,
            length: from.blocks.length,
            assigned: from.blocks.assigned,
            cooling: from.blocks.cooling,
            cooling_until: from.blocks.cooling_until,
            idle_since: from.blocks.idle_since,
            free: from.blocks.free,
            releasable: from.blocks.releasable,
        },
        demand: Demand {
            waiting: from.demand.waiting,
            scheduled: from.demand.scheduled,
            adds_1m: from.demand.adds_1m,
            adds_5m: from.demand.adds_5m,
            adds_15m: from.demand.adds_15m,
            deletes_1m: from.demand.deletes_1m,
            deletes_5m: from.demand.deletes_5m,
            deletes_15m: from.demand.deletes_15m,
        },
        subnets: from.subnets.into_iter().map(subnet).collect(),
        ec2: Ec2Facts {
            grow_budget: from.ec2.grow_budget,
            release_budget: from.ec2.release_budget,
            in_flight: from.ec2.in_flight,
            throttled_until: from.ec2.throttled_until,
            outcomes: from.ec2.outcomes.into_iter().map(outcome).collect(),
        },
        settings: settings(from.settings),
        memo: from.memo,
    }
}

fn eni(from: wit::Eni) -> SnapshotEni {
    SnapshotEni {
        id: from.id,
        role: from.role.into(),
        phase: from.state.into(),
        subnet: from.subnet,
        device_index: from.device_index,
        card: from.card,
        excluded: from.excluded,
        since: from.since,
        idle_since: from.idle_since,
        free_slots: from.free_slots,
        in_flight: from.in_flight,
        in_flight_unit: from.in_flight_unit.into(),
        busy: from.busy,
        keep: from.keep.map(KeepReason::from),
        first_block: from.first_block,
        block_count: from.block_count,
    }
}

fn subnet(from: wit::Subnet) -> SnapshotSubnet {
    SnapshotSubnet {
        id: from.id,
        own: from.own,
        free_addresses: from.free_addresses,
        read_at: from.read_at,
        no_addresses_at: from.no_addresses_at,
        no_prefixes_at: from.no_prefixes_at,
    }
}

fn outcome(from: wit::Outcome) -> Outcome {
    Outcome {
        at: from.at,
        operation: from.operation.into(),
        eni: from.eni,
        subnet: from.subnet,
        unit: from.unit.into(),
        asked: from.asked,
        done: from.done,
        code: from.code,
    }
}

pub(crate) fn decision(from: Proposal) -> wit::Decision {
    wit::Decision {
        actions: from
            .actions
            .into_iter()
            .map(|action| wit::Action {
                request: request(action.request),
                reason: action.reason,
            })
            .collect(),
        reason: from.reason,
        wake_after: from.wake_after,
        memo: from.memo,
        placement: match from.placement {
            Placement::Pack => wit::Placement::Pack,
            Placement::Spread => wit::Placement::Spread,
            Placement::AddressesFirst => wit::Placement::AddressesFirst,
        },
        pressure: from.pressure,
    }
}

fn request(from: Request) -> wit::Request {
    match from {
        Request::AttachEni {
            subnet,
            unit,
            blocks,
            card,
        } => wit::Request::AttachEni(wit::AttachEni {
            subnet,
            unit: super::unit(unit),
            blocks,
            card,
        }),
        Request::Grow { eni, unit, count } => wit::Request::Grow(wit::Grow {
            eni,
            unit: super::unit(unit),
            count,
        }),
        Request::Release { eni, blocks } => wit::Request::Release(wit::Release { eni, blocks }),
        Request::DetachEni { eni } => wit::Request::DetachEni(eni),
    }
}
