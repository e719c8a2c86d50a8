//! What a look at EC2 changes.
//!
//! In: an observation and when it was asked for. Out: doubts settled, ENIs and blocks taken in,
//! suspects and losses, destructive steps that waited for a fresh view.
//! Must hold: a fresh change of ours outranks a stale read; nothing is dropped on the word of one
//! look; what a sandbox holds is never taken from it, only reported.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use crate::check;
use crate::cidr::Cidr;
use crate::effect::{Effect, Severity};
use crate::event::{EniFacts, Observation};
use crate::ids::EniId;
use crate::life::report;
use crate::node::{Node, PastOutcome};
use crate::pool::{Eni, Goal, Link};
use crate::snapshot::{Operation, Role, Trigger};
use crate::time::Millis;

/// When to look at EC2.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Looks {
    /// When the look under way was asked for.
    pub(crate) under_way: Option<Millis>,
    /// Something asks for a look at this time.
    pub(crate) wanted_at: Option<Millis>,
    /// When one is due though nothing asks for it.
    pub(crate) periodic_at: Millis,
    last_asked_at: Millis,
    failures: u32,
}

impl Looks {
    /// The look that the daemon started with.
    pub(crate) fn under_way_since(now: Millis) -> Self {
        Self {
            under_way: Some(now),
            ..Self::default()
        }
    }
}

impl Node {
    /// Asks for a look at that time, or a moment after the one before.
    pub(crate) fn want_look(&mut self, at: Millis) {
        let at = at.max(self.looks.last_asked_at + self.config.times.backoff);
        let earlier = self.looks.wanted_at.is_some_and(|wanted| wanted <= at);
        if !earlier {
            self.looks.wanted_at = Some(at);
        }
    }

    /// Looks when it is time.
    pub(crate) fn look(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let due = self.looks.wanted_at.is_some_and(|at| at <= now) || self.looks.periodic_at <= now;
        if self.looks.under_way.is_some() || !due {
            return;
        }
        let period = self.config.times.look_period;
        // Nodes that started together must not look together.
        self.looks.periodic_at = now + period - period / 8 + self.jitter.below(period / 4 + 1);
        self.looks.under_way = Some(now);
        self.looks.last_asked_at = now;
        self.looks.wanted_at = None;
        out.push(Effect::Look);
    }

    pub(crate) fn look_failed(&mut self, why: &str, now: Millis, out: &mut Vec<Effect>) {
        if self.looks.under_way.take().is_none() {
            return;
        }
        let pause = self.throttle.backoff(self.looks.failures);
        self.looks.failures += 1;
        self.want_look(now + pause);
        report(
            out,
            Severity::Warning,
            "look-failed",
            format!("cannot see EC2's view: {why}"),
        );
    }

    /// A look has arrived.
    pub(crate) fn observed(
        &mut self,
        observation: Observation,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let Some(asked_at) = self.looks.under_way.take() else {
            return;
        };
        self.looks.failures = 0;
        self.cooling_waits = self.cooling_waits.filter(|at| asked_at < *at);
        for subnet in observation.subnets {
            let memory = self.subnets.entry(subnet.id).or_default();
            memory.free_addresses = Some(subnet.free_addresses);
            memory.read_at = asked_at;
        }
        let all = observation.attached.iter().chain(&observation.detached);
        self.hand_over(all.filter(|facts| !facts.managed), out);
        // One that the operator took out of the daemon's hands stays in the pool while pods are on it.
        let known: BTreeSet<EniId> = self.pool.enis.iter().map(|eni| eni.id.clone()).collect();
        let mine = |facts: &EniFacts| facts.managed || known.contains(&facts.id);
        self.foreign = observation
            .attached
            .iter()
            .filter(|facts| !mine(facts))
            .filter_map(|facts| facts.attachment.as_ref())
            .map(|attachment| (attachment.card, attachment.device_index))
            .collect();
        let attached: BTreeMap<EniId, EniFacts> = observation
            .attached
            .into_iter()
            .filter(mine)
            .map(|facts| (facts.id.clone(), facts))
            .collect();
        self.taken_up.retain(|id, _| !attached.contains_key(id));
        let detached: BTreeMap<EniId, EniFacts> = observation
            .detached
            .into_iter()
            .filter(mine)
            .map(|facts| (facts.id.clone(), facts))
            .collect();
        self.adopt(&attached, &detached, asked_at, out);
        for id in self
            .pool
            .enis
            .iter()
            .map(|eni| eni.id.clone())
            .collect::<Vec<_>>()
        {
            self.reconcile(
                &id,
                attached.get(&id),
                detached.get(&id),
                asked_at,
                now,
                out,
            );
        }
        if !self.taken_up.is_empty() {
            // EC2 may not show yet what it has just made; after that they are gone.
            if asked_at >= self.started_at + self.config.times.settle {
                self.taken_up.clear();
            } else {
                self.want_look(self.started_at + self.config.times.settle);
            }
        }
        if self.pool.has_contests() {
            self.want_look(asked_at + self.config.times.consistency);
        }
        self.settle_creates(asked_at, now);
        self.resume(now, out);
        if let Some(at) = self.next_doubt() {
            self.want_look(at);
        }
        self.mind.wake(Trigger::Outcome);
    }

