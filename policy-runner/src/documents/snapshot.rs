//! A snapshot's form in JSON, and writing one out.
//!
//! The doc comments say only what `wit/policy.wit` does not; the schema shows both.

use std::collections::BTreeMap;

use onsen_core::cidr::Cidr;
use onsen_core::snapshot::{Limits, Outcome, Setting, Snapshot, SnapshotEni, SnapshotSubnet};
use serde::{Deserialize, Serialize};

use super::text::{Bytes, CidrText, Scalar, Span, Time, given};
use super::words::{
    FamilyWord, KeepWord, OperationWord, RoleWord, StateWord, TriggerWord, UnitWord,
};

/// A snapshot as people write and read it. Everything may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "snapshot"))]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotDocument {
    /// Left out: 1.
    pub(super) decision_id: Option<u64>,
    /// Left out: 2026-01-01T00:00:00Z.
    pub(super) now: Option<Time>,
    /// Left out: 0.
    pub(super) utc_offset: i32,
    /// Left out: an hour.
    pub(super) uptime: Option<Span>,
    /// Left out: `timer`.
    pub(super) trigger: Option<TriggerWord>,
    pub(super) node: NodeDocument,
    pub(super) limits: LimitsDocument,
    /// Left out: `prefix` when the settings have `ENABLE_PREFIX_DELEGATION` and the limits allow it,
    /// else `address`.
    pub(super) unit: Option<UnitWord>,
    /// Left out: a primary ENI without blocks.
    pub(super) enis: Option<Vec<EniDocument>>,
    pub(super) demand: DemandDocument,
    /// Left out: one subnet, the primary ENI's own.
    pub(super) subnets: Option<Vec<SubnetDocument>>,
    pub(super) ec2: Ec2Document,
    /// An object of keys and values.
    pub(super) settings: BTreeMap<String, Scalar>,
    /// Base64.
    pub(super) memo: Bytes,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "node"))]
#[serde(deny_unknown_fields, default)]
pub(super) struct NodeDocument {
    /// Left out: m5.large.
    pub(super) instance_type: Option<String>,
    /// Left out: eu-west-1a.
    pub(super) zone: Option<String>,
    /// An object of keys and values.
    pub(super) labels: BTreeMap<String, Scalar>,
    /// Left out: `ipv4`.
    pub(super) family: Option<FamilyWord>,
    /// Left out: 0.
    pub(super) max_pods: u32,
    /// Left out: true.
    pub(super) schedulable: Option<bool>,
    /// Left out: false.
    pub(super) terminating: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "limits"))]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsDocument {
    /// Left out: the instance type's, lowered by the setting `MAX_ENI`.
    pub(super) enis: Option<u32>,
    /// Left out: none.
    pub(super) other_cards: Vec<u32>,
    /// Left out: the instance type's.
    pub(super) slots_per_eni: Option<u32>,
    /// Left out: the instance type's.
    pub(super) prefixes: Option<bool>,
    /// Left out: 16.
    pub(super) addresses_per_prefix: Option<u32>,
    /// Left out: the instance type's.
    pub(super) trunk: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "eni"))]
#[serde(deny_unknown_fields, default)]
pub(super) struct EniDocument {
    /// Left out: `eni-` and its place.
    pub(super) id: Option<String>,
    /// Left out: `primary` for the first, `secondary` for others.
    pub(super) role: Option<RoleWord>,
    /// Left out: `ready`.
    pub(super) state: Option<StateWord>,
    /// Left out: 0.
    pub(super) subnet: u32,
    /// Left out: its place among the ENIs of its card.
    pub(super) device_index: Option<u32>,
    /// Left out: 0.
    pub(super) card: u32,
    /// Left out: false.
    pub(super) excluded: bool,
    /// Left out: an hour ago.
    pub(super) since: Option<Time>,
    /// Left out: 0 with a pod on one of its blocks, else `since`.
    pub(super) idle_since: Option<Time>,
    /// Left out: what the blocks and `in_flight` leave; 0 on an ENI that cannot be used.
    pub(super) free_slots: Option<u32>,
    /// Left out: 0.
    pub(super) in_flight: u32,
    /// Left out: the snapshot's unit.
    pub(super) in_flight_unit: Option<UnitWord>,
    /// Left out: true when blocks are in flight or the ENI is not ready.
    pub(super) busy: Option<bool>,
    /// Left out: follows from role, state, blocks and age. `null`: the host would let it go.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[expect(clippy::option_option, reason = "left out and `null` differ")]
    pub(super) keep: Option<Option<KeepWord>>,
    /// Sorted by address when read.
    pub(super) blocks: Vec<BlockDocument>,
}

