//! The conversation with the policy: when to ask, what to show, what to do with the answer.
//!
//! In: triggers, proposals. Out: `Effect::AskPolicy`, plans handed on, decision records.
//! Must hold: one question at a time; a policy that fails costs one round, which the built-in
//! default decides; a pod that waits with room to grow is not left to a policy that does nothing.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::check::{self, block_keep, eni_keep};
use crate::cidr::{self, Cidr, Unit};
use crate::effect::{Decider, DecisionRecord, Effect, Report, Severity};
use crate::ids::{EniId, SubnetId};
use crate::node::Node;
use crate::pool::Link;
use crate::proposal::{Placement, Proposal};
use crate::snapshot::{
    Blocks, Ec2Facts, EniPhase, Family, Outcome, Snapshot, SnapshotEni, SnapshotSubnet, Trigger,
};
use crate::time::{Millis, SECOND};

/// Memo bytes that are handed back.
const MAX_MEMO: usize = 65_536;
/// Adds and deletes with addresses to spare wake the policy at most this often.
const CALM: Millis = 200;
/// The built-in default overrules an idle policy at most once in this many times the bound of
/// waiting.
const OVERRULE_PAUSE: u64 = 5;
/// Bounds of `wake-after`.
const WAKE_RANGE: core::ops::RangeInclusive<Millis> = 100..=3_600 * SECOND;

/// A question under way, and what its indexes mean.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) id: u64,
    pub(crate) decider: Decider,
    pub(crate) trigger: Trigger,
    pub(crate) fallback: Option<String>,
    pub(crate) enis: Vec<EniId>,
    /// Place of the ENI, and the block.
    pub(crate) blocks: Vec<(u32, Cidr)>,
    pub(crate) subnets: Vec<SubnetId>,
}

/// What is remembered between two questions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mind {
    pub(crate) asked: Option<Asked>,
    pub(crate) pending: Option<Trigger>,
    pub(crate) placement: Placement,
    pub(crate) pressure: u8,
    /// When to ask though nothing happens.
    pub(crate) wake_at: Millis,
    /// The newest answer asked for nothing that serves the pods that wait.
    pub(crate) idle: bool,
    /// The built-in default may overrule an idle policy again from this time on.
    pub(crate) overrule_again_at: Millis,
    memo: Vec<u8>,
    last_id: u64,
    /// 0 before the first question.
    last_asked_at: Millis,
}

impl Mind {
    /// Decisions are numbered from the one behind `last_decision`.
    pub(crate) fn new(last_decision: u64) -> Self {
        Self {
            last_id: last_decision,
            ..Self::default()
        }
    }

    /// Notes that the policy should be asked; the strongest trigger wins.
    pub(crate) fn wake(&mut self, trigger: Trigger) {
        self.pending = self.pending.max(Some(trigger));
    }

    pub(crate) fn forget_memo(&mut self) {
        self.memo.clear();
    }
}

impl Node {
    /// Asks the policy when it is time and no answer is outstanding.
    pub(crate) fn ask(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if self.mind.asked.is_some() {
            return;
        }
        if now >= self.mind.wake_at {
            self.mind.wake(Trigger::Timer);
        }
        if self.overrule_at().is_some_and(|at| now >= at) {
            let why = format!(
                "a pod has waited {} ms and the policy asked for nothing",
                now - self.waiting.oldest().unwrap_or(now)
            );
            self.mind.overrule_again_at = now + OVERRULE_PAUSE * self.config.times.progress;
            self.put(Decider::BuiltIn, Trigger::Demand, Some(why), now, out);
            return;
        }
        let Some(trigger) = self.mind.pending else {
            return;
        };
        if now < self.calm_until(trigger) || self.must_not_ask() {
            return;
        }
        self.mind.pending = None;
        self.put(Decider::Chosen, trigger, None, now, out);
    }

