//! The shape of our replies against an EC2 mock that nobody here wrote: moto's server, as a program.
//!
//! In: the same requests, put to moto and to our account. Out: for each element of our replies, that moto
//! has an element of that name at that place with a value of that kind. What moto lacks is listed below
//! with the reason; moto's own gaps are no reason to serve less.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use onsen_sim::account::{Account, Cidr, Config, NodeConfig, SubnetConfig};

use super::{failure, success};
use crate::query::{Parameters, decode};

/// Elements of ours that moto does not have: the end of their paths, and why they are right all the same.
const NOT_IN_MOTO: [(&str, &str); 5] = [
    ("/return", "EC2 says <return>true</return> where it has nothing else to say"),
    ("CreateNetworkInterfaceResponse/clientToken", "EC2 repeats the token"),
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
        let text = if inner { "" } else { node.text().unwrap_or_default().trim() };
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
        &format!("&NetworkInterfaceId={eni}&InstanceId={instance_id}&DeviceIndex=1&NetworkCardIndex=0"),
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
    call("CreateTags", &format!("&ResourceId.1={eni}&Tag.1.Key=a&Tag.1.Value=b"));
    call("DetachNetworkInterface", &format!("&AttachmentId={attachment}"));
    call("DeleteNetworkInterface", &of_eni);
    // Refusals have a shape of their own, and a code that clients match on.
    for (action, rest, code) in [
        ("DeleteNetworkInterface", of_eni.as_str(), "InvalidNetworkInterfaceID.NotFound"),
        ("DetachNetworkInterface", "&AttachmentId=eni-attach-00000001", "InvalidAttachmentID.NotFound"),
        ("DescribeSubnets", "&SubnetId.1=subnet-00000001", "InvalidSubnetID.NotFound"),
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

/// moto's server, ended when dropped.
struct Moto {
    server: Child,
    port: u16,
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

impl Moto {
    /// Starts it, or says why it cannot be.
    fn start() -> Result<Self, String> {
        let set = |name| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
        let folder = set("ONSEN_TOOLS").or_else(|| Some(set("HOME")?.join(".cache/onsen/tools")));
        let program = folder.ok_or("HOME is not set")?.join("venv/bin/moto_server");
        if !program.is_file() {
            return Err("it is not installed; `cargo xtask setup` does it".to_owned());
        }
        let free = TcpListener::bind("127.0.0.1:0").map_err(|it| it.to_string())?;
        let port = free.local_addr().map_err(|it| it.to_string())?.port();
        drop(free);
        let server = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let mut moto = Self { server, port };
        for _ in 0..1200 {
            if let Some(status) = moto.server.try_wait().map_err(|it| it.to_string())? {
                return Err(format!("{} ended with {status}", program.display()));
            }
            if moto.exchange("GET", "/moto-api/data.json", "").is_ok() {
                return Ok(moto);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err("it did not answer within two minutes".to_owned())
    }

    fn ask(&self, body: &str) -> String {
        self.exchange("POST", "/", body).unwrap()
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: ec2.eu-west-1.amazonaws.com\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=AKID/20260102/eu-west-1/ec2/aws4_request, \
             SignedHeaders=host, Signature=0\r\n\r\n{body}",
            body.len()
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (_, body) = text
            .split_once("\r\n\r\n")
            .ok_or_else(|| std::io::Error::other("no end of headers"))?;
        Ok(body.to_owned())
    }
}

#[test]
fn our_replies_have_the_names_and_kinds_of_values_that_moto_has() {
    let moto = match Moto::start() {
        Ok(moto) => moto,
        Err(reason) => {
            // Not through `println!`: the test's harness would swallow it.
            drop(writeln!(std::io::stderr(), "not run: moto: {reason}"));
            return;
        }
    };
    let run = moto.ask(
        "Action=RunInstances&Version=2016-11-15&ImageId=ami-12c6146b&InstanceType=m5.large&MinCount=1&MaxCount=1\
         &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=n",
    );
    let instance_id = first(&run, "instanceId");
    let theirs = live(&instance_id, |body| moto.ask(body));
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
    assert!(theirs.len() > 150, "moto answered with {} places", theirs.len());
}
