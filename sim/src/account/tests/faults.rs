//! The faults of the catalogue that are more than a refusal: what they do to the account and to replies.

use super::{Account, Describe, Page, Reply, Wanted, World, assign, filter};
use crate::account::{Cidr, Fault, FaultName, Request, Spoilt, Stage};

fn switch_on(world: &mut World, name: FaultName, delay_ms: u64) {
    let fault = Fault {
        count: Some(1),
        delay_ms,
        ..Fault::new(name)
    };
    world.account.inject(world.now_ms, fault);
}

fn struck(account: &Account) -> u32 {
    account.faults().iter().map(|it| it.struck).sum()
}

#[test]
fn a_reply_is_spoilt_in_each_of_its_ways_after_the_call_took_effect() {
    let spoils = [
        (FaultName::ReplyLost, Spoilt::Broken),
        (FaultName::TruncatedXml, Spoilt::Truncated),
        (FaultName::ShortBody, Spoilt::Short),
        (FaultName::WrongRoot, Spoilt::WrongRoot),
        (FaultName::Html502, Spoilt::Html),
        (FaultName::ErrorBodyWith200, Spoilt::ErrorBody),
        (FaultName::Garbage, Spoilt::Garbage),
    ];
    let unheard = FaultName::ALL
        .iter()
        .filter(|it| it.stage() == Stage::Unheard);
    // The other two are an error document and a late reply.
    assert_eq!(unheard.count(), spoils.len() + 2);
    let mut world = World::new(31);
    let eni = world.primary(0).id;
    for (held, (name, spoilt)) in spoils.into_iter().enumerate() {
        switch_on(&mut world, name, 0);
        let answer = world.ask(assign(&eni, Wanted::AddressCount(1)));
        assert_eq!((answer.lost, answer.spoilt), (true, Some(spoilt)));
        assert_eq!(world.eni(&eni).addresses.len(), held + 1);
    }
}

#[test]
fn a_call_that_hangs_or_is_lost_has_not_reached_the_account() {
    let mut world = World::new(32);
    let eni = world.primary(0).id;
    for (name, hangs) in [(FaultName::Hang, true), (FaultName::RequestLost, false)] {
        switch_on(&mut world, name, 20_000);
        let answer = world.ask(assign(&eni, Wanted::AddressCount(1)));
        assert!(answer.lost && answer.result.is_err());
        assert_eq!(answer.latency_ms == 20_000, hangs);
        assert!(world.eni(&eni).addresses.is_empty());
    }
    assert_eq!(world.account.counts().count(), 0);
}

#[test]
fn less_or_more_than_was_asked_for_comes_back_from_an_assign() {
    let mut world = World::new(33);
    let eni = world.primary(0);
    let given = |reply: Reply| match reply {
        Reply::Assigned { addresses, .. } => addresses,
        other => panic!("{other:?}"),
    };
    switch_on(&mut world, FaultName::PartialAssign, 0);
    let first = given(world.assign(&eni.id, Wanted::AddressCount(3)).unwrap());
    assert_eq!(first.len(), 2);
    switch_on(&mut world, FaultName::AssignReturnsKnown, 0);
    let all = given(world.assign(&eni.id, Wanted::AddressCount(1)).unwrap());
    assert_eq!(all.len(), 4);
    assert!(all.contains(&eni.primary) && first.iter().all(|it| all.contains(it)));
}

#[test]
fn a_stale_read_shows_the_account_as_it_was() {
    let mut world = World::new(34);
    world.sleep(10_000);
    let eni = world.primary(0).id;
    world.assign(&eni, Wanted::AddressCount(1)).unwrap();
    let seen = |world: &mut World| match world
        .try_call(Request::DescribeNetworkInterfaces(filter(
            "network-interface-id",
            &eni,
        )))
        .unwrap()
    {
        Reply::Enis(page) => page.items[0].addresses.len(),
        other => panic!("{other:?}"),
    };
    switch_on(&mut world, FaultName::StaleRead, 5_000);
    assert_eq!(seen(&mut world), 0);
    assert_eq!(seen(&mut world), 1);
}

#[test]
fn pages_in_pieces_add_up_to_the_whole_list() {
    let mut world = World::new(35);
    world.account.inject(0, Fault::new(FaultName::PartialPage));
    let (mut found, mut pages, mut next_token) = (Vec::new(), 0, None);
    loop {
        let request = Describe {
            max_results: Some(1000),
            next_token,
            ..Describe::default()
        };
        let Reply::Enis(Page {
            items,
            next_token: next,
        }) = world
            .try_call(Request::DescribeNetworkInterfaces(request))
            .unwrap()
        else {
            panic!("something else than ENIs");
        };
        pages += 1;
        found.extend(items);
        next_token = next;
        if next_token.is_none() {
            break;
        }
    }
    assert_eq!((found.len(), pages), (2, 3));
}

