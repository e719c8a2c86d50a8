//! The introspection pages of the Amazon VPC CNI, for the tools that read them.
//!
//! In: the node, the settings. Out: JSON of upstream's shapes and names. Sandbox ids and interface names are
//! blank, as upstream has them: who knows them could ask for the address to be given back.
//! `/v1/pods`, which upstream's documents still name, is gone there and here: it gets the list of pages.

use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onsen_core::cidr::{Cidr, Unit};
use onsen_core::snapshot::Role;
use onsen_core::status::{BlockStatus, EniStatus, HoldingStatus};
use onsen_core::time::Millis;
use onsen_wiring::{EniWiring, RandomizeSnat};
use serde_json::{Map, Value, json};

use crate::daemon::Daemon;
use crate::settings::Settings;

/// How Go writes a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// `/v1/enis`: the pools by network card.
pub(crate) fn enis(daemon: &Daemon) -> Value {
    let now = daemon.tools.clock.now();
    pools(
        &daemon.node.enis(now),
        &daemon.node.holdings(),
        &daemon.node.cooling(),
        daemon.nameplate.cooldown,
    )
}

fn pools(
    enis: &[EniStatus],
    holdings: &[HoldingStatus],
    cooling: &[(IpAddr, Millis)],
    cooldown: Millis,
) -> Value {
    let mut cards: Map<String, Value> = Map::new();
    for eni in enis {
        let pool = cards
            .entry(eni.card.to_string())
            .or_insert_with(|| json!({"TotalIPs": 0, "AssignedIPs": 0, "ENIs": {}}));
        let (mut total, mut assigned) = (0, 0);
        let mut cidrs = Map::new();
        for block in &eni.blocks {
            total += addresses(&block.cidr);
            assigned += u64::from(block.assigned);
            cidrs.insert(
                block.cidr.to_string(),
                cidr(block, holdings, cooling, cooldown),
            );
        }
        for (sum, more) in [("TotalIPs", total), ("AssignedIPs", assigned)] {
            pool[sum] = (pool[sum].as_u64().unwrap_or(0) + more).into();
        }
        pool["ENIs"][eni.id.as_str()] = json!({
            "ID": eni.id.as_str(),
            "IsPrimary": eni.role == Role::Primary,
            "IsTrunk": eni.role == Role::Trunk,
            "IsEFA": eni.role == Role::Efa,
            "DeviceNumber": eni.device_index,
            "AvailableIPv4Cidrs": cidrs,
            "IPv6Cidrs": {},
            "IsExcludedForPodIPs": eni.excluded,
            "RouteTableID": EniWiring::table_of(eni.card, eni.device_index),
            "SubnetID": eni.subnet.as_str(),
        });
    }
    Value::Object(cards)
}

fn cidr(
    block: &BlockStatus,
    holdings: &[HoldingStatus],
    cooling: &[(IpAddr, Millis)],
    cooldown: Millis,
) -> Value {
    let mut known = Map::new();
    let held = holdings.iter().map(|holding| &holding.allocation);
    for allocation in held.filter(|it| block.cidr.contains(it.address)) {
        let (key, pod) = (&allocation.key, &allocation.pod);
        known.insert(
            allocation.address.to_string(),
            json!({
                "Address": allocation.address,
                "IPAMKey": {"networkName": key.network, "containerID": "", "ifName": ""},
                "IPAMMetadata": {"k8sPodNamespace": pod.namespace, "k8sPodName": pod.name},
                "AssignedTime": time(allocation.since),
                "UnassignedTime": NEVER,
            }),
        );
    }
    for (address, until) in cooling.iter().filter(|(it, _)| block.cidr.contains(*it)) {
        known.insert(
            address.to_string(),
            json!({
                "Address": address,
                "IPAMKey": {"networkName": "", "containerID": "", "ifName": ""},
                "IPAMMetadata": {},
                "AssignedTime": NEVER,
                "UnassignedTime": time(until.saturating_sub(cooldown)),
            }),
        );
    }
    json!({
        "Cidr": {"IP": block.cidr.base(), "Mask": mask(&block.cidr)},
        "IPAddresses": known,
        "IsPrefix": block.cidr.unit() == Unit::Prefix,
        "AddressFamily": "",
    })
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn addresses(cidr: &Cidr) -> u64 {
    1_u64
        .checked_shl(u32::from(bits(cidr.base()) - cidr.length()))
        .unwrap_or(u64::MAX)
}

/// The mask's bytes in Base64, as Go writes bytes.
fn mask(cidr: &Cidr) -> String {
    let bits = bits(cidr.base());
    let ones = u128::MAX
        .checked_shl(u32::from(bits - cidr.length()))
        .unwrap_or(0);
    let bytes = ones.to_be_bytes();
    STANDARD.encode(bytes.get(16 - usize::from(bits / 8)..).unwrap_or_default())
}

fn time(at: Millis) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at)).to_string()
}

