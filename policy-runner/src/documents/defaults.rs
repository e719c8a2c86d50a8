//! Reading a snapshot: what was left out is filled in from the rest.
//!
//! What must hold: a field that was written is never changed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use onsen_core::cidr::{self, Cidr, Unit};
use onsen_core::snapshot::{
    Blocks, Demand, Ec2Facts, EniPhase, Family, KeepReason, Limits, NodeFacts, Outcome, Role,
    Setting, Snapshot, SnapshotEni, SnapshotSubnet, Trigger,
};
use onsen_core::time::{MINUTE, Millis, SECOND};

use super::snapshot::{
    BlockDocument, DemandDocument, Ec2Document, EniDocument, LimitsDocument, NodeDocument,
    OutcomeDocument, SnapshotDocument, SubnetDocument,
};
use super::text::{CidrText, Scalar, Span, Time};
use super::{DocumentError, DocumentError as Error};

/// 2026-01-01T00:00:00Z.
const NOW: Millis = 1_767_225_600_000;
const INSTANCE_TYPE: &str = "m5.large";
const ZONE: &str = "eu-west-1a";
const HOUR: Millis = 60 * MINUTE;
/// The host's default cooldown.
const COOLDOWN: Millis = 30 * SECOND;
/// The host's default for the age below which an ENI stays.
const MIN_ENI_AGE: Millis = MINUTE;
/// The burst of the host's call budgets.
const BUDGET: u32 = 8;
/// Nothing real has more blocks; a slip of the pen must not fill the memory.
const MAX_BLOCKS: u64 = 65_536;

impl SnapshotDocument {
    /// The snapshot. `limits_of` knows instance types; it is asked when the document leaves limits out.
    pub fn into_snapshot(
        self,
        limits_of: impl Fn(&str) -> Option<Limits>,
    ) -> Result<Snapshot, DocumentError> {
        let now = self.now.map_or(NOW, |time| time.resolve(NOW));
        let settings = list(self.settings);
        let node = node(self.node);
        let limits = limits(self.limits, &node.instance_type, &settings, limits_of)?;
        let unit = match self.unit {
            Some(unit) => unit.into(),
            None if limits.prefixes && wants_prefixes(&settings) => Unit::Prefix,
            None => Unit::Address,
        };
        let subnets: Vec<_> = self
            .subnets
            .unwrap_or_else(|| vec![SubnetDocument::default()])
            .into_iter()
            .enumerate()
            .map(|(place, it)| subnet(place, it, now))
            .collect();
        let mut reader = EniReader {
            now,
            family: node.family,
            unit,
            slots: limits.slots_per_eni,
            subnets: subnets.len(),
            on_card: BTreeMap::new(),
            blocks: Blocks::default(),
        };
        let enis = self
            .enis
            .unwrap_or_else(|| vec![EniDocument::default()])
            .into_iter()
            .enumerate()
            .map(|(place, it)| reader.eni(place, it))
            .collect::<Result<Vec<_>, _>>()?;
        let blocks = reader.blocks;
        let ec2 = ec2(self.ec2, now, unit, (enis.len(), subnets.len()))?;
        Ok(Snapshot {
            decision_id: self.decision_id.unwrap_or(1),
            now,
            utc_offset: self.utc_offset,
            uptime: self.uptime.map_or(HOUR, |span| span.0),
            trigger: self.trigger.map_or(Trigger::Timer, Trigger::from),
            node,
            limits,
            unit,
            enis,
            blocks,
            demand: demand(self.demand),
            subnets,
            ec2,
            settings,
            memo: self.memo.0,
        })
    }

    /// Adds settings; they outrank those of the document.
    pub fn set(&mut self, settings: impl IntoIterator<Item = (String, String)>) {
        let settings = settings.into_iter().map(|(key, text)| (key, Scalar(text)));
        self.settings.extend(settings);
    }
}

/// The keys of an object are sorted, as the contract wants them.
fn list(object: BTreeMap<String, Scalar>) -> Vec<Setting> {
    let setting = |(key, Scalar(value))| Setting { key, value };
    object.into_iter().map(setting).collect()
}

fn find<'a>(settings: &'a [Setting], key: &str) -> Option<&'a str> {
    let found = settings.iter().find(|setting| setting.key == key);
    found.map(|setting| &*setting.value)
}

/// Read as the daemon reads it.
fn wants_prefixes(settings: &[Setting]) -> bool {
    find(settings, "ENABLE_PREFIX_DELEGATION")
        .is_some_and(|text| matches!(text, "1" | "t" | "T" | "TRUE" | "true" | "True"))
}

