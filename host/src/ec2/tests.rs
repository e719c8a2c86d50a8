//! The API client against a server that answers as EC2 does on its bad days: one canned reply each,
//! on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use onsen_core::snapshot::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

mod fuzz;
mod moto;

const INSTANCE: &str = "i-0123456789abcdef0";
const PRIMARY: &str = "eni-00000000000000001";

/// What the server does with each request.
#[derive(Clone)]
enum Reply {
    /// Status and body.
    Send(u16, String),
    /// Reads the request, then resets the connection.
    Reset,
    /// Says that more is to come than it sends.
    Short(String),
}

struct Server {
    endpoint: String,
    requests: Arc<AtomicUsize>,
    bodies: Arc<Mutex<Vec<String>>>,
}

/// Gives the replies in turn, the last one for ever.
async fn serve(replies: Vec<Reply>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let server = Server {
        endpoint,
        requests: Arc::clone(&requests),
        bodies: Arc::clone(&bodies),
    };
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let body = read_request(&mut stream).await;
            bodies.lock().unwrap().push(body);
            let turn = requests.fetch_add(1, Ordering::SeqCst);
            answer(stream, replies.get(turn).or(replies.last()).unwrap()).await;
        }
    });
    server
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.unwrap();
        bytes.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            })
            .unwrap_or(0usize);
        if body.len() >= length {
            return body.to_owned();
        }
    }
}

async fn answer(mut stream: TcpStream, reply: &Reply) {
    let (status, body, length) = match reply {
        Reply::Send(status, body) => (*status, body, body.len()),
        Reply::Short(body) => (200, body, body.len() + 100),
        Reply::Reset => {
            stream.set_zero_linger().unwrap();
            return;
        }
    };
    let text = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
}

fn ec2(endpoint: &str) -> Ec2 {
    let owner = Owner {
        instance: INSTANCE.into(),
        primary: EniId::new(PRIMARY),
        manage_untagged: true,
    };
    let place = Place {
        subnet: SubnetId::new("subnet-1"),
        vpc: "vpc-1".into(),
        zone: "eu-west-1a".into(),
        discovery: true,
    };
    ec2_of(endpoint, owner, place, "sg-1")
}

fn ec2_of(endpoint: &str, owner: Owner, place: Place, group: &str) -> Ec2 {
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "k", "s", None, None, "test",
        )))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Ec2::new(
        &config,
        Some(endpoint),
        owner,
        place,
        vec![group.into()],
        Birthmarks {
            cluster: "spa".into(),
            tags: BTreeMap::from([("team".into(), "net".into())]),
            life: 1,
        },
        Duration::from_secs(10),
        Metrics::new().unwrap(),
    )
}

fn error(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><Response><Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors>\
         <RequestID>r</RequestID></Response>"
    )
}

fn assigned(addresses: &[&str]) -> String {
    let items: Vec<_> = addresses
        .iter()
        .map(|address| format!("<item><privateIpAddress>{address}</privateIpAddress></item>"))
        .collect();
    let items = items.concat();
    format!(
        "<AssignPrivateIpAddressesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r</requestId>\
         <networkInterfaceId>eni-2</networkInterfaceId><assignedPrivateIpAddressesSet>{items}\
         </assignedPrivateIpAddressesSet></AssignPrivateIpAddressesResponse>"
    )
}

fn interface(id: &str, address: &str, more: &str) -> String {
    format!(
        "<item><networkInterfaceId>{id}</networkInterfaceId><subnetId>subnet-1</subnetId>\
         <macAddress>02:00:00:00:00:01</macAddress><interfaceType>interface</interfaceType>\
         <privateIpAddress>{address}</privateIpAddress><privateIpAddressesSet><item><privateIpAddress>{address}\
         </privateIpAddress><primary>true</primary></item></privateIpAddressesSet>{more}</item>"
    )
}

fn described(items: &str) -> String {
    format!(
        "<DescribeNetworkInterfacesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
         <requestId>r</requestId><networkInterfaceSet>{items}</networkInterfaceSet>\
         </DescribeNetworkInterfacesResponse>"
    )
}

fn assign() -> Ec2Request {
    Ec2Request::Assign {
        eni: EniId::new("eni-2"),
        unit: Unit::Address,
        count: 2,
    }
}

/// How one request ends when every reply is this one, and how often it was sent.
async fn outcome_of(request: &Ec2Request, reply: Reply) -> (Ec2Outcome, usize) {
    let server = serve(vec![reply]).await;
    let outcome = ec2(&server.endpoint).perform(IntentId(1), request).await;
    (outcome, server.requests.load(Ordering::SeqCst))
}

fn code(outcome: &Ec2Outcome) -> &str {
    match outcome {
        Ec2Outcome::Done(_) => "done",
        Ec2Outcome::Refused { code, .. } => code,
        Ec2Outcome::Unknown { .. } => "unknown",
    }
}