/// What one slot holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "block"))]
#[serde(deny_unknown_fields, default)]
pub(super) struct BlockDocument {
    /// Base and length, `10.0.0.16/28` or `10.0.0.9`. Left out: the next one of the snapshot's unit
    /// in a range of this ENI's own.
    pub(super) cidr: Option<CidrText>,
    /// So many blocks like this one, each right behind the other. Left out: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repeat: Option<u32>,
    /// Left out: 0.
    pub(super) assigned: u32,
    /// Left out: 0.
    pub(super) cooling: u32,
    /// Left out: 30 s from now when something cools.
    pub(super) cooling_until: Option<Time>,
    /// Left out: now when something cools, else since the ENI was attached.
    pub(super) idle_since: Option<Time>,
    /// Left out: what is neither assigned nor cooling; 0 on an ENI that cannot be used.
    pub(super) free: Option<u32>,
    /// Left out: true when nothing is assigned or cooling and the ENI is ready with nothing in flight.
    pub(super) releasable: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "demand"))]
#[serde(deny_unknown_fields, default)]
pub(super) struct DemandDocument {
    /// Left out: none waits.
    pub(super) waiting: Vec<Span>,
    /// Left out: 0.
    pub(super) scheduled: u32,
    /// Left out: 0.
    pub(super) adds_1m: u32,
    /// Left out: 0.
    pub(super) adds_5m: u32,
    /// Left out: 0.
    pub(super) adds_15m: u32,
    /// Left out: 0.
    pub(super) deletes_1m: u32,
    /// Left out: 0.
    pub(super) deletes_5m: u32,
    /// Left out: 0.
    pub(super) deletes_15m: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "subnet"))]
#[serde(deny_unknown_fields, default)]
pub(super) struct SubnetDocument {
    /// Left out: `subnet-` and its place.
    pub(super) id: Option<String>,
    /// Left out: true for the first.
    pub(super) own: Option<bool>,
    /// Left out or `null`: not known.
    pub(super) free_addresses: Option<u32>,
    /// Left out: now when `free_addresses` is there, else 0.
    pub(super) read_at: Option<Time>,
    /// Left out: 0.
    pub(super) no_addresses_at: Option<Time>,
    /// Left out: 0.
    pub(super) no_prefixes_at: Option<Time>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ec2"))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Ec2Document {
    /// Left out: 8.
    pub(super) grow_budget: Option<u32>,
    /// Left out: 8.
    pub(super) release_budget: Option<u32>,
    /// Left out: 0.
    pub(super) in_flight: u32,
    /// Left out: 0.
    pub(super) throttled_until: Option<Time>,
    /// Left out: none.
    pub(super) outcomes: Vec<OutcomeDocument>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "outcome"))]
#[serde(deny_unknown_fields)]
pub(super) struct OutcomeDocument {
    /// Left out: ten seconds ago.
    #[serde(default)]
    pub(super) at: Option<Time>,
    pub(super) operation: OperationWord,
    #[serde(default)]
    pub(super) eni: Option<u32>,
    #[serde(default)]
    pub(super) subnet: Option<u32>,
    /// Left out: the snapshot's.
    #[serde(default)]
    pub(super) unit: Option<UnitWord>,
    /// Left out: 1.
    #[serde(default)]
    pub(super) asked: Option<u32>,
    /// Left out: `asked` without a code, 0 with one.
    #[serde(default)]
    pub(super) done: Option<u32>,
    /// Left out: empty.
    #[serde(default)]
    pub(super) code: String,
}

