//! How many pods an instance type can give addresses to, and how many kubelet should be told.
//!
//! In: an instance type and how addresses are handed out. Out: the number, step by step.
//! The arithmetic is the one behind the `eni-max-pods.txt` that is published with `aws-node`.

use serde::Serialize;

use crate::account::InstanceType;

/// Pods with the host's network, which need no address: `aws-node` and `kube-proxy`.
const HOST_NETWORK_PODS: u64 = 2;
const ADDRESSES_PER_PREFIX: u64 = 16;
/// Addresses of a /80.
const IPV6_ADDRESSES: u64 = 1 << 48;
/// EKS advises at most this many pods below `MANY_VCPUS`.
const CAP: u64 = 110;
/// And at most this many from there on.
const HIGH_CAP: u64 = 250;
const MANY_VCPUS: u32 = 30;

/// How addresses are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Blocks are /28 prefixes.
    pub prefix_delegation: bool,
    /// Pods get no address of the primary ENI.
    pub custom_networking: bool,
    /// Pods get IPv6 addresses of the primary ENI's /80.
    pub ipv6: bool,
}

/// What follows for an instance type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MaxPods {
    /// Such as `m5.large`.
    pub instance_type: String,
    /// ENIs of network card 0.
    pub enis: u32,
    /// IPv4 addresses of each, its own included.
    pub addresses_per_eni: u32,
    /// Virtual processors; absent when they are not known.
    pub vcpus: Option<u32>,
    /// The arithmetic, one line for each step.
    pub steps: Vec<String>,
    /// The result.
    pub max_pods: u64,
    /// What EKS advises not to pass on a node of this size.
    pub cap: u64,
    /// The lower of the two.
    pub recommended: u64,
    /// What the reader should know besides.
    pub notes: Vec<String>,
}

/// Why a mode is not possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// IPv6 needs prefixes.
    #[error("{0} cannot hold prefixes, and so cannot give IPv6 addresses to pods")]
    NoPrefixes(String),
    /// Both at once are not supported by `aws-node` either.
    #[error("custom networking is for IPv4 only")]
    CustomIpv6,
}

/// The number for this type in this mode.
pub fn max_pods(kind: &InstanceType, mode: Mode) -> Result<MaxPods, Impossible> {
    let mut notes = Vec::new();
    let mut steps = Vec::new();
    let addresses = if mode.ipv6 {
        if mode.custom_networking {
            return Err(Impossible::CustomIpv6);
        }
        if !kind.takes_prefixes() {
            return Err(Impossible::NoPrefixes(kind.name.clone()));
        }
        steps.push(format!(
            "one /80 on the primary ENI = {IPV6_ADDRESSES} addresses"
        ));
        IPV6_ADDRESSES
    } else {
        ipv4_addresses(kind, mode, &mut steps, &mut notes)
    };
    let max_pods = addresses + HOST_NETWORK_PODS;
    steps.push(format!(
        "{addresses} addresses + {HOST_NETWORK_PODS} pods with the host's network = {max_pods}"
    ));
    if kind.vcpus.is_none() {
        notes.push(format!(
            "the number of vCPUs is not known; the cap for fewer than {MANY_VCPUS} is shown"
        ));
    }
    if kind.network_cards > 1 {
        notes.push(format!(
            "{} network cards: only card 0 counts",
            kind.network_cards
        ));
    }
    let cap = if kind.vcpus.is_some_and(|vcpus| vcpus >= MANY_VCPUS) {
        HIGH_CAP
    } else {
        CAP
    };
    Ok(MaxPods {
        instance_type: kind.name.clone(),
        enis: kind.enis_per_card,
        addresses_per_eni: kind.ipv4_per_eni,
        vcpus: kind.vcpus,
        steps,
        max_pods,
        cap,
        recommended: max_pods.min(cap),
        notes,
    })
}