    /// What was decided last must have left before more is decided. And before the first question the
    /// links of ENIs that were there at the start are made ready, lest the policy replaces them; nobody
    /// waits for that.
    pub(crate) fn must_not_ask(&self) -> bool {
        self.journal.holds_calls() || self.is_coming_up()
    }

    fn is_coming_up(&self) -> bool {
        self.mind.last_asked_at == 0
            && self.waiting.0.is_empty()
            && self
                .pool
                .enis
                .iter()
                .any(|eni| eni.link == Link::Configuring)
    }

    /// When the pending question may be put.
    pub(crate) fn calm_until(&self, trigger: Trigger) -> Millis {
        if trigger == Trigger::Demand && self.waiting.0.is_empty() {
            self.mind.last_asked_at + CALM
        } else {
            0
        }
    }

    /// When a pod will have waited too long for a policy that does nothing though there is room.
    pub(crate) fn overrule_at(&self) -> Option<Millis> {
        let since = self.waiting.oldest()?;
        let stuck =
            self.mind.idle && self.mind.pending.is_none() && self.has_room() && !self.is_growing();
        stuck.then(|| (since + self.config.times.progress).max(self.mind.overrule_again_at))
    }

    fn put(
        &mut self,
        decider: Decider,
        trigger: Trigger,
        fallback: Option<String>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        self.mind.last_id += 1;
        self.mind.last_asked_at = now;
        self.mind.wake_at = now + self.config.times.policy_period;
        let (mut snapshot, mut asked) = self.snapshot(now);
        snapshot.trigger = trigger;
        asked.decider = decider;
        asked.trigger = trigger;
        asked.fallback = fallback;
        if decider == Decider::BuiltIn {
            // The memo is the chosen policy's own.
            snapshot.memo.clear();
        }
        self.mind.asked = Some(asked);
        out.push(Effect::AskPolicy {
            decider,
            snapshot: Box::new(snapshot),
        });
    }

    /// An answer has come.
    pub(crate) fn proposed(
        &mut self,
        decision: u64,
        answer: Result<Proposal, String>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let Some(asked) = self.mind.asked.take_if(|asked| asked.id == decision) else {
            return;
        };
        match answer {
            Ok(proposal) => self.decide(asked, proposal, now, out),
            Err(why) => {
                out.push(Effect::Report(Report {
                    severity: Severity::Warning,
                    code: "policy-failed",
                    message: format!("decision {decision} ({:?}): {why}", asked.decider),
                }));
                if asked.decider == Decider::Chosen {
                    self.put(Decider::BuiltIn, asked.trigger, Some(why), now, out);
                } else {
                    self.mind.idle = true;
                }
            }
        }
    }

    fn decide(&mut self, asked: Asked, mut proposal: Proposal, now: Millis, out: &mut Vec<Effect>) {
        let checked = check::check(self, &asked, &proposal, now);
        if asked.decider == Decider::Chosen {
            proposal.memo.truncate(MAX_MEMO);
            self.mind.memo = core::mem::take(&mut proposal.memo);
            self.mind.placement = proposal.placement;
            self.mind.pressure = proposal.pressure.min(100);
        }
        if let Some(after) = proposal.wake_after {
            self.mind.wake_at = now + after.clamp(*WAKE_RANGE.start(), *WAKE_RANGE.end());
        }
        self.mind.idle = !checked.plan.grows();
        if checked
            .dropped
            .iter()
            .any(|(_, why)| matches!(*why, "call-budget" | "throttled"))
        {
            // What was right but too early is asked for again when it can be done.
            let again = self
                .grow_bucket
                .next(now, self.kept_for_pods())
                .max(self.throttle.next_end(now).unwrap_or(now))
                .max(now + CALM);
            self.mind.wake_at = self.mind.wake_at.min(again);
        }
        out.push(Effect::Decided(Box::new(DecisionRecord {
            id: asked.id,
            at: now,
            trigger: asked.trigger,
            reason: check::clipped(&proposal.reason),
            fallback: asked.fallback,
            accepted: checked.accepted,
            operations: checked.operations,
            dropped: checked.dropped,
            pressure: proposal.pressure.min(100),
        })));
        self.execute(checked.plan, now, out);
    }

