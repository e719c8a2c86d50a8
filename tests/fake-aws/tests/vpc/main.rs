//! The running program, seen from inside its nodes: real HTTP, real devices, real packets.
//!
//! Each test runs this executable again in network and mount namespaces of its own, so that nothing it makes can
//! be seen outside or outlive it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![expect(
    clippy::unused_self,
    reason = "what happens in a lab needs the lab to be there"
)]

mod lab;

use serde_json::{Value, json};

use crate::lab::{Lab, Response, inside, wait};

fn text(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no {pointer} in {value}"))
        .to_owned()
}

/// The metadata of node `node-0` at `path`, with a fresh token.
fn metadata(lab: &Lab, path: &str) -> Response {
    let ttl = ("X-aws-ec2-metadata-token-ttl-seconds", "60");
    let token = lab
        .http("node-0", 80, "PUT", "/latest/api/token", &[ttl], "")
        .body;
    lab.http(
        "node-0",
        80,
        "GET",
        path,
        &[("X-aws-ec2-metadata-token", &token)],
        "",
    )
}

#[test]
fn the_metadata_service_wants_a_token_and_knows_who_asks() {
    inside(|| {
        let lab = Lab::start();
        let path = "/latest/meta-data/instance-id";
        assert_eq!(lab.http("node-0", 80, "GET", path, &[], "").status, 401);
        assert_eq!(
            lab.http("node-0", 80, "PUT", "/latest/api/token", &[], "")
                .status,
            400
        );
        let ttl = |value| ("X-aws-ec2-metadata-token-ttl-seconds", value);
        assert_eq!(
            lab.http(
                "node-0",
                80,
                "PUT",
                "/latest/api/token",
                &[ttl("21601")],
                ""
            )
            .status,
            400
        );
        assert_eq!(
            lab.http(
                "node-0",
                80,
                "PUT",
                "/2021-03-23/api/token",
                &[ttl("60")],
                ""
            )
            .status,
            403
        );
        let forwarded = ("X-Forwarded-For", "10.0.0.9");
        assert_eq!(
            lab.http(
                "node-0",
                80,
                "PUT",
                "/latest/api/token",
                &[ttl("60"), forwarded],
                ""
            )
            .status,
            403
        );

        let answer = lab.http("node-0", 80, "PUT", "/latest/api/token", &[ttl("60")], "");
        assert_eq!(
            (
                answer.status,
                answer.header("x-aws-ec2-metadata-token-ttl-seconds")
            ),
            (200, Some("60".to_owned()))
        );
        let token = ("X-aws-ec2-metadata-token", answer.body.as_str());
        let of = |node: &str, path: &str| lab.http(node, 80, "GET", path, &[token], "");
        assert_eq!(of("node-0", path).body, lab.node("node-0", "instance_id"));
        // A token is good on its own instance only.
        assert_eq!(of("node-1", path).status, 401);
        assert_eq!(of("node-0", "/latest/meta-data/ipv6").status, 404);
        assert_eq!(
            lab.http("node-0", 80, "POST", path, &[token], "").status,
            405
        );

        let mac = of("node-0", "/latest/meta-data/network/interfaces/macs/").body;
        assert_eq!(mac, lab.node("node-0", "primary_mac") + "/");
        let credentials = of(
            "node-0",
            "/latest/meta-data/iam/security-credentials/onsen-node",
        )
        .body;
        let credentials: Value = serde_json::from_str(&credentials).unwrap();
        assert_eq!(text(&credentials, "/Code"), "Success");
    });
}

#[test]
fn an_attached_eni_becomes_a_device_with_its_mac_and_a_detached_one_goes() {
    inside(|| {
        let lab = Lab::start();
        let (subnet, instance) = (
            lab.node("node-0", "subnet_id"),
            lab.node("node-0", "instance_id"),
        );
        let created = lab.ec2(
            "node-0",
            &format!("Action=CreateNetworkInterface&SubnetId={subnet}"),
        );
        let (eni, mac) = (
            created.element("networkInterfaceId"),
            created.element("macAddress"),
        );
        assert_eq!(created.status, 200);
        let attach = format!(
            "Action=AttachNetworkInterface&NetworkInterfaceId={eni}&InstanceId={instance}&DeviceIndex=1"
        );
        let attachment = lab.ec2("node-0", &attach).element("attachmentId");
        let link = wait("the device", || {
            lab.links("node-0").into_iter().find(|it| it.mac == mac)
        });
        assert_eq!(
            (link.name.as_str(), link.mtu, link.up),
            ("eth1", 9001, false)
        );
        assert!(!lab.links("node-1").iter().any(|it| it.mac == mac));
        // The metadata follows, with the primary address at the least.
        let leaf = format!("/latest/meta-data/network/interfaces/macs/{mac}/interface-id");
        wait("the metadata", || {
            (metadata(&lab, &leaf).body == eni).then_some(())
        });

        assert_eq!(
            lab.ec2("node-0", &attach).element("Code"),
            "InvalidNetworkInterface.InUse"
        );
        let delete = format!("Action=DeleteNetworkInterface&NetworkInterfaceId={eni}");
        assert_eq!(
            lab.ec2("node-0", &delete).element("Code"),
            "InvalidParameterValue"
        );
        let detached = lab.ec2(
            "node-0",
            &format!("Action=DetachNetworkInterface&AttachmentId={attachment}"),
        );
        assert_eq!(detached.element("return"), "true");
        wait("the device to go", || {
            (!lab.links("node-0").iter().any(|it| it.mac == mac)).then_some(())
        });
        wait("the delete", || {
            (lab.ec2("node-0", &delete).status == 200).then_some(())
        });
        wait("the metadata to forget", || {
            (metadata(&lab, &leaf).status == 404).then_some(())
        });
        lab.no_fabric_errors();
    });
}

