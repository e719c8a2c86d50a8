//! The laws of the house as an auditor that watches events and effects from outside.
//!
//! In: every event given to a node, every effect it answered with, in order. Out: the first law
//! that broke, in words. It keeps its own books from what passed the wall and trusts nothing
//! inside the node, so tests and simulations of any kind can put it beside a node.
//!
//! Laws: P1 one holder · P2 only what EC2 confirmed, on a ready link · P3 not before the cooldown
//! ends · P4 same key, same address · D1 durable before the reply · N1 nothing is made, grown or
//! released that the newest answer did not ask for · N2 the pool as it stands when that answer comes
//! (seen here as E1 and E2 whatever it proposes) · N3 a question that fails is put to the other
//! decider at once, and told · E1 limits · E2 nothing in use is destroyed · E3 after *unknown* a look
//! comes before the next change · E4 what is destroyed was confirmed by EC2 lately.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::cidr::Cidr;
use crate::config::{Config, StartFacts};
use crate::effect::{Allocation, Decider, Ec2Request, Effect, Leaving, NoAddress, Reply, Saved};
use crate::event::{Ec2Gave, Ec2Outcome, EniFacts, Event, Observation};
use crate::ids::{EniId, IntentId, RequestId, SandboxKey};
use crate::proposal::{Proposal, Request};
use crate::recover::is_recovered;
use crate::snapshot::{Role, Snapshot};
use crate::time::Millis;

/// A request that has not been answered.
#[derive(Clone, Debug)]
enum Open {
    Assign(SandboxKey),
    Release(SandboxKey, Millis),
}

/// What is known of an ENI from what passed the wall.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four facts that do not depend on each other"
)]
struct Book {
    /// Its own address, which an answer may list among the others.
    primary: Option<Cidr>,
    blocks: BTreeSet<Cidr>,
    growing: u32,
    /// Blocks that EC2 has taken back, and when it said so.
    gone: BTreeMap<Cidr, Millis>,
    ready: bool,
    /// Blocks whose unassign had an unknown outcome.
    leaving: Vec<Cidr>,
    /// The last outcome about it was unknown and no look has come since.
    doubt: bool,
    /// The last outcome about it was unknown: any read may bring news.
    unsure: bool,
    /// When EC2 last answered a change of it.
    changed_at: Millis,
    /// A read asked for this much later than that is the truth.
    window: Millis,
    /// When EC2 last said that the node has it.
    confirmed_at: Millis,
    /// The same for each block of it.
    blocks_confirmed: BTreeMap<Cidr, Millis>,
    /// Those that a call brought.
    brought: BTreeSet<Cidr>,
    /// Blocks that a read did not show, and when it was asked for.
    missed: BTreeMap<Cidr, Millis>,
    /// Blocks of a read that came soon after a lost answer: perhaps news, perhaps not.
    rumours: BTreeSet<Cidr>,
    /// It has been attached to this instance.
    hung: bool,
    /// The newest read is the truth about it.
    settled: bool,
    /// The newest read that could does not show it.
    absent: bool,
    /// It has been let go: what follows from that needs no further look.
    let_go: bool,
}

impl Book {
    /// Two reads that cannot both be stale do not show it: it is gone, whatever else has changed since.
    fn miss(&mut self, shown: &BTreeSet<Cidr>, look: Millis, consistency: Millis) {
        let Self { blocks, missed, .. } = self;
        missed.retain(|cidr, at| !shown.contains(cidr) || look < *at + consistency);
        blocks.retain(|cidr| {
            shown.contains(cidr) || look < *missed.entry(*cidr).or_insert(look) + consistency
        });
    }

    /// EC2 says at this time that the node has it, with these blocks.
    fn confirm<'a>(&mut self, blocks: impl IntoIterator<Item = &'a Cidr>, at: Millis) {
        self.confirmed_at = self.confirmed_at.max(at);
        for cidr in blocks {
            let known = self.blocks_confirmed.entry(*cidr).or_default();
            *known = at.max(*known);
        }
    }
}

/// The question under way.
#[derive(Clone, Debug)]
struct Question {
    id: u64,
    decider: Decider,
    /// ENIs by place, blocks by place, subnets by place.
    enis: Vec<EniId>,
    blocks: Vec<Cidr>,
}

