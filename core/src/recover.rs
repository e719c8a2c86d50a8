//! Who holds which address when the daemon starts: the checkpoint held against the node's own links.
//!
//! In: the checkpoint as it was found, and what the kernel has for pods. Out: allocations, and which
//! of their sandboxes are gone.
//! Must hold: an address that the kernel still leads to a pod is never taken for free, whatever
//! became of the checkpoint.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::effect::{Allocation, Saved};
use crate::ids::{PodName, SandboxKey};
use crate::time::Millis;

const RECOVERED: &str = "recovered-";

/// How much of the end of a link's name tells the pod: its start is a setting, which may change.
const POD_DIGITS: usize = 11;

/// The key of a sandbox of which the address and the link on the host are known, and nothing else. By the
/// address alone it might be taken for the one that had the address before.
pub fn key_of_link(address: IpAddr, link: &str) -> SandboxKey {
    let start = link.len().saturating_sub(POD_DIGITS);
    let digits = link.get(start..).unwrap_or(link);
    SandboxKey {
        network: "aws-cni".into(),
        container: format!("{RECOVERED}{address}-{digits}"),
        interface: "eth0".into(),
    }
}

/// Whether nothing but the address and the link is known of a sandbox.
pub fn is_recovered(key: &SandboxKey) -> bool {
    key.container.starts_with(RECOVERED)
}

/// What the checkpoint's file held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is none: a fresh node, or somebody removed it.
    Nothing,
    /// All of it.
    Whole(Saved),
    /// It cannot be trusted; the text says why.
    Bad(String),
}

/// What the kernel has for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLink {
    /// The pod's address.
    pub address: IpAddr,
    /// The link that leads to it; absent when only rules are left of the pod.
    pub link: Option<String>,
}

/// What the node starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// All that is or was held.
    pub saved: Saved,
    /// Whose sandboxes are no longer on the node.
    pub gone: BTreeSet<SandboxKey>,
    /// Addresses of pods that left rules and nothing else: nobody holds them.
    pub stale: BTreeSet<IpAddr>,
    /// True when allocations were added that the checkpoint did not have.
    pub rebuilt: bool,
    /// For people.
    pub remarks: Vec<String>,
    /// True when it is not known which addresses were given back lately. Before the allocations are
    /// written back, the file of cooling addresses must then go: it would be trusted by a start that
    /// follows a crash.
    pub forgotten: bool,
}

/// Holds the checkpoint against the kernel. `cooling_known` tells whether the file of cooling addresses
/// was there and whole. `pods` is what the kernel has for pods; `is_here` says
/// whether a sandbox's link is on the node, and takes what it cannot tell for here.
pub fn recover(
    found: Found,
    cooling_known: bool,
    pods: &[PodLink],
    is_here: impl Fn(&Allocation) -> bool,
    now: Millis,
) -> Recovered {
    let mut recovered = Recovered {
        forgotten: !cooling_known || !matches!(found, Found::Whole(_)),
        ..Recovered::default()
    };
    match found {
        Found::Whole(saved) => recovered.saved = saved,
        Found::Bad(why) => recovered
            .remarks
            .push(format!("the checkpoint cannot be trusted: {why}")),
        Found::Nothing => {}
    }
    let leads_to = |allocation: &Allocation| {
        let mut keys =
            (pods.iter()).filter_map(|pod| Some(key_of_link(pod.address, pod.link.as_deref()?)));
        keys.any(|key| key == allocation.key)
    };
    for allocation in &recovered.saved.allocations {
        let here = if is_recovered(&allocation.key) {
            leads_to(allocation)
        } else {
            is_here(allocation)
        };
        if !here {
            recovered.gone.insert(allocation.key.clone());
        }
    }
    let mut held: BTreeSet<IpAddr> = (recovered.saved.allocations.iter())
        .map(|allocation| allocation.address)
        .collect();
    for pod in pods {
        if !held.insert(pod.address) {
            continue;
        }
        let Some(link) = &pod.link else {
            recovered.stale.insert(pod.address);
            continue;
        };
        recovered.rebuilt = true;
        recovered.remarks.push(format!(
            "{link} leads to a pod with {} that is not in the checkpoint: the address is kept until the pod is deleted",
            pod.address
        ));
        recovered.saved.allocations.push(Allocation {
            key: key_of_link(pod.address, link),
            address: pod.address,
            pod: PodName::default(),
            since: now,
        });
    }
    recovered
        .saved
        .allocations
        .sort_by(|a, b| a.key.cmp(&b.key));
    recovered
}