#[test]
fn packets_flow_only_for_those_who_hold_the_address() {
    inside(|| {
        let lab = Lab::start();
        let eni = lab.node("node-0", "primary_eni");
        let assign = format!("Action=AssignPrivateIpAddresses&NetworkInterfaceId={eni}");
        let secondary = lab
            .ec2(
                "node-0",
                &format!("{assign}&SecondaryPrivateIpAddressCount=1"),
            )
            .element("privateIpAddress");
        let prefix = lab
            .ec2("node-0", &format!("{assign}&Ipv4PrefixCount=1"))
            .element("ipv4Prefix");
        let in_prefix = prefix.replace("/28", "");
        // In the subnet, and held by nobody.
        let held: Vec<String> = [&secondary, &in_prefix]
            .into_iter()
            .cloned()
            .chain(["node-0", "node-1"].map(|it| lab.node(it, "primary_address")))
            .collect();
        // The last block before the broadcast address can be no prefix.
        let free = (240..255).map(|it| format!("10.0.0.{it}"));
        let stranger = &free.into_iter().find(|it| !held.contains(it)).unwrap();
        for it in [&secondary, &in_prefix, stranger] {
            lab.run(
                "node-0",
                "ip",
                &["addr", "add", &format!("{it}/32"), "dev", "eth0"],
            );
        }
        // To a node in the same subnet, and to one in another.
        for node in ["node-1", "node-2"] {
            let target = lab.node(node, "primary_address");
            for source in [
                &lab.node("node-0", "primary_address"),
                &secondary,
                &in_prefix,
            ] {
                assert!(
                    lab.reaches("node-0", source, &target),
                    "{source} to {target}"
                );
                assert!(lab.reaches(node, &target, source), "{target} to {source}");
            }
            let before = lab.dropped(&eni);
            assert!(
                lab.is_cut_off("node-0", stranger, &target),
                "{stranger} to {target}"
            );
            assert!(lab.dropped(&eni) > before, "the drop is not counted");
            assert!(
                lab.is_cut_off(node, &target, stranger),
                "{target} to {stranger}"
            );
        }
        // Only a primary has a way to the internet.
        let internet = text(&lab.ready, "/internet_address");
        assert!(lab.reaches("node-0", &lab.node("node-0", "primary_address"), &internet));
        assert!(lab.is_cut_off("node-0", &secondary, &internet));

        let unassign = format!(
            "Action=UnassignPrivateIpAddresses&NetworkInterfaceId={eni}&PrivateIpAddress.1={secondary}"
        );
        assert_eq!(lab.ec2("node-0", &unassign).status, 200);
        let target = lab.node("node-1", "primary_address");
        wait("the address to go", || {
            (lab.is_cut_off("node-0", &secondary, &target)).then_some(())
        });
        assert!(lab.reaches("node-0", &in_prefix, &target));
        lab.no_fabric_errors();
    });
}