fn ipv4_addresses(
    kind: &InstanceType,
    mode: Mode,
    steps: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> u64 {
    let mut enis = u64::from(kind.enis_per_card);
    if mode.custom_networking {
        let usable = enis.saturating_sub(1);
        steps.push(format!("{enis} ENIs - the primary = {usable}"));
        enis = usable;
        if enis == 0 {
            notes.push("no ENI is left for pods".to_owned());
        }
    }
    let slots = u64::from(kind.ipv4_per_eni.saturating_sub(1));
    steps.push(format!(
        "{} addresses per ENI - its own = {slots} slots",
        kind.ipv4_per_eni
    ));
    if mode.prefix_delegation && !kind.takes_prefixes() {
        notes.push(format!(
            "{} cannot hold prefixes: counted without them, as the node will work",
            kind.name
        ));
    }
    if mode.prefix_delegation && kind.takes_prefixes() {
        let addresses = enis * slots * ADDRESSES_PER_PREFIX;
        steps.push(format!(
            "{enis} ENIs x {slots} slots x {ADDRESSES_PER_PREFIX} addresses of a /28 = {addresses} addresses"
        ));
        addresses
    } else {
        let addresses = enis * slots;
        steps.push(format!(
            "{enis} ENIs x {slots} slots = {addresses} addresses"
        ));
        addresses
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn kind(name: &str) -> InstanceType {
        InstanceType::find(name).unwrap()
    }

    #[test]
    fn the_published_numbers_come_out_for_every_type_they_list() {
        // Types of the published file whose number differs here. There is none.
        let exceptions: [&str; 0] = [];
        let published: BTreeMap<String, u64> =
            serde_json::from_str(include_str!("../data/eni-max-pods.json")).unwrap();
        assert!(published.len() > 1_000, "{}", published.len());
        for (name, number) in published {
            let found = InstanceType::find(&name)
                .map(|kind| max_pods(&kind, Mode::default()).unwrap().max_pods);
            assert_eq!(
                found == Some(number),
                !exceptions.contains(&&*name),
                "{name}: {found:?}, published {number}"
            );
        }
    }

    #[test]
    fn each_mode_has_its_own_arithmetic() {
        let number = |name, prefix_delegation, custom_networking, ipv6| {
            let mode = Mode {
                prefix_delegation,
                custom_networking,
                ipv6,
            };
            max_pods(&kind(name), mode).map(|it| (it.max_pods, it.recommended))
        };
        assert_eq!(number("m5.large", false, false, false), Ok((29, 29)));
        assert_eq!(number("m5.large", false, true, false), Ok((20, 20)));
        assert_eq!(number("m5.large", true, false, false), Ok((434, 110)));
        assert_eq!(number("m5.large", true, true, false), Ok((290, 110)));
        assert_eq!(number("m4.4xlarge", true, false, false), Ok((234, 110)));
        assert_eq!(number("m5.24xlarge", false, false, false), Ok((737, 250)));
        assert_eq!(
            number("m5.large", false, false, true),
            Ok(((1 << 48) + 2, 110))
        );
        assert_eq!(
            number("m4.large", false, false, true),
            Err(Impossible::NoPrefixes("m4.large".into()))
        );
        assert_eq!(
            number("m5.large", false, true, true),
            Err(Impossible::CustomIpv6)
        );
    }

    #[test]
    fn what_a_reader_would_stumble_over_is_noted() {
        let notes = |name, mode| max_pods(&kind(name), mode).unwrap().notes.join("; ");
        let prefixes = Mode {
            prefix_delegation: true,
            ..Mode::default()
        };
        assert!(notes("m4.large", prefixes).contains("cannot hold prefixes"));
        assert!(notes("p4d.24xlarge", prefixes).contains("only card 0"));
        assert!(notes("p3.2xlarge", prefixes).contains("vCPUs is not known"));
        assert_eq!(notes("m5.large", prefixes), "");
    }
}