/// See the module. After a broken law it reports the same one for ever.
#[derive(Clone, Debug)]
pub struct Auditor {
    slots: u32,
    enis: u32,
    cooldown: Millis,
    consistency: Millis,
    books: BTreeMap<EniId, Book>,
    /// ENIs that EC2 has told of.
    told: BTreeSet<EniId>,
    /// ENIs that EC2 said are gone, and when: a read may show them for a while.
    departed: BTreeMap<EniId, Millis>,
    foreign: u32,
    /// When the newest read came, and what had been told of ready ENIs before it.
    before_look: (Millis, BTreeMap<EniId, BTreeSet<Cidr>>),
    creating: BTreeMap<IntentId, u32>,
    doubtful_creates: u32,
    calls: BTreeMap<IntentId, Ec2Request>,
    open: BTreeMap<RequestId, Open>,
    answered: BTreeSet<RequestId>,
    given: BTreeMap<SandboxKey, IpAddr>,
    /// Releases whose write failed: the disk may show them all the same.
    undone: BTreeMap<SandboxKey, Millis>,
    released_at: BTreeMap<IpAddr, Millis>,
    written: BTreeMap<u64, Saved>,
    durable: Saved,
    /// The newest image of the pool that left for the disk, durable or not.
    newest: Saved,
    look_asked_at: Millis,
    fresh_view: Millis,
    question: Option<Question>,
    /// What the newest answer asked for and was not done yet.
    wanted: Vec<Ec2Request>,
    /// What the answer before asked to give back and was not done yet: it waited for a look, and left
    /// for the disk before the newest answer came.
    parked: Vec<Ec2Request>,
    /// A question failed: the built-in default must be asked before anything else happens.
    owes_question: bool,
    /// A question failed: people must be told.
    owes_report: bool,
}

impl Auditor {
    /// Opens the books on what a node starts from. `before` carries what outlives a daemon: who
    /// was given what, and when addresses were given back.
    pub fn start(
        config: &Config,
        facts: &StartFacts,
        before: Option<Self>,
        now: Millis,
    ) -> Result<Self, String> {
        let mut auditor = Self {
            slots: config.limits.slots_per_eni,
            enis: config.limits.enis + config.limits.other_cards.iter().sum::<u32>(),
            cooldown: config.times.cooldown,
            consistency: config.times.consistency,
            books: BTreeMap::new(),
            told: BTreeSet::new(),
            departed: BTreeMap::new(),
            foreign: 0,
            creating: BTreeMap::new(),
            doubtful_creates: 0,
            calls: BTreeMap::new(),
            open: BTreeMap::new(),
            answered: BTreeSet::new(),
            given: BTreeMap::new(),
            undone: BTreeMap::new(),
            released_at: BTreeMap::new(),
            written: BTreeMap::new(),
            durable: facts.saved.clone(),
            newest: facts.saved.clone(),
            look_asked_at: now,
            before_look: Default::default(),
            fresh_view: config.times.fresh_view,
            question: None,
            wanted: Vec::new(),
            parked: Vec::new(),
            owes_question: false,
            owes_report: false,
        };
        // What is on the disk is held, whether its reply left before the crash or not.
        for allocation in &facts.saved.allocations {
            auditor
                .given
                .insert(allocation.key.clone(), allocation.address);
        }
        // Without the checkpoint a sandbox whose links are not made yet cannot be known of: its address
        // cools like all others.
        let lost =
            facts.forgotten && (facts.saved.allocations.iter()).all(|it| is_recovered(&it.key));
        if let Some(before) = before {
            auditor.released_at = before.released_at;
            for (key, address) in before.given {
                // After a lost checkpoint it is held under another name.
                let mut held = facts.saved.allocations.iter();
                if held.any(|allocation| allocation.address == address) {
                    continue;
                }
                let released = before.open.values().find_map(|open| match open {
                    Open::Release(other, at) if *other == key => Some(*at),
                    Open::Release(..) | Open::Assign(_) => None,
                });
                let undone = before.undone.get(&key).copied();
                let Some(at) = released.or(undone).or(lost.then_some(now)) else {
                    return Err(format!(
                        "D1: {key:?} was given {address} and a restart has lost it"
                    ));
                };
                auditor.released_at.insert(address, at);
            }
        }
        for key in &facts.gone {
            if let Some(address) = auditor.given.remove(key) {
                auditor.released_at.insert(address, now);
            }
        }
        if facts.forgotten {
            // What EC2 had taken away before, and gives again later, nobody can know to cool.
            let there = facts.observation.attached.iter();
            let there: Vec<Cidr> = there.flat_map(|eni| eni.blocks.iter().copied()).collect();
            let known = |address: &IpAddr| there.iter().any(|cidr| cidr.contains(*address));
            auditor.released_at.retain(|address, _| known(address));
        }
        auditor.learn(&facts.observation);
        for book in auditor.books.values_mut() {
            book.changed_at = 0;
        }
        // What the daemon before gave back may be shown by later reads, though this one shows it no more.
        for Leaving { eni, blocks } in &facts.saved.leaving {
            if let Some(book) = auditor.books.get_mut(eni) {
                let gone = blocks.iter().filter(|cidr| !book.blocks.contains(cidr));
                book.gone.extend(gone.map(|cidr| (*cidr, now)));
                book.leaving.clone_from(blocks);
            }
        }
        Ok(auditor)
    }

