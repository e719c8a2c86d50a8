//! The client against moto, where moto is faithful: an ENI's life, listings, tags, codes of refusals.

use onsen_harness::moto::Moto;

use super::*;

/// The text of the first element of that name.
fn first(document: &str, name: &str) -> String {
    let (_, rest) = document.split_once(&format!("<{name}>")).unwrap();
    rest.split_once('<').unwrap().0.to_owned()
}

#[tokio::test]
async fn an_eni_lives_and_ends_in_moto_as_in_ec2() {
    let Some(moto) = Moto::start_or_say_why_not("an_eni_lives_and_ends_in_moto_as_in_ec2") else {
        return;
    };
    moto.ask(Moto::RUN_INSTANCE).unwrap();
    let instances = moto
        .ask("Action=DescribeInstances&Version=2016-11-15")
        .unwrap();
    let subnet = first(&instances, "subnetId");
    let owner = Owner {
        instance: first(&instances, "instanceId"),
        primary: EniId::new(first(&instances, "networkInterfaceId")),
        manage_untagged: true,
    };
    let group = first(&instances, "groupId");
    let place = Place {
        subnet: SubnetId::new(&*subnet),
        vpc: first(&instances, "vpcId"),
        zone: first(&instances, "availabilityZone"),
        discovery: true,
    };
    let ec2 = ec2_of(&moto.endpoint(), owner.clone(), place, &group);

    let limits = ec2.limits("m5.large").await.unwrap();
    assert_eq!(
        (limits.enis, limits.slots_per_eni, limits.prefixes),
        (3, 9, true)
    );

    let create = Ec2Request::CreateEni {
        subnet: SubnetId::new(&*subnet),
        unit: Unit::Address,
        blocks: 2,
    };
    let made = ec2.perform(IntentId(1), &create).await;
    let Ec2Outcome::Done(Ec2Gave::Eni(made)) = made else {
        panic!("{made:?}");
    };
    assert_eq!((made.ours, made.blocks.len()), (true, 2));
    let look = ec2.look().await.unwrap();
    assert_eq!(look.attached.len(), 1);
    assert_eq!(look.attached[0].role, Role::Primary);
    assert_eq!(look.detached, [(*made).clone()]);
    assert_eq!(look.subnets.len(), 1);

    let attach = Ec2Request::AttachEni {
        eni: made.id.clone(),
        device_index: 1,
        card: 0,
    };
    let attached = ec2.perform(IntentId(2), &attach).await;
    let Ec2Outcome::Done(Ec2Gave::Attachment(attachment)) = attached else {
        panic!("{attached:?}");
    };
    // Not whether moto keeps the flag: it does not. That the request is understood.
    let flag = Ec2Request::SetDeleteOnTermination {
        eni: made.id.clone(),
        attachment: attachment.clone(),
    };
    let flagged = ec2.perform(IntentId(3), &flag).await;
    assert_eq!(flagged, Ec2Outcome::Done(Ec2Gave::Nothing));
    let look = ec2.look().await.unwrap();
    let seen = look.attached.iter().find(|eni| eni.id == made.id).unwrap();
    let at = seen.attachment.as_ref().unwrap();
    assert_eq!((&at.id, at.device_index), (&attachment, 1));
    assert!(look.detached.is_empty());

    // moto lists all addresses of the ENI, its own too; the core takes the new ones.
    let assign = Ec2Request::Assign {
        eni: made.id.clone(),
        unit: Unit::Address,
        count: 1,
    };
    let assigned = ec2.perform(IntentId(4), &assign).await;
    let Ec2Outcome::Done(Ec2Gave::Blocks(blocks)) = assigned else {
        panic!("{assigned:?}");
    };
    let new = blocks
        .into_iter()
        .filter(|block| !made.blocks.contains(block) && *block != Cidr::single(made.primary));
    let blocks: Vec<Cidr> = new.collect();
    assert_eq!(blocks.len(), 1);
    let unassign = Ec2Request::Unassign {
        eni: made.id.clone(),
        blocks,
    };
    let unassigned = ec2.perform(IntentId(5), &unassign).await;
    assert_eq!(unassigned, Ec2Outcome::Done(Ec2Gave::Nothing));

    ec2.follow_groups(std::slice::from_ref(&group))
        .await
        .unwrap();
    let detach = Ec2Request::DetachEni {
        eni: made.id.clone(),
        attachment,
    };
    let delete = Ec2Request::DeleteEni {
        eni: made.id.clone(),
    };
    for request in [&detach, &delete] {
        let outcome = ec2.perform(IntentId(6), request).await;
        assert_eq!(outcome, Ec2Outcome::Done(Ec2Gave::Nothing), "{request:?}");
    }
    for (request, expected) in [
        (&delete, "InvalidNetworkInterfaceID.NotFound"),
        (&detach, "InvalidAttachmentID.NotFound"),
        (&assign, "InvalidNetworkInterfaceID.NotFound"),
    ] {
        let outcome = ec2.perform(IntentId(7), request).await;
        assert_eq!(code(&outcome), expected, "{request:?}");
    }
    assert_eq!(ec2.look().await.unwrap().attached.len(), 1);
}
