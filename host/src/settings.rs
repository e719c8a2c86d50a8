//! Reads the environment: upstream's variables under upstream's names and rules, and Onsen's own.
//!
//! In: a look-up of variables. Out: [`Settings`], or all that is wrong with them at once.
//! Must hold: a value that upstream replaces by its default with a log line is replaced here too
//! and named in `Settings::ignored`; a value that makes upstream stop makes us stop.

mod reader;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use onsen_policy_runner::reference::Reference;
use onsen_wiring::RandomizeSnat;

use crate::policies::Shown;
pub(crate) use reader::parse_flag;
use reader::{Reader, parse_mark};

/// Settings that are a policy's business: passed to it as text when they are set.
pub(crate) const POLICY_KEYS: [&str; 7] = [
    "ENABLE_PREFIX_DELEGATION",
    "MAX_ENI",
    "MINIMUM_IP_TARGET",
    "STRICT_UPSTREAM",
    "WARM_ENI_TARGET",
    "WARM_IP_TARGET",
    "WARM_PREFIX_TARGET",
];

/// Variables of upstream that this version does not act upon.
const UNSUPPORTED: [&str; 11] = [
    "ANNOTATE_POD_IP",
    "AWS_MANAGE_ENIS_NON_SCHEDULABLE",
    "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG",
    "CLUSTER_ENDPOINT",
    "DISABLE_NETWORK_RESOURCE_PROVISIONING",
    "ENABLE_IMDS_ONLY_MODE",
    "ENABLE_MULTI_NIC",
    "ENABLE_POD_ENI",
    "ENABLE_V6_EGRESS",
    "ENI_CONFIG_ANNOTATION_DEF",
    "ENI_CONFIG_LABEL_DEF",
];

/// One value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The variable.
    pub(crate) name: &'static str,
    /// What it holds.
    pub(crate) value: String,
    /// What it may hold.
    pub(crate) expected: String,
    /// What is used instead; absent when the daemon does not start with it.
    pub(crate) instead: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}={:?}: expected {}",
            self.name, self.value, self.expected
        )?;
        match &self.instead {
            Some(instead) => write!(f, "; {instead} is used instead"),
            None => Ok(()),
        }
    }
}

/// Where the status pages listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// On a TCP port.
    Tcp(SocketAddr),
    /// On a Unix socket.
    Unix(PathBuf),
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogTo {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to a file.
    File(PathBuf),
}

/// What the daemon runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_field_names,
    clippy::struct_excessive_bools,
    reason = "named as the operator knows them"
)]
pub(crate) struct Settings {
    /// Kubernetes' name of this node; empty when not told.
    pub(crate) node_name: String,
    /// Put into the tags of new ENIs.
    pub(crate) cluster_name: String,
    /// More tags for new ENIs.
    pub(crate) eni_tags: BTreeMap<String, String>,
    /// Whether ENIs that bear nobody's tag are ours to use.
    pub(crate) manage_untagged: bool,
    /// Use fewer ENIs than the instance type allows.
    pub(crate) max_eni: Option<u32>,
    /// The policy's settings, by key.
    pub(crate) policy_settings: BTreeMap<String, String>,
    /// How long an address rests between two pods.
    pub(crate) cooldown: Duration,
    /// How long an ADD waits for an address at most.
    pub(crate) add_wait: Duration,
    /// An ENI younger than this is not detached.
    pub(crate) min_eni_age: Duration,
    /// Time between two looks at EC2.
    pub(crate) look_period: Duration,
    /// How long a read of EC2 may lag behind a change.
    pub(crate) consistency: Duration,
    /// How long a call to EC2 may take before its outcome is unknown.
    pub(crate) ec2_timeout: Duration,
    /// How long the link of a new ENI may take to show up.
    pub(crate) link_wait: Duration,
    /// Time between two reads of what IMDS tells of the VPC and of security groups.
    pub(crate) imds_period: Duration,
    /// Whether ENIs may be made in other subnets that are tagged for it.
    pub(crate) subnet_discovery: bool,
    /// Seed of jitter.
    pub(crate) seed: u64,

