//! Who sees what, and when: listings and metadata.

use super::{World, assigned, config, enis, filter, unassign};
use crate::account::{Account, Describe, Request, Wanted};

#[test]
fn describe_takes_ids_or_filters_or_pages() {
    let mut world = World::new(14);
    let made: Vec<_> = (0..11).map(|_| world.create(Wanted::Nothing).id).collect();
    let ask =
        |world: &mut World, it: Describe| world.try_call(Request::DescribeNetworkInterfaces(it));
    let ids = |ids: &[&str]| Describe {
        ids: ids.iter().map(|it| (*it).to_owned()).collect(),
        ..Describe::default()
    };
    assert_eq!(
        enis(ask(&mut world, ids(&[&made[3]])).unwrap()).0,
        [made[3].clone()]
    );
    let missing = ask(&mut world, ids(&[&made[0], "eni-0bad"])).unwrap_err();
    assert_eq!(
        missing.message,
        "The networkInterface ID 'eni-0bad' does not exist"
    );
    let both = Describe {
        max_results: Some(5),
        ..ids(&[&made[0]])
    };
    assert_eq!(
        ask(&mut world, both).unwrap_err().code,
        "InvalidParameterCombination"
    );

    let instance = world.instance(0);
    assert_eq!(
        enis(ask(&mut world, filter("attachment.instance-id", &instance)).unwrap())
            .0
            .len(),
        1
    );
    assert_eq!(
        enis(ask(&mut world, filter("tag-key", "owner")).unwrap())
            .0
            .len(),
        11
    );
    assert_eq!(
        enis(ask(&mut world, filter("tag:owner", "t*")).unwrap())
            .0
            .len(),
        11
    );
    assert_eq!(
        enis(ask(&mut world, filter("tag:owner", "x")).unwrap())
            .0
            .len(),
        0
    );
    assert_eq!(
        ask(&mut world, filter("colour", "red")).unwrap_err().code,
        "InvalidParameterValue"
    );

    let (mut all, mut token, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = Describe {
            max_results: Some(5),
            next_token: token,
            ..filter("tag-key", "owner")
        };
        let (ids, next) = enis(ask(&mut world, page).unwrap());
        all.extend(ids);
        pages += 1;
        token = next;
        if token.is_none() {
            break;
        }
    }
    let mut expected = made;
    expected.sort();
    assert_eq!((pages, all), (3, expected));
    let bad = Describe {
        next_token: Some("nonsense".into()),
        ..Describe::default()
    };
    assert_eq!(ask(&mut world, bad).unwrap_err().code, "InvalidNextToken");
    let small = Describe {
        max_results: Some(4),
        ..Describe::default()
    };
    assert_eq!(
        ask(&mut world, small).unwrap_err().code,
        "InvalidParameterValue"
    );
}

#[test]
fn the_metadata_shows_an_eni_first_and_its_addresses_later() {
    let mut world = World::new(17);
    let eni = world.create(Wanted::AddressCount(4));
    world.sleep(10_000);
    world.attach(&eni, 1).unwrap();
    let instance = world.instance(0);
    let mut shown = Vec::new();
    for _ in 0..600 {
        world.sleep(100);
        let view = world.account.imds(world.now_ms, &instance).unwrap();
        let here = view
            .enis
            .iter()
            .find(|(it, _)| it.id == eni.id)
            .map(|(it, _)| it.addresses.len());
        if shown.last() != Some(&here) {
            shown.push(here);
        }
    }
    assert_eq!(shown, [None, Some(0), Some(4)]);
    assert!(
        world
            .account
            .imds(world.now_ms, &world.instance(1))
            .unwrap()
            .enis
            .iter()
            .all(|(it, _)| it.id != eni.id)
    );
}

#[test]
fn the_metadata_still_lists_what_was_just_unassigned() {
    let mut world = World::new(18);
    let (eni, instance) = (world.primary(0).id, world.instance(0));
    let (addresses, _) = assigned(world.assign(&eni, Wanted::AddressCount(2)).unwrap());
    world.sleep(60_000);
    world
        .try_call(unassign(&eni, addresses.clone(), vec![]))
        .unwrap();
    let shown = |world: &mut World| {
        world.account.imds(world.now_ms, &instance).unwrap().enis[0]
            .0
            .addresses
            .len()
    };
    assert_eq!(shown(&mut world), 2);
    world.sleep(120_000);
    assert_eq!(shown(&mut world), 0);
}

#[test]
fn a_describe_may_be_behind_and_catches_up() {
    let mut config = config("m5.large", "10.0.0.0/24");
    config.read_lag_scale = 1.0;
    let mut world = World {
        account: Account::new(config, 19, 0).unwrap(),
        now_ms: 100_000,
    };
    let eni = world.create(Wanted::Nothing).id;
    let ask = Request::DescribeNetworkInterfaces(Describe {
        ids: vec![eni],
        ..Describe::default()
    });
    assert_eq!(
        world.code(ask.clone()),
        "InvalidNetworkInterfaceID.NotFound"
    );
    world.sleep(30_000);
    world.try_call(ask).unwrap();
}
