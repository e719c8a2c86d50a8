//! The result of ADD, and what DEL and CHECK read back out of it.
//!
//! The result carries state from ADD to DEL, in a layout that upstream's plugin writes and reads too: the
//! `mac` of a container's interface is the route table of its ENI on the host, as a decimal number; a last
//! interface that does not exist holds the VLAN (`mac`, 0 for none) and the device number (`sandbox`).

use onsen_wiring::{EniWiring, PodWiring, suffix};
use serde::{Deserialize, Serialize};

use crate::{
    conf::{Conf, SUPPORTED},
    request::Request,
};

const DUMMY: &str = "dummy";

/// One interface of a pod that was added.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) wiring: PodWiring,
    pub(crate) device: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Interface {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) mac: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) sandbox: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ip {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    pub(crate) interface: Option<i64>,
    pub(crate) address: String,
}

/// A result that the runtime hands back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct PrevResult {
    #[serde(default)]
    pub(crate) interfaces: Vec<Interface>,
    #[serde(default)]
    pub(crate) ips: Vec<Ip>,
}

/// The result of ADD in the version of the configuration.
pub(crate) fn added(request: &Request, netns: &str, attachments: &[Attachment]) -> String {
    let version = request.conf.cni_version.as_str();
    match version {
        "0.1.0" | "0.2.0" => oldest(version, attachments),
        _ => current(request, netns, attachments),
    }
}

fn current(request: &Request, netns: &str, attachments: &[Attachment]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Reply<'a> {
        cni_version: &'a str,
        interfaces: Vec<Interface>,
        ips: Vec<Ip>,
        #[serde(skip_serializing_if = "Option::is_none")]
        dns: Option<Dns>,
    }
    // Since 1.0.0 the family is the address's and an empty dns is left out.
    let before_one = request.conf.cni_version.starts_with("0.");
    let mut interfaces = Vec::new();
    let mut ips = Vec::new();
    for (Attachment { wiring, .. }, pair) in attachments.iter().zip(0..) {
        interfaces.push(Interface {
            name: wiring.host_link.clone(),
            mac: String::new(),
            sandbox: String::new(),
        });
        ips.push(Ip {
            version: before_one.then(|| {
                if wiring.address.is_ipv4() {
                    "4".into()
                } else {
                    "6".into()
                }
            }),
            // The container's interface comes behind the host's.
            interface: Some(2 * pair + 1),
            address: cidr(wiring),
        });
        interfaces.push(Interface {
            name: wiring.pod_link.clone(),
            mac: wiring.table.to_string(),
            sandbox: netns.into(),
        });
    }
    let pod = &request.pod;
    interfaces.push(Interface {
        name: format!("{DUMMY}{}", suffix(&pod.namespace, &pod.name, 0)),
        mac: "0".into(),
        sandbox: attachments
            .first()
            .map(|first| first.device.to_string())
            .unwrap_or_default(),
    });
    to_json(&Reply {
        cni_version: &request.conf.cni_version,
        interfaces,
        ips,
        dns: before_one.then_some(Dns {}),
    })
}

#[derive(Serialize)]
struct Dns {}

/// Before 0.3.0 a result had one address of each family and no interfaces.
fn oldest(version: &str, attachments: &[Attachment]) -> String {
    #[derive(Serialize)]
    struct Address {
        ip: String,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Reply<'a> {
        cni_version: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        ip4: Option<Address>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ip6: Option<Address>,
        dns: Dns,
    }
    let first = |v4: bool| {
        let attachment = attachments
            .iter()
            .find(|a| a.wiring.address.is_ipv4() == v4)?;
        Some(Address {
            ip: cidr(&attachment.wiring),
        })
    };
    to_json(&Reply {
        cni_version: version,
        ip4: first(true),
        ip6: first(false),
        dns: Dns {},
    })
}

fn cidr(wiring: &PodWiring) -> String {
    let (address, length) = onsen_wiring::single(wiring.address);
    format!("{address}/{length}")
}

/// The reply to VERSION.
pub(crate) fn version() -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Reply {
        cni_version: &'static str,
        supported_versions: [&'static str; SUPPORTED.len()],
    }
    to_json(&Reply {
        cni_version: SUPPORTED[SUPPORTED.len() - 1],
        supported_versions: SUPPORTED,
    })
}

/// Structs of strings and numbers always become JSON; the empty text is never seen.
pub(crate) fn to_json(reply: &impl Serialize) -> String {
    serde_json::to_string_pretty(reply)
        .map(|text| text + "\n")
        .unwrap_or_default()
}

impl PrevResult {
    /// The interface that only carries state.
    pub(crate) fn dummy(&self, request: &Request) -> Option<&Interface> {
        let name = format!(
            "{DUMMY}{}",
            suffix(&request.pod.namespace, &request.pod.name, 0)
        );
        self.interfaces
            .iter()
            .find(|interface| interface.name == name)
    }

    /// The pod's interfaces with their addresses, as ADD made them; those that are not complete are
    /// left out. `device` is the device number that the dummy holds.
    ///
    /// Plugins after us may have appended interfaces of their own.
    pub(crate) fn wirings(&self, if_name: &str, device: u32, conf: &Conf) -> Vec<PodWiring> {
        let pairs = self.interfaces.len().saturating_sub(1) / 2;
        (0..pairs as u32)
            .filter_map(|index| self.wiring(if_name, index, device, conf))
            .collect()
    }

