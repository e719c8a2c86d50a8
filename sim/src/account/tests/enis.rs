//! The life of an ENI.

use super::{World, assign, attach, delete, detach};
use crate::account::{
    AttachmentStatus, EniChange, EniStatus, FabricEvent, Fault, FaultName, InstanceState, Reply,
    Request, Wanted,
};

#[test]
fn the_primary_enis_are_there_from_the_start() {
    let mut world = World::new(1);
    let events = world.sleep(0);
    let names: Vec<&str> = events
        .iter()
        .map(|it| match it {
            FabricEvent::DeviceAppears { node, eni } => {
                assert_eq!(eni.attachment.as_ref().unwrap().device_index, 0);
                node.as_str()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["node-0", "node-1"]);
    let primary = world.primary(0);
    assert_eq!(
        world.account.instance_at(primary.primary),
        Some(world.instance(0).as_str())
    );
}

#[test]
fn an_eni_lives_from_create_over_attach_and_detach_to_delete() {
    let mut world = World::new(2);
    world.sleep(0);
    let eni = world.create(Wanted::AddressCount(3));
    assert_eq!((eni.status, eni.addresses.len()), (EniStatus::Pending, 3));
    world.sleep(10_000);
    assert_eq!(world.eni(&eni.id).status, EniStatus::Available);

    let attachment = world.attach(&eni, 1).unwrap();
    let attached = world.eni(&eni.id).attachment.unwrap();
    assert_eq!(
        (attached.status, attached.delete_on_termination),
        (AttachmentStatus::Attaching, false)
    );
    let refusal = world.try_call(delete(&eni.id)).unwrap_err();
    assert_eq!(
        refusal.message,
        format!("Network interface '{}' is currently in use.", eni.id)
    );
    let events = world.sleep(60_000);
    assert!(
        matches!(events.as_slice(), [FabricEvent::DeviceAppears { node, eni: it }] if node == "node-0" && it.addresses == eni.addresses)
    );
    assert_eq!(
        world.eni(&eni.id).attachment.unwrap().status,
        AttachmentStatus::Attached
    );

    assert_eq!(world.try_call(detach(&attachment)), Ok(Reply::Done));
    assert_eq!(world.code(detach(&attachment)), "IncorrectState");
    assert_eq!(
        world.code(assign(&eni.id, Wanted::AddressCount(1))),
        "IncorrectState"
    );
    assert_eq!(
        world.sleep(60_000),
        [FabricEvent::DeviceVanishes {
            eni_id: eni.id.clone()
        }]
    );
    assert_eq!(world.eni(&eni.id).attachment, None);
    assert_eq!(
        world.code(detach(&attachment)),
        "InvalidAttachmentID.NotFound"
    );

    let free = world.account.subnets().next().unwrap().available_addresses;
    assert_eq!(world.try_call(delete(&eni.id)), Ok(Reply::Done));
    assert_eq!(
        world.account.subnets().next().unwrap().available_addresses,
        free + 4
    );
    assert_eq!(
        world.code(delete(&eni.id)),
        "InvalidNetworkInterfaceID.NotFound"
    );
}

#[test]
fn a_detach_before_the_device_shows_up_means_it_never_does() {
    let mut world = World::new(3);
    world.sleep(0);
    let eni = world.create(Wanted::Nothing);
    let attachment = world.attach(&eni, 1).unwrap();
    world.try_call(detach(&attachment)).unwrap();
    assert_eq!(world.sleep(120_000), []);
    assert_eq!(world.eni(&eni.id).status, EniStatus::Available);
}

#[test]
fn attaching_keeps_to_the_instance_types_limits() {
    let mut world = World::new(4);
    let instance = world.instance(0);
    let enis: Vec<_> = (0..4).map(|_| world.create(Wanted::Nothing)).collect();
    world.attach(&enis[0], 1).unwrap();
    let taken = world.attach(&enis[1], 1).unwrap_err();
    assert_eq!(
        taken.message,
        format!("Instance '{instance}' already has an interface attached at device index '1'.")
    );
    assert_eq!(
        world.attach(&enis[0], 2).unwrap_err().code,
        "InvalidNetworkInterface.InUse"
    );
    world.attach(&enis[1], 7).unwrap();
    let full = world.attach(&enis[2], 2).unwrap_err();
    assert_eq!(
        (full.code, full.message.as_str()),
        (
            "AttachmentLimitExceeded",
            "Interface count 4 exceeds the limit for m5.large"
        )
    );
    let other = world.instance(1);
    assert_eq!(
        world.code(attach(&enis[2].id, &other, 1, 1)),
        "InvalidParameterValue"
    );
    assert_eq!(
        world.code(attach("eni-0", &other, 1, 0)),
        "InvalidNetworkInterfaceID.NotFound"
    );
    assert_eq!(
        world.code(attach(&enis[2].id, "i-0", 1, 0)),
        "InvalidInstanceID.NotFound"
    );
    let crowded = world.create(Wanted::AddressCount(10));
    assert_eq!(
        world.code(attach(&crowded.id, &other, 1, 0)),
        "PrivateIpAddressLimitExceeded"
    );
    let primary = world.primary(0).attachment.unwrap().id;
    assert_eq!(world.code(detach(&primary)), "OperationNotPermitted");
}

#[test]
fn device_indexes_and_limits_are_per_network_card() {
    let mut world = World::with(5, "p4d.24xlarge", "10.0.0.0/22");
    let instance = world.instance(0);
    for card in 0..4 {
        for index in u32::from(card == 0)..15 {
            let eni = world.create(Wanted::Nothing);
            // Attach has a bucket of 50.
            world.sleep(1_000);
            world
                .try_call(attach(&eni.id, &instance, index, card))
                .unwrap();
        }
        let eni = world.create(Wanted::Nothing);
        world.sleep(1_000);
        assert_eq!(
            world.code(attach(&eni.id, &instance, 20, card)),
            "AttachmentLimitExceeded"
        );
    }
}

#[test]
fn modify_changes_one_attribute_and_tags_add_up() {
    let mut world = World::new(15);
    let eni = world.create(Wanted::Nothing);
    let attachment_id = world.attach(&eni, 1).unwrap();
    let modify = |change| Request::ModifyNetworkInterfaceAttribute {
        eni_id: eni.id.clone(),
        change,
    };
    let flag = |id: &str| EniChange::DeleteOnTermination {
        attachment_id: id.into(),
        value: true,
    };
    assert_eq!(
        world.code(modify(flag("eni-attach-0"))),
        "InvalidAttachmentID.NotFound"
    );
    world.try_call(modify(flag(&attachment_id))).unwrap();
    assert!(world.eni(&eni.id).attachment.unwrap().delete_on_termination);
    let groups = world.primary(0).groups;
    assert_ne!(eni.groups, groups);
    world
        .try_call(modify(EniChange::Groups(groups.clone())))
        .unwrap();
    assert_eq!(world.eni(&eni.id).groups, groups);
    assert_eq!(
        world.code(modify(EniChange::Groups(vec!["sg-0".into()]))),
        "InvalidGroup.NotFound"
    );

    let tag = |tags: Vec<(String, String)>| Request::CreateTags {
        resources: vec![eni.id.clone()],
        tags,
    };
    world
        .try_call(tag(vec![
            ("owner".into(), "me".into()),
            ("b".into(), String::new()),
        ]))
        .unwrap();
    assert_eq!(world.eni(&eni.id).tags.len(), 2);
    assert_eq!(
        world.code(tag(vec![("aws:x".into(), String::new())])),
        "InvalidParameterValue"
    );
    let many = (0..49)
        .map(|it| (format!("k{it}"), String::new()))
        .collect();
    assert_eq!(world.code(tag(many)), "TagLimitExceeded");
}

#[test]
fn terminating_an_instance_leaves_only_enis_that_are_to_stay() {
    let mut world = World::new(16);
    world.sleep(0);
    let (stays, goes) = (world.create(Wanted::Nothing), world.create(Wanted::Nothing));
    world.attach(&stays, 1).unwrap();
    let attachment_id = world.attach(&goes, 2).unwrap();
    let change = EniChange::DeleteOnTermination {
        attachment_id,
        value: true,
    };
    world
        .try_call(Request::ModifyNetworkInterfaceAttribute {
            eni_id: goes.id.clone(),
            change,
        })
        .unwrap();
    world.sleep(60_000);
    let instance = world.instance(0);
    world.account.terminate(world.now_ms, &instance).unwrap();
    assert_eq!(world.sleep(60_000).len(), 3);
    assert_eq!(world.eni(&stays.id).status, EniStatus::Available);
    assert!(
        !world
            .account
            .enis()
            .any(|it| it.id == goes.id || it.is_on(&instance))
    );
    assert!(
        world
            .account
            .instances()
            .any(|it| it.state == InstanceState::Terminated)
    );
    let eni = world.create(Wanted::Nothing);
    assert_eq!(
        world.attach(&eni, 1).unwrap_err().code,
        "IncorrectInstanceState"
    );
}

#[test]
fn a_late_device_does_not_hold_up_its_attachment() {
    let mut world = World::new(23);
    world.sleep(0);
    let eni = world.create(Wanted::Nothing);
    world.account.inject(
        0,
        Fault {
            delay_ms: 100_000,
            ..Fault::new(FaultName::AttachDeviceLate)
        },
    );
    world.attach(&eni, 1).unwrap();
    assert_eq!(world.sleep(60_000), []);
    assert_eq!(
        world.eni(&eni.id).attachment.unwrap().status,
        AttachmentStatus::Attached
    );
    assert_eq!(world.sleep(60_000).len(), 1);
}
