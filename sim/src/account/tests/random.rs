//! Random calls at random times: what must hold after each, and once all has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::{Cidr, EniChange, FabricEvent, PREFIX_LEN, Request, Wanted};
use super::{World, assign, attach, create};
use crate::account::Account;
use crate::account::subnet::Subnet;

/// A call, with its objects named by position so that most of them exist.
#[derive(Debug, Clone)]
enum Step {
    Create(u8, u8),
    Attach(u8, u8, u8),
    Detach(u8),
    Delete(u8),
    Assign(u8, u8, u8),
    Unassign(u8, u8),
    Move(u8, u8),
    Keep(u8),
}

fn steps() -> impl Strategy<Value = Vec<(Step, u16)>> {
    let step = prop_oneof![
        (0..4u8, 0..12u8).prop_map(|(kind, count)| Step::Create(kind, count)),
        (any::<u8>(), 0..2u8, 0..5u8).prop_map(|(eni, node, index)| Step::Attach(eni, node, index)),
        any::<u8>().prop_map(Step::Detach),
        any::<u8>().prop_map(Step::Delete),
        (any::<u8>(), 0..4u8, 0..12u8)
            .prop_map(|(eni, kind, count)| Step::Assign(eni, kind, count)),
        (any::<u8>(), any::<u8>()).prop_map(|(eni, which)| Step::Unassign(eni, which)),
        (any::<u8>(), any::<u8>()).prop_map(|(from, to)| Step::Move(from, to)),
        any::<u8>().prop_map(Step::Keep),
    ];
    prop::collection::vec((step, 0..3_000u16), 1..100)
}

fn wanted(kind: u8, count: u8) -> Wanted {
    match kind {
        0 => Wanted::Nothing,
        1 => Wanted::PrefixCount(count.into()),
        2 => Wanted::Prefixes(
            (0..count)
                .map(|it| Cidr::around([10, 0, 0, it * 16].into(), PREFIX_LEN))
                .collect(),
        ),
        _ => Wanted::AddressCount(count.into()),
    }
}

fn request(world: &World, step: &Step) -> Option<Request> {
    let enis: Vec<_> = world.account.enis().collect();
    let eni = |at: u8| enis.get(usize::from(at) % enis.len()).copied();
    Some(match step {
        Step::Create(kind, count) => create(&world.account, wanted(*kind, *count)),
        Step::Attach(at, node, index) => attach(
            &eni(*at)?.id,
            &world.instance(usize::from(*node)),
            u32::from(*index),
            0,
        ),
        Step::Detach(at) => Request::DetachNetworkInterface {
            attachment_id: eni(*at)?.attachment.as_ref()?.id.clone(),
        },
        Step::Delete(at) => Request::DeleteNetworkInterface {
            eni_id: eni(*at)?.id.clone(),
        },
        Step::Assign(at, kind, count) => assign(&eni(*at)?.id, wanted(*kind, *count)),
        Step::Unassign(at, which) => {
            let eni = eni(*at)?;
            let blocks: Vec<Cidr> = eni
                .blocks()
                .skip(usize::from(*which) % eni.slots_used())
                .collect();
            let (addresses, prefixes) = blocks
                .into_iter()
                .partition::<Vec<_>, _>(|it| it.is_address());
            let addresses = addresses.into_iter().map(Cidr::first).collect();
            Request::UnassignPrivateIpAddresses {
                eni_id: eni.id.clone(),
                addresses,
                prefixes,
            }
        }
        Step::Move(from, to) => Request::AssignPrivateIpAddresses {
            eni_id: eni(*to)?.id.clone(),
            wanted: Wanted::Addresses(eni(*from)?.addresses.iter().copied().collect()),
            allow_reassignment: true,
        },
        Step::Keep(at) => {
            let eni = eni(*at)?;
            let attachment_id = eni.attachment.as_ref()?.id.clone();
            let change = EniChange::DeleteOnTermination {
                attachment_id,
                value: true,
            };
            Request::ModifyNetworkInterfaceAttribute {
                eni_id: eni.id.clone(),
                change,
            }
        }
    })
}