    fn learn(&mut self, observation: &Observation) {
        // An ENI that the operator took out of the node's hands still carries its pods.
        let look = self.look_asked_at;
        let consistency = self.consistency;
        self.departed.retain(|_, at| look < *at + consistency);
        let departed = self.departed.clone();
        let known: BTreeSet<EniId> = self.books.keys().cloned().collect();
        let mine = |eni: &&EniFacts| eni.managed || known.contains(&eni.id);
        self.foreign = observation.attached.iter().filter(|eni| !mine(eni)).count() as u32;
        let seen: BTreeMap<&EniId, &EniFacts> = observation
            .detached
            .iter()
            // Two reads of one look may differ: one that is attached is not loose.
            .chain(observation.attached.iter().filter(mine))
            .filter(|eni| !departed.contains_key(&eni.id))
            .map(|eni| (&eni.id, eni))
            .collect();
        let calls = &self.calls;
        // A read is the truth about what has not changed for a while, news where an answer was
        // lost, and stale otherwise.
        let mut stale = BTreeSet::new();
        let told = &mut self.told;
        self.books.retain(|id, book| {
            told.insert(id.clone());
            let busy = calls.values().any(|request| request.eni() == Some(id));
            let settled = !busy && book.changed_at + book.window <= look;
            let hangs = seen.get(id).is_some_and(|facts| facts.attachment.is_some());
            let waits = seen.contains_key(id) && !book.hung;
            book.absent = settled && !hangs && !waits;
            book.hung |= hangs;
            if let Some(facts) = seen.get(id) {
                book.miss(&facts.blocks, look, consistency);
            }
            if settled && let Some(facts) = seen.get(id) {
                let stale = |cidr: &Cidr| {
                    book.gone
                        .get(cidr)
                        .is_some_and(|at| look < at + consistency)
                };
                let shown = facts.blocks.iter().filter(|cidr| !stale(cidr));
                book.blocks = shown.copied().collect();
                book.rumours.clear();
            }
            book.settled = settled;
            if !settled && !book.unsure {
                stale.insert(id.clone());
            }
            // What EC2 confirmed a moment ago outranks a read that does not show it yet.
            let sure = !book.let_go && look < book.confirmed_at + consistency;
            !book.absent || sure || seen.contains_key(id)
        });
        for (id, facts) in seen {
            // It may be the one whose creation has not been answered; that counts already.
            let counted = facts.attachment.is_none() && !self.creating.is_empty();
            if stale.contains(id) || (counted && !self.books.contains_key(id)) {
                if let Some(book) = self.books.get_mut(id) {
                    let known = book.blocks.union(&book.rumours);
                    let shown: Vec<Cidr> = known
                        .filter(|it| facts.blocks.contains(it))
                        .copied()
                        .collect();
                    book.confirm(&shown, look);
                }
                continue;
            }
            let book = self.books.entry(id.clone()).or_insert_with(|| Book {
                changed_at: look,
                window: consistency,
                ..Book::default()
            });
            book.primary = Some(Cidr::single(facts.primary));
            book.ready |= facts.role == Role::Primary;
            let Book { blocks, gone, .. } = book;
            let stale = |cidr: &Cidr| gone.get(cidr).is_some_and(|at| look < at + consistency);
            let shown: Vec<Cidr> = (facts.blocks.iter().copied())
                .filter(|cidr| !stale(cidr))
                .collect();
            if book.settled || blocks.is_empty() {
                blocks.extend(shown.iter().copied());
            } else {
                book.rumours.extend(shown.iter().copied());
            }
            book.confirm(&shown, look);
            // What an older read showed on another ENI has moved here.
            for (_, other) in self.books.iter_mut().filter(|(other, _)| *other != id) {
                let confirmed = &other.blocks_confirmed;
                let newer = |cidr: &Cidr| confirmed.get(cidr).is_some_and(|at| *at >= look);
                let moved = |cidr: &Cidr| shown.iter().any(|it| it.overlaps(cidr));
                other.blocks.retain(|cidr| newer(cidr) || !moved(cidr));
            }
        }
    }