    /// All that a policy may know, and what its indexes mean.
    fn snapshot(&self, now: Millis) -> (Snapshot, Asked) {
        let subnets: Vec<SubnetId> = self.subnets.keys().cloned().collect();
        let (enis, blocks, places) = self.show_enis(&subnets, now);
        let asked = Asked {
            id: self.mind.last_id,
            decider: Decider::Chosen,
            trigger: Trigger::Timer,
            fallback: None,
            enis: self.pool.enis.iter().map(|eni| eni.id.clone()).collect(),
            blocks: places,
            subnets,
        };
        let snapshot = Snapshot {
            decision_id: self.mind.last_id,
            now,
            utc_offset: self.config.utc_offset,
            uptime: now.saturating_sub(self.started_at),
            trigger: Trigger::Timer,
            node: self.config.node.clone(),
            limits: self.limits(),
            unit: self.config.unit,
            enis,
            blocks,
            demand: self.history.demand(&self.waiting, now),
            subnets: self.show_subnets(&asked.subnets),
            ec2: self.show_ec2(&asked, now),
            settings: self.config.settings.clone(),
            memo: self.mind.memo.clone(),
        };
        (snapshot, asked)
    }

    fn show_enis(
        &self,
        subnets: &[SubnetId],
        now: Millis,
    ) -> (Vec<SnapshotEni>, Blocks, Vec<(u32, Cidr)>) {
        let ipv6 = self.config.node.family == Family::Ipv6;
        let slots = self.config.limits.slots_per_eni;
        let (mut enis, mut blocks, mut places) = (Vec::new(), Blocks::default(), Vec::new());
        // When the last address of each block stops cooling, found in one walk over what cools.
        let mut until = alloc::collections::BTreeMap::new();
        for (address, end) in self.pool.cooling() {
            if let Some((_, cidr)) = self.pool.place_of(*address) {
                let last = until.entry(cidr).or_insert(0);
                *last = (*last).max(*end);
            }
        }
        for (place, eni) in self.pool.enis.iter().enumerate() {
            let (card, device_index) = eni.device();
            enis.push(SnapshotEni {
                id: eni.id.to_string(),
                role: eni.role,
                phase: eni.phase(),
                subnet: subnets
                    .iter()
                    .position(|subnet| *subnet == eni.subnet)
                    .unwrap_or(0) as u32,
                device_index,
                card,
                excluded: eni.excluded,
                since: eni.since,
                idle_since: if eni.assigned() > 0 {
                    0
                } else {
                    eni.idle_since
                },
                free_slots: if eni.usable() {
                    eni.free_slots(slots)
                } else {
                    0
                },
                in_flight: eni.growing,
                in_flight_unit: eni.growing_unit,
                busy: eni.busy(),
                keep: eni_keep(self, eni, now),
                first_block: blocks.base.len() as u32,
                block_count: eni.blocks.len() as u32,
            });
            for (cidr, block) in &eni.blocks {
                let number = cidr::to_number(cidr.base());
                if ipv6 {
                    blocks.base_high.push((number >> 64) as u64);
                }
                blocks.base.push(number as u64);
                blocks.length.push(cidr.length());
                blocks.assigned.push(block.assigned);
                blocks.cooling.push(block.cooling);
                blocks
                    .cooling_until
                    .push(until.get(cidr).copied().unwrap_or(0));
                blocks.idle_since.push(block.idle_since);
                blocks.free.push(eni.free(cidr, block));
                blocks
                    .releasable
                    .push(block_keep(self, eni, cidr, block).is_none());
                places.push((place as u32, *cidr));
            }
        }
        // ENIs that were asked for and have no id yet: the policy must not ask for them again.
        for call in self.creating() {
            enis.push(SnapshotEni {
                role: crate::snapshot::Role::Secondary,
                phase: EniPhase::Attaching,
                subnet: subnets
                    .iter()
                    .position(|subnet| *subnet == call.subnet)
                    .unwrap_or(0) as u32,
                card: call.card,
                since: call.since,
                idle_since: call.since,
                in_flight: call.blocks,
                in_flight_unit: call.unit,
                busy: true,
                keep: Some(crate::snapshot::KeepReason::InFlight),
                first_block: blocks.base.len() as u32,
                ..SnapshotEni::default()
            });
        }
        (enis, blocks, places)
    }