fn node(from: NodeDocument) -> NodeFacts {
    NodeFacts {
        instance_type: from.instance_type.unwrap_or_else(|| INSTANCE_TYPE.into()),
        zone: from.zone.unwrap_or_else(|| ZONE.into()),
        labels: list(from.labels),
        family: from.family.map_or(Family::Ipv4, Family::from),
        max_pods: from.max_pods,
        schedulable: from.schedulable.unwrap_or(true),
        terminating: from.terminating,
    }
}

fn limits(
    from: LimitsDocument,
    instance_type: &str,
    settings: &[Setting],
    limits_of: impl Fn(&str) -> Option<Limits>,
) -> Result<Limits, Error> {
    let known = limits_of(instance_type);
    let unknown = || {
        let message = format!(
            "the instance type {instance_type:?} is not known: write limits.enis and limits.slots_per_eni"
        );
        Error::meaning("node.instance_type", message)
    };
    let max_eni = find(settings, "MAX_ENI")
        .and_then(|text| text.parse::<u32>().ok())
        .filter(|limit| *limit >= 1)
        .unwrap_or(u32::MAX);
    let lowered = |known: &Limits| known.enis.min(max_eni);
    Ok(Limits {
        enis: match from.enis {
            Some(enis) => enis,
            None => known.as_ref().map(lowered).ok_or_else(unknown)?,
        },
        other_cards: from.other_cards,
        slots_per_eni: match from.slots_per_eni {
            Some(slots) => slots,
            None => known.as_ref().ok_or_else(unknown)?.slots_per_eni,
        },
        prefixes: from
            .prefixes
            .unwrap_or_else(|| known.as_ref().is_none_or(|known| known.prefixes)),
        addresses_per_prefix: from.addresses_per_prefix.unwrap_or(16),
        trunk: from
            .trunk
            .unwrap_or_else(|| known.as_ref().is_some_and(|known| known.trunk)),
    })
}

fn subnet(place: usize, from: SubnetDocument, now: Millis) -> SnapshotSubnet {
    let time = |time: Option<Time>, otherwise| time.map_or(otherwise, |time| time.resolve(now));
    let read = if from.free_addresses.is_some() {
        now
    } else {
        0
    };
    SnapshotSubnet {
        id: from.id.unwrap_or_else(|| format!("subnet-{place}")),
        own: from.own.unwrap_or(place == 0),
        free_addresses: from.free_addresses,
        read_at: time(from.read_at, read),
        no_addresses_at: time(from.no_addresses_at, 0),
        no_prefixes_at: time(from.no_prefixes_at, 0),
    }
}

fn demand(from: DemandDocument) -> Demand {
    Demand {
        waiting: from.waiting.into_iter().map(|Span(span)| span).collect(),
        scheduled: from.scheduled,
        adds_1m: from.adds_1m,
        adds_5m: from.adds_5m,
        adds_15m: from.adds_15m,
        deletes_1m: from.deletes_1m,
        deletes_5m: from.deletes_5m,
        deletes_15m: from.deletes_15m,
    }
}

/// A place must exist.
fn inside(path: &str, list: &str, place: u32, length: usize) -> Result<u32, Error> {
    if (place as usize) < length {
        return Ok(place);
    }
    let message = format!("{list} has no place {place}; places count from 0, and it has {length}");
    Err(Error::meaning(path, message))
}

fn ec2(
    from: Ec2Document,
    now: Millis,
    unit: Unit,
    (enis, subnets): (usize, usize),
) -> Result<Ec2Facts, Error> {
    let outcome = |(place, it): (usize, OutcomeDocument)| {
        let path = |field: &str| format!("ec2.outcomes[{place}].{field}");
        let eni = it.eni.map(|eni| inside(&path("eni"), "enis", eni, enis));
        let subnet = it
            .subnet
            .map(|subnet| inside(&path("subnet"), "subnets", subnet, subnets));
        let asked = it.asked.unwrap_or(1);
        let done = if it.code.is_empty() { asked } else { 0 };
        Ok(Outcome {
            at: it.at.unwrap_or(Time::Before(10 * SECOND)).resolve(now),
            operation: it.operation.into(),
            eni: eni.transpose()?,
            subnet: subnet.transpose()?,
            unit: it.unit.map_or(unit, Unit::from),
            asked,
            done: it.done.unwrap_or(done),
            code: it.code,
        })
    };
    Ok(Ec2Facts {
        grow_budget: from.grow_budget.unwrap_or(BUDGET),
        release_budget: from.release_budget.unwrap_or(BUDGET),
        in_flight: from.in_flight,
        throttled_until: from.throttled_until.map_or(0, |time| time.resolve(now)),
        outcomes: from
            .outcomes
            .into_iter()
            .enumerate()
            .map(outcome)
            .collect::<Result<_, _>>()?,
    })
}