    /// To be called with each event before the node handles it.
    pub fn event(&mut self, event: &Event, now: Millis) -> Result<(), String> {
        match event {
            Event::Assign { request, key, .. } => {
                self.open.insert(*request, Open::Assign(key.clone()));
            }
            Event::Release { request, key } => {
                self.open.insert(*request, Open::Release(key.clone(), now));
            }
            Event::Checkpointed {
                generation,
                durable,
            } => {
                if let Some(saved) = self.written.remove(generation) {
                    if *durable {
                        self.durable = saved;
                    } else {
                        self.newest = self.durable.clone();
                    }
                }
            }
            Event::Ec2Finished { intent, outcome } => self.finished(*intent, outcome, now),
            Event::EniConfigured { eni, result } => {
                if let Some(book) = self.books.get_mut(eni) {
                    book.ready = result.is_ok();
                }
            }
            Event::Observed(observation) => {
                let ready = self.books.iter().filter(|(_, book)| book.ready);
                let told = ready.map(|(id, book)| (id.clone(), self.told_of(book)));
                self.before_look = (now, told.collect());
                for (id, book) in &mut self.books {
                    if book.doubt {
                        book.doubt = false;
                        book.growing = 0;
                    }
                    let mut all = observation.attached.iter().chain(&observation.detached);
                    if let Some(facts) = all.find(|facts| facts.id == *id) {
                        let Book {
                            blocks,
                            rumours,
                            leaving,
                            gone,
                            ..
                        } = book;
                        let left =
                            |cidr: &Cidr| leaving.contains(cidr) && !facts.blocks.contains(cidr);
                        let look = self.look_asked_at;
                        // A read that may be older than the block does not tell that it has left.
                        let sure = |cidr: &&Cidr| {
                            let known = book.blocks_confirmed.get(*cidr);
                            known.is_none_or(|at| at + self.consistency <= look)
                        };
                        let left_surely = blocks.iter().filter(|it| left(it)).filter(sure);
                        gone.extend(left_surely.map(|it| (*it, look)));
                        blocks.retain(|cidr| !left(cidr));
                        rumours.retain(|cidr| !left(cidr));
                    }
                }
                self.doubtful_creates = 0;
                self.learn(observation);
            }
            Event::Proposed { decision, answer } => self.answered(*decision, answer),
            Event::LookFailed(_)
            | Event::PolicyChanged { .. }
            | Event::NodeChanged { .. }
            | Event::LabelsChanged(_)
            | Event::Tick => {}
        }
        Ok(())
    }

    /// The decider answered, or failed to.
    fn answered(&mut self, decision: u64, answer: &Result<Proposal, String>) {
        let Some(question) = self.question.take_if(|it| it.id == decision) else {
            return;
        };
        self.owes_report = answer.is_err();
        self.owes_question = answer.is_err() && question.decider == Decider::Chosen;
        let Ok(proposal) = answer else {
            return;
        };
        let named = |action: &crate::proposal::Action| {
            let eni = |place: u32| question.enis.get(place as usize).cloned();
            Some(match &action.request {
                Request::AttachEni { unit, blocks, .. } => Ec2Request::CreateEni {
                    subnet: crate::ids::SubnetId::default(),
                    unit: *unit,
                    blocks: *blocks,
                },
                Request::Grow {
                    eni: place,
                    unit,
                    count,
                } => Ec2Request::Assign {
                    eni: eni(*place)?,
                    unit: *unit,
                    count: *count,
                },
                Request::Release { eni: place, blocks } => {
                    let blocks = blocks.iter();
                    let blocks = blocks.filter_map(|it| question.blocks.get(*it as usize));
                    Ec2Request::Unassign {
                        eni: eni(*place)?,
                        blocks: blocks.copied().collect(),
                    }
                }
                Request::DetachEni { .. } => return None,
            })
        };
        let wanted = proposal.actions.iter().filter_map(named).collect();
        self.parked = core::mem::replace(&mut self.wanted, wanted);
        self.parked
            .retain(|wish| matches!(wish, Ec2Request::Unassign { .. }));
    }

