//! Reads the environment of the init container and of the entrypoint, by upstream's names and rules.
//!
//! In: a look-up of variables. Out: settings, or all that is wrong with them at once.
//! Must hold: a flag that upstream replaces by its default is replaced here too; a value with which upstream
//! does not start is an error here too.

use std::path::PathBuf;

/// What the init container does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// Where the host's CNI programs lie, as this container sees them.
    pub bin: PathBuf,
    /// Switch TCP early demultiplexing off, as strict security groups for pods need it.
    pub disable_early_demux: bool,
    /// Where IMDS answers.
    pub imds_endpoint: String,
}

/// What the entrypoint does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrypoint {
    /// Where the host's CNI programs lie, as this container sees them.
    pub bin: PathBuf,
    /// Where the host's CNI configurations lie.
    pub conf: PathBuf,
    /// Where the daemon serves.
    pub socket: PathBuf,
    /// What goes into the CNI configuration.
    pub plugin: Plugin,
}

/// What goes into the CNI configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Start of the names of pods' links on the host.
    pub veth_prefix: String,
    /// MTU of pods' links.
    pub mtu: u32,
    /// How security groups for pods are enforced.
    pub security_group_mode: String,
    /// Where the plugin logs, on the host.
    pub log_file: String,
    /// What it logs.
    pub log_level: String,
    /// How source ports are chosen.
    pub randomize_snat: String,
    /// Add the bandwidth plugin.
    pub bandwidth: bool,
    /// Add the tuning plugin that takes IPv6 off pods' links.
    pub disable_pod_v6: bool,
}

/// Values with which nothing starts, one line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct BadSettings(Vec<String>);

type Var<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Init {
    /// Reads all of them; `var` gives a variable when it is set.
    pub fn read(var: Var<'_>) -> Self {
        Self {
            bin: bin(var),
            disable_early_demux: flag(var, "DISABLE_TCP_EARLY_DEMUX"),
            imds_endpoint: text(
                var,
                "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                crate::imds::ENDPOINT,
            ),
        }
    }
}

impl Entrypoint {
    /// Reads all of them; `var` gives a variable when it is set.
    pub fn read(var: Var<'_>) -> Result<Self, BadSettings> {
        let mut wrong = Vec::new();
        let eni_mtu = mtu(var, "AWS_VPC_ENI_MTU", 9001, &mut wrong);
        let settings = Self {
            bin: bin(var),
            conf: text(var, "HOST_CNI_CONFDIR_PATH", "/host/etc/cni/net.d").into(),
            socket: text(var, "ONSEN_SOCKET", onsen_rpc::DAEMON_SOCKET).into(),
            plugin: Plugin {
                // The daemon, which is started next, says what is wrong with this one.
                veth_prefix: text(var, "AWS_VPC_K8S_CNI_VETHPREFIX", "eni"),
                mtu: mtu(var, "POD_MTU", eni_mtu, &mut wrong),
                security_group_mode: text(var, "POD_SECURITY_GROUP_ENFORCING_MODE", "strict"),
                log_file: text(
                    var,
                    "AWS_VPC_K8S_PLUGIN_LOG_FILE",
                    "/var/log/aws-routed-eni/plugin.log",
                ),
                log_level: text(var, "AWS_VPC_K8S_PLUGIN_LOG_LEVEL", "Debug"),
                randomize_snat: text(var, "AWS_VPC_K8S_CNI_RANDOMIZESNAT", "prng"),
                bandwidth: flag(var, "ENABLE_BANDWIDTH_PLUGIN"),
                disable_pod_v6: flag(var, "DISABLE_POD_V6"),
            },
        };
        // The plugin's stdout belongs to the runtime.
        if settings.plugin.log_file == "stdout" {
            wrong.push("AWS_VPC_K8S_PLUGIN_LOG_FILE=stdout: expected a file or stderr".to_owned());
        }
        if wrong.is_empty() {
            Ok(settings)
        } else {
            Err(BadSettings(wrong))
        }
    }
}

fn bin(var: Var<'_>) -> PathBuf {
    text(var, "HOST_CNI_BIN_PATH", "/host/opt/cni/bin").into()
}

fn text(var: Var<'_>, name: &str, default: &str) -> String {
    var(name)
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| default.to_owned())
}

/// All flags here are off unless Go's `ParseBool` takes the text for true.
fn flag(var: Var<'_>, name: &str) -> bool {
    var(name).is_some_and(|text| ["1", "t", "T", "TRUE", "true", "True"].contains(&text.trim()))
}

fn mtu(var: Var<'_>, name: &str, default: u32, wrong: &mut Vec<String>) -> u32 {
    let Some(text) = var(name).filter(|text| !text.is_empty()) else {
        return default;
    };
    if let Ok(mtu @ 576..=9001) = text.trim().parse() {
        return mtu;
    }
    wrong.push(format!(
        "{name}={text:?}: expected a whole number from 576 to 9001"
    ));
    default
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Entrypoint, BadSettings> {
        Entrypoint::read(&|name| {
            let found = vars.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_set_gives_upstreams_places_and_values() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.bin, PathBuf::from("/host/opt/cni/bin"));
        assert_eq!(settings.conf, PathBuf::from("/host/etc/cni/net.d"));
        assert_eq!(
            settings.socket,
            PathBuf::from("/var/run/aws-node/ipamd.sock")
        );
        assert_eq!(settings.plugin.mtu, 9001);
        assert!(!settings.plugin.bandwidth);
    }

    #[test]
    fn a_pods_mtu_is_the_enis_unless_it_is_told() {
        assert_eq!(
            read(&[("AWS_VPC_ENI_MTU", "1500")]).unwrap().plugin.mtu,
            1500
        );
        let both = [("AWS_VPC_ENI_MTU", "1500"), ("POD_MTU", "1400")];
        assert_eq!(read(&both).unwrap().plugin.mtu, 1400);
    }

    #[test]
    fn all_bad_values_are_named_at_once() {
        let error = read(&[
            ("AWS_VPC_ENI_MTU", "9002"),
            ("POD_MTU", "big"),
            ("AWS_VPC_K8S_PLUGIN_LOG_FILE", "stdout"),
        ])
        .unwrap_err()
        .to_string();
        for name in ["AWS_VPC_ENI_MTU", "POD_MTU", "AWS_VPC_K8S_PLUGIN_LOG_FILE"] {
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_flag_that_is_no_flag_is_off() {
        for (text, expected) in [("true", true), ("1", true), ("yes", false), ("", false)] {
            let plugin = read(&[("ENABLE_BANDWIDTH_PLUGIN", text)]).unwrap().plugin;
            assert_eq!(plugin.bandwidth, expected, "{text:?}");
        }
    }
}