/// The snapshot with every field written out.
pub(super) fn write(from: &Snapshot) -> SnapshotDocument {
    SnapshotDocument {
        decision_id: Some(from.decision_id),
        now: Some(Time::At(from.now)),
        utc_offset: from.utc_offset,
        uptime: Some(Span(from.uptime)),
        trigger: Some(from.trigger.into()),
        node: NodeDocument {
            instance_type: Some(from.node.instance_type.clone()),
            zone: Some(from.node.zone.clone()),
            labels: object(&from.node.labels),
            family: Some(from.node.family.into()),
            max_pods: from.node.max_pods,
            schedulable: Some(from.node.schedulable),
            terminating: from.node.terminating,
        },
        limits: limits(&from.limits),
        unit: Some(from.unit.into()),
        enis: Some(from.enis.iter().map(|it| eni(from, it)).collect()),
        demand: DemandDocument {
            waiting: from.demand.waiting.iter().copied().map(Span).collect(),
            scheduled: from.demand.scheduled,
            adds_1m: from.demand.adds_1m,
            adds_5m: from.demand.adds_5m,
            adds_15m: from.demand.adds_15m,
            deletes_1m: from.demand.deletes_1m,
            deletes_5m: from.demand.deletes_5m,
            deletes_15m: from.demand.deletes_15m,
        },
        subnets: Some(from.subnets.iter().map(subnet).collect()),
        ec2: Ec2Document {
            grow_budget: Some(from.ec2.grow_budget),
            release_budget: Some(from.ec2.release_budget),
            in_flight: from.ec2.in_flight,
            throttled_until: Some(Time::At(from.ec2.throttled_until)),
            outcomes: from.ec2.outcomes.iter().map(outcome).collect(),
        },
        settings: object(&from.settings),
        memo: Bytes(from.memo.clone()),
    }
}

fn object(settings: &[Setting]) -> BTreeMap<String, Scalar> {
    let pair = |it: &Setting| (it.key.clone(), Scalar(it.value.clone()));
    settings.iter().map(pair).collect()
}

fn limits(from: &Limits) -> LimitsDocument {
    LimitsDocument {
        enis: Some(from.enis),
        other_cards: from.other_cards.clone(),
        slots_per_eni: Some(from.slots_per_eni),
        prefixes: Some(from.prefixes),
        addresses_per_prefix: Some(from.addresses_per_prefix),
        trunk: Some(from.trunk),
    }
}

fn eni(snapshot: &Snapshot, from: &SnapshotEni) -> EniDocument {
    let places = from.first_block..from.first_block.saturating_add(from.block_count);
    EniDocument {
        id: Some(from.id.clone()),
        role: Some(from.role.into()),
        state: Some(from.phase.into()),
        subnet: from.subnet,
        device_index: Some(from.device_index),
        card: from.card,
        excluded: from.excluded,
        since: Some(Time::At(from.since)),
        idle_since: Some(Time::At(from.idle_since)),
        free_slots: Some(from.free_slots),
        in_flight: from.in_flight,
        in_flight_unit: Some(from.in_flight_unit.into()),
        busy: Some(from.busy),
        keep: Some(from.keep.map(KeepWord::from)),
        blocks: places
            .filter_map(|place| block(snapshot, place as usize))
            .collect(),
    }
}

/// Absent when the parallel lists end before that place.
fn block(snapshot: &Snapshot, place: usize) -> Option<BlockDocument> {
    let lists = &snapshot.blocks;
    Some(BlockDocument {
        cidr: Some(CidrText(cidr(snapshot, place)?)),
        repeat: None,
        assigned: *lists.assigned.get(place)?,
        cooling: *lists.cooling.get(place)?,
        cooling_until: Some(Time::At(*lists.cooling_until.get(place)?)),
        idle_since: Some(Time::At(*lists.idle_since.get(place)?)),
        free: Some(*lists.free.get(place)?),
        releasable: Some(*lists.releasable.get(place)?),
    })
}

/// The range of the block at that place; absent where there is none.
pub fn cidr(snapshot: &Snapshot, place: usize) -> Option<Cidr> {
    let lists = &snapshot.blocks;
    let base = *lists.base.get(place)?;
    let base = match lists.base_high.get(place) {
        Some(high) => u128::from(*high) << 64 | u128::from(base),
        None => {
            return Cidr::new(
                std::net::Ipv4Addr::from(u32::try_from(base).ok()?).into(),
                *lists.length.get(place)?,
            );
        }
    };
    Cidr::new(
        std::net::Ipv6Addr::from(base).into(),
        *lists.length.get(place)?,
    )
}

fn subnet(from: &SnapshotSubnet) -> SubnetDocument {
    SubnetDocument {
        id: Some(from.id.clone()),
        own: Some(from.own),
        free_addresses: from.free_addresses,
        read_at: Some(Time::At(from.read_at)),
        no_addresses_at: Some(Time::At(from.no_addresses_at)),
        no_prefixes_at: Some(Time::At(from.no_prefixes_at)),
    }
}

fn outcome(from: &Outcome) -> OutcomeDocument {
    OutcomeDocument {
        at: Some(Time::At(from.at)),
        operation: from.operation.into(),
        eni: from.eni,
        subnet: from.subnet,
        unit: Some(from.unit.into()),
        asked: Some(from.asked),
        done: Some(from.done),
        code: from.code.clone(),
    }
}