    /// N1: takes what was asked for off the list of wishes, or says that nobody asked.
    fn asked_for(&mut self, request: &Ec2Request) -> Result<(), String> {
        let covers = |wish: &Ec2Request| match (wish, request) {
            (
                Ec2Request::CreateEni { unit, blocks, .. },
                Ec2Request::CreateEni {
                    unit: sent,
                    blocks: count,
                    ..
                },
            ) => unit == sent && count <= blocks,
            (
                Ec2Request::Assign { eni, unit, count },
                Ec2Request::Assign {
                    eni: on,
                    unit: sent,
                    count: fewer,
                },
            ) => eni == on && unit == sent && fewer <= count,
            (
                Ec2Request::Unassign { eni, blocks },
                Ec2Request::Unassign {
                    eni: on,
                    blocks: sent,
                },
            ) => eni == on && sent.iter().all(|cidr| blocks.contains(cidr)),
            _ => false,
        };
        // Attaching, flagging, detaching and deleting follow from what was decided before.
        let needs_a_wish = matches!(
            request,
            Ec2Request::CreateEni { .. } | Ec2Request::Assign { .. } | Ec2Request::Unassign { .. }
        );
        if !needs_a_wish {
            return Ok(());
        }
        for wishes in [&mut self.wanted, &mut self.parked] {
            if let Some(place) = wishes.iter().position(covers) {
                wishes.remove(place);
                return Ok(());
            }
        }
        Err(format!("N1: nobody asked for {request:?}"))
    }

    /// EC2 has just put these blocks on this ENI: no other has them any more.
    fn brought(&mut self, id: &EniId, blocks: &BTreeSet<Cidr>) {
        for (_, book) in self.books.iter_mut().filter(|(other, _)| *other != id) {
            let stays = |cidr: &Cidr| !blocks.iter().any(|new| new.overlaps(cidr));
            book.blocks.retain(stays);
            book.rumours.retain(stays);
            book.blocks_confirmed.retain(|cidr, _| stays(cidr));
            book.brought.retain(stays);
        }
        let book = self.books.entry(id.clone()).or_default();
        book.brought.extend(blocks);
    }

    fn finished(&mut self, intent: IntentId, outcome: &Ec2Outcome, now: Millis) {
        let Some(request) = self.calls.remove(&intent) else {
            return;
        };
        let Some(id) = request.eni() else {
            self.creating.remove(&intent);
            match outcome {
                Ec2Outcome::Done(Ec2Gave::Eni(facts)) => {
                    self.brought(&facts.id, &facts.blocks);
                    let book = self.books.entry(facts.id.clone()).or_default();
                    book.primary = Some(Cidr::single(facts.primary));
                    book.blocks.clone_from(&facts.blocks);
                    book.confirm(&facts.blocks, now);
                    (book.changed_at, book.window) = (now, self.consistency);
                }
                Ec2Outcome::Refused { .. } => {}
                Ec2Outcome::Done(_) | Ec2Outcome::Unknown { .. } => self.doubtful_creates += 1,
            }
            return;
        };
        if !self.books.contains_key(id) {
            return;
        }
        if let Ec2Outcome::Done(Ec2Gave::Blocks(blocks)) = outcome {
            self.brought(id, &blocks.iter().copied().collect());
        }
        let Some(book) = self.books.get_mut(id) else {
            return;
        };
        if !matches!(outcome, Ec2Outcome::Refused { .. }) {
            book.changed_at = now;
            book.window = self.consistency;
        }
        if let Ec2Request::Unassign { blocks, .. } = &request {
            book.brought.retain(|cidr| !blocks.contains(cidr));
        }
        match (&request, outcome) {
            (Ec2Request::Unassign { blocks, .. }, Ec2Outcome::Unknown { .. }) => {
                book.doubt = true;
                book.unsure = true;
                book.leaving.clone_from(blocks);
            }
            // Some of them are not there any more: a read tells which.
            (Ec2Request::Unassign { blocks, .. }, Ec2Outcome::Refused { code, .. })
                if code == "InvalidParameterValue" =>
            {
                book.leaving.clone_from(blocks);
            }
            (_, Ec2Outcome::Unknown { .. }) => {
                book.doubt = true;
                book.unsure = true;
            }
            (Ec2Request::Assign { .. }, Ec2Outcome::Done(Ec2Gave::Blocks(blocks))) => {
                book.growing = 0;
                let own = book.primary;
                for cidr in blocks.iter().filter(|cidr| Some(**cidr) != own) {
                    book.gone.remove(cidr);
                    book.blocks.insert(*cidr);
                }
                book.confirm(blocks, now);
            }
            // Perhaps it hangs on this instance, by an attach whose answer was lost.
            (Ec2Request::AttachEni { .. }, Ec2Outcome::Refused { code, .. })
                if code == "InvalidNetworkInterface.InUse" =>
            {
                book.doubt = true;
                book.unsure = true;
            }
            (Ec2Request::AttachEni { .. }, Ec2Outcome::Done(_)) => {
                (book.hung, book.absent) = (true, false);
                book.confirm([], now);
            }
            (Ec2Request::Assign { .. }, Ec2Outcome::Refused { .. }) => {
                book.growing = 0;
                book.confirm([], now);
            }
            (Ec2Request::Assign { .. }, _) => book.growing = 0,
            (Ec2Request::Unassign { blocks, .. }, Ec2Outcome::Done(_)) => {
                book.blocks.retain(|cidr| !blocks.contains(cidr));
                book.gone.extend(blocks.iter().map(|cidr| (*cidr, now)));
            }
            (Ec2Request::DeleteEni { .. }, Ec2Outcome::Done(_)) => {
                self.books.remove(id);
                self.departed.insert(id.clone(), now);
            }
            (Ec2Request::DeleteEni { .. }, Ec2Outcome::Refused { code, .. })
                if code.ends_with(".NotFound") =>
            {
                self.books.remove(id);
                self.departed.insert(id.clone(), now);
            }
            _ => {}
        }
    }

