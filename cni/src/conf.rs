//! The network configuration on stdin.
//!
//! Types and spelling are as forgiving as upstream's: numbers come as strings, unknown members are
//! left to others. What is wrong enough to matter is an error before anything is done.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{error::CniError, log::Level, result::PrevResult};

/// Versions of the CNI specification, oldest first.
pub(crate) const SUPPORTED: [&str; 7] = [
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
];

const DEFAULT_MTU: u32 = 9001;
const VETH_PREFIX_LENGTH_MAX: usize = 4;

/// Under this capability the runtime passes the annotations of the pod.
const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

/// What the plugin needs to know of its configuration.
#[derive(Debug)]
pub(crate) struct Conf {
    pub(crate) cni_version: String,
    pub(crate) name: String,
    pub(crate) veth_prefix: String,
    pub(crate) mtu: u32,
    pub(crate) log_file: String,
    pub(crate) log_level: Level,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) prev_result: Option<PrevResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default, deserialize_with = "null_is_default")]
    cni_version: String,
    #[serde(default, deserialize_with = "null_is_default")]
    name: String,
    #[serde(default, deserialize_with = "null_is_default")]
    veth_prefix: String,
    #[serde(default)]
    mtu: Value,
    #[serde(default, deserialize_with = "null_is_default")]
    plugin_log_file: String,
    #[serde(default, deserialize_with = "null_is_default")]
    plugin_log_level: String,
    #[serde(default, deserialize_with = "null_is_default")]
    runtime_config: BTreeMap<String, Value>,
    prev_result: Option<PrevResult>,
}

/// In Go `null` leaves a member as it is, and runtimes are written in Go.
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Conf {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, CniError> {
        let raw: Raw =
            serde_json::from_slice(json).map_err(|source| CniError::Undecodable { source })?;
        let cni_version = if raw.cni_version.is_empty() {
            "0.1.0".into()
        } else {
            raw.cni_version
        };
        if !SUPPORTED.contains(&&*cni_version) {
            return Err(CniError::Incompatible {
                config: cni_version,
            });
        }
        if raw.name.is_empty() {
            return Err(CniError::NoNetworkName);
        }
        if !is_identifier(&raw.name) {
            return Err(CniError::NetworkName(raw.name));
        }
        if raw.veth_prefix.chars().count() > VETH_PREFIX_LENGTH_MAX {
            return Err(CniError::VethPrefix(raw.veth_prefix));
        }
        let annotations = match raw.runtime_config.get(ANNOTATIONS) {
            Some(value) if !value.is_null() => Deserialize::deserialize(value)
                .map_err(|source| CniError::Undecodable { source })?,
            _ => BTreeMap::new(),
        };
        Ok(Self {
            cni_version,
            name: raw.name,
            veth_prefix: if raw.veth_prefix.is_empty() {
                "eni".into()
            } else {
                raw.veth_prefix
            },
            mtu: mtu(&raw.mtu),
            log_file: raw.plugin_log_file,
            log_level: Level::parse(&raw.plugin_log_level),
            annotations,
            prev_result: raw.prev_result,
        })
    }

    /// Whether the pod asks for an interface on each network card.
    pub(crate) fn wants_all_cards(&self) -> bool {
        self.annotations
            .get("k8s.amazonaws.com/nicConfig")
            .map(String::as_str)
            == Some("multi-nic-attachment")
    }
}

/// A string in shipped configurations; a number is understood too.
fn mtu(value: &Value) -> u32 {
    let number = if let Value::String(text) = value {
        text.parse().ok()
    } else {
        value.as_u64()
    };
    match number {
        Some(mtu @ 576..=9001) => mtu as u32,
        _ => DEFAULT_MTU,
    }
}

