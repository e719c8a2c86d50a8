//! The instance metadata service, version 2: tokens, and the tree of an instance's metadata.
//!
//! The instance is told by the source address of the request, as the hypervisor would tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response};
use onsen_sim::account::{Cidr, Eni, ImdsTrouble, ImdsView, iso8601};
use serde_json::json;

use crate::http::{Body, response};
use crate::world::{World, unix_ms};

const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const MAX_TTL_S: u64 = 21_600;
const ROLE: &str = "onsen-node";
/// How long the credentials of the role are good for.
const CREDENTIALS_MS: u64 = 6 * 3_600_000;

/// The tokens given out: whose, and until when.
pub(crate) type Tokens = Arc<Mutex<BTreeMap<String, (String, u64)>>>;

/// Answers one request from `peer`.
pub(crate) async fn handle(
    world: &World,
    tokens: &Tokens,
    peer: Ipv4Addr,
    request: &Request<Incoming>,
) -> Response<Body> {
    let trouble = world.instance_at(peer).and_then(|(node, _)| {
        let now_ms = world.now_ms();
        world.state().account.imds_trouble(now_ms, &node)
    });
    let mut response = match trouble {
        Some(ImdsTrouble::Status(status)) => error(status, "Trouble"),
        Some(ImdsTrouble::Slow(ms)) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            answer(world, tokens, peer, request)
        }
        None => answer(world, tokens, peer, request),
    };
    response
        .headers_mut()
        .insert("server", HeaderValue::from_static("EC2ws"));
    tracing::debug!(%peer, method = %request.method(), path = request.uri().path(), status = %response.status(), "IMDS");
    response
}

fn answer(
    world: &World,
    tokens: &Tokens,
    peer: Ipv4Addr,
    request: &Request<Incoming>,
) -> Response<Body> {
    let Some((_, instance_id)) = world.instance_at(peer) else {
        return error(404, "Not Found");
    };
    let now_ms = world.now_ms();
    let path = request.uri().path();
    let header = |name: &str| request.headers().get(name).and_then(|it| it.to_str().ok());
    match *request.method() {
        Method::PUT if path == "/latest/api/token" => {
            if header("x-forwarded-for").is_some() {
                return error(403, "Forbidden");
            }
            let ttl = header(TTL_HEADER).and_then(|it| it.parse::<u64>().ok());
            let Some(ttl) = ttl.filter(|it| (1..=MAX_TTL_S).contains(it)) else {
                return error(400, "Bad Request");
            };
            let Ok(token) = new_token() else {
                return error(500, "Internal Server Error");
            };
            let mut tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
            tokens.retain(|_, (_, until_ms)| now_ms < *until_ms);
            tokens.insert(token.clone(), (instance_id, now_ms + ttl * 1000));
            let mut response = response(200, "text/plain", token);
            response
                .headers_mut()
                .insert(TTL_HEADER, HeaderValue::from(ttl));
            response
        }
        Method::PUT if path.ends_with("/api/token") => error(403, "Forbidden"),
        Method::GET | Method::HEAD => {
            let tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
            let known = header(TOKEN_HEADER).and_then(|it| tokens.get(it));
            if known.is_none_or(|(owner, until_ms)| *owner != instance_id || *until_ms <= now_ms) {
                return error(401, "Unauthorized");
            }
            let view = world.state().account.imds(now_ms, &instance_id);
            match view.and_then(|view| look_up(&tree(&view), path)) {
                Some(text) => response(200, "text/plain", text),
                None => error(404, "Not Found"),
            }
        }
        _ => error(405, "Method Not Allowed"),
    }
}

/// 56 characters of chance.
fn new_token() -> std::io::Result<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0; 54];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let text: String = bytes
        .iter()
        .filter_map(|it| ALPHABET.get(usize::from(it & 63)))
        .map(|it| char::from(*it))
        .collect();
    Ok(text + "==")
}