    /// To be called with the effects of that event.
    pub fn effects(&mut self, effects: &[Effect], now: Millis) -> Result<(), String> {
        for effect in effects {
            self.pays(effect)?;
            match effect {
                Effect::Reply { request, reply } => self.reply(*request, reply, now)?,
                Effect::Checkpoint {
                    generation, saved, ..
                } => {
                    if !self.written.is_empty() {
                        return Err("D1: two writes are under way".into());
                    }
                    Self::one_holder(saved)?;
                    self.written.insert(*generation, saved.clone());
                    self.newest = saved.clone();
                }
                Effect::Ec2 { intent, request } => self.call(*intent, request, now)?,
                Effect::ForgetEni(link) => {
                    if let Some(book) = self.books.get_mut(&link.eni) {
                        book.ready = false;
                    }
                }
                Effect::Look => self.look_asked_at = now,
                Effect::AskPolicy { decider, snapshot } => self.asks(*decider, snapshot),
                Effect::ConfigureEni(_) | Effect::Report(_) | Effect::Decided(_) => {}
            }
        }
        Ok(())
    }

    fn asks(&mut self, decider: Decider, snapshot: &Snapshot) {
        let blocks = &snapshot.blocks;
        let high = |place: usize| blocks.base_high.get(place).copied().unwrap_or(0);
        let numbers = blocks.base.iter().zip(&blocks.length).enumerate();
        let cidrs = numbers.map(|(place, (base, length))| {
            let number = u128::from(high(place)) << 64 | u128::from(*base);
            Cidr::of_number(number, *length, blocks.base_high.is_empty())
        });
        self.question = Some(Question {
            id: snapshot.decision_id,
            decider,
            enis: snapshot.enis.iter().map(|it| EniId::new(&*it.id)).collect(),
            blocks: cidrs.collect(),
        });
    }

    /// N3: after a failed question comes a report, then the question to the other decider.
    fn pays(&mut self, effect: &Effect) -> Result<(), String> {
        match effect {
            Effect::Report(report) if report.code == "policy-failed" => self.owes_report = false,
            Effect::AskPolicy { decider, .. } => {
                if self.owes_question && *decider != Decider::BuiltIn {
                    return Err("N3: a policy failed and is asked again at once".into());
                }
                self.owes_question = false;
            }
            Effect::Decided(_) | Effect::Checkpoint { .. } | Effect::Ec2 { .. }
                if self.owes_report || self.owes_question =>
            {
                return Err(format!("N3: a policy failed, and {effect:?} follows"));
            }
            Effect::Decided(_)
            | Effect::Checkpoint { .. }
            | Effect::Ec2 { .. }
            | Effect::Report(_)
            | Effect::Reply { .. }
            | Effect::ConfigureEni(_)
            | Effect::ForgetEni(_)
            | Effect::Look => {}
        }
        Ok(())
    }

    /// Requests that nobody has answered: at rest there are none but those that may still wait.
    pub fn unanswered(&self) -> usize {
        self.open.len()
    }

    fn one_holder(saved: &Saved) -> Result<(), String> {
        let mut holders = BTreeMap::new();
        for allocation in &saved.allocations {
            if let Some(other) = holders.insert(allocation.address, &allocation.key) {
                let (address, key) = (allocation.address, &allocation.key);
                return Err(format!("P1: {address} is held by {other:?} and {key:?}"));
            }
        }
        Ok(())
    }