    fn show_subnets(&self, ids: &[SubnetId]) -> Vec<SnapshotSubnet> {
        ids.iter()
            .filter_map(|id| self.subnets.get(id).map(|memory| (id, memory)))
            .map(|(id, memory)| SnapshotSubnet {
                id: id.to_string(),
                own: *id == self.config.own_subnet,
                free_addresses: memory.free_addresses,
                read_at: memory.read_at,
                no_addresses_at: memory.no_addresses_at,
                no_prefixes_at: memory.no_prefixes_at,
            })
            .collect()
    }

    fn show_ec2(&self, asked: &Asked, now: Millis) -> Ec2Facts {
        let (grow_until, release_until) =
            (self.throttle.grow_until(), self.throttle.release_until());
        Ec2Facts {
            grow_budget: if now < grow_until {
                0
            } else {
                self.grow_bucket.available(now, self.kept_for_pods())
            },
            release_budget: if now < release_until {
                0
            } else {
                self.release_bucket.available(now, 0)
            },
            in_flight: self.calls.len() as u32,
            throttled_until: if now < grow_until { grow_until } else { 0 },
            outcomes: self
                .outcomes
                .iter()
                .map(|past| Outcome {
                    at: past.at,
                    operation: past.operation,
                    eni: past
                        .eni
                        .as_ref()
                        .and_then(|id| asked.enis.iter().position(|eni| eni == id))
                        .map(|place| place as u32),
                    subnet: past
                        .subnet
                        .as_ref()
                        .and_then(|id| asked.subnets.iter().position(|subnet| subnet == id))
                        .map(|place| place as u32),
                    unit: past.unit,
                    asked: past.asked,
                    done: past.done,
                    code: past.code.clone(),
                })
                .collect(),
        }
    }

    /// Addresses of usable ENIs once all that is asked for has come.
    pub(crate) fn addresses_coming(&self) -> u32 {
        let growing = self
            .pool
            .enis
            .iter()
            .map(|eni| (eni.growing, eni.growing_unit));
        let creating = self.creating().map(|create| (create.blocks, create.unit));
        growing
            .chain(creating)
            .map(|(blocks, unit)| blocks.saturating_mul(self.addresses_per(unit)))
            .fold(self.pool.addresses(), u32::saturating_add)
    }

    /// Addresses of one new block.
    pub(crate) fn addresses_per(&self, unit: Unit) -> u32 {
        match unit {
            Unit::Address => 1,
            Unit::Prefix => self.config.limits.addresses_per_prefix,
        }
    }

    /// Whether EC2 could give this node more at all.
    pub(crate) fn has_room(&self) -> bool {
        let slots = self.config.limits.slots_per_eni;
        let max_pods = self.config.node.max_pods;
        let usable = self
            .addresses_coming()
            .saturating_sub(self.pool.cooling().len() as u32);
        if max_pods > 0 && usable >= max_pods {
            return false;
        }
        let cards = self.config.limits.other_cards.len() as u32;
        (0..=cards).any(|card| self.eni_count(card) < self.eni_limit(card))
            || self
                .pool
                .enis
                .iter()
                .any(|eni| eni.usable() && eni.free_slots(slots) > 0)
    }
}