/// Reads ENI after ENI, and lays their blocks into the parallel lists.
struct EniReader {
    now: Millis,
    family: Family,
    unit: Unit,
    slots: u32,
    subnets: usize,
    /// ENIs seen on each card.
    on_card: BTreeMap<u32, u32>,
    blocks: Blocks,
}

/// What an ENI says about its blocks.
struct Owner {
    since: Millis,
    usable: bool,
    /// A call is under way, or it is not ready.
    busy: bool,
}

impl EniReader {
    fn eni(&mut self, place: usize, from: EniDocument) -> Result<SnapshotEni, Error> {
        let path = format!("enis[{place}]");
        let role = match from.role {
            Some(role) => role.into(),
            None if place == 0 => Role::Primary,
            None => Role::Secondary,
        };
        let phase = from.state.map_or(EniPhase::Ready, EniPhase::from);
        let since = from.since.unwrap_or(Time::Before(HOUR)).resolve(self.now);
        let owner = Owner {
            since,
            usable: phase == EniPhase::Ready
                && !from.excluded
                && matches!(role, Role::Primary | Role::Secondary),
            busy: phase != EniPhase::Ready || from.in_flight > 0 || from.busy == Some(true),
        };
        let before = self.on_card.entry(from.card).or_insert(0);
        let device_index = *before;
        *before += 1;
        let first = self.blocks.base.len();
        let mut blocks = self.expand(place, &path, from.blocks)?;
        blocks.sort_by_key(|(cidr, _)| *cidr);
        for (cidr, block) in &blocks {
            self.block(&owner, *cidr, block);
        }
        let free_slots = if owner.usable {
            self.slots
                .saturating_sub(blocks.len() as u32)
                .saturating_sub(from.in_flight)
        } else {
            0
        };
        let keep = match from.keep {
            Some(keep) => keep.map(KeepReason::from),
            None => self.keep(role, &owner, first),
        };
        let has_pods = self.blocks.assigned[first..].iter().any(|pods| *pods > 0);
        let idle_since = if has_pods { 0 } else { since };
        Ok(SnapshotEni {
            id: from.id.unwrap_or_else(|| format!("eni-{place}")),
            role,
            phase,
            subnet: inside(
                &format!("{path}.subnet"),
                "subnets",
                from.subnet,
                self.subnets,
            )?,
            device_index: from.device_index.unwrap_or(device_index),
            card: from.card,
            excluded: from.excluded,
            since,
            idle_since: from
                .idle_since
                .map_or(idle_since, |time| time.resolve(self.now)),
            free_slots: from.free_slots.unwrap_or(free_slots),
            in_flight: from.in_flight,
            in_flight_unit: from.in_flight_unit.map_or(self.unit, Unit::from),
            busy: from.busy.unwrap_or(owner.busy),
            keep,
            first_block: first as u32,
            block_count: blocks.len() as u32,
        })
    }

    /// The host's reasons in the host's order. `first`: where the ENI's blocks start.
    fn keep(&self, role: Role, owner: &Owner, first: usize) -> Option<KeepReason> {
        let any = |list: &[u32]| list.iter().skip(first).any(|count| *count > 0);
        match role {
            Role::Primary => Some(KeepReason::Primary),
            Role::Trunk => Some(KeepReason::Trunk),
            Role::Efa => Some(KeepReason::Efa),
            Role::Secondary if any(&self.blocks.assigned) => Some(KeepReason::Assigned),
            Role::Secondary if any(&self.blocks.cooling) => Some(KeepReason::Cooling),
            Role::Secondary if owner.busy => Some(KeepReason::InFlight),
            Role::Secondary if self.now < owner.since.saturating_add(MIN_ENI_AGE) => {
                Some(KeepReason::TooYoung)
            }
            Role::Secondary => None,
        }
    }

    /// Each block with its range, `repeat` written out.
    fn expand(
        &self,
        eni: usize,
        path: &str,
        blocks: Vec<BlockDocument>,
    ) -> Result<Vec<(Cidr, BlockDocument)>, Error> {
        let mut all = Vec::new();
        for (at, block) in blocks.into_iter().enumerate() {
            let path = format!("{path}.blocks[{at}]");
            let repeat = block.repeat.unwrap_or(1);
            let before = self.blocks.base.len() + all.len();
            if before as u64 + u64::from(repeat) > MAX_BLOCKS {
                let message = format!("more than {MAX_BLOCKS} blocks");
                return Err(Error::meaning(format!("{path}.repeat"), message));
            }
            let mut next = match block.cidr {
                Some(CidrText(cidr)) => cidr,
                None => own_range(self.family, self.unit, eni, all.len()),
            };
            self.check(&path, next, &block)?;
            for step in 0..repeat {
                if step > 0 {
                    next = behind(next).ok_or_else(|| {
                        Error::meaning(
                            format!("{path}.repeat"),
                            format!("no block is behind {next}"),
                        )
                    })?;
                }
                all.push((next, block.clone()));
            }
        }
        Ok(all)
    }