    fn reply(&mut self, request: RequestId, reply: &Reply, now: Millis) -> Result<(), String> {
        let Some(open) = self.open.remove(&request) else {
            return Err(format!(
                "request {request:?} was answered twice, or never asked"
            ));
        };
        self.answered.insert(request);
        match (open, reply) {
            (Open::Assign(key), Reply::Assigned(holding)) => {
                self.given(key, holding.address, &holding.eni, now)
            }
            (Open::Release(key, at), Reply::Released(holding)) => {
                let address = holding.address;
                // One write may hold a release and the next taking by the same sandbox.
                let taken_again = self
                    .open
                    .values()
                    .any(|open| matches!(open, Open::Assign(k) if *k == key));
                let on_disk = |a: &Allocation| a.key == key && a.address == address;
                if !taken_again && self.durable.allocations.iter().any(on_disk) {
                    return Err(format!(
                        "D1: {address} was said to be released and is on disk still"
                    ));
                }
                self.given.remove(&key);
                self.released_at.insert(address, at);
                Ok(())
            }
            (Open::Release(key, _), Reply::UnknownSandbox) => match self.given.get(&key) {
                Some(address) => Err(format!("{key:?} holds {address} and was called unknown")),
                None => Ok(()),
            },
            (Open::Assign(key), Reply::NoAddress(NoAddress::Cancelled)) => {
                self.given.remove(&key);
                Ok(())
            }
            (Open::Release(key, at), Reply::NotDurable) => {
                self.undone.insert(key, at);
                Ok(())
            }
            (Open::Assign(_), Reply::NoAddress(_) | Reply::IncompleteKey | Reply::NotDurable) => {
                Ok(())
            }
            (open, reply) => Err(format!("{reply:?} is no answer to {open:?}")),
        }
    }

    /// The blocks that EC2 has told of.
    fn told_of(&self, book: &Book) -> BTreeSet<Cidr> {
        // What EC2 gave a moment ago outranks a read that does not show it yet.
        let lately = book.blocks_confirmed.iter().filter(|(cidr, at)| {
            self.look_asked_at < **at + self.consistency && !book.gone.contains_key(*cidr)
        });
        let lately = lately.map(|(cidr, _)| cidr);
        let told = book.blocks.iter().chain(&book.rumours).chain(lately);
        told.copied().collect()
    }

    fn given(
        &mut self,
        key: SandboxKey,
        address: IpAddr,
        eni: &EniId,
        now: Millis,
    ) -> Result<(), String> {
        if let Some((other, _)) = self
            .given
            .iter()
            .find(|(other, a)| **a == address && **other != key)
        {
            return Err(format!(
                "P1: {address} is given to {key:?} and held by {other:?}"
            ));
        }
        if !self
            .durable
            .allocations
            .iter()
            .any(|allocation| allocation.key == key && allocation.address == address)
        {
            return Err(format!("D1: {address} is given and not on disk"));
        }
        if let Some(before) = self.given.get(&key) {
            return if *before == address {
                Ok(())
            } else {
                Err(format!("P4: {key:?} held {before} and is given {address}"))
            };
        }
        let has = |blocks: &BTreeSet<Cidr>| blocks.iter().any(|cidr| cidr.contains(address));
        let confirmed = self
            .books
            .get(eni)
            .is_some_and(|book| book.ready && has(&self.told_of(book)));
        // It may have been picked before the newest read came, and waited for the disk since.
        let (looked_at, before) = &self.before_look;
        let picked_before = self
            .durable
            .allocations
            .iter()
            .any(|it| it.address == address && it.since <= *looked_at)
            && before.get(eni).is_some_and(has);
        if !confirmed && !picked_before {
            return Err(format!(
                "P2: {address} is given and EC2 or the link of {eni} did not confirm it"
            ));
        }
        // An address picked when its cooldown had ended may be answered in the same moment.
        if let Some(at) = self.released_at.get(&address)
            && now < at + self.cooldown
        {
            return Err(format!(
                "P3: {address} was given back at {at} and is given again at {now}"
            ));
        }
        self.undone.remove(&key);
        self.given.insert(key, address);
        Ok(())
    }

