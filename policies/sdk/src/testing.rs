//! A toy pool on which a policy runs natively: its snapshot goes in, its decision is carried out
//! at once, and an action that breaks a law of the node fails the test.
//!
//! It is a model for unit tests of policies only: EC2 answers at once, there is one network card,
//! and pods take the first free address of the first ENI that has one, or the first single one when
//! the policy's last decision wished that. The host's own simulator knows lags, faults and crashes.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use crate::{
    Blocks, Decision, Demand, Ec2, Eni, EniState, Family, KeepReason, Limits, Node, Operation,
    Outcome, Placement, Request, Role, SECOND, Setting, Snapshot, Subnet, Trigger, Unit, View,
};

/// How long an address cools here.
const COOLDOWN: u64 = 30 * SECOND;
/// Age below which an ENI stays.
const MIN_AGE: u64 = 60 * SECOND;

/// A node with a pool; its fields may be set freely between two rounds.
///
/// ```
/// use onsen_policy_sdk::{Draft, Placement, Unit, View, testing::Pool};
///
/// let mut node = Pool::new(2, 3, Unit::Address).with("KEEP_FREE", 4);
/// node.add_pod();
/// assert_eq!(node.snapshot().demand.waiting.len(), 1);
///
/// // An answer is carried out; one that breaks a law of the node fails the test.
/// node.round(|view| {
///     let mut draft = Draft::default();
///     let primary = view.enis().next().ok_or("no ENI")?;
///     draft.grow(primary, Unit::Address, 3, "all it can hold".into());
///     Ok(draft.finish(Placement::Pack, "full".into()))
/// });
/// assert_eq!((node.waiting, node.assigned(), node.free()), (0, 1, 2));
/// ```
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a condition of its own"
)]
pub struct Pool {
    /// Wall clock.
    pub now: u64,
    /// ENIs at most, the primary included.
    pub max_enis: u32,
    /// Slots of one ENI.
    pub slots: u32,
    /// Whether this instance type can hold prefixes.
    pub prefixes: bool,
    /// The unit in force.
    pub unit: Unit,
    /// 0: unknown.
    pub max_pods: u32,
    /// Whether pods are scheduled here.
    pub schedulable: bool,
    /// Pods that wait.
    pub waiting: u32,
    /// What operators wrote.
    pub settings: Vec<Setting>,
    /// Growth calls that the next decision may use.
    pub grow_budget: u32,
    /// The subnet has no whole prefix.
    pub no_prefixes: bool,
    /// The subnet has nothing at all.
    pub no_addresses: bool,
    /// The ENIs, the primary first.
    pub enis: Vec<ToyEni>,
    /// All actions carried out, in words, with their time.
    pub history: Vec<(u64, String)>,
    no_prefixes_at: u64,
    no_addresses_at: u64,
    outcomes: Vec<Outcome>,
    adds: Vec<u64>,
    memo: Vec<u8>,
    placement: Placement,
    next_block: u64,
}

/// One ENI of the toy pool.
#[derive(Clone, Debug)]
pub struct ToyEni {
    /// When it was attached.
    pub since: u64,
    /// When a pod last left it, or when it was attached.
    pub idle_since: u64,
    /// What fills its slots.
    pub blocks: Vec<ToyBlock>,
}

/// One block of the toy pool.
#[derive(Clone, Debug)]
pub struct ToyBlock {
    /// Number of its first address.
    pub base: u64,
    /// 1 or 16.
    pub size: u32,
    /// Addresses held by pods.
    pub assigned: u32,
    /// When each cooling address is free again.
    pub cooling: Vec<u64>,
    /// Since when no pod holds an address of it.
    pub idle_since: u64,
}

impl ToyBlock {
    fn free(&self) -> u32 {
        self.size - self.assigned - self.cooling.len() as u32
    }
}

impl Pool {
    /// A node with only its empty primary ENI.
    pub fn new(max_enis: u32, slots: u32, unit: Unit) -> Self {
        Self {
            now: 1_700_000_000_000,
            max_enis,
            slots,
            prefixes: true,
            unit,
            max_pods: 0,
            schedulable: true,
            waiting: 0,
            settings: Vec::new(),
            grow_budget: 4,
            no_prefixes: false,
            no_addresses: false,
            enis: vec![ToyEni {
                since: 0,
                idle_since: 0,
                blocks: Vec::new(),
            }],
            history: Vec::new(),
            no_prefixes_at: 0,
            no_addresses_at: 0,
            outcomes: Vec::new(),
            adds: Vec::new(),
            memo: Vec::new(),
            placement: Placement::Pack,
            next_block: 0x0a00_0000,
        }
    }

