use onsen_core::cidr::Unit;
use onsen_core::proposal::{Action, Placement, Proposal, Request};
use onsen_core::snapshot::{
    EniPhase, Family, KeepReason, Limits, Operation, Outcome, Role, Setting, Snapshot, SnapshotEni,
    SnapshotSubnet, Trigger,
};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::convert;

fn known(name: &str) -> Option<Limits> {
    (name == "m5.large").then(|| Limits {
        enis: 3,
        slots_per_eni: 9,
        prefixes: true,
        addresses_per_prefix: 16,
        trunk: true,
        ..Limits::default()
    })
}

fn parse(json: &str) -> Result<Snapshot, DocumentError> {
    read::<SnapshotDocument>(json)?.into_snapshot(known)
}

#[test]
fn an_empty_document_is_a_bare_m5_large() {
    let snapshot = parse("{}").unwrap();
    assert_eq!(snapshot.limits, known("m5.large").unwrap());
    assert_eq!(snapshot.unit, Unit::Address);
    assert!(snapshot.node.schedulable);
    assert!(snapshot.ec2.grow_budget > 0);
    let [subnet] = &*snapshot.subnets else {
        panic!("one subnet: {:?}", snapshot.subnets)
    };
    assert!(subnet.own);
    let [primary] = &*snapshot.enis else {
        panic!("one ENI: {:?}", snapshot.enis)
    };
    assert_eq!(
        (primary.role, primary.free_slots, primary.keep),
        (Role::Primary, 9, Some(KeepReason::Primary))
    );
}

#[test]
fn what_is_left_out_follows_from_the_rest() {
    let snapshot = parse(
        r#"{
            "settings": {"ENABLE_PREFIX_DELEGATION": true, "MAX_ENI": 2},
            "enis": [
                {"blocks": [{"cidr": "10.0.1.32/28"}, {"cidr": "10.0.1.16/28", "assigned": 3}]},
                {"blocks": [{"cidr": "10.0.2.1", "repeat": 2}, {"cooling": 1}]},
                {"since": "now-59s"},
                {"state": "attaching", "in_flight": 4}
            ]
        }"#,
    )
    .unwrap();
    assert_eq!(snapshot.unit, Unit::Prefix);
    assert_eq!(snapshot.limits.enis, 2);
    let blocks = &snapshot.blocks;
    assert_eq!(blocks.length, [28, 28, 32, 32, 28]);
    assert_eq!(blocks.base[..2], [0x0a00_0110, 0x0a00_0120], "sorted");
    assert_eq!(blocks.base[2..4], [0x0a00_0201, 0x0a00_0202], "repeated");
    assert_eq!(blocks.free, [13, 16, 1, 1, 15]);
    assert_eq!(blocks.releasable, [false, true, true, true, false]);
    assert_eq!(blocks.cooling_until[4], snapshot.now + 30_000);
    let keeps: Vec<_> = snapshot.enis.iter().map(|eni| eni.keep).collect();
    assert_eq!(
        keeps,
        [
            Some(KeepReason::Primary),
            Some(KeepReason::Cooling),
            Some(KeepReason::TooYoung),
            Some(KeepReason::InFlight)
        ]
    );
    let free: Vec<_> = snapshot.enis.iter().map(|eni| eni.free_slots).collect();
    assert_eq!(free, [7, 6, 9, 0]);
    let devices: Vec<_> = snapshot.enis.iter().map(|eni| eni.device_index).collect();
    assert_eq!(devices, [0, 1, 2, 3]);
}

#[test]
fn null_says_that_an_eni_is_not_kept() {
    let young = r#"{"enis": [{}, {"since": "now", "keep": null}]}"#;
    assert_eq!(parse(young).unwrap().enis[1].keep, None);
}

#[test]
fn times_are_numbers_dates_or_relative_to_now() {
    let json = r#"{"now": "2026-01-01T00:01:00Z", "uptime": "2m",
        "subnets": [{"no_addresses_at": "now-1m", "read_at": 5, "no_prefixes_at": "now+1s"}]}"#;
    let snapshot = parse(json).unwrap();
    let now = 1_767_225_660_000;
    let subnet = &snapshot.subnets[0];
    assert_eq!((snapshot.now, snapshot.uptime), (now, 120_000));
    assert_eq!(
        (
            subnet.no_addresses_at,
            subnet.read_at,
            subnet.no_prefixes_at
        ),
        (now - 60_000, 5, now + 1_000)
    );
}

