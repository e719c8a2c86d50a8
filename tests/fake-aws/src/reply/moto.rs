//! The shape of our replies against an EC2 mock that nobody here wrote: moto's server, as a program.
//!
//! In: the same requests, put to moto and to our account. Out: for each element of our replies, that moto
//! has an element of that name at that place with a value of that kind. What moto lacks is listed below
//! with the reason; moto's own gaps are no reason to serve less.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use onsen_harness::moto::Moto;
use onsen_sim::account::{Account, Cidr, Config, NodeConfig, SubnetConfig};

use super::{failure, success};
use crate::query::{Parameters, decode};

/// Elements of ours that moto does not have: the end of their paths, and why they are right all the same.
const NOT_IN_MOTO: [(&str, &str); 5] = [
    (
        "/return",
        "EC2 says <return>true</return> where it has nothing else to say",
    ),
    (
        "CreateNetworkInterfaceResponse/clientToken",
        "EC2 repeats the token",
    ),
    ("/ipv4PrefixSet", "moto knows no prefixes"),
    ("/ipv6PrefixSet", "moto knows no prefixes"),
    ("/assignedIpv4PrefixSet", "moto knows no prefixes"),
];

/// What kind of text an element holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// Nothing, or elements.
    Inner,
    Flag,
    Number,
    Address,
    Range,
    Time,
    Mac,
    /// With the letters before its first hexadecimal digit.
    Id(String),
    Word,
}

impl Kind {
    fn of(text: &str) -> Self {
        let hex = |it: &str| it.len() >= 8 && it.bytes().all(|it| it.is_ascii_hexdigit());
        if text.is_empty() {
            Self::Inner
        } else if ["true", "false"].contains(&text) {
            Self::Flag
        } else if text.parse::<Ipv4Addr>().is_ok() {
            Self::Address
        } else if text.parse::<Cidr>().is_ok() {
            Self::Range
        } else if text.bytes().all(|it| it.is_ascii_digit()) {
            Self::Number
        } else if text.len() >= 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T' {
            Self::Time
        } else if text.len() == 17 && text.split(':').count() == 6 {
            Self::Mac
        } else {
            match text.rsplit_once('-') {
                Some((kind, rest)) if hex(rest) && !kind.contains(' ') && kind.len() < 12 => {
                    Self::Id(kind.to_owned())
                }
                _ => Self::Word,
            }
        }
    }
}

/// The kinds of values by action and path.
type Shapes = BTreeMap<String, Kind>;

fn learn(shapes: &mut Shapes, action: &str, document: &str) {
    let document = roxmltree::Document::parse(document).unwrap();
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let mut path: Vec<&str> = node.ancestors().map(|it| it.tag_name().name()).collect();
        path.pop(); // the document itself has no name
        path.reverse();
        let inner = node.children().any(|it| it.is_element());
        let text = if inner {
            ""
        } else {
            node.text().unwrap_or_default().trim()
        };
        let place = format!("{action}: {}", path.join("/"));
        let kind = Kind::of(text);
        // An element that is empty here and full there is what it is there.
        if kind != Kind::Inner || !shapes.contains_key(&place) {
            shapes.insert(place, kind);
        }
    }
}

/// The text of the first element of that name.
fn first(document: &str, name: &str) -> String {
    let parsed = roxmltree::Document::parse(document).unwrap();
    let found = parsed.descendants().find(|it| it.tag_name().name() == name);
    let text = found.and_then(|it| it.text().map(str::to_owned));
    text.unwrap_or_else(|| panic!("no {name} in {document}"))
}