#[test]
fn an_address_given_to_a_second_eni_is_delivered_there() {
    inside(|| {
        let lab = Lab::start();
        let (first, second) = (
            lab.node("node-0", "primary_eni"),
            lab.node("node-1", "primary_eni"),
        );
        let assign = |eni: &str, more: &str| {
            lab.ec2(
                "node-0",
                &format!("Action=AssignPrivateIpAddresses&NetworkInterfaceId={eni}&{more}"),
            )
        };
        let moving = assign(&first, "SecondaryPrivateIpAddressCount=1").element("privateIpAddress");
        for node in ["node-0", "node-1"] {
            lab.run(
                node,
                "ip",
                &["addr", "add", &format!("{moving}/32"), "dev", "eth0"],
            );
        }
        let from = lab.node("node-2", "primary_address");
        assert!(lab.reaches("node-2", &from, &moving));
        lab.run(
            "node-0",
            "ip",
            &["addr", "del", &format!("{moving}/32"), "dev", "eth0"],
        );
        assert!(
            lab.is_cut_off("node-2", &from, &moving),
            "node-1 answers for an address it does not hold yet"
        );
        let taken = assign(&second, &format!("PrivateIpAddress.1={moving}"));
        assert_eq!(
            (taken.status, taken.element("Code")),
            (400, "InvalidParameterValue".to_owned())
        );
        assert_eq!(
            assign(
                &second,
                &format!("PrivateIpAddress.1={moving}&AllowReassignment=true")
            )
            .status,
            200
        );
        assert!(lab.reaches("node-2", &from, &moving));
        lab.no_fabric_errors();
    });
}

#[test]
fn requests_are_checked_counted_and_logged_and_faults_come_and_go() {
    inside(|| {
        let lab = Lab::start();
        let plain = "Action=DescribeSubnets&Version=2016-11-15";
        assert_eq!(
            lab.http("node-0", 8773, "POST", "/", &[], plain).status,
            401
        );
        let typo = lab.ec2("node-0", "Action=DescribeSubnets&SubnetID.1=x");
        assert_eq!(
            (typo.status, typo.element("Code").as_str()),
            (400, "UnknownParameter")
        );
        let answer = lab.ec2("node-1", "Action=DescribeSubnets");
        assert_eq!(
            answer.header("x-amzn-requestid"),
            Some(answer.element("requestId"))
        );
        assert!(answer.header("date").is_some());

        let eni = lab.node("node-0", "primary_eni");
        let tag = format!("Action=CreateTags&ResourceId.1={eni}&Tag.1.Key=a&Tag.1.Value=b");
        let fault = json!({ "name": "reply-lost", "operation": "CreateTags", "count": 1 });
        lab.control("POST", "/_fault", &fault.to_string()).unwrap();
        assert!(
            lab.try_ec2("node-0", &tag).is_none(),
            "a lost reply has come"
        );
        let state = lab.state();
        let tagged =
            |it: &&Value| text(it, "/id") == eni && it.pointer("/tags/a") == Some(&json!("b"));
        assert!(
            state["enis"]
                .as_array()
                .unwrap()
                .iter()
                .any(|it| tagged(&it)),
            "the lost call had no effect"
        );
        assert_eq!(
            state["calls"]["by_node"]["node-1"]["DescribeSubnets"],
            json!({ "accepted": 1, "refused": 0 })
        );

        let fault = json!({ "name": "denied", "node": "node-0" });
        lab.control("POST", "/_fault", &fault.to_string()).unwrap();
        assert_eq!(lab.ec2("node-0", &tag).status, 403);
        assert_eq!(lab.ec2("node-1", "Action=DescribeSubnets").status, 200);
        lab.control("DELETE", "/_fault", "").unwrap();
        assert_eq!(lab.ec2("node-0", &tag).status, 200);
        for bad in [
            r#"{"name":"no-such"}"#,
            r#"{"name":"denied","count":-1}"#,
            r#"{"name":"denied","probability":2}"#,
            "{",
        ] {
            assert!(lab.control("POST", "/_fault", bad).is_err(), "{bad}");
        }

        let log: Value = serde_json::from_str(&lab.control("GET", "/_log", "").unwrap()).unwrap();
        let seen: Vec<(String, String)> = log
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (text(it, "/action"), text(it, "/result")))
            .collect();
        let expected = [
            ("", "AuthFailure"),
            ("DescribeSubnets", "UnknownParameter"),
            ("DescribeSubnets", "ok"),
            ("CreateTags", "ok"),
            ("CreateTags", "UnauthorizedOperation"),
            ("DescribeSubnets", "ok"),
            ("CreateTags", "ok"),
        ];
        assert_eq!(
            seen,
            expected.map(|(action, result)| (action.to_owned(), result.to_owned()))
        );
    });
}

#[test]
fn a_signal_takes_everything_down_and_a_second_one_does_not_start() {
    inside(|| {
        let mut lab = Lab::start();
        let again = lab.start_again();
        assert!(!again.status.success());
        let message = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(message.contains("`vpc` exists already"), "{message}");
        // The first one is not disturbed by that.
        assert_eq!(lab.ec2("node-0", "Action=DescribeSubnets").status, 200);
        assert!(lab.terminate().success());
        assert_eq!(std::fs::read_dir("/run/netns").unwrap().count(), 0);
    });
}