#[tokio::test]
async fn an_assign_gives_what_ec2_says_it_gave() {
    let (outcome, sent) = outcome_of(
        &assign(),
        Reply::Send(200, assigned(&["10.0.0.8", "10.0.0.9"])),
    )
    .await;
    let blocks = ["10.0.0.8", "10.0.0.9"].map(|text| Cidr::parse(text).unwrap());
    assert_eq!(outcome, Ec2Outcome::Done(Ec2Gave::Blocks(blocks.into())));
    assert_eq!(sent, 1);
}

#[tokio::test]
async fn whatever_leaves_a_doubt_is_unknown_and_is_sent_once() {
    let whole = assigned(&["10.0.0.8"]);
    let cut = whole[..whole.len() - 60].to_owned();
    let doubts = [
        ("an empty success", Reply::Send(200, assigned(&[]))),
        ("a page cut in the middle", Reply::Send(200, cut)),
        (
            "an error document with a success status",
            Reply::Send(200, error("InternalError")),
        ),
        ("a proxy's page", Reply::Send(200, "<html></html>".into())),
        (
            "trouble inside EC2",
            Reply::Send(500, error("InternalError")),
        ),
        ("an unavailable EC2", Reply::Send(503, error("Unavailable"))),
        ("a status without a body", Reply::Send(502, String::new())),
        (
            "a client error without a code",
            Reply::Send(400, "<html></html>".into()),
        ),
        ("a lost connection", Reply::Reset),
        ("a body that is too short", Reply::Short(whole.clone())),
        ("another action's answer", Reply::Send(200, described(""))),
        (
            "an address that is none",
            Reply::Send(200, assigned(&["10.0.0.300"])),
        ),
    ];
    for (what, reply) in doubts {
        let (outcome, sent) = outcome_of(&assign(), reply).await;
        assert_eq!(
            (code(&outcome), sent),
            ("unknown", 1),
            "{what}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn what_ec2_surely_did_not_do_is_refused_with_its_code() {
    for (status, text) in [
        (503, "RequestLimitExceeded"),
        (400, "RequestLimitExceeded"),
        (403, "UnauthorizedOperation"),
        (400, "InsufficientFreeAddressesInSubnet"),
        (400, "PrivateIpAddressLimitExceeded"),
    ] {
        let (outcome, sent) = outcome_of(&assign(), Reply::Send(status, error(text))).await;
        assert_eq!((code(&outcome), sent), (text, 1));
    }
}

#[tokio::test]
async fn nobody_listening_is_refused_as_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let outcome = ec2(&endpoint).perform(IntentId(1), &assign()).await;
    assert_eq!(code(&outcome), "Unreachable", "{outcome:?}");
}

#[tokio::test]
async fn a_delete_is_done_only_when_ec2_says_so_in_whole() {
    let delete = Ec2Request::DeleteEni {
        eni: EniId::new("eni-2"),
    };
    let done = "<DeleteNetworkInterfaceResponse><requestId>r</requestId><return>true</return>\
                </DeleteNetworkInterfaceResponse>";
    let (outcome, _) = outcome_of(&delete, Reply::Send(200, done.into())).await;
    assert_eq!(outcome, Ec2Outcome::Done(Ec2Gave::Nothing));
    // The SDK alone would take this for success: it never reads the body.
    let (outcome, _) = outcome_of(&delete, Reply::Send(200, error("InternalError"))).await;
    assert_eq!(code(&outcome), "unknown");
}

#[tokio::test]
async fn an_eni_is_made_with_tags_groups_and_a_token_of_its_intent() {
    let create = Ec2Request::CreateEni {
        subnet: SubnetId::new("subnet-1"),
        unit: Unit::Prefix,
        blocks: 2,
    };
    let item = interface(
        "eni-2",
        "10.0.0.20",
        "<ipv4PrefixSet><item><ipv4Prefix>10.0.0.32/28</ipv4Prefix></item></ipv4PrefixSet>",
    );
    let inner = item
        .trim_start_matches("<item>")
        .trim_end_matches("</item>")
        .to_owned();
    let reply = format!(
        "<CreateNetworkInterfaceResponse><networkInterface>{inner}</networkInterface></CreateNetworkInterfaceResponse>"
    );
    let server = serve(vec![Reply::Send(200, reply)]).await;
    let client = ec2(&server.endpoint);
    let outcome = client.perform(IntentId(7), &create).await;
    let Ec2Outcome::Done(Ec2Gave::Eni(facts)) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(facts.id, EniId::new("eni-2"));
    assert!(facts.ours && facts.managed && facts.attachment.is_none());
    assert_eq!(
        facts
            .blocks
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["10.0.0.32/28"]
    );
    client.perform(IntentId(7), &create).await;
    client.perform(IntentId(8), &create).await;
    let bodies = server.bodies.lock().unwrap().clone();
    for part in [
        "Ipv4PrefixCount=2",
        "SecurityGroupId.1=sg-1",
        "node.k8s.amazonaws.com%2Finstance_id",
        "eks%3Aeni%3Aowner",
        "Description=aws-K8S-i-0123456789abcdef0",
    ] {
        assert!(bodies[0].contains(part), "{part} is not in {}", bodies[0]);
    }
    let token = |body: &String| {
        body.split('&')
            .find(|part| part.starts_with("ClientToken="))
            .unwrap()
            .to_owned()
    };
    assert_eq!(token(&bodies[0]), token(&bodies[1]));
    assert_ne!(token(&bodies[0]), token(&bodies[2]));
}

#[tokio::test]
async fn a_look_without_the_primary_eni_is_a_failed_look() {
    let server = serve(vec![Reply::Send(200, described(""))]).await;
    let why = ec2(&server.endpoint).look().await.unwrap_err();
    assert!(why.contains(PRIMARY), "{why}");
}

#[tokio::test]
async fn a_look_cut_at_any_byte_never_shows_fewer_enis() {
    let second = interface(
        "eni-2",
        "10.0.0.20",
        "<attachment><attachmentId>a</attachmentId><deviceIndex>1</deviceIndex></attachment>",
    );
    let whole = described(&(interface(PRIMARY, "10.0.0.10", "") + &second));
    for length in (0..whole.len()).step_by(23) {
        let server = serve(vec![Reply::Send(200, whole[..length].to_owned())]).await;
        let client = ec2(&server.endpoint);
        // No retries here: what counts is what one reply is taken for.
        let call = client.changing.describe_network_interfaces().send().await;
        assert!(call.is_err(), "cut at {length}: {call:?}");
    }
}

#[tokio::test]
async fn a_look_reads_all_pages_roles_and_owners() {
    let tagged = format!(
        "<tagSet><item><key>{TAG_INSTANCE}</key><value>{INSTANCE}</value></item></tagSet>\
         <attachment><attachmentId>eni-attach-2</attachmentId><deviceIndex>1</deviceIndex><networkCardIndex>0</networkCardIndex>\
         <status>attached</status><deleteOnTermination>true</deleteOnTermination></attachment>"
    );
    let left_alone = "<tagSet><item><key>node.k8s.amazonaws.com/no_manage</key><value>true</value></item></tagSet>";
    let first = described(&interface(PRIMARY, "10.0.0.10", left_alone)).replace(
        "</networkInterfaceSet>",
        "</networkInterfaceSet><nextToken>more</nextToken>",
    );
    let second = described(
        &(interface("eni-2", "10.0.0.20", &tagged) + &interface("eni-3", "10.0.0.30", left_alone)),
    );
    let subnets = "<DescribeSubnetsResponse><subnetSet><item><subnetId>subnet-1</subnetId>\
                   <availableIpAddressCount>200</availableIpAddressCount></item></subnetSet></DescribeSubnetsResponse>";
    let server = serve(vec![
        Reply::Send(200, first),
        Reply::Send(200, second),
        Reply::Send(200, described("")),
        Reply::Send(200, subnets.into()),
    ])
    .await;
    let client = ec2(&server.endpoint);
    let seen = client.look().await.unwrap();
    let summary: Vec<_> = seen
        .attached
        .iter()
        .map(|eni| (eni.id.as_str(), eni.role, eni.managed, eni.ours))
        .collect();
    assert_eq!(
        summary,
        [
            // The primary is always ours to use, whatever its tags say.
            (PRIMARY, Role::Primary, true, false),
            ("eni-2", Role::Secondary, true, true),
            ("eni-3", Role::Secondary, false, false),
        ]
    );
    let attachment = seen.attached[1].attachment.as_ref().unwrap();
    assert_eq!(
        (attachment.device_index, attachment.delete_on_termination),
        (1, true)
    );
    assert_eq!(seen.subnets[0].free_addresses, 200);
    assert_eq!(client.counts().calls["DescribeNetworkInterfaces"], 3);
}

#[tokio::test]
async fn calls_and_their_errors_are_counted_by_action() {
    let server = serve(vec![Reply::Send(403, error("UnauthorizedOperation"))]).await;
    let client = ec2(&server.endpoint);
    client.perform(IntentId(1), &assign()).await;
    client.perform(IntentId(2), &assign()).await;
    let counts = client.counts();
    assert_eq!(counts.calls["AssignPrivateIpAddresses"], 2);
    assert_eq!(
        counts.errors["AssignPrivateIpAddresses"]["UnauthorizedOperation"],
        2
    );
}