#[test]
fn an_eni_that_a_neighbour_deletes_is_not_found_at_its_attach() {
    let mut world = World::new(36);
    let eni = world.create(Wanted::Nothing);
    switch_on(&mut world, FaultName::EniStolenByNeighbour, 0);
    let code = world.attach(&eni, 1).unwrap_err().code;
    assert_eq!(code, "InvalidNetworkInterfaceID.NotFound");
    assert!(world.account.enis().all(|it| it.id != eni.id));
}

#[test]
fn a_device_may_never_come_though_the_attachment_is_made() {
    let mut world = World::new(37);
    world.sleep(0);
    let eni = world.create(Wanted::Nothing);
    switch_on(&mut world, FaultName::AttachDeviceNever, 0);
    world.attach(&eni, 1).unwrap();
    assert!(world.sleep(3_600_000).is_empty());
    let status = world.eni(&eni.id).attachment.unwrap().status;
    assert_eq!(status.name(), "attached");
}

#[test]
fn a_stuck_detach_ends_late() {
    let mut world = World::new(38);
    let eni = world.create(Wanted::Nothing);
    let attachment_id = world.attach(&eni, 1).unwrap();
    world.sleep(60_000);
    switch_on(&mut world, FaultName::DetachStuck, 200_000);
    world
        .try_call(Request::DetachNetworkInterface { attachment_id })
        .unwrap();
    world.sleep(190_000);
    assert!(world.eni(&eni.id).attachment.is_some());
    world.sleep(60_000);
    assert!(world.eni(&eni.id).attachment.is_none());
}

#[test]
fn what_happens_behind_everybodys_back_is_done_when_it_is_switched_on() {
    let mut world = World::new(39);
    let primary = world.primary(0);
    let eni = world.create(Wanted::AddressCount(2));
    world.attach(&eni, 1).unwrap();
    world.sleep(60_000);
    world.assign(&eni.id, Wanted::PrefixCount(1)).unwrap();
    let behind = |world: &mut World, name| {
        let before = struck(&world.account);
        switch_on(world, name, 0);
        assert_eq!(struck(&world.account), before + 1, "{name:?} acted");
    };
    behind(&mut world, FaultName::AddressUnassigned);
    assert_eq!(world.eni(&eni.id).addresses.len(), 1);
    behind(&mut world, FaultName::AddressMoved);
    assert!(world.eni(&eni.id).addresses.is_empty());
    behind(&mut world, FaultName::PrefixUnassigned);
    assert!(world.eni(&eni.id).prefixes.is_empty());
    behind(&mut world, FaultName::NoManageToggled);
    let no_manage = "node.k8s.amazonaws.com/no_manage";
    assert!(world.eni(&eni.id).tags.contains_key(no_manage));
    behind(&mut world, FaultName::NoManageToggled);
    assert!(!world.eni(&eni.id).tags.contains_key(no_manage));
    behind(&mut world, FaultName::DeleteOnTerminationLost);
    behind(&mut world, FaultName::EniDeleted);
    assert!(world.account.enis().all(|it| it.id != eni.id));
    behind(&mut world, FaultName::UntaggedEni);
    behind(&mut world, FaultName::ForeignEni);
    let foreign = world
        .account
        .enis()
        .filter(|it| it.description == "somebody else's");
    let attached = foreign.filter(|it| it.attachment.is_some());
    assert_eq!(attached.count(), 2);
    behind(&mut world, FaultName::GroupsChanged);
    behind(&mut world, FaultName::VpcCidrAdded);
    let id = world.instance(0);
    let view = world.account.imds(world.now_ms, &id).unwrap();
    let added: Cidr = "100.64.0.0/16".parse().unwrap();
    assert!(view.vpc_cidrs.contains(&added));
    // Nothing is left for it to act on.
    let before = struck(&world.account);
    switch_on(&mut world, FaultName::PrefixUnassigned, 0);
    assert_eq!(struck(&world.account), before);
    assert_eq!(world.eni(&primary.id).primary, primary.primary);
}

#[test]
fn a_ghost_stays_in_the_metadata_for_ever() {
    let mut world = World::new(40);
    let eni = world.create(Wanted::Nothing);
    world.attach(&eni, 1).unwrap();
    world.sleep(120_000);
    world.account.inject(0, Fault::new(FaultName::ImdsGhostEni));
    switch_on(&mut world, FaultName::EniDeleted, 0);
    // Deleted is one of the two nodes' only secondary ENI.
    assert!(world.account.enis().all(|it| it.id != eni.id));
    world.sleep(3_600_000);
    let id = world.instance(0);
    let view = world.account.imds(world.now_ms, &id).unwrap();
    assert!(view.enis.iter().any(|(it, _)| it.id == eni.id));
}

#[test]
fn metadata_trouble_is_for_the_node_it_was_switched_on_for() {
    let mut world = World::new(41);
    let fault = Fault {
        node: Some("node-0".into()),
        ..Fault::new(FaultName::Imds401)
    };
    world.account.inject(0, fault);
    assert!(world.account.imds_trouble(0, "node-0").is_some());
    assert!(world.account.imds_trouble(0, "node-1").is_none());
}