    fn check(&self, path: &str, cidr: Cidr, block: &BlockDocument) -> Result<(), Error> {
        let right_family = cidr.base().is_ipv4() == (self.family == Family::Ipv4);
        let (address, prefix) = match self.family {
            Family::Ipv4 => (32, 28),
            Family::Ipv6 => (128, 80),
        };
        if !right_family || ![address, prefix].contains(&cidr.length()) {
            let message =
                format!("{cidr} is neither /{address} nor /{prefix} of this node's family");
            return Err(Error::meaning(format!("{path}.cidr"), message));
        }
        let used = u128::from(block.assigned) + u128::from(block.cooling);
        if used > cidr.size() {
            let (size, assigned, cooling) = (cidr.size(), block.assigned, block.cooling);
            let message = format!(
                "{assigned} assigned and {cooling} cooling are more than the {size} of {cidr}"
            );
            return Err(Error::meaning(path, message));
        }
        Ok(())
    }

    fn block(&mut self, owner: &Owner, cidr: Cidr, from: &BlockDocument) {
        let time =
            |time: Option<Time>, otherwise| time.map_or(otherwise, |time| time.resolve(self.now));
        let cooling_until = if from.cooling > 0 {
            self.now.saturating_add(COOLDOWN)
        } else {
            0
        };
        let idle_since = match (from.assigned, from.cooling) {
            (0, 0) => owner.since,
            (0, _) => self.now,
            _ => 0,
        };
        let left = if owner.usable {
            u32::try_from(cidr.size())
                .unwrap_or(u32::MAX)
                .saturating_sub(from.assigned)
                .saturating_sub(from.cooling)
        } else {
            0
        };
        let (cooling_until, idle_since) = (
            time(from.cooling_until, cooling_until),
            time(from.idle_since, idle_since),
        );
        let lists = &mut self.blocks;
        let number = cidr::to_number(cidr.base());
        if self.family == Family::Ipv6 {
            lists.base_high.push((number >> 64) as u64);
        }
        lists.base.push(number as u64);
        lists.length.push(cidr.length());
        lists.assigned.push(from.assigned);
        lists.cooling.push(from.cooling);
        lists.cooling_until.push(cooling_until);
        lists.idle_since.push(idle_since);
        lists.free.push(from.free.unwrap_or(left));
        let idle = from.assigned == 0 && from.cooling == 0;
        lists
            .releasable
            .push(from.releasable.unwrap_or(idle && !owner.busy));
    }
}

/// The block number `number` of an ENI whose document names no CIDRs: each ENI has a range of its
/// own, below 10.0.0.0 or 10.128.0.0, or `2001:db8::`.
fn own_range(family: Family, unit: Unit, eni: usize, number: usize) -> Cidr {
    let (eni, number) = (eni as u32, number as u32);
    let (base, length): (IpAddr, u8) = match (family, unit) {
        (Family::Ipv4, Unit::Address) => {
            let offset = eni.wrapping_mul(256).wrapping_add(number + 16) & 0x007f_ffff;
            (Ipv4Addr::from(0x0a00_0000 | offset).into(), 32)
        }
        (Family::Ipv4, Unit::Prefix) => {
            let offset = eni.wrapping_mul(256).wrapping_add(number).wrapping_mul(16) & 0x007f_fff0;
            (Ipv4Addr::from(0x0a80_0000 | offset).into(), 28)
        }
        (Family::Ipv6, unit) => {
            let high = 0x2001_0db8_0000_0000_u128 | u128::from(eni);
            let (low, length) = match unit {
                Unit::Address => (u128::from(number) + 16, 128),
                Unit::Prefix => (u128::from(number & 0xffff) << 48, 80),
            };
            (Ipv6Addr::from(high << 64 | low).into(), length)
        }
    };
    Cidr::new(base, length).unwrap_or_else(|| Cidr::single(base))
}

/// The block of the same size that follows.
fn behind(cidr: Cidr) -> Option<Cidr> {
    let next = cidr::to_number(cidr.base()).checked_add(cidr.size())?;
    let base: IpAddr = if cidr.base().is_ipv4() {
        Ipv4Addr::from(u32::try_from(next).ok()?).into()
    } else {
        Ipv6Addr::from(next).into()
    };
    Cidr::new(base, cidr.length())
}