fn error(status: u16, title: &str) -> Response<Body> {
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<html xmlns=\"http://www.w3.org/1999/xhtml\">\n \
         <head><title>{status} - {title}</title></head>\n <body><h1>{status} - {title}</h1></body>\n</html>\n"
    );
    response(status, "text/html", page)
}

/// Every value by its path, without a slash in front.
fn tree(view: &ImdsView) -> BTreeMap<String, String> {
    let mut tree = BTreeMap::new();
    let host = |address: Ipv4Addr| {
        let domain = if view.region == "us-east-1" {
            "ec2".to_owned()
        } else {
            format!("{}.compute", view.region)
        };
        format!(
            "ip-{}.{domain}.internal",
            address.to_string().replace('.', "-")
        )
    };
    let meta = |leaf: &str| format!("latest/meta-data/{leaf}");
    tree.insert(meta("instance-id"), view.instance_id.clone());
    tree.insert(meta("instance-type"), view.instance_type.clone());
    tree.insert(meta("placement/availability-zone"), view.zone.clone());
    tree.insert(meta("placement/region"), view.region.clone());
    tree.insert(meta("local-ipv4"), view.local_ipv4.to_string());
    tree.insert(meta("mac"), view.mac.clone());
    tree.insert(meta("hostname"), host(view.local_ipv4));
    tree.insert(meta("local-hostname"), host(view.local_ipv4));
    tree.insert(meta("services/domain"), "amazonaws.com".to_owned());
    tree.insert(meta("services/partition"), "aws".to_owned());
    let (now, later) = (unix_ms(), unix_ms() + CREDENTIALS_MS);
    let profile = format!("arn:aws:iam::{}:instance-profile/{ROLE}", view.account_id);
    let info = json!({ "Code": "Success", "LastUpdated": iso8601(now), "InstanceProfileArn": profile, "InstanceProfileId": "AIPAONSEN" });
    tree.insert(meta("iam/info"), info.to_string());
    let credentials = json!({
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": iso8601(now), "Expiration": iso8601(later),
        "AccessKeyId": "ASIAONSENFAKEAWS0001", "SecretAccessKey": "no-secret-at-all", "Token": "no-session-either",
    });
    tree.insert(
        meta(&format!("iam/security-credentials/{ROLE}")),
        credentials.to_string(),
    );
    let identity = json!({
        "accountId": view.account_id, "architecture": "x86_64", "availabilityZone": view.zone, "billingProducts": null,
        "devpayProductCodes": null, "marketplaceProductCodes": null, "imageId": "ami-00000000000000000",
        "instanceId": view.instance_id, "instanceType": view.instance_type, "kernelId": null,
        "pendingTime": view.pending_time, "privateIp": view.local_ipv4, "ramdiskId": null, "region": view.region,
        "version": "2017-09-30",
    });
    tree.insert(
        "latest/dynamic/instance-identity/document".to_owned(),
        format!("{identity:#}"),
    );
    for (eni, subnet) in &view.enis {
        let directory = meta(&format!("network/interfaces/macs/{}", eni.mac));
        let mut leaves = interface(view, eni, *subnet, host(eni.primary));
        if view.missing_leaves {
            leaves.retain(|(leaf, _)| !["local-ipv4s", "device-number"].contains(leaf));
        }
        tree.extend(
            leaves
                .into_iter()
                .map(|(leaf, value)| (format!("{directory}/{leaf}"), value)),
        );
    }
    tree
}