/// What the account must be at any moment.
fn audit(account: &Account) {
    let mut held = BTreeSet::new();
    let mut slots = BTreeSet::new();
    let mut per_instance: BTreeMap<&str, u32> = BTreeMap::new();
    // Those of m5.large.
    let (enis_per_instance, addresses_per_eni) = (3, 10);
    for eni in account.enis() {
        for block in eni.blocks() {
            for address in block.addresses() {
                assert!(held.insert(address), "{address} is held twice");
                assert!(
                    ![0, 1, 2, 3, 255].contains(&address.octets()[3]),
                    "{address} is reserved"
                );
            }
            assert!(block.is_address() || block.length() == PREFIX_LEN);
        }
        if let Some(it) = &eni.attachment {
            assert!(
                slots.insert((&it.instance_id, it.device_index)),
                "{it:?} is taken twice"
            );
            *per_instance.entry(&it.instance_id).or_default() += 1;
            assert!(eni.slots_used() <= addresses_per_eni);
        }
    }
    assert!(
        per_instance.values().all(|it| *it <= enis_per_instance),
        "{per_instance:?}"
    );
    let books: BTreeSet<_> = account.subnets.iter().flat_map(Subnet::held).collect();
    let enis: BTreeSet<_> = account
        .enis()
        .flat_map(|it| it.blocks().map(|block| (block, it.id.as_str())))
        .collect();
    assert_eq!(books, enis, "the subnets' books and the ENIs differ");
}

/// The network, as a fabric that follows the events would have it.
#[derive(Default)]
struct Mirror(BTreeMap<String, BTreeSet<Cidr>>);

impl Mirror {
    fn follow(&mut self, events: Vec<FabricEvent>) {
        for event in events {
            match event {
                FabricEvent::DeviceAppears { eni, .. } => {
                    assert!(
                        self.0
                            .insert(eni.id.clone(), eni.blocks().collect())
                            .is_none(),
                        "{} twice",
                        eni.id
                    );
                }
                FabricEvent::DeviceVanishes { eni_id } => {
                    assert!(self.0.remove(&eni_id).is_some(), "{eni_id} was not there");
                }
                FabricEvent::Routed { eni_id, blocks } => {
                    self.0.get_mut(&eni_id).unwrap().extend(blocks);
                }
                FabricEvent::Unrouted { eni_id, blocks } => {
                    let here = self.0.get_mut(&eni_id).unwrap();
                    here.retain(|it| !blocks.contains(it));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_call_at_any_time_breaks_the_account(seed: u64, steps in steps()) {
        let mut world = World::new(seed);
        let mut mirror = Mirror::default();
        mirror.follow(world.sleep(0));
        for (step, pause_ms) in &steps {
            let Some(request) = request(&world, step) else { continue };
            let before = world.account.clone();
            let answer = world.ask(request);
            if answer.result.is_err() {
                prop_assert_eq!(before.enis, world.account.enis.clone(), "a refused {:?} changed something", step);
            }
            audit(&world.account);
            mirror.follow(world.sleep(u64::from(*pause_ms)));
            audit(&world.account);
        }
        mirror.follow(world.sleep(600_000));
        prop_assert_eq!(world.account.next_event_ms(), None);
        let expected: BTreeMap<_, BTreeSet<_>> = world.account.enis()
            .filter(|it| it.attachment.is_some())
            .map(|it| (it.id.clone(), it.blocks().collect()))
            .collect();
        prop_assert_eq!(mirror.0, expected, "the network is not what the account says");
        for node in 0..2 {
            let instance = world.instance(node);
            let seen: BTreeMap<_, BTreeSet<_>> = world.account.imds(world.now_ms, &instance).unwrap().enis
                .into_iter().map(|(it, _)| (it.id.clone(), it.blocks().collect())).collect();
            let here: BTreeMap<_, BTreeSet<_>> = world.account.enis().filter(|it| it.is_on(&instance))
                .map(|it| (it.id.clone(), it.blocks().collect())).collect();
            prop_assert_eq!(seen, here, "the metadata never catches up");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_answers(seed: u64, steps in steps()) {
        let mut worlds = [World::new(seed), World::new(seed)];
        for (step, pause_ms) in &steps {
            let answers = worlds.each_mut().map(|world| {
                let answer = request(world, step).map(|it| world.ask(it));
                (answer, world.sleep(u64::from(*pause_ms)))
            });
            prop_assert_eq!(&answers[0], &answers[1]);
        }
    }
}