/// `/v1/networkutils-env-settings`.
pub(crate) fn network_settings(settings: &Settings) -> Value {
    let ranges = |ranges: &[(IpAddr, u8)]| {
        let texts: Vec<String> = (ranges.iter())
            .map(|(address, length)| format!("{address}/{length}"))
            .collect();
        // A list that was never made is null in Go.
        if texts.is_empty() {
            Value::Null
        } else {
            json!(texts)
        }
    };
    json!({
        "AWS_VPC_K8S_CNI_CONNMARK": settings.connmark,
        "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS": ranges(&settings.excluded_snat_cidrs),
        "AWS_VPC_K8S_CNI_EXTERNALSNAT": settings.external_snat,
        "AWS_EXTERNAL_SERVICE_CIDRS": ranges(&settings.external_service_cidrs),
        "AWS_VPC_ENI_MTU": settings.mtu,
        "AWS_VPC_K8S_CNI_VETHPREFIX": settings.veth_prefix,
        "AWS_VPC_CNI_NODE_PORT_SUPPORT": settings.node_port,
        "AWS_VPC_K8S_CNI_RANDOMIZESNAT": match settings.randomize_snat {
            RandomizeSnat::None => 0,
            RandomizeSnat::HashRandom => 1,
            RandomizeSnat::Prng => 2,
        },
    })
}

/// `/v1/ipamd-env-settings`. What this version does not act upon is told as off.
pub(crate) fn pool_settings(settings: &Settings) -> Value {
    let target = |key: &str, default: i64| {
        let text = settings.policy_settings.get(key);
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    json!({
        "WARM_IP_TARGET": target("WARM_IP_TARGET", 0),
        "WARM_ENI_TARGET": target("WARM_ENI_TARGET", 1),
        "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG": false,
        "AWS_MANAGE_ENIS_NON_SCHEDULABLE": false,
        "ENABLE_SUBNET_DISCOVERY": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use onsen_core::effect::Allocation;
    use onsen_core::ids::{EniId, Mac, PodName, SandboxKey, SubnetId};
    use onsen_core::snapshot::EniPhase;

    #[test]
    fn the_pool_is_told_in_upstreams_shape_and_no_sandbox_id_leaves() {
        let block = |cidr: &str, assigned| BlockStatus {
            cidr: Cidr::parse(cidr).unwrap(),
            assigned,
            cooling: 0,
            free: 0,
            hold: String::new(),
        };
        let eni = EniStatus {
            id: EniId::new("eni-1"),
            mac: Mac::default(),
            primary: [10, 0, 0, 10].into(),
            subnet: SubnetId::new("subnet-1"),
            role: Role::Secondary,
            phase: EniPhase::Ready,
            card: 0,
            device_index: 1,
            since: 0,
            free_slots: 0,
            keep: None,
            kept_until: None,
            excluded: false,
            blocks: vec![block("10.0.0.5/32", 1), block("10.0.0.16/28", 0)],
        };
        let holding = HoldingStatus {
            allocation: Allocation {
                key: SandboxKey {
                    network: "aws-cni".into(),
                    container: "secret-id".into(),
                    interface: "eth0".into(),
                },
                address: [10, 0, 0, 5].into(),
                pod: PodName {
                    namespace: "default".into(),
                    name: "web".into(),
                },
                since: 1_700_000_000_123,
            },
            eni: Some(EniId::new("eni-1")),
            card: 0,
            device_index: 1,
        };
        let cooling = [([10, 0, 0, 17].into(), 1_700_000_030_000)];
        let shown = pools(&[eni], &[holding], &cooling, 30_000);
        assert_eq!(
            (&shown["0"]["TotalIPs"], &shown["0"]["AssignedIPs"]),
            (&json!(17), &json!(1))
        );
        let eni = &shown["0"]["ENIs"]["eni-1"];
        assert_eq!(
            (&eni["DeviceNumber"], &eni["RouteTableID"]),
            (&json!(1), &json!(2))
        );
        let single = &eni["AvailableIPv4Cidrs"]["10.0.0.5/32"];
        assert_eq!(
            single["Cidr"],
            json!({"IP": "10.0.0.5", "Mask": "/////w=="})
        );
        let address = &single["IPAddresses"]["10.0.0.5"];
        assert_eq!(address["IPAMMetadata"]["k8sPodName"], "web");
        assert_eq!(address["AssignedTime"], "2023-11-14T22:13:20.123Z");
        let prefix = &eni["AvailableIPv4Cidrs"]["10.0.0.16/28"];
        assert_eq!(
            (&prefix["IsPrefix"], &prefix["Cidr"]["Mask"]),
            (&json!(true), &json!("////8A=="))
        );
        let cools = &prefix["IPAddresses"]["10.0.0.17"];
        assert_eq!(cools["UnassignedTime"], "2023-11-14T22:13:20.000Z");
        assert!(!shown.to_string().contains("secret-id"));
    }

    #[test]
    fn settings_are_told_as_upstream_tells_them() {
        let settings = Settings::read(&|name| match name {
            "WARM_IP_TARGET" => Some("5".into()),
            "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS" => Some("10.9.0.0/16".into()),
            _ => None,
        })
        .unwrap();
        let network = network_settings(&settings);
        assert_eq!(network["AWS_VPC_K8S_CNI_CONNMARK"], 128);
        assert_eq!(network["AWS_VPC_K8S_CNI_RANDOMIZESNAT"], 2);
        assert_eq!(
            network["AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS"],
            json!(["10.9.0.0/16"])
        );
        assert_eq!(network["AWS_EXTERNAL_SERVICE_CIDRS"], Value::Null);
        let pool = pool_settings(&settings);
        assert_eq!(
            (&pool["WARM_IP_TARGET"], &pool["WARM_ENI_TARGET"]),
            (&json!(5), &json!(1))
        );
    }
}