    /// MTU of ENIs.
    pub(crate) mtu: u32,
    /// Start of the names of pods' host links.
    pub(crate) veth_prefix: String,
    /// Somebody else does source NAT.
    pub(crate) external_snat: bool,
    /// Destinations to which pods keep their own address.
    pub(crate) excluded_snat_cidrs: Vec<(IpAddr, u8)>,
    /// Destinations that are always reached by the primary ENI.
    pub(crate) external_service_cidrs: Vec<(IpAddr, u8)>,
    /// Make node ports work for pods on secondary ENIs.
    pub(crate) node_port: bool,
    /// The mark for that.
    pub(crate) connmark: u32,
    /// How source ports are chosen.
    pub(crate) randomize_snat: RandomizeSnat,
    /// Told to the plugin and to the network policy agent; empty: leave the agent alone.
    pub(crate) network_policy_mode: String,

    /// Where the plugin reaches us.
    pub(crate) socket: PathBuf,
    /// The checkpoint.
    pub(crate) checkpoint: PathBuf,
    /// Keeps the ledger of decisions.
    pub(crate) ledger_dir: PathBuf,
    /// Where the status pages listen; absent when switched off.
    pub(crate) introspection: Option<Listen>,
    /// Where metrics are served besides; absent when switched off.
    pub(crate) metrics: Option<Listen>,
    /// The policy unless the file below says otherwise.
    pub(crate) policy: Reference,
    /// A file of rules that name policies and settings, read again each second.
    pub(crate) policy_file: Option<PathBuf>,
    /// The labels of this node, where no API server is asked for them.
    pub(crate) node_labels_file: Option<PathBuf>,
    /// The labels that policies see.
    pub(crate) policy_labels: Shown,
    /// `config.json` with the credentials of registries.
    pub(crate) registry_config: Option<PathBuf>,
    /// The public key that policies out of registries are signed with.
    pub(crate) policy_key: Option<PathBuf>,
    /// How long a new policy is watched beside the last good one.
    pub(crate) policy_watch: Duration,
    /// The ConfigMap of rules; absent where no API server is to be asked.
    pub(crate) policy_config_map: Option<String>,
    /// Keeps compiled policies, and the last good one.
    pub(crate) cache_dir: PathBuf,

    /// Where EC2 answers instead of its regional endpoint.
    pub(crate) ec2_endpoint: Option<String>,
    /// Where IMDS answers instead of its link-local address.
    pub(crate) imds_endpoint: Option<String>,
    /// The region, unless IMDS is to tell it.
    pub(crate) region: Option<String>,

    /// Least severe line that is logged.
    pub(crate) log_level: tracing::Level,
    /// Where to.
    pub(crate) log_to: LogTo,
    /// JSON or text; absent: text on a terminal, else JSON.
    pub(crate) log_json: Option<bool>,

    /// Values that were replaced by defaults.
    pub(crate) ignored: Vec<Problem>,
    /// Variables that are set and not acted upon.
    pub(crate) unsupported: Vec<&'static str>,
}

