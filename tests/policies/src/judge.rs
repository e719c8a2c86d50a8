//! Holds one decision against the specification.
//!
//! In: a snapshot and the actions that a policy asks for. Out: complaints, and the branches of the
//! specification that the snapshot reached.
//! Must hold: upstream picks at random where a policy must pick one; so the judge first asks whether
//! upstream could have done this, and then whether the pick is the documented one: growth in attach
//! order, release and detachment from the newest ENI first. Reasons in words are not looked at.

mod give_back;

use std::collections::BTreeSet;

use onsen_core::cidr::Unit;
use onsen_core::proposal::Request;
use onsen_core::snapshot::{Role, Snapshot, Trigger};

use crate::card::{Card, Eni, cards};
use crate::ladder::{self, Ladder};
use crate::rules::{Mode, Rules};

/// What is wrong, and what was looked at.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// One sentence each; none when the decision is right.
    pub complaints: Vec<String>,
    /// Names of the branches reached.
    pub branches: BTreeSet<&'static str>,
}

/// What is known before the first card is looked at.
struct Case<'a> {
    snapshot: &'a Snapshot,
    rules: Rules,
    /// Addresses that a pod of card 0 could get though they do not count there: on other cards, and in
    /// blocks of the inactive unit.
    elsewhere: i64,
    /// Calls to get more that are left.
    grow_budget: i64,
    /// Calls to give back that are left.
    release_budget: i64,
    verdict: Verdict,
}

/// Judges a decision.
pub fn judge(snapshot: &Snapshot, requests: &[Request]) -> Verdict {
    let rules = Rules::read(snapshot);
    let mut pools = cards(snapshot, &rules);
    let mut case = Case {
        snapshot,
        elsewhere: elsewhere(&pools, &rules),
        grow_budget: i64::from(snapshot.ec2.grow_budget),
        release_budget: i64::from(snapshot.ec2.release_budget),
        rules,
        verdict: Verdict::default(),
    };
    case.places(&pools, requests);
    if !case.verdict.complaints.is_empty() {
        return case.verdict;
    }
    for card in &mut pools {
        let mine: Vec<&Request> = requests.iter().filter(|r| is_about(card, r)).collect();
        if case.rules.ipv6 {
            case.ipv6(card, &mine);
        } else {
            case.round(card, &mine);
        }
    }
    let growth = requests.iter().filter(|request| is_growth(request)).count();
    if growth > snapshot.ec2.grow_budget as usize {
        case.complain(format!(
            "{growth} calls to get more, {} allowed",
            snapshot.ec2.grow_budget
        ));
    }
    case.verdict
}

fn elsewhere(pools: &[Card], rules: &Rules) -> i64 {
    let enis = pools
        .iter()
        .flat_map(|card| card.enis.iter().map(move |eni| (card, eni)));
    enis.filter(|(_, eni)| eni.ready && !eni.excluded)
        .flat_map(|(card, eni)| eni.blocks.iter().map(move |block| (card, block)))
        .filter(|(card, block)| card.number > 0 || block.unit != rules.unit)
        .map(|(_, block)| block.size - block.assigned - block.stuck)
        .sum()
}

fn is_growth(request: &Request) -> bool {
    matches!(request, Request::AttachEni { .. } | Request::Grow { .. })
}

fn is_about(card: &Card, request: &Request) -> bool {
    match request {
        Request::AttachEni { card: number, .. } => *number == card.number,
        Request::Grow { eni, .. } | Request::Release { eni, .. } | Request::DetachEni { eni } => {
            card.enis.iter().any(|known| known.index == *eni)
        }
    }
}