    /// What the operator took out of the daemon's hands, and no pod needs, leaves the pool.
    fn hand_over<'a>(
        &mut self,
        unmanaged: impl Iterator<Item = &'a EniFacts>,
        out: &mut Vec<Effect>,
    ) {
        for facts in unmanaged {
            let needed = |eni: &Eni| {
                let mut blocks = eni.blocks.keys();
                eni.assigned() > 0 || blocks.any(|cidr| self.journal.may_restore(cidr))
            };
            let Some(eni) = self.pool.eni(&facts.id) else {
                continue;
            };
            let configuring = eni.link == Link::Configuring;
            if eni.role == Role::Primary || eni.busy() || configuring || needed(eni) {
                continue;
            }
            if eni.link == Link::Ready {
                out.push(Effect::ForgetEni(eni.link_facts()));
            }
            let message = format!("{} is to be left alone: it leaves the pool", facts.id);
            report(out, Severity::Info, "eni-left-alone", message);
            self.pool.remove_eni(&facts.id);
        }
    }

    /// Takes in ENIs that the pool does not know.
    fn adopt(
        &mut self,
        attached: &BTreeMap<EniId, EniFacts>,
        detached: &BTreeMap<EniId, EniFacts>,
        asked_at: Millis,
        out: &mut Vec<Effect>,
    ) {
        let consistency = self.config.times.consistency;
        self.departed.retain(|_, at| asked_at < *at + consistency);
        for facts in attached.values() {
            let departed = self.departed.contains_key(&facts.id);
            if self.pool.eni(&facts.id).is_none() && !departed {
                let message = format!("{} is attached; its addresses join the pool", facts.id);
                report(out, Severity::Info, "eni-adopted", message);
                self.take_in(facts.clone(), asked_at, consistency);
            }
        }
        for facts in detached.values() {
            if self.pool.eni(&facts.id).is_some() || self.departed.contains_key(&facts.id) {
                continue;
            }
            // An ENI whose creation has not been answered yet may be this one: its answer tells.
            if self.creates.iter().any(|create| create.doubt.is_none()) {
                continue;
            }
            let doubtful = self
                .creates
                .iter()
                .position(|create| create.doubt.is_some() && create.subnet == facts.subnet);
            self.take_in(facts.clone(), asked_at, consistency);
            if let Some(place) = doubtful {
                let create = self.creates.remove(place);
                if let Some(eni) = self.pool.eni_mut(&facts.id) {
                    eni.card = create.card;
                }
                let message = format!("{} was created though no answer came; it is used", facts.id);
                report(out, Severity::Info, "eni-adopted", message);
                continue;
            }
            let taken_up = self.taken_up.remove(&facts.id);
            if let Some(eni) = self.pool.eni_mut(&facts.id) {
                eni.changed_at = 0;
                eni.card = taken_up.unwrap_or(eni.card);
            }
            let card = taken_up.filter(|card| self.eni_count(*card) <= self.eni_limit(*card));
            if card.is_some() {
                let message = format!("{} was about to be attached; it is", facts.id);
                report(out, Severity::Info, "eni-adopted", message);
                continue;
            }
            self.settle_orphan(&facts.id, out);
        }
    }

    fn reconcile(
        &mut self,
        id: &EniId,
        attached: Option<&EniFacts>,
        detached: Option<&EniFacts>,
        asked_at: Millis,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let consistency = self.config.times.consistency;
        if let Some(facts) = attached.or(detached) {
            self.count_misses(id, facts, asked_at, out);
        }
        let Some(eni) = self.pool.eni_mut(id) else {
            return;
        };
        if eni.call.is_some() {
            // The answer under way may be in this read or not.
            return;
        }
        if let Some(due) = eni.doubt {
            let seen = attached.or(detached);
            // A read as old as the change before this one would bring back what that one removed.
            let early = asked_at >= eni.changed_before + self.config.times.settle
                && seen.is_some_and(|facts| settles_early(eni, facts));
            if asked_at >= due || early {
                self.settle_doubt(id, attached, detached, asked_at, now, out);
            }
            return;
        }
        let fresh_change = eni.changed_at + consistency > asked_at && eni.changed_at > 0;
        let Some(facts) = attached else {
            if let Some(facts) = detached {
                eni.left_alone = !facts.managed;
            }
            let waits_for_attach = eni.attachment.is_none() && detached.is_some();
            if eni.goal == Goal::Leave && !fresh_change {
                match detached {
                    // The detach has ended: the delete can succeed now.
                    Some(_) => {
                        eni.missing_since = None;
                        eni.attachment = None;
                        eni.retry_at = eni.retry_at.min(now);
                    }
                    None => self.lose_eni(id, asked_at, out),
                }
            } else if !fresh_change && !waits_for_attach {
                self.suspect_eni(id, detached.is_some(), asked_at, out);
            }
            return;
        };
        // A read that shows again what was missing may be older than the one that missed it.
        let surely = |since: &Millis| asked_at < *since + consistency;
        eni.missing_since = eni.missing_since.filter(surely);
        eni.confirmed_at = eni.confirmed_at.max(asked_at);
        if eni.missing_since.is_some() {
            self.want_look(asked_at + consistency);
            return;
        }
        let (mut doubted, mut contested) = (false, Vec::new());
        for (cidr, block) in &mut eni.blocks {
            if facts.blocks.contains(cidr) {
                block.confirmed_at = block.confirmed_at.max(asked_at);
                block.missing_since = block.missing_since.filter(surely);
                doubted |= block.missing_since.is_some();
                contested.extend((block.contested && !fresh_change).then_some(*cidr));
            }
        }
        for cidr in contested {
            self.pool.add_block(id, cidr, asked_at, consistency);
        }
        if doubted {
            self.want_look(asked_at + consistency);
        }
        let Some(eni) = self.pool.eni_mut(id) else {
            return;
        };
        if fresh_change {
            // What it shows may be older than the change, or news that fills slots already.
            for cidr in eni.news(facts, asked_at, consistency) {
                self.pool.hear_of_block(id, cidr, asked_at);
            }
            return;
        }
        if let (Some(known), Some(seen)) = (&mut eni.attachment, &facts.attachment) {
            known.id = seen.id.clone();
            known.delete_on_termination = seen.delete_on_termination;
        } else {
            eni.attachment.clone_from(&facts.attachment);
        }
        if eni.left_alone == facts.managed {
            let message = if facts.managed {
                format!("{id} is this daemon's again")
            } else {
                format!(
                    "{id} is to be left alone: its pods stay, and no new pod gets an address of it"
                )
            };
            report(out, Severity::Warning, "eni-left-alone", message);
        }
        eni.left_alone = !facts.managed;
        eni.excluded = facts.excluded || !facts.managed;
        let news = eni.news(facts, asked_at, consistency);
        let missing: Vec<Cidr> = eni
            .blocks
            .keys()
            .filter(|cidr| !facts.blocks.contains(cidr))
            .copied()
            .collect();
        for cidr in news {
            self.pool.add_block(id, cidr, asked_at, consistency);
        }
        for cidr in missing {
            self.suspect_block(id, cidr, asked_at, out);
        }
    }

    /// An outcome was unknown; this read tells what was done.
    fn settle_doubt(
        &mut self,
        id: &EniId,
        attached: Option<&EniFacts>,
        detached: Option<&EniFacts>,
        asked_at: Millis,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let consistency = self.config.times.consistency;
        let Some(eni) = self.pool.eni_mut(id) else {
            return;
        };
        let Some(facts) = attached.or(detached) else {
            // In neither list: gone, unless the read is too old to show it.
            let sure_at = eni.changed_at + consistency;
            if asked_at < sure_at {
                eni.doubt = Some(sure_at);
                self.want_look(sure_at);
            } else {
                self.lose_eni(id, asked_at, out);
            }
            return;
        };
        eni.doubt = None;
        eni.missing_since = None;
        eni.confirmed_at = asked_at;
        eni.changed_at = asked_at;
        eni.attachment.clone_from(&facts.attachment);
        if eni.attachment.is_none() && eni.link == Link::Ready {
            eni.link = Link::Absent;
            out.push(Effect::ForgetEni(eni.link_facts()));
        }
        let (asked, subnet, unit) = (eni.growing, eni.subnet.clone(), eni.growing_unit);
        eni.growing = 0;
        let news = eni.news(facts, asked_at, consistency);
        // What was to leave and is not there has left; what is there has stayed.
        let Eni { blocks, gone, .. } = eni;
        blocks.retain(|cidr, block| {
            let seen = facts.blocks.contains(cidr);
            if seen {
                block.confirmed_at = asked_at;
            }
            if !seen && block.leaving {
                gone.insert(*cidr, asked_at);
            }
            seen || !block.leaving
        });
        for block in eni.blocks.values_mut() {
            block.leaving = false;
        }
        let mut found = 0;
        for cidr in news {
            found += u32::from(self.pool.add_block(id, cidr, asked_at, consistency));
        }
        if asked > 0 {
            let code = if found == 0 { "Unknown" } else { "" };
            self.record(PastOutcome {
                eni: Some(id.clone()),
                subnet: Some(subnet),
                asked,
                done: found,
                code: code.into(),
                ..PastOutcome::of(Operation::Grow, unit, now)
            });
        } else {
            self.mind.wake(Trigger::Outcome);
        }
    }

    /// Creations whose outcome is unknown and of which no trace is found were not done.
    fn settle_creates(&mut self, asked_at: Millis, now: Millis) {
        let undone: Vec<_> = self
            .creates
            .iter()
            .filter(|create| create.doubt.is_some_and(|due| asked_at >= due))
            .cloned()
            .collect();
        for create in undone {
            self.creates.retain(|other| other.intent != create.intent);
            self.record(PastOutcome {
                subnet: Some(create.subnet),
                asked: create.blocks,
                code: "Unknown".into(),
                ..PastOutcome::of(Operation::AttachEni, create.unit, now)
            });
        }
    }

    /// Carries out what waited for a fresh view, if it still breaks no law.
    fn resume(&mut self, now: Millis, out: &mut Vec<Effect>) {
        let parked = core::mem::take(&mut self.parked);
        let checked = check::recheck(self, parked, now);
        for (action, why) in checked.dropped {
            report(
                out,
                Severity::Info,
                "step-dropped",
                format!("{action}: {why}"),
            );
        }
        self.execute(checked.plan, now, out);
    }

    /// It is not shown where it was thought to be. `loose`: it is shown, and attached to nothing.
    fn suspect_eni(&mut self, id: &EniId, loose: bool, asked_at: Millis, out: &mut Vec<Effect>) {
        let consistency = self.config.times.consistency;
        let Some(eni) = self.pool.eni_mut(id) else {
            return;
        };
        match eni.missing_since {
            None => {
                eni.missing_since = Some(asked_at);
                self.want_look(asked_at + consistency);
            }
            Some(since) if asked_at < since + consistency => self.want_look(since + consistency),
            Some(_) if loose => self.came_loose(id, out),
            Some(_) => self.lose_eni(id, asked_at, out),
        }
    }

    /// Somebody else has detached it. It is still this node's, and counts.
    fn came_loose(&mut self, id: &EniId, out: &mut Vec<Effect>) {
        let Some(eni) = self.pool.eni_mut(id) else {
            return;
        };
        if eni.link != Link::Absent {
            out.push(Effect::ForgetEni(eni.link_facts()));
            eni.link = Link::Absent;
        }
        eni.attachment = None;
        eni.missing_since = None;
        self.settle_orphan(id, out);
    }

    /// What becomes of an ENI that is this node's and attached to nothing.
    fn settle_orphan(&mut self, id: &EniId, out: &mut Vec<Effect>) {
        let fate = if self.give_up(id) {
            "deleted"
        } else {
            "attached again"
        };
        let message = format!("{id} is this node's and attached to nothing; it is {fate}");
        report(out, Severity::Warning, "eni-orphan", message);
    }

    fn suspect_block(&mut self, id: &EniId, cidr: Cidr, asked_at: Millis, out: &mut Vec<Effect>) {
        let consistency = self.config.times.consistency;
        let Some(eni) = self.pool.eni_mut(id) else {
            return;
        };
        let Some(block) = eni.blocks.get_mut(&cidr) else {
            return;
        };
        match block.missing_since {
            None => {
                block.missing_since = Some(asked_at);
                self.want_look(asked_at + consistency);
            }
            Some(since) if asked_at >= since + consistency => {
                self.lose_block(id, cidr, asked_at, out);
            }
            Some(since) => self.want_look(since + consistency),
        }
    }

    /// Whatever else changes on its ENI: no read is so old that it would not show a block that was there long
    /// before; and what two reads do not show that cannot both be older than it, is gone.
    fn count_misses(
        &mut self,
        id: &EniId,
        facts: &EniFacts,
        asked_at: Millis,
        out: &mut Vec<Effect>,
    ) {
        let consistency = self.config.times.consistency;
        let (mut suspects, mut lost) = (Vec::new(), Vec::new());
        for (cidr, block) in self
            .pool
            .eni_mut(id)
            .into_iter()
            .flat_map(|eni| &mut eni.blocks)
        {
            if facts.blocks.contains(cidr) {
                block.missed_at = block.missed_at.filter(|at| asked_at < *at + consistency);
            } else if asked_at >= *block.missed_at.get_or_insert(asked_at) + consistency {
                lost.push(*cidr);
            } else if asked_at >= block.since + consistency {
                suspects.push(*cidr);
            }
        }
        for cidr in suspects {
            self.suspect_block(id, cidr, asked_at, out);
        }
        for cidr in lost {
            self.lose_block(id, cidr, asked_at, out);
        }
    }

    fn lose_block(&mut self, id: &EniId, cidr: Cidr, asked_at: Millis, out: &mut Vec<Effect>) {
        let Some(eni) = self.pool.eni_mut(id) else {
            return;
        };
        eni.blocks.remove(&cidr);
        eni.gone.insert(cidr, asked_at);
        let message = format!("EC2 does not show {cidr} on {id} any more; it leaves the pool");
        report(out, Severity::Warning, "block-lost", message);
        self.report_lost(|address| cidr.contains(address), out);
    }

    /// EC2 has this ENI no more.
    fn lose_eni(&mut self, id: &EniId, asked_at: Millis, out: &mut Vec<Effect>) {
        let Some(eni) = self.pool.eni(id).cloned() else {
            return;
        };
        if eni.role == Role::Primary {
            // Without its primary ENI this instance could not ask. The read is wrong.
            return;
        }
        if eni.link != Link::Absent {
            out.push(Effect::ForgetEni(eni.link_facts()));
        }
        self.pool.remove_eni(id);
        if eni.goal == Goal::Keep {
            let message = format!("EC2 does not show {id} on this instance any more");
            report(out, Severity::Error, "eni-lost", message);
            self.report_lost(
                |address| eni.blocks.keys().any(|cidr| cidr.contains(address)),
                out,
            );
        }
        let unit = self.config.unit;
        self.record(PastOutcome::of(Operation::DetachEni, unit, asked_at));
    }

    /// Pods whose address EC2 has put on another ENI.
    pub(crate) fn report_strayed(&mut self, out: &mut Vec<Effect>) {
        let strayed = core::mem::take(&mut self.pool.strayed);
        if !strayed.is_empty() {
            self.report_lost(|address| strayed.contains(&address), out);
        }
    }

    fn report_lost(&self, gone: impl Fn(core::net::IpAddr) -> bool, out: &mut Vec<Effect>) {
        for allocation in self
            .pool
            .allocations()
            .filter(|allocation| gone(allocation.address))
        {
            let message = format!(
                "{} of pod {} was taken away by EC2; the pod keeps it and has no traffic",
                allocation.address, allocation.pod
            );
            report(out, Severity::Error, "address-lost", message);
        }
    }

    /// When the next doubt can be settled.
    fn next_doubt(&self) -> Option<Millis> {
        let enis = self.pool.enis.iter().filter_map(|eni| eni.doubt);
        enis.chain(self.creates.iter().filter_map(|create| create.doubt))
            .min()
    }
}

/// Whether a read shows the change already, so that nobody need wait until it must.
fn settles_early(eni: &Eni, facts: &EniFacts) -> bool {
    let grew = eni.growing > 0
        && facts
            .blocks
            .iter()
            .any(|cidr| !eni.blocks.contains_key(cidr));
    let mut leaving = eni
        .blocks
        .iter()
        .filter(|(_, block)| block.leaving)
        .peekable();
    let left = leaving.peek().is_some() && leaving.all(|(cidr, _)| !facts.blocks.contains(cidr));
    let attached = eni.attachment.is_none() && facts.attachment.is_some() && eni.goal == Goal::Keep;
    grew || left || attached
}
