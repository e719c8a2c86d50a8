//! What befalls any call: tokens, throttling, dry runs, faults.

use super::{World, assign, config, create, delete, detach, filter};
use crate::account::{
    Account, Call, Config, ConfigError, CreateEni, Describe, Fault, FaultName, Operation, Reply,
    Request, Wanted,
};

#[test]
fn a_client_token_gives_the_same_eni_again_for_a_day() {
    let mut world = World::new(12);
    let request =
        |world: &World, description: &str| match create(&world.account, Wanted::AddressCount(2)) {
            Request::CreateNetworkInterface(it) => Request::CreateNetworkInterface(CreateEni {
                client_token: Some("intent-1".into()),
                description: description.into(),
                ..it
            }),
            other => panic!("{other:?}"),
        };
    let id = |reply| match reply {
        Reply::Created { eni, client_token } => {
            assert_eq!(client_token, "intent-1");
            eni.id
        }
        other => panic!("{other:?}"),
    };
    let (same, different) = (request(&world, "a"), request(&world, "b"));
    let first = id(world.try_call(same.clone()).unwrap());
    let count = world.account.enis().count();
    assert_eq!(id(world.try_call(same.clone()).unwrap()), first);
    assert_eq!(world.code(different), "IdempotentParameterMismatch");
    assert_eq!(world.account.enis().count(), count);
    world.sleep(24 * 3_600_000);
    assert_ne!(id(world.try_call(same).unwrap()), first);
}

#[test]
fn buckets_empty_refill_and_are_separate() {
    let mut world = World::new(13);
    let code = |world: &mut World| world.code(detach("eni-attach-0"));
    for _ in 0..50 {
        assert_eq!(code(&mut world), "InvalidAttachmentID.NotFound");
    }
    let refusal = world.try_call(detach("eni-attach-0")).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.status),
        ("RequestLimitExceeded", 503)
    );
    assert_eq!(
        world.code(delete("eni-0")),
        "InvalidNetworkInterfaceID.NotFound"
    );
    world.now_ms += 1_000;
    for _ in 0..5 {
        assert_eq!(code(&mut world), "InvalidAttachmentID.NotFound");
    }
    assert_eq!(code(&mut world), "RequestLimitExceeded");

    let plain = || Request::DescribeNetworkInterfaces(Describe::default());
    let filtered = || Request::DescribeNetworkInterfaces(filter("status", "in-use"));
    for _ in 0..50 {
        world.try_call(plain()).unwrap();
    }
    assert_eq!(world.code(plain()), "RequestLimitExceeded");
    for _ in 0..100 {
        world.try_call(filtered()).unwrap();
    }
    assert_eq!(world.code(filtered()), "RequestLimitExceeded");
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut world = World::new(20);
    let count = world.account.enis().count();
    let call = Call {
        node: None,
        dry_run: true,
        request: create(&world.account, Wanted::Nothing),
    };
    let refusal = world.account.call(0, &call).result.unwrap_err();
    assert_eq!((refusal.code, refusal.status), ("DryRunOperation", 412));
    assert_eq!(world.account.enis().count(), count);
}