impl Case<'_> {
    fn complain(&mut self, what: String) {
        self.verdict.complaints.push(what);
    }

    fn reach(&mut self, branch: &'static str) {
        self.verdict.branches.insert(branch);
    }

    /// Indexes must mean something, and the host takes one action for each ENI.
    fn places(&mut self, pools: &[Card], requests: &[Request]) {
        let mut seen = BTreeSet::new();
        for request in requests {
            if !pools.iter().any(|card| is_about(card, request)) {
                self.complain(format!("{request:?} points nowhere"));
            }
            let (Request::Grow { eni, .. }
            | Request::Release { eni, .. }
            | Request::DetachEni { eni }) = request
            else {
                continue;
            };
            if !seen.insert(*eni) {
                self.complain(format!("two actions on ENI {eni}"));
            }
        }
    }

    /// Section "the loop", for one card.
    fn round(&mut self, card: &mut Card, requests: &[&Request]) {
        let before = card.clone();
        let low = self.rules.too_low(card);
        let grows = requests.iter().any(|request| is_growth(request));
        self.growth(card, requests, low);
        self.release(card, requests, low || grows);
        self.detach(&before, card, requests);
    }

    fn growth(&mut self, card: &mut Card, requests: &[&Request], low: bool) {
        let ladder = self.ladder(card);
        let first = self.rules.clone();
        let stopped = first.terminating || ladder.paused;
        let for_pods = first.mode == Mode::Normal && first.waiting > 0 && card.number == 0;
        let mut retried = false;
        if low {
            self.reach("low");
        }
        for request in requests.iter().filter(|request| is_growth(request)) {
            let now = card.measure(&self.rules);
            // Pods cannot take what cools: normal mode may get more for them.
            let pods_short = for_pods && now.available - now.stuck < 0;
            let allowed = self.rules.too_low(card) || pods_short;
            let cordon = self.rules.cordon_stops() && !pods_short;
            if !allowed || stopped || cordon {
                self.complain(format!("{request:?}: growth must rest ({now:?})"));
                return;
            }
            if self.rules.mode == Mode::Strict && (retried || card.enis.iter().any(|e| e.touched)) {
                self.complain(format!("{request:?}: a second growth step in one round"));
            }
            let (least, most) = self.sizes(card, now.stuck, pods_short);
            self.grow_budget -= 1;
            match request {
                Request::Grow { eni, unit, count } => {
                    let retry = (!retried).then_some(ladder.retry).flatten();
                    self.one_growth(card, &ladder, *eni, (*unit, *count), retry, (least, most));
                    retried = true;
                }
                Request::AttachEni {
                    unit,
                    blocks,
                    subnet,
                    ..
                } => {
                    self.subnet(&ladder, *subnet);
                    self.one_attachment(card, &ladder, (*unit, *blocks), (least, most));
                    retried = true;
                }
                Request::Release { .. } | Request::DetachEni { .. } => {}
            }
        }
        self.enough(card, requests, &ladder, (stopped, retried));
    }

    /// Blocks that a step asks for at least and at most, before the ENI's slots bound them. Normal
    /// mode may take several steps of upstream on one ENI at once.
    fn sizes(&self, card: &Card, stuck: i64, pods_short: bool) -> (i64, i64) {
        let step = self.rules.step(card);
        if self.rules.mode == Mode::Strict {
            return (step, step);
        }
        let size = self.rules.size(self.rules.unit);
        let for_stuck = if pods_short {
            (stuck + size - 1) / size
        } else {
            0
        };
        let most = step.max(self.rules.enough(card)) + for_stuck;
        let least = if self.rules.cordon_stops() || !self.rules.too_low(card) {
            1
        } else {
            step
        };
        (least, most)
    }

    /// Where the ladder stands for this card.
    fn ladder(&mut self, card: &Card) -> Ladder {
        let rules = self.rules.clone();
        let mut ladder = ladder::read(self.snapshot, &self.rules, |spent| {
            let more = |eni: &&Eni| rules.fillable(eni) && !spent.contains(&eni.index);
            !card.enis.iter().any(|eni| more(&eni)) && !rules.room_for_eni(card)
        });
        // What filled the ENI meanwhile, or keeps it from growing, ended its round.
        let goes_on = |index: &u32| {
            let mut enis = card.enis.iter();
            enis.any(|eni| eni.index == *index && rules.fillable(eni))
        };
        if ladder.retry.take_if(|index| !goes_on(index)).is_some() {
            ladder.may_wait = true;
        }
        for (reached, name) in [
            (ladder.paused, "paused"),
            (ladder.retry.is_some(), "retry with one"),
            (!ladder.spent.is_empty(), "next ENI"),
            (ladder.no_attach, "attachment limit"),
            (ladder.may_wait, "failed round"),
        ] {
            if reached {
                self.reach(name);
            }
        }
        ladder
    }

    fn one_growth(
        &mut self,
        card: &mut Card,
        ladder: &Ladder,
        index: u32,
        (unit, count): (Unit, u32),
        retry: Option<u32>,
        (least, most): (i64, i64),
    ) {
        let (count, rules) = (i64::from(count), self.rules.clone());
        let fits = |eni: &&mut Eni| rules.fillable(eni) && !eni.touched;
        let wanted = |eni: &&mut Eni| fits(eni) && !ladder.spent.contains(&eni.index);
        let first = card.enis.iter_mut().find(wanted).map(|eni| eni.index);
        let Some(eni) = card
            .enis
            .iter_mut()
            .filter(fits)
            .find(|eni| eni.index == index)
        else {
            self.complain(format!("ENI {index} cannot be filled"));
            return;
        };
        let free = eni.free_slots;
        eni.plan(unit, rules.size(unit), count);
        self.reach("grow");
        if unit != rules.unit {
            self.complain(format!("ENI {index} is filled with the inactive unit"));
        }
        let before = |again: &u32| ladder.anew && *again != index && first == Some(index);
        if let Some(again) = retry.filter(|again| !before(again)) {
            if again != index || count != 1 {
                self.complain(format!(
                    "ENI {again} should be tried with 1, not {index} with {count}"
                ));
            }
            return;
        }
        if first != Some(index) {
            self.complain(format!("ENI {index} is filled before {first:?}"));
        }
        if ladder.anew && ladder.retry == Some(index) && count == 1 {
            // It comes after those before it, and is tried with one all the same.
            return;
        }
        if count < least.min(free) || count > most.min(free) {
            self.complain(format!(
                "{count} blocks on ENI {index}; {} to {} are right",
                least.min(free),
                most.min(free)
            ));
        }
    }

    /// Section "creating an ENI": most free addresses first, one subnet after the other.
    fn subnet(&mut self, ladder: &Ladder, chosen: Option<u32>) {
        let subnets = &self.snapshot.subnets;
        let chooses = self.rules.subnet_discovery && !self.rules.custom_networking;
        if !chooses || subnets.len() < 2 {
            return;
        }
        let left = (0u32..).zip(subnets);
        let left = left.filter(|(place, _)| !ladder.short.contains(place));
        let free = left.map(|(place, subnet)| (subnet.free_addresses.unwrap_or(0), place));
        // The first of those with as many: the order is stable.
        let best = free.max_by_key(|(free, place)| (*free, u32::MAX - place));
        if !ladder.short.is_empty() {
            self.reach("next subnet");
        }
        if chosen != best.map(|(_, place)| place) {
            self.complain(format!("a new ENI in subnet {chosen:?}, not {best:?}"));
        }
    }

    fn one_attachment(
        &mut self,
        card: &mut Card,
        ladder: &Ladder,
        (unit, blocks): (Unit, u32),
        (least, most): (i64, i64),
    ) {
        let (blocks, rules) = (i64::from(blocks), self.rules.clone());
        self.reach("attach");
        let left = |eni: &&Eni| rules.fillable(eni) && !ladder.spent.contains(&eni.index);
        if ladder.retry.is_some() || card.enis.iter().any(|eni| left(&eni)) {
            self.complain("an ENI is attached while one can be filled".into());
        }
        if !rules.room_for_eni(card) || ladder.no_attach {
            self.complain("an ENI is attached where none has room".into());
        }
        if unit != rules.unit || blocks < least.min(rules.slots) || blocks > most.min(rules.slots) {
            self.complain(format!(
                "a new ENI with {blocks} ({unit}); {} to {} are right",
                least.min(rules.slots),
                most.min(rules.slots)
            ));
        }
        let mut eni = Eni {
            index: u32::MAX,
            role: Role::Secondary,
            ready: false,
            leaving: false,
            excluded: false,
            kept: true,
            free_slots: rules.slots,
            in_flight: 0,
            blocks: Vec::new(),
            touched: true,
        };
        eni.plan(unit, rules.size(unit), blocks);
        card.enis.push(eni);
    }

    /// Never too little: after what was asked for, the card is not low or something named stops it.
    fn enough(
        &mut self,
        card: &Card,
        requests: &[&Request],
        ladder: &Ladder,
        (stopped, acted): (bool, bool),
    ) {
        let rules = self.rules.clone();
        if !rules.too_low(card) {
            return;
        }
        let now = card.measure(&rules);
        let unserved = now.available + self.elsewhere < 0 && card.number == 0;
        let for_pods = rules.mode == Mode::Normal && unserved;
        if stopped || (rules.cordon_stops() && !for_pods) {
            self.reach("low and stopped");
            return;
        }
        // One step is all of upstream's round; a rung of the ladder stands for itself.
        if self.grow_budget <= 0
            || (acted && (rules.mode == Mode::Strict || ladder.retry.is_some()))
        {
            return;
        }
        // Where leftovers go first, growth may come with the next decision.
        let leftovers_go = |eni: &Eni| {
            requests
                .iter()
                .any(|r| matches!(r, Request::Release { eni: of, .. } if *of == eni.index))
        };
        // One step for each ENI in a decision: the next decision goes on there.
        let step_made = |eni: &Eni| eni.touched && eni.free_slots > 0 && eni.role != Role::Trunk;
        let may_fill = card
            .enis
            .iter()
            .any(|eni| rules.fillable(eni) && !ladder.spent.contains(&eni.index));
        // What is on its way may be filled once it is there: normal mode waits for it.
        let coming = |eni: &Eni| !eni.leaving && (eni.in_flight > 0 || !eni.ready);
        let awaits = rules.mode == Mode::Normal && card.enis.iter().any(coming);
        let may_attach = rules.room_for_eni(card) && !ladder.no_attach && !awaits;
        if !may_fill && !may_attach {
            self.reach("low and full");
        } else if ladder.may_wait {
            self.reach("low and waiting");
        } else if !card
            .enis
            .iter()
            .any(|eni| leftovers_go(eni) || step_made(eni))
        {
            self.complain(format!(
                "too little is asked for on card {}: {now:?}",
                card.number
            ));
        }
    }

    /// Section "IPv6": one /80 on each ENI that serves pods, one ENI on each card.
    fn ipv6(&mut self, card: &Card, requests: &[&Request]) {
        self.reach("ipv6");
        let bare = |eni: &&Eni| self.rules.fillable(eni) && eni.blocks.is_empty();
        let mut wanted: Vec<u32> = card.enis.iter().filter(bare).map(|eni| eni.index).collect();
        let serves = card
            .enis
            .iter()
            .any(|eni| !eni.excluded && !eni.leaving && eni.role != Role::Trunk);
        // Upstream adds ENIs only when it starts.
        let adds = self.rules.mode == Mode::Normal || self.snapshot.trigger == Trigger::Start;
        let attach = adds && !serves && self.rules.room_for_eni(card);
        let (mut attached, budget) = (false, self.grow_budget);
        for request in requests {
            self.grow_budget -= 1;
            match request {
                Request::Grow {
                    eni,
                    unit: Unit::Prefix,
                    count: 1,
                } if wanted.contains(eni) => {
                    wanted.retain(|left| left != eni);
                }
                Request::AttachEni {
                    unit: Unit::Prefix,
                    blocks: 1,
                    ..
                } if attach && !attached => {
                    attached = true;
                }
                Request::AttachEni { .. }
                | Request::Grow { .. }
                | Request::Release { .. }
                | Request::DetachEni { .. } => {
                    self.complain(format!("{request:?} on an IPv6 node"));
                }
            }
        }
        let missing = wanted.len() as i64 + i64::from(attach && !attached);
        let stopped = self.rules.terminating || self.rules.cordoned;
        if missing > 0 && budget > 0 && self.grow_budget > 0 && !stopped {
            self.complain(format!(
                "card {}: ENIs {wanted:?} have no /80, or there is none",
                card.number
            ));
        }
    }
}