fn interface(
    view: &ImdsView,
    eni: &Eni,
    subnet: Cidr,
    host: String,
) -> Vec<(&'static str, String)> {
    let lines = |all: Vec<String>| all.join("\n");
    let addresses = std::iter::once(&eni.primary)
        .chain(&eni.addresses)
        .map(ToString::to_string)
        .collect();
    let names = eni
        .groups
        .iter()
        .filter_map(|it| view.group_names.get(it).cloned())
        .collect();
    let (card, index) = eni
        .attachment
        .as_ref()
        .map_or((0, 0), |it| (it.network_card, it.device_index));
    let vpc_cidrs: Vec<String> = view.vpc_cidrs.iter().map(ToString::to_string).collect();
    let mut leaves = vec![
        ("interface-id", eni.id.clone()),
        ("device-number", index.to_string()),
        ("mac", eni.mac.clone()),
        ("local-hostname", host),
        ("local-ipv4s", lines(addresses)),
        ("owner-id", view.account_id.clone()),
        ("security-group-ids", lines(eni.groups.clone())),
        ("security-groups", lines(names)),
        ("subnet-id", eni.subnet_id.clone()),
        ("subnet-ipv4-cidr-block", subnet.to_string()),
        ("vpc-id", view.vpc_id.clone()),
        (
            "vpc-ipv4-cidr-block",
            lines(vpc_cidrs.iter().take(1).cloned().collect()),
        ),
        ("vpc-ipv4-cidr-blocks", lines(vpc_cidrs)),
    ];
    // Clients read the one name, AWS's documents give the other; neither is there on the first card.
    if card != 0 {
        leaves.push(("network-card", card.to_string()));
        leaves.push(("network-card-index", card.to_string()));
    }
    if !eni.prefixes.is_empty() {
        leaves.push((
            "ipv4-prefix",
            lines(eni.prefixes.iter().map(ToString::to_string).collect()),
        ));
    }
    leaves
}

/// The value at `path`, or the listing of the directory it names, with or without a slash at its end.
fn look_up(tree: &BTreeMap<String, String>, path: &str) -> Option<String> {
    let path = path.trim_matches('/');
    if let Some(value) = tree.get(path) {
        return Some(value.clone());
    }
    let directory = if path.is_empty() {
        String::new()
    } else {
        format!("{path}/")
    };
    let below = tree.keys().filter_map(|it| it.strip_prefix(&directory));
    let children: BTreeSet<String> = below
        .map(|rest| {
            rest.split_once('/')
                .map_or_else(|| rest.to_owned(), |(name, _)| format!("{name}/"))
        })
        .collect();
    (!children.is_empty()).then(|| children.into_iter().collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use onsen_sim::account::{Account, Config, NodeConfig, SubnetConfig};

    fn view() -> ImdsView {
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
        account.imds(0, &instance_id).unwrap()
    }

    #[test]
    fn directories_list_their_children_with_a_slash_after_directories() {
        let view = view();
        let tree = tree(&view);
        for path in [
            "/latest/meta-data/network/interfaces/macs/",
            "/latest/meta-data/network/interfaces/macs",
        ] {
            assert_eq!(look_up(&tree, path), Some(format!("{}/", view.mac)));
        }
        assert_eq!(
            look_up(&tree, "/latest"),
            Some("dynamic/\nmeta-data/".to_owned())
        );
        assert_eq!(
            look_up(&tree, "/latest/meta-data/iam/security-credentials/"),
            Some(ROLE.to_owned())
        );
        assert_eq!(look_up(&tree, "/latest/meta-data/net"), None);
        assert_eq!(look_up(&tree, "/latest/user-data"), None);
    }

    #[test]
    fn an_interface_has_the_leaves_a_cni_reads() {
        let view = view();
        let tree = tree(&view);
        let leaf = |name: &str| {
            look_up(
                &tree,
                &format!(
                    "/latest/meta-data/network/interfaces/macs/{}/{name}",
                    view.mac
                ),
            )
        };
        assert_eq!(leaf("device-number").as_deref(), Some("0"));
        assert_eq!(leaf("local-ipv4s"), Some(view.local_ipv4.to_string()));
        assert_eq!(
            leaf("subnet-ipv4-cidr-block").as_deref(),
            Some("10.0.0.0/24")
        );
        assert_eq!(leaf("vpc-ipv4-cidr-blocks").as_deref(), Some("10.0.0.0/16"));
        assert!(leaf("interface-id").unwrap().starts_with("eni-0"));
        assert_eq!(leaf("security-groups").as_deref(), Some("nodes"));
        assert_eq!(leaf("ipv4-prefix"), None);
        assert_eq!(leaf("ipv6s"), None);
    }
}