fn error(json: &str) -> String {
    parse(json).unwrap_err().to_string()
}

#[test]
fn errors_name_place_field_and_what_is_allowed() {
    let unknown = error("{\n  \"enis\": [{}, {\"rol\": \"primary\"}]\n}");
    assert!(unknown.starts_with("line 2, column "), "{unknown}");
    assert!(
        unknown.contains("enis[1].rol") && unknown.contains("unknown field `rol`"),
        "{unknown}"
    );
    assert!(
        unknown.contains("`role`") && !unknown.contains(" at line"),
        "{unknown}"
    );
    let word = error(r#"{"enis": [{"role": "boss"}]}"#);
    assert!(
        word.contains("enis[0].role") && word.contains("`secondary`"),
        "{word}"
    );
    let cidr = error(r#"{"enis": [{"blocks": [{"cidr": "10.0.0.1/28"}]}]}"#);
    assert!(
        cidr.contains("enis[0].blocks[0].cidr") && cidr.contains("aligned range"),
        "{cidr}"
    );
    let time = error(r#"{"now": "yesterday"}"#);
    assert!(
        time.contains("now") && time.contains("\"now-90s\""),
        "{time}"
    );
    let rest = error("{} {}");
    assert!(rest.starts_with("line 1, column 4: "), "{rest}");
}

#[test]
fn parts_that_do_not_fit_together_are_told_with_their_path() {
    for (json, path, words) in [
        (
            r#"{"node": {"instance_type": "x9.huge"}}"#,
            "node.instance_type: ",
            "write limits.enis",
        ),
        (
            r#"{"enis": [{"subnet": 1}]}"#,
            "enis[0].subnet: ",
            "no place 1",
        ),
        (
            r#"{"ec2": {"outcomes": [{"operation": "grow", "eni": 7}]}}"#,
            "ec2.outcomes[0].eni: ",
            "no place 7",
        ),
        (
            r#"{"enis": [{"blocks": [{"cidr": "10.0.0.1", "assigned": 1, "cooling": 1}]}]}"#,
            "enis[0].blocks[0]: ",
            "more than the 1",
        ),
        (
            r#"{"enis": [{"blocks": [{"cidr": "10.0.0.0/27"}]}]}"#,
            "enis[0].blocks[0].cidr: ",
            "neither /32 nor /28",
        ),
        (
            r#"{"enis": [{"blocks": [{"cidr": "2001:db8::/80"}]}]}"#,
            "enis[0].blocks[0].cidr: ",
            "family",
        ),
        (
            r#"{"enis": [{"blocks": [{"repeat": 4000000000}]}]}"#,
            "enis[0].blocks[0].repeat: ",
            "65536",
        ),
        (
            r#"{"enis": [{"blocks": [{"cidr": "255.255.255.255", "repeat": 2}]}]}"#,
            "enis[0].blocks[0].repeat: ",
            "behind",
        ),
    ] {
        let error = error(json);
        assert!(
            error.starts_with(path) && error.contains(words),
            "{json}: {error}"
        );
    }
}

fn option<T: Clone + std::fmt::Debug + 'static>(
    of: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<T>> {
    proptest::option::of(of).boxed()
}

/// Sorted, each key once, as the contract wants them.
fn settings() -> impl Strategy<Value = Vec<Setting>> {
    let pairs = proptest::collection::btree_map("[A-Z_é\"]{1,6}", "[ -~]{0,6}", 0..4);
    pairs.prop_map(|pairs| {
        let setting = |(key, value)| Setting { key, value };
        pairs.into_iter().map(setting).collect()
    })
}

type Number = u32;

fn eni() -> impl Strategy<Value = SnapshotEni> {
    let words = (
        "[a-z0-9-]{0,8}",
        select(vec![Role::Primary, Role::Secondary, Role::Trunk, Role::Efa]),
        select(vec![
            EniPhase::Attaching,
            EniPhase::Ready,
            EniPhase::Detaching,
        ]),
        option(select(vec![
            KeepReason::Primary,
            KeepReason::Trunk,
            KeepReason::Efa,
            KeepReason::Assigned,
            KeepReason::Cooling,
            KeepReason::TooYoung,
            KeepReason::InFlight,
            KeepReason::Unconfirmed,
        ])),
        any::<[bool; 2]>(),
        unit(),
    );
    let numbers = any::<[Number; 4]>();
    (words, numbers, any::<[u64; 2]>()).prop_map(
        |(
            (id, role, phase, keep, [excluded, busy], in_flight_unit),
            [device_index, card, free_slots, in_flight],
            [since, idle_since],
        )| {
            SnapshotEni {
                id,
                role,
                phase,
                keep,
                excluded,
                device_index,
                card,
                free_slots,
                in_flight,
                in_flight_unit,
                busy,
                since,
                idle_since,
                ..SnapshotEni::default()
            }
        },
    )
}

fn outcome(enis: u32, subnets: u32) -> impl Strategy<Value = Outcome> {
    let operations = vec![
        Operation::AttachEni,
        Operation::Grow,
        Operation::Release,
        Operation::DetachEni,
    ];
    (
        any::<u64>(),
        select(operations),
        option(0..enis),
        option(0..subnets),
        unit(),
        any::<[Number; 2]>(),
        "[A-Za-z.]{0,9}",
    )
        .prop_map(
            |(at, operation, eni, subnet, unit, [asked, done], code)| Outcome {
                at,
                operation,
                eni,
                subnet,
                unit,
                asked,
                done,
                code,
            },
        )
}

fn unit() -> impl Strategy<Value = Unit> + Clone {
    select(vec![Unit::Address, Unit::Prefix])
}

/// Blocks of an ENI: a unit for each, and its numbers.
type Slot = (Unit, [u8; 2], [u64; 2], Number, bool);

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let slots = proptest::collection::vec(
        (
            unit(),
            any::<[u8; 2]>(),
            any::<[u64; 2]>(),
            any::<Number>(),
            any::<bool>(),
        ),
        0..5,
    );
    let enis = proptest::collection::vec((eni(), slots), 0..4);
    let subnets = proptest::collection::vec(
        (
            "[a-z]{0,5}",
            any::<bool>(),
            option(any::<Number>()),
            any::<[u64; 3]>(),
        ),
        1..4,
    );
    let family = select(vec![Family::Ipv4, Family::Ipv6]);
    let trigger = select(vec![
        Trigger::Start,
        Trigger::Timer,
        Trigger::Demand,
        Trigger::Outcome,
        Trigger::Change,
    ]);
    let node = (
        "[a-z0-9.]{0,9}",
        "[a-z-]{0,9}",
        settings(),
        any::<[bool; 2]>(),
    );
    let rest = (
        any::<[u64; 4]>(),
        any::<i32>(),
        any::<[Number; 14]>(),
        any::<[bool; 2]>(),
        proptest::collection::vec(any::<u64>(), 0..3),
        proptest::collection::vec(any::<Number>(), 0..3),
        proptest::collection::vec(any::<u8>(), 0..20),
        settings(),
    );
    (enis, subnets, family, trigger, node, rest, unit())
        .prop_map(|(enis, subnets, family, trigger, node, rest, unit)| {
            let (instance_type, zone, labels, [schedulable, terminating]) = node;
            let (times, utc_offset, n, flags, waiting, other_cards, memo, settings) = rest;
            let mut snapshot = Snapshot {
                decision_id: times[0],
                now: times[1],
                uptime: times[2],
                utc_offset,
                trigger,
                unit,
                settings,
                memo,
                ..Snapshot::default()
            };
            snapshot.node = onsen_core::snapshot::NodeFacts {
                instance_type,
                zone,
                labels,
                family,
                max_pods: n[0],
                schedulable,
                terminating,
            };
            snapshot.limits = Limits {
                enis: n[1],
                other_cards,
                slots_per_eni: n[2],
                addresses_per_prefix: n[3],
                prefixes: flags[0],
                trunk: flags[1],
            };
            snapshot.demand = onsen_core::snapshot::Demand {
                waiting,
                scheduled: n[4],
                adds_1m: n[5],
                adds_5m: n[6],
                adds_15m: n[7],
                deletes_1m: n[8],
                deletes_5m: n[9],
                deletes_15m: n[10],
            };
            snapshot.ec2.grow_budget = n[11];
            snapshot.ec2.release_budget = n[12];
            snapshot.ec2.in_flight = n[13];
            snapshot.ec2.throttled_until = times[3];
            let subnet =
                |(id, own, free_addresses, [read_at, a, b]): (_, _, _, [u64; 3])| SnapshotSubnet {
                    id,
                    own,
                    free_addresses,
                    read_at,
                    no_addresses_at: a,
                    no_prefixes_at: b,
                };
            snapshot.subnets = subnets.into_iter().map(subnet).collect();
            for (place, (mut eni, slots)) in enis.into_iter().enumerate() {
                eni.subnet = (place % snapshot.subnets.len()) as u32;
                eni.first_block = snapshot.blocks.base.len() as u32;
                eni.block_count = slots.len() as u32;
                for (at, slot) in slots.into_iter().enumerate() {
                    lay(&mut snapshot, place, at, slot);
                }
                snapshot.enis.push(eni);
            }
            snapshot
        })
        .prop_flat_map(|snapshot| {
            let (enis, subnets) = (snapshot.enis.len() as u32, snapshot.subnets.len() as u32);
            let outcomes = proptest::collection::vec(outcome(enis.max(1), subnets), 0..4);
            (Just(snapshot), outcomes).prop_map(move |(mut snapshot, mut outcomes)| {
                if enis == 0 {
                    for outcome in &mut outcomes {
                        outcome.eni = None;
                    }
                }
                snapshot.ec2.outcomes = outcomes;
                snapshot
            })
        })
}

/// The block number `at` of an ENI, as a pod could use it: never more addresses than it has.
fn lay(snapshot: &mut Snapshot, eni: usize, at: usize, (unit, counts, times, free, idle): Slot) {
    let lists = &mut snapshot.blocks;
    let place = (eni * 16 + at) as u64;
    let size = if unit == Unit::Prefix { 16 } else { 1 };
    if snapshot.node.family == Family::Ipv6 {
        lists.base_high.push(u64::MAX - 9 + eni as u64);
        lists.base.push((at as u64) << 48);
        lists
            .length
            .push(if unit == Unit::Prefix { 80 } else { 128 });
    } else {
        lists.base.push(0xfff0_0000 + place * 16);
        lists
            .length
            .push(if unit == Unit::Prefix { 28 } else { 32 });
    }
    let assigned = u32::from(counts[0]) % (size + 1);
    lists.assigned.push(assigned);
    lists
        .cooling
        .push(u32::from(counts[1]) % (size - assigned + 1));
    lists.cooling_until.push(times[0]);
    lists.idle_since.push(times[1]);
    lists.free.push(free);
    lists.releasable.push(idle);
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (option(any::<Number>()), unit(), any::<[Number; 2]>()).prop_map(
            |(subnet, unit, [blocks, card])| Request::AttachEni {
                subnet,
                unit,
                blocks,
                card
            }
        ),
        (unit(), any::<[Number; 2]>()).prop_map(|(unit, [eni, count])| Request::Grow {
            eni,
            unit,
            count
        }),
        (0..6u32, proptest::collection::vec(0..20u32, 0..4))
            .prop_map(|(eni, blocks)| Request::Release { eni, blocks }),
        (0..6u32).prop_map(|eni| Request::DetachEni { eni }),
    ]
}

fn proposal() -> impl Strategy<Value = Proposal> {
    let actions = proptest::collection::vec((request(), ".{0,9}"), 0..5);
    (
        actions,
        ".{0,9}",
        option(any::<u64>()),
        proptest::collection::vec(any::<u8>(), 0..20),
        select(vec![
            Placement::Pack,
            Placement::Spread,
            Placement::AddressesFirst,
        ]),
        any::<u8>(),
    )
        .prop_map(|(actions, reason, wake_after, memo, placement, pressure)| {
            let action = |(request, reason)| Action { request, reason };
            Proposal {
                actions: actions.into_iter().map(action).collect(),
                reason,
                wake_after,
                memo,
                placement,
                pressure,
            }
        })
}

proptest! {
    #[test]
    fn a_snapshot_survives_json_and_the_contract(snapshot in snapshot()) {
        let json = write(&SnapshotDocument::from(&snapshot)).unwrap();
        let back = read::<SnapshotDocument>(&json).unwrap().into_snapshot(|_| None).unwrap();
        prop_assert_eq!(&back, &snapshot);
        let through = convert::back::snapshot(convert::snapshot(&back));
        prop_assert_eq!(&through, &snapshot);
        prop_assert_eq!(write(&SnapshotDocument::from(&through)).unwrap(), json);
    }

    #[test]
    fn a_decision_survives_json_and_the_contract(proposal in proposal(), snapshot in snapshot()) {
        let json = write(&DecisionDocument::new(&proposal, &snapshot)).unwrap();
        let back = read::<DecisionDocument>(&json).unwrap().into_proposal();
        prop_assert_eq!(&back, &proposal);
        let through = convert::proposal(convert::back::decision(back));
        prop_assert_eq!(&through, &proposal);
        prop_assert_eq!(write(&DecisionDocument::new(&through, &snapshot)).unwrap(), json);
    }
}