#[test]
fn each_fault_acts_at_its_own_point() {
    use FaultName as F;
    let addresses = || Wanted::AddressCount(1);
    // Fault, what is asked, the error's code, whether the ENI gets something, whether the reply is lost.
    let table = [
        (
            F::Throttle,
            addresses(),
            Some("RequestLimitExceeded"),
            false,
            false,
        ),
        (
            F::Denied,
            addresses(),
            Some("UnauthorizedOperation"),
            false,
            false,
        ),
        (
            F::InternalError,
            addresses(),
            Some("InternalError"),
            false,
            false,
        ),
        (
            F::InternalErrorApplied,
            addresses(),
            Some("InternalError"),
            true,
            false,
        ),
        (F::ReplyLost, addresses(), None, true, true),
        (F::SlowReply, addresses(), None, true, false),
        (
            F::SubnetExhausted,
            addresses(),
            Some("InsufficientFreeAddressesInSubnet"),
            false,
            false,
        ),
        (
            F::SubnetExhausted,
            Wanted::PrefixCount(1),
            Some("InsufficientCidrBlocks"),
            false,
            false,
        ),
        (
            F::PrefixFragmented,
            Wanted::PrefixCount(1),
            Some("InsufficientCidrBlocks"),
            false,
            false,
        ),
        (F::PrefixFragmented, addresses(), None, true, false),
        (F::AttachDeviceLate, addresses(), None, true, false),
    ];
    for (name, wanted, code, applied, lost) in table {
        let mut world = World::new(21);
        let eni = world.primary(0).id;
        world.account.inject(
            0,
            Fault {
                count: Some(1),
                ..Fault::new(name)
            },
        );
        let answer = world.ask(assign(&eni, wanted.clone()));
        assert_eq!(
            answer.result.as_ref().err().map(|it| it.code),
            code,
            "{name:?}"
        );
        assert_eq!(
            (world.eni(&eni).slots_used() == 2, answer.lost),
            (applied, lost),
            "{name:?}"
        );
        assert_eq!(
            answer.latency_ms >= 30_000,
            name == F::SlowReply,
            "{name:?}"
        );
        // Struck once: the next call is well, when the fault was for this call at all.
        world.assign(&eni, addresses()).unwrap();
    }
}

#[test]
fn a_fault_strikes_only_the_operation_node_and_time_it_is_for() {
    let mut world = World::new(22);
    let call = |node: &str, request: Request| Call {
        node: Some(node.into()),
        dry_run: false,
        request,
    };
    let subnets = || Request::DescribeSubnets(Describe::default());
    let fault = Fault {
        operation: Some(Operation::DescribeSubnets),
        node: Some("node-1".into()),
        duration_ms: Some(1_000),
        ..Fault::new(FaultName::Denied)
    };
    world.account.inject(0, fault);
    let denied =
        |world: &mut World, now_ms, call: &Call| world.account.call(now_ms, call).result.is_err();
    assert!(!denied(&mut world, 0, &call("node-0", subnets())));
    assert!(!denied(
        &mut world,
        0,
        &call("node-1", Request::DescribeInstances(Describe::default()))
    ));
    assert!(denied(&mut world, 0, &call("node-1", subnets())));
    assert!(!denied(&mut world, 1_000, &call("node-1", subnets())));
    let counts: Vec<_> = world
        .account
        .counts()
        .map(|(node, operation, it)| (node.unwrap().to_owned(), operation, it.accepted, it.refused))
        .collect();
    assert!(counts.contains(&("node-1".to_owned(), Operation::DescribeSubnets, 1, 1)));
}

#[test]
fn an_account_that_makes_no_sense_is_refused() {
    let broken = |change: fn(&mut Config)| {
        let mut config = config("m5.large", "10.0.0.0/24");
        change(&mut config);
        Account::new(config, 1, 0).unwrap_err()
    };
    assert!(matches!(
        broken(|it| it.vpc_cidr = "10.1.0.0/16".parse().unwrap()),
        ConfigError::OutsideVpc(..)
    ));
    assert!(matches!(
        broken(|it| it.subnets.push(it.subnets[0].clone())),
        ConfigError::Overlap(..)
    ));
    assert!(matches!(
        broken(|it| it.nodes[1].subnet = 1),
        ConfigError::NoSubnet(..)
    ));
    assert!(matches!(
        broken(|it| it.nodes[1].name = "node-0".into()),
        ConfigError::SameName(..)
    ));
    assert!(matches!(
        broken(|it| it.nodes[1].instance_type = "m5".into()),
        ConfigError::NoInstanceType(..)
    ));
    assert!(matches!(
        broken(|it| it.latency_scale = f64::NAN),
        ConfigError::Scale(..)
    ));
    assert!(matches!(
        broken(|it| it.subnets[0].cidr = "10.0.0.0/29".parse().unwrap()),
        ConfigError::SubnetSize(..)
    ));
}