impl Settings {
    /// Reads all of them; `var` gives a variable when it is set.
    pub(crate) fn read(var: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<Problem>> {
        let mut r = Reader {
            var,
            problems: Vec::new(),
        };

        // Upstream's code has ENABLE_IPv4 off unless set, and its documents and chart say on. Ours is
        // on unless IPv6 is: nobody wants a daemon that serves no family.
        let ipv6 = r.flag("ENABLE_IPv6", false);
        let ipv4 = r.flag("ENABLE_IPv4", !ipv6);
        if ipv6 || !ipv4 {
            r.stop(
                if ipv6 { "ENABLE_IPv6" } else { "ENABLE_IPv4" },
                "an IPv4 node: this version of Onsen does not serve IPv6 yet",
            );
        }

        let mut policy_settings = BTreeMap::new();
        // Some guides print names that upstream does not read. They are a policy's business too: it
        // tells what was meant.
        let prefixed = POLICY_KEYS.map(|key| format!("AWS_VPC_K8S_CNI_{key}"));
        let misspelt = prefixed
            .iter()
            .map(String::as_str)
            .chain(["WAM_ENI_TARGET"]);
        for key in POLICY_KEYS.into_iter().chain(misspelt) {
            if let Some(value) = var(key) {
                policy_settings.insert(key.to_owned(), value);
            }
        }
        for key in [
            "WARM_ENI_TARGET",
            "WARM_IP_TARGET",
            "MINIMUM_IP_TARGET",
            "WARM_PREFIX_TARGET",
        ] {
            // Only to name bad ones: the policy reads the text by its own, equal, rule.
            r.lenient(
                key,
                "a whole number from 0",
                "the policy's default",
                |text| text.parse::<u32>().ok(),
            );
        }
        r.flag("ENABLE_PREFIX_DELEGATION", false);

        let socket = r
            .path("ONSEN_SOCKET")
            .unwrap_or_else(|| onsen_rpc::DAEMON_SOCKET.into());
        let checkpoint = r
            .path("AWS_VPC_K8S_CNI_BACKING_STORE")
            .unwrap_or_else(|| "/var/run/aws-node/ipam.json".into());
        let settings = Self {
            node_name: var("MY_NODE_NAME").unwrap_or_default(),
            cluster_name: var("CLUSTER_NAME").unwrap_or_default(),
            eni_tags: r.eni_tags(),
            manage_untagged: r.flag("MANAGE_UNTAGGED_ENI", true),
            max_eni: r.lenient("MAX_ENI", "a whole number from 1", "EC2's limit", |text| {
                text.parse().ok().filter(|n| *n >= 1)
            }),
            policy_settings,
            cooldown: Duration::from_secs(
                r.strict("IP_COOLDOWN_PERIOD", "whole seconds from 0", |text| {
                    text.parse::<u32>().ok()
                })
                .unwrap_or(30)
                .into(),
            ),
            add_wait: r.seconds("ONSEN_ADD_WAIT", 10),
            min_eni_age: r.seconds("ONSEN_MIN_ENI_AGE", 60),
            look_period: r.seconds("ONSEN_LOOK_PERIOD", 300),
            consistency: r.seconds("ONSEN_CONSISTENCY", 30),
            ec2_timeout: r
                .seconds("ONSEN_EC2_TIMEOUT", 10)
                .max(Duration::from_millis(100)),
            link_wait: r.seconds("ONSEN_LINK_WAIT", 60),
            imds_period: r
                .seconds("ONSEN_IMDS_PERIOD", 30)
                .max(Duration::from_millis(100)),
            subnet_discovery: r.flag("ENABLE_SUBNET_DISCOVERY", true),
            seed: r
                .strict("ONSEN_SEED", "a whole number from 0 to 2^64-1", |text| {
                    text.parse().ok()
                })
                .unwrap_or_else(crate::clock::chance),
            mtu: r
                .strict(
                    "AWS_VPC_ENI_MTU",
                    "a whole number from 576 to 9001",
                    |text| text.parse().ok().filter(|n| (576..=9001).contains(n)),
                )
                .unwrap_or(9001),
            veth_prefix: r
                .strict(
                    "AWS_VPC_K8S_CNI_VETHPREFIX",
                    "1 to 4 characters, not eth, lo or vlan",
                    |text| {
                        let fits = (1..=4).contains(&text.len())
                            && text
                                .bytes()
                                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
                        (fits && !["eth", "lo", "vlan"].contains(&text)).then(|| text.to_owned())
                    },
                )
                .unwrap_or_else(|| "eni".into()),
            external_snat: r.flag("AWS_VPC_K8S_CNI_EXTERNALSNAT", false),
            excluded_snat_cidrs: r.cidrs("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS"),
            external_service_cidrs: r.cidrs("AWS_EXTERNAL_SERVICE_CIDRS"),
            node_port: r.flag("AWS_VPC_CNI_NODE_PORT_SUPPORT", true),
            connmark: r
                .lenient(
                    "AWS_VPC_K8S_CNI_CONNMARK",
                    "a number from 1 to 0xffffffff",
                    "0x80",
                    parse_mark,
                )
                .unwrap_or(0x80),
            randomize_snat: match var("AWS_VPC_K8S_CNI_RANDOMIZESNAT").as_deref() {
                Some("none") => RandomizeSnat::None,
                Some("hashrandom") => RandomizeSnat::HashRandom,
                _ => RandomizeSnat::Prng,
            },
            network_policy_mode: r
                .strict(
                    "NETWORK_POLICY_ENFORCING_MODE",
                    "none, standard or strict; unset when there is no network policy agent",
                    |text| {
                        let mode = text.to_ascii_lowercase();
                        ["none", "standard", "strict"]
                            .contains(&mode.as_str())
                            .then_some(mode)
                    },
                )
                .unwrap_or_default(),
            cache_dir: r
                .path("ONSEN_CACHE_DIR")
                .unwrap_or_else(|| socket.with_file_name("onsen-cache")),
            socket,
            ledger_dir: r
                .path("ONSEN_LEDGER_DIR")
                .unwrap_or_else(|| checkpoint.with_file_name("onsen-ledger")),
            checkpoint,
            introspection: r.listen(
                "DISABLE_INTROSPECTION",
                "INTROSPECTION_BIND_ADDRESS",
                Listen::Tcp(([127, 0, 0, 1], 61679).into()),
            ),
            metrics: r.listen(
                "DISABLE_METRICS",
                "ONSEN_METRICS_BIND_ADDRESS",
                Listen::Tcp((Ipv6Addr::UNSPECIFIED, 61678).into()),
            ),
            policy: r
                .strict(
                    "ONSEN_POLICY",
                    "builtin:NAME, file:PATH or oci:REGISTRY/REPOSITORY@sha256:DIGEST",
                    |text| text.parse().ok(),
                )
                .unwrap_or_else(|| Reference::BuiltIn(crate::policies::DEFAULT.into())),
            policy_file: r.path("ONSEN_POLICY_FILE"),
            node_labels_file: r.path("ONSEN_NODE_LABELS_FILE"),
            policy_labels: r
                .strict(
                    "ONSEN_POLICY_LABELS",
                    "keys of node labels, separated by commas; one that ends in * stands for all that start so",
                    Shown::parse,
                )
                .unwrap_or_default(),
            registry_config: r.path("ONSEN_REGISTRY_CONFIG"),
            policy_key: r.path("ONSEN_POLICY_KEY"),
            policy_watch: r.seconds("ONSEN_POLICY_WATCH", 600),
            // Kubernetes sets the second variable in every pod.
            policy_config_map: match var("ONSEN_POLICY_CONFIGMAP") {
                Some(name) => Some(name).filter(|name| !name.is_empty()),
                None => var("KUBERNETES_SERVICE_HOST").map(|_| "onsen-policy".to_owned()),
            },
            ec2_endpoint: r.url("AWS_EC2_ENDPOINT"),
            imds_endpoint: r.url("AWS_EC2_METADATA_SERVICE_ENDPOINT"),
            region: r.text("AWS_REGION"),
            log_level: r
                .lenient(
                    "AWS_VPC_K8S_CNI_LOGLEVEL",
                    "debug, info, warn or error",
                    "info",
                    |text| match text.to_ascii_lowercase().as_str() {
                        "trace" => Some(tracing::Level::TRACE),
                        "debug" => Some(tracing::Level::DEBUG),
                        "info" => Some(tracing::Level::INFO),
                        "warn" | "warning" => Some(tracing::Level::WARN),
                        "error" | "fatal" => Some(tracing::Level::ERROR),
                        _ => None,
                    },
                )
                .unwrap_or(tracing::Level::INFO),
            log_to: match r.text("AWS_VPC_K8S_CNI_LOG_FILE").as_deref() {
                Some("stdout") => LogTo::Stdout,
                // Upstream's default is a file that exists only in its image; ours is the one place
                // that always does.
                None | Some("stderr") => LogTo::Stderr,
                Some(path) => LogTo::File(path.into()),
            },
            log_json: r.lenient(
                "ONSEN_LOG_FORMAT",
                "json or text",
                "text on a terminal, else json",
                |text| match text {
                    "json" => Some(true),
                    "text" => Some(false),
                    _ => None,
                },
            ),
            unsupported: UNSUPPORTED
                .into_iter()
                .filter(|name| var(name).is_some_and(|value| parse_flag(&value) != Some(false)))
                .collect(),
            ignored: Vec::new(),
        };

        let (ignored, fatal): (Vec<_>, Vec<_>) = r
            .problems
            .into_iter()
            .partition(|problem| problem.instead.is_some());
        if fatal.is_empty() {
            Ok(Self {
                ignored,
                ..settings
            })
        } else {
            Err(fatal.into_iter().chain(ignored).collect())
        }
    }
}

#[cfg(test)]
mod tests;