/// Names of networks and ids of containers.
pub(crate) fn is_identifier(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_configuration_is_understood() {
        let conf = Conf::parse(
            br#"{"cniVersion":"0.4.0","mtu":"1500","name":"aws-cni","pluginLogFile":"/var/log/x.log",
                "pluginLogLevel":"WARN","podSGEnforcingMode":"strict","type":"aws-cni","vethPrefix":"eni",
                "capabilities":{"io.kubernetes.cri.pod-annotations":true},
                "runtimeConfig":{"io.kubernetes.cri.pod-annotations":{"k8s.amazonaws.com/nicConfig":"multi-nic-attachment"}}}"#,
        )
        .unwrap();
        assert_eq!(
            (conf.mtu, &*conf.veth_prefix, conf.log_level),
            (1500, "eni", Level::Warn)
        );
        assert!(conf.wants_all_cards());
        assert!(conf.prev_result.is_none());
    }

    #[test]
    fn an_mtu_out_of_range_or_unreadable_is_the_default() {
        let check = |json: &str, expected| {
            let conf = Conf::parse(format!(r#"{{"name":"n","mtu":{json}}}"#).as_bytes()).unwrap();
            assert_eq!(conf.mtu, expected, "{json}");
        };
        check("\"1500\"", 1500);
        check("1500", 1500);
        check("\"575\"", 9001);
        check("\"9002\"", 9001);
        check("\"\"", 9001);
        check("\"-1\"", 9001);
        check("null", 9001);
        check("{}", 9001);
    }

    #[test]
    fn bad_configurations_are_refused_with_the_code_of_the_specification() {
        let check = |json: &str, code: u64, words: &str| {
            let reply = Conf::parse(json.as_bytes()).unwrap_err().to_json("1.1.0");
            let reply: Value = serde_json::from_str(&reply).unwrap();
            assert_eq!(reply["code"], code, "{reply}");
            assert!(reply["msg"].as_str().unwrap().contains(words), "{reply}");
        };
        check("", 6, "error unmarshall network config");
        check("{", 6, "error unmarshall network config");
        check("[1]", 6, "error unmarshall network config");
        check(r#"{"name":5}"#, 6, "error unmarshall network config");
        check(
            r#"{"name":"n","prevResult":{"interfaces":[{"name":1}]}}"#,
            6,
            "error unmarshall",
        );
        check(
            r#"{"name":"n","cniVersion":"2.0.0"}"#,
            1,
            "incompatible CNI versions",
        );
        check(r#"{"cniVersion":"0.4.0"}"#, 7, "missing network name");
        check(r#"{"name":"-n"}"#, 7, "invalid network name");
        check(
            r#"{"name":"n","vethPrefix":"abcde"}"#,
            999,
            "more than 4 characters",
        );
    }

    #[test]
    fn no_version_means_the_oldest() {
        let conf = Conf::parse(br#"{"name":"n","vethPrefix":null,"runtimeConfig":null}"#).unwrap();
        assert_eq!(conf.cni_version, "0.1.0");
        assert_eq!(conf.veth_prefix, "eni");
    }
    #[test]
    fn nearly_right_configurations_are_taken_or_refused_in_the_runtimes_words() {
        onsen_fuzz::fuzz("cni-stdin", |bytes| match Conf::parse(bytes) {
            Ok(conf) => {
                assert!((576..=9001).contains(&conf.mtu));
                assert!(is_identifier(&conf.name));
                assert!(conf.veth_prefix.chars().count() <= VETH_PREFIX_LENGTH_MAX);
            }
            Err(error) => {
                let reply: Value = serde_json::from_str(&error.to_json("1.1.0")).unwrap();
                assert!(
                    reply["code"].is_u64() && reply["msg"].is_string(),
                    "{reply}"
                );
            }
        });
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = Conf::parse(&bytes);
        }

        #[test]
        fn no_member_of_a_wrong_type_makes_the_parser_panic(member in "[a-zA-Z]{1,16}|prevResult|mtu|name|cniVersion|runtimeConfig|vethPrefix", value in "[0-9-]{1,20}|null|true|\\[\\]|\\{\\}|\"\\PC{0,8}\"") {
            let _ = Conf::parse(format!("{{\"{member}\":{value}}}").as_bytes());
        }
    }
}