    /// The same pool with one more setting.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "callers write plain numbers")]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.retain(|setting| setting.key != key);
        self.settings.push(Setting {
            key: key.into(),
            value: value.to_string(),
        });
        self
    }

    /// Puts blocks on an ENI without asking anybody.
    pub fn fill(&mut self, eni: usize, unit: Unit, count: u32) {
        let size = if unit == Unit::Prefix { 16 } else { 1 };
        for _ in 0..count {
            let base = self.next_block;
            self.next_block += 16;
            self.enis[eni].blocks.push(ToyBlock {
                base,
                size,
                assigned: 0,
                cooling: Vec::new(),
                idle_since: self.now,
            });
        }
    }

    /// Addresses in the pool.
    pub fn addresses(&self) -> u32 {
        self.blocks().map(|block| block.size).sum()
    }

    /// Addresses of pods.
    pub fn assigned(&self) -> u32 {
        self.blocks().map(|block| block.assigned).sum()
    }

    /// Addresses that a pod could get now.
    pub fn free(&self) -> u32 {
        self.blocks().map(ToyBlock::free).sum()
    }

    /// Blocks of this unit.
    pub fn count(&self, unit: Unit) -> u32 {
        let single = unit == Unit::Address;
        self.blocks()
            .filter(|block| (block.size == 1) == single)
            .count() as u32
    }

    fn blocks(&self) -> impl Iterator<Item = &ToyBlock> {
        self.enis.iter().flat_map(|eni| &eni.blocks)
    }

    /// Starts a pod: it gets an address at once, or waits.
    pub fn add_pod(&mut self) {
        self.adds.push(self.now);
        self.waiting += 1;
        self.serve();
    }

    /// Ends the newest pod; its address cools.
    pub fn delete_pod(&mut self) {
        let until = self.now + COOLDOWN;
        let now = self.now;
        for eni in self.enis.iter_mut().rev() {
            let mut blocks = eni.blocks.iter_mut().rev();
            if let Some(block) = blocks.find(|block| block.assigned > 0) {
                block.assigned -= 1;
                block.cooling.push(until);
                block.idle_since = now;
                eni.idle_since = now;
                return;
            }
        }
    }

    fn serve(&mut self) {
        if self.placement == Placement::AddressesFirst {
            self.serve_from(|block| block.size == 1);
        }
        self.serve_from(|_| true);
    }

    fn serve_from(&mut self, fits: impl Fn(&ToyBlock) -> bool) {
        let blocks = self.enis.iter_mut().flat_map(|eni| &mut eni.blocks);
        for block in blocks.filter(|block| fits(block)) {
            let served = self.waiting.min(block.free());
            block.assigned += served;
            self.waiting -= served;
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        let now = self.now;
        for block in self.enis.iter_mut().flat_map(|eni| &mut eni.blocks) {
            block.cooling.retain(|until| *until > now);
        }
        self.serve();
    }

    /// What a policy is shown now.
    pub fn snapshot(&self) -> Snapshot {
        let mut blocks = Blocks {
            base_high: Vec::new(),
            base: Vec::new(),
            length: Vec::new(),
            assigned: Vec::new(),
            cooling: Vec::new(),
            cooling_until: Vec::new(),
            idle_since: Vec::new(),
            free: Vec::new(),
            releasable: Vec::new(),
        };
        let mut enis = Vec::new();
        for (place, eni) in self.enis.iter().enumerate() {
            enis.push(Eni {
                id: format!("eni-{place}"),
                role: if place == 0 {
                    Role::Primary
                } else {
                    Role::Secondary
                },
                state: EniState::Ready,
                subnet: 0,
                device_index: place as u32,
                card: 0,
                excluded: false,
                since: eni.since,
                idle_since: if eni.blocks.iter().any(|block| block.assigned > 0) {
                    0
                } else {
                    eni.idle_since
                },
                free_slots: self.slots - eni.blocks.len() as u32,
                in_flight: 0,
                in_flight_unit: self.unit,
                busy: false,
                keep: self.keep(place),
                first_block: blocks.base.len() as u32,
                block_count: eni.blocks.len() as u32,
            });
            for block in &eni.blocks {
                blocks.base.push(block.base);
                blocks.length.push(if block.size == 1 { 32 } else { 28 });
                blocks.assigned.push(block.assigned);
                blocks.cooling.push(block.cooling.len() as u32);
                blocks
                    .cooling_until
                    .push(block.cooling.iter().max().copied().unwrap_or(0));
                blocks.idle_since.push(if block.assigned > 0 {
                    0
                } else {
                    block.idle_since
                });
                blocks.free.push(block.free());
                blocks
                    .releasable
                    .push(block.assigned == 0 && block.cooling.is_empty());
            }
        }
        Snapshot {
            decision_id: self.history.len() as u64,
            now: self.now,
            utc_offset: 0,
            uptime: self.now,
            trigger: Trigger::Timer,
            node: Node {
                instance_type: "toy.large".into(),
                zone: "toy-1a".into(),
                labels: Vec::new(),
                family: Family::Ipv4,
                max_pods: self.max_pods,
                schedulable: self.schedulable,
                terminating: false,
            },
            limits: Limits {
                enis: self.max_enis,
                slots_per_eni: self.slots,
                prefixes: self.prefixes,
                addresses_per_prefix: 16,
                trunk: true,
                other_cards: Vec::new(),
            },
            unit: self.unit,
            enis,
            blocks,
            demand: self.demand(),
            subnets: vec![Subnet {
                id: "subnet-0".into(),
                own: true,
                free_addresses: None,
                read_at: 0,
                no_addresses_at: self.no_addresses_at,
                no_prefixes_at: self.no_prefixes_at,
            }],
            ec2: Ec2 {
                grow_budget: self.grow_budget,
                release_budget: 4,
                in_flight: 0,
                throttled_until: 0,
                outcomes: self.outcomes.clone(),
            },
            settings: self.settings.clone(),
            memo: self.memo.clone(),
        }
    }

    fn keep(&self, place: usize) -> Option<KeepReason> {
        let eni = &self.enis[place];
        if place == 0 {
            Some(KeepReason::Primary)
        } else if eni.blocks.iter().any(|block| block.assigned > 0) {
            Some(KeepReason::Assigned)
        } else if eni.blocks.iter().any(|block| !block.cooling.is_empty()) {
            Some(KeepReason::Cooling)
        } else if self.now < eni.since + MIN_AGE {
            Some(KeepReason::TooYoung)
        } else {
            None
        }
    }

    fn demand(&self) -> Demand {
        let since = |minutes: u64| {
            let start = self.now.saturating_sub(minutes * 60 * SECOND);
            self.adds.iter().filter(|at| **at > start).count() as u32
        };
        Demand {
            waiting: vec![0; self.waiting as usize],
            scheduled: 0,
            adds_1m: since(1),
            adds_5m: since(5),
            adds_15m: since(15),
            deletes_1m: 0,
            deletes_5m: 0,
            deletes_15m: 0,
        }
    }

    /// Carries a decision out. Panics when it breaks a law.
    pub fn apply(&mut self, decision: &Decision) {
        let before = self.snapshot();
        let mut touched = BTreeSet::new();
        let (mut growth, mut gone) = (0, Vec::new());
        self.memo.clone_from(&decision.memo);
        self.placement = decision.placement;
        for action in &decision.actions {
            assert!(
                !action.reason.is_empty(),
                "an action without a reason: {action:?}"
            );
            self.history
                .push((self.now, format!("{:?}: {}", action.request, action.reason)));
            let mut touch = |eni: u32| assert!(touched.insert(eni), "ENI {eni} asked for twice");
            match &action.request {
                Request::AttachEni(new) => {
                    growth += 1;
                    assert!((self.enis.len() as u32) < self.max_enis, "ENI limit passed");
                    assert!(new.blocks <= self.slots, "slot limit passed");
                    let code = self.refusal(new.unit, new.blocks);
                    self.note(Operation::AttachEni, None, new.unit, new.blocks, &code);
                    if code.is_empty() {
                        self.enis.push(ToyEni {
                            since: self.now,
                            idle_since: self.now,
                            blocks: Vec::new(),
                        });
                        self.fill(self.enis.len() - 1, new.unit, new.blocks);
                    }
                }
                Request::Grow(grow) => {
                    growth += 1;
                    touch(grow.eni);
                    let free = before.enis[grow.eni as usize].free_slots;
                    assert!(
                        (1..=free).contains(&grow.count),
                        "{} of {free} slots",
                        grow.count
                    );
                    let code = self.refusal(grow.unit, grow.count);
                    self.note(
                        Operation::Grow,
                        Some(grow.eni),
                        grow.unit,
                        grow.count,
                        &code,
                    );
                    if code.is_empty() {
                        self.fill(grow.eni as usize, grow.unit, grow.count);
                    }
                }
                Request::Release(release) => {
                    touch(release.eni);
                    assert!(!release.blocks.is_empty(), "an empty release");
                    let eni = &before.enis[release.eni as usize];
                    let named: BTreeSet<u64> = release
                        .blocks
                        .iter()
                        .map(|block| {
                            let inside = eni.first_block..eni.first_block + eni.block_count;
                            assert!(inside.contains(block), "block {block} is not of that ENI");
                            assert!(before.blocks.releasable[*block as usize], "in use");
                            before.blocks.base[*block as usize]
                        })
                        .collect();
                    assert_eq!(named.len(), release.blocks.len(), "a block named twice");
                    let blocks = &mut self.enis[release.eni as usize].blocks;
                    blocks.retain(|block| !named.contains(&block.base));
                    let count = named.len() as u32;
                    self.note(
                        Operation::Release,
                        Some(release.eni),
                        Unit::Address,
                        count,
                        "",
                    );
                }
                Request::DetachEni(eni) => {
                    touch(*eni);
                    assert_eq!(before.enis[*eni as usize].keep, None, "kept by the host");
                    self.note(Operation::DetachEni, Some(*eni), Unit::Address, 0, "");
                    gone.push(*eni as usize);
                }
            }
        }
        assert!(
            growth <= before.ec2.grow_budget,
            "budget of growth calls passed"
        );
        gone.sort_unstable();
        for place in gone.into_iter().rev() {
            self.enis.remove(place);
            // Outcomes name ENIs by place; those of an ENI that left name none.
            for outcome in &mut self.outcomes {
                outcome.eni = match outcome.eni {
                    Some(eni) if eni as usize == place => None,
                    Some(eni) if eni as usize > place => Some(eni - 1),
                    other => other,
                };
            }
        }
        self.serve();
    }

    fn refusal(&mut self, unit: Unit, blocks: u32) -> String {
        if blocks > 0 && self.no_addresses {
            self.no_addresses_at = self.now;
            return "InsufficientFreeAddressesInSubnet".into();
        }
        if blocks > 0 && self.no_prefixes && unit == Unit::Prefix {
            self.no_prefixes_at = self.now;
            return "InsufficientCidrBlocks".into();
        }
        String::new()
    }

    fn note(&mut self, operation: Operation, eni: Option<u32>, unit: Unit, asked: u32, code: &str) {
        self.outcomes.push(Outcome {
            at: self.now,
            operation,
            eni,
            subnet: Some(0),
            unit,
            asked,
            done: if code.is_empty() { asked } else { 0 },
            code: code.into(),
        });
        let surplus = self.outcomes.len().saturating_sub(32);
        self.outcomes.drain(..surplus);
    }

    /// One round: decide, carry out, let five seconds pass. True when something was asked for.
    pub fn round(&mut self, decide: impl Fn(&View<'_>) -> Result<Decision, String>) -> bool {
        let snapshot = self.snapshot();
        let answer = decide(&View::new(&snapshot));
        let decision = answer.unwrap_or_else(|why| panic!("the policy refused: {why}"));
        assert!(!decision.reason.is_empty(), "a decision without a reason");
        self.apply(&decision);
        self.pass(5 * SECOND);
        !decision.actions.is_empty()
    }

    /// Rounds until none asks for anything over more than two minutes. Panics when that does not
    /// come within 400 rounds (33 minutes).
    pub fn rest(&mut self, decide: impl Fn(&View<'_>) -> Result<Decision, String>) {
        let mut quiet = 0;
        for _ in 0..400 {
            quiet = if self.round(&decide) { 0 } else { quiet + 1 };
            if quiet == 30 {
                return;
            }
        }
        let last = &self.history[self.history.len().saturating_sub(12)..];
        panic!("the pool does not come to rest; its last actions:\n{last:#?}");
    }
}

/// A small generator of numbers for random tests; the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % u64::from(end.max(1))) as u32
    }
}