/// An ENI's life from its creation to its end, and the listings beside it.
fn live(instance_id: &str, mut ask: impl FnMut(&str) -> String) -> Shapes {
    let mut shapes = Shapes::new();
    let mut call = |action: &str, rest: &str| {
        let document = ask(&format!("Action={action}&Version=2016-11-15{rest}"));
        learn(&mut shapes, action, &document);
        document
    };
    let instances = call("DescribeInstances", &format!("&InstanceId.1={instance_id}"));
    let subnet = first(&instances, "subnetId");
    call("DescribeSubnets", &format!("&SubnetId.1={subnet}"));
    call("DescribeInstanceTypes", "&InstanceType.1=m5.large");
    let created = call(
        "CreateNetworkInterface",
        &format!(
            "&SubnetId={subnet}&Description=d&SecondaryPrivateIpAddressCount=1&ClientToken=t\
             &TagSpecification.1.ResourceType=network-interface&TagSpecification.1.Tag.1.Key=k\
             &TagSpecification.1.Tag.1.Value=v"
        ),
    );
    let eni = first(&created, "networkInterfaceId");
    let attached = call(
        "AttachNetworkInterface",
        &format!(
            "&NetworkInterfaceId={eni}&InstanceId={instance_id}&DeviceIndex=1&NetworkCardIndex=0"
        ),
    );
    let attachment = first(&attached, "attachmentId");
    let described = call(
        "DescribeNetworkInterfaces",
        &format!("&Filter.1.Name=network-interface-id&Filter.1.Value.1={eni}"),
    );
    let group = first(&described, "groupId");
    let of_eni = format!("&NetworkInterfaceId={eni}");
    call(
        "ModifyNetworkInterfaceAttribute",
        &format!("{of_eni}&SecurityGroupId.1={group}"),
    );
    let assigned = call(
        "AssignPrivateIpAddresses",
        &format!("{of_eni}&SecondaryPrivateIpAddressCount=1"),
    );
    // The last one listed: moto lists the primary too, and first.
    let (_, last) = assigned.rsplit_once("<privateIpAddress>").unwrap();
    let (address, _) = last.split_once('<').unwrap();
    call(
        "UnassignPrivateIpAddresses",
        &format!("{of_eni}&PrivateIpAddress.1={address}"),
    );
    call(
        "CreateTags",
        &format!("&ResourceId.1={eni}&Tag.1.Key=a&Tag.1.Value=b"),
    );
    call(
        "DetachNetworkInterface",
        &format!("&AttachmentId={attachment}"),
    );
    call("DeleteNetworkInterface", &of_eni);
    // Refusals have a shape of their own, and a code that clients match on.
    for (action, rest, code) in [
        (
            "DeleteNetworkInterface",
            of_eni.as_str(),
            "InvalidNetworkInterfaceID.NotFound",
        ),
        (
            "DetachNetworkInterface",
            "&AttachmentId=eni-attach-00000001",
            "InvalidAttachmentID.NotFound",
        ),
        (
            "DescribeSubnets",
            "&SubnetId.1=subnet-00000001",
            "InvalidSubnetID.NotFound",
        ),
    ] {
        let refusal = call(action, rest);
        assert_eq!(first(&refusal, "Code"), code, "{action}");
    }
    shapes
}

fn ours() -> Shapes {
    let config = Config {
        region: "eu-west-1".into(),
        zone: "eu-west-1a".into(),
        vpc_cidr: "10.0.0.0/16".parse().unwrap(),
        subnets: vec![SubnetConfig {
            cidr: "10.0.0.0/24".parse().unwrap(),
            zone: None,
            tags: BTreeMap::new(),
            reservations: Vec::new(),
        }],
        nodes: vec![NodeConfig {
            name: "node-1".into(),
            instance_type: "m5.large".into(),
            subnet: 0,
        }],
        latency_scale: 0.0,
        read_lag_scale: 0.0,
    };
    let mut account = Account::new(config, 1, 0).unwrap();
    let instance_id = account.instances().next().unwrap().instance_id;
    let mut now_ms = 0;
    live(&instance_id, |body| {
        now_ms += 60_000; // what is under way ends before the next call
        let call = decode(Parameters::parse(body.as_bytes()), None).unwrap();
        let answer = account.call(now_ms, &call);
        match answer.result {
            Ok(reply) => success(call.request.operation(), &answer.request_id, &reply),
            Err(error) => failure(&answer.request_id, &error),
        }
    })
}

#[test]
fn our_replies_have_the_names_and_kinds_of_values_that_moto_has() {
    let Some(moto) = Moto::start_or_say_why_not("our_replies_have_the_names_of_motos") else {
        return;
    };
    let run = moto.ask(Moto::RUN_INSTANCE).unwrap();
    let instance_id = first(&run, "instanceId");
    let theirs = live(&instance_id, |body| moto.ask(body).unwrap());
    let ours = ours();
    let mut wrong = Vec::new();
    for (place, kind) in &ours {
        let known = NOT_IN_MOTO.iter().any(|(end, _)| place.ends_with(end));
        match theirs.get(place) {
            Some(other) if *kind == Kind::Inner || *other == Kind::Inner || kind == other => {}
            Some(other) => wrong.push(format!("{place} is {kind:?}, and {other:?} in moto")),
            None if known => {}
            None => wrong.push(format!("{place} ({kind:?}) is not in moto")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A witness that has lost its memory is none.
    assert!(
        theirs.len() > 150,
        "moto answered with {} places",
        theirs.len()
    );
}