    fn call(&mut self, intent: IntentId, request: &Ec2Request, now: Millis) -> Result<(), String> {
        if self.calls.insert(intent, request.clone()).is_some() {
            return Err(format!("intent {intent} is used twice"));
        }
        self.asked_for(request)?;
        if let Ec2Request::CreateEni { blocks, .. } = request {
            self.creating.insert(intent, *blocks);
            let known = self.books.values().filter(|book| !book.absent).count();
            let enis = known as u32 + self.creating.len() as u32 + self.doubtful_creates;
            if enis + self.foreign > self.enis {
                let (known, coming) = (self.books.keys(), self.creating.len());
                return Err(format!(
                    "E1: {enis} ENIs of {}: {} foreign, {known:?}, {coming} coming",
                    self.enis, self.foreign
                ));
            }
            if *blocks > self.slots {
                return Err(format!(
                    "E1: {blocks} blocks on a new ENI of {} slots",
                    self.slots
                ));
            }
            return Ok(());
        }
        let Some((id, book)) = request
            .eni()
            .and_then(|id| Some((id, self.books.get_mut(id)?)))
        else {
            // One that a read missed may be let go all the same.
            let id = request.eni().filter(|id| self.told.contains(*id));
            if id.is_some() && matches!(request, Ec2Request::DeleteEni { .. }) {
                return Ok(());
            }
            return Err(format!(
                "{request:?} is about an ENI that EC2 never told of"
            ));
        };
        if book.doubt {
            return Err(format!(
                "E3: {request:?} follows an unknown outcome without a look"
            ));
        }
        book.leaving.clear();
        book.unsure = false;
        let fresh = |at: Millis| now <= at + self.fresh_view;
        let stale = match request {
            Ec2Request::Unassign { blocks, .. } => {
                let confirmed = |cidr| book.blocks_confirmed.get(cidr).copied().unwrap_or(0);
                !fresh(book.confirmed_at) || !blocks.iter().all(|cidr| fresh(confirmed(cidr)))
            }
            Ec2Request::DetachEni { .. } => !book.let_go && !fresh(book.confirmed_at),
            Ec2Request::CreateEni { .. }
            | Ec2Request::AttachEni { .. }
            | Ec2Request::SetDeleteOnTermination { .. }
            | Ec2Request::DeleteEni { .. }
            | Ec2Request::Assign { .. } => false,
        };
        if stale {
            return Err(format!(
                "E4: EC2 has not confirmed lately what {request:?} destroys"
            ));
        }
        book.let_go |= matches!(
            request,
            Ec2Request::DetachEni { .. } | Ec2Request::DeleteEni { .. }
        );
        match request {
            Ec2Request::Assign { count, .. } => {
                book.growing += count;
                let blocks = book.blocks.len() as u32 + book.growing;
                if blocks > self.slots {
                    return Err(format!(
                        "E1: {blocks} blocks on {id} of {} slots",
                        self.slots
                    ));
                }
                Ok(())
            }
            Ec2Request::Unassign { blocks, .. } => {
                let blocks: Vec<Cidr> = blocks.clone();
                self.in_use(&blocks, now)
            }
            Ec2Request::DetachEni { .. } | Ec2Request::DeleteEni { .. } => {
                let blocks = book.blocks.clone();
                // What a call brought another ENI is not on this one, whatever an old read showed.
                let others = self.books.iter().filter(|(other, _)| *other != id);
                let elsewhere: Vec<Cidr> = others
                    .flat_map(|(_, it)| it.brought.iter().copied())
                    .collect();
                let here = |cidr: &Cidr| !elsewhere.iter().any(|it| it.overlaps(cidr));
                self.in_use(&blocks.into_iter().filter(here).collect::<Vec<_>>(), now)
            }
            Ec2Request::CreateEni { .. }
            | Ec2Request::AttachEni { .. }
            | Ec2Request::SetDeleteOnTermination { .. } => Ok(()),
        }
    }

    /// E2: none of these blocks carries an address that is held or cools.
    fn in_use(&self, blocks: &[Cidr], now: Millis) -> Result<(), String> {
        let inside = |address: IpAddr| blocks.iter().any(|cidr| cidr.contains(address));
        let mut held = self.given.values().chain(
            self.newest
                .allocations
                .iter()
                .map(|allocation| &allocation.address),
        );
        if let Some(address) = held.find(|address| inside(**address)) {
            return Err(format!("E2: {address} is held and is taken away"));
        }
        match self
            .released_at
            .iter()
            .find(|(address, at)| now < **at + self.cooldown && inside(**address))
        {
            Some((address, _)) => Err(format!("E2: {address} cools and is taken away")),
            None => Ok(()),
        }
    }
}