    fn wiring(&self, if_name: &str, index: u32, device: u32, conf: &Conf) -> Option<PodWiring> {
        let pod_link = onsen_wiring::pod_link(if_name, index);
        let position = self
            .interfaces
            .iter()
            .position(|interface| interface.name == pod_link)?;
        let ip = self
            .ips
            .iter()
            .find(|ip| ip.interface.and_then(|i| usize::try_from(i).ok()) == Some(position))?;
        let host_link = position
            .checked_sub(1)
            .and_then(|before| self.interfaces.get(before))?;
        let table = match self.interfaces.get(position)?.mac.as_str() {
            // Releases before v1.20 wrote none.
            "" => EniWiring::table_of(0, device),
            number => number.parse().ok()?,
        };
        Some(PodWiring {
            index,
            address: ip.address.split('/').next()?.parse().ok()?,
            host_link: host_link.name.clone(),
            pod_link,
            mtu: conf.mtu,
            table,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Pod;
    use serde_json::{Value, json};

    fn request(version: &str) -> Request {
        Request {
            conf: Conf::parse(
                json!({"name": "aws-cni", "cniVersion": version})
                    .to_string()
                    .as_bytes(),
            )
            .unwrap(),
            container_id: "c".into(),
            netns: None,
            if_name: "eth0".into(),
            pod: Pod {
                name: "web-0".into(),
                namespace: "default".into(),
                ..Pod::default()
            },
        }
    }

    fn attachment(index: u32, address: &str, device: i32, table: u32) -> Attachment {
        Attachment {
            wiring: PodWiring {
                index,
                address: address.parse().unwrap(),
                host_link: onsen_wiring::host_link("eni", "default", "web-0", index),
                pod_link: onsen_wiring::pod_link("eth0", index),
                mtu: 9001,
                table,
            },
            device,
        }
    }

    fn check(version: &str, attachments: &[Attachment], expected: &Value) {
        let text = added(&request(version), "/run/netns/x", attachments);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), *expected);
    }

    #[test]
    fn the_result_of_0_4_0_is_upstreams() {
        check(
            "0.4.0",
            &[attachment(0, "10.0.0.100", 1, 2)],
            &json!({
                "cniVersion": "0.4.0",
                "interfaces": [
                    {"name": "eni0d7763386da"},
                    {"name": "eth0", "mac": "2", "sandbox": "/run/netns/x"},
                    {"name": "dummy0d7763386da", "mac": "0", "sandbox": "1"},
                ],
                "ips": [{"version": "4", "interface": 1, "address": "10.0.0.100/32"}],
                "dns": {},
            }),
        );
    }

    #[test]
    fn since_1_0_0_there_is_no_version_of_an_address_and_no_empty_dns() {
        for version in ["1.0.0", "1.1.0"] {
            check(
                version,
                &[attachment(0, "fd00::5", 0, 254)],
                &json!({
                    "cniVersion": version,
                    "interfaces": [
                        {"name": "eni0d7763386da"},
                        {"name": "eth0", "mac": "254", "sandbox": "/run/netns/x"},
                        {"name": "dummy0d7763386da", "mac": "0", "sandbox": "0"},
                    ],
                    "ips": [{"interface": 1, "address": "fd00::5/128"}],
                }),
            );
        }
    }

    #[test]
    fn before_0_3_0_there_are_no_interfaces() {
        check(
            "0.2.0",
            &[attachment(0, "10.0.0.100", 1, 2)],
            &json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.100/32"}, "dns": {}}),
        );
    }

    #[test]
    fn what_add_wrote_is_read_back_even_behind_other_plugins() {
        let attachments = [
            attachment(0, "10.0.0.100", 1, 2),
            attachment(1, "10.0.1.100", 1, 10_101),
        ];
        let request = request("0.4.0");
        let mut result: Value =
            serde_json::from_str(&added(&request, "/run/netns/x", &attachments)).unwrap();
        let interfaces = result["interfaces"].as_array_mut().unwrap();
        interfaces.push(json!({"name": "v6if0", "mac": "not a number", "sandbox": "/run/netns/x"}));
        interfaces.push(json!({"name": "bwp1", "mac": "02:00:00:00:00:01"}));
        let result: PrevResult = serde_json::from_value(result).unwrap();
        assert_eq!(result.dummy(&request).unwrap().sandbox, "1");
        let wirings = result.wirings("eth0", 1, &request.conf);
        assert_eq!(wirings, attachments.map(|attachment| attachment.wiring));
    }

    #[test]
    fn a_result_without_tables_has_them_from_the_device_number() {
        let result: PrevResult = serde_json::from_value(json!({
            "interfaces": [{"name": "eni1"}, {"name": "eth0", "sandbox": "x"}, {"name": "dummy", "mac": "0", "sandbox": "3"}],
            "ips": [{"version": "4", "interface": 1, "address": "10.0.0.1/32"}],
        }))
        .unwrap();
        assert_eq!(
            result.wirings("eth0", 3, &request("0.4.0").conf)[0].table,
            4
        );
    }
    proptest::proptest! {
        #[test]
        fn no_result_that_parses_makes_del_panic(
            interface: i64,
            names in proptest::collection::vec("eth0|mNicIf1|eni1|dummy0d7763386da", 0..6),
            mac in "[0-9-]{0,12}",
            address in "[0-9a-f.:/]{0,20}",
            device: u32,
        ) {
            let interfaces: Vec<_> =
                names.iter().map(|name| json!({"name": name, "mac": mac, "sandbox": mac})).collect();
            let result = json!({"interfaces": interfaces, "ips": [{"interface": interface, "address": address}]});
            let result: PrevResult = serde_json::from_value(result).unwrap();
            let request = request("0.4.0");
            let _ = result.dummy(&request);
            let _ = result.wirings("eth0", device, &request.conf);
        }
    }
}
