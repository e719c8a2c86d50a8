//! Who holds which address when the daemon starts: the core's rule, asked about this host's links.
//!
//! In: the checkpoint and the node's pod links. Out: allocations, and which of their sandboxes are
//! gone.

use std::collections::BTreeSet;

use onsen_core::effect::Allocation;
use onsen_core::ids::PodName;
pub(crate) use onsen_core::recover::{PodLink, Recovered, key_of_link};
use onsen_core::time::Millis;

use crate::checkpoint::Found;

/// Holds the checkpoint against the kernel. `links` are the names of all links of the host, `pods` what
/// its rules are about.
pub(crate) fn recover(
    found: Found,
    cooling_known: bool,
    links: &BTreeSet<String>,
    pods: &[PodLink],
    now: Millis,
) -> Recovered {
    onsen_core::recover::recover(
        found,
        cooling_known,
        pods,
        |allocation| is_here(allocation, links),
        now,
    )
}

/// Whether the sandbox's link is on the host. What cannot be told is taken for here.
fn is_here(allocation: &Allocation, links: &BTreeSet<String>) -> bool {
    let PodName { namespace, name } = &allocation.pod;
    if namespace.is_empty() || name.is_empty() {
        return true;
    }
    // By the end of the name: the prefix may have been another one in an earlier life.
    let suffix = onsen_wiring::suffix(namespace, name, 0);
    links.iter().any(|link| link.ends_with(&suffix))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use onsen_core::effect::Saved;
    use onsen_core::ids::SandboxKey;

    use super::*;

    fn allocation(name: &str, address: [u8; 4]) -> Allocation {
        Allocation {
            key: SandboxKey {
                network: "aws-cni".into(),
                container: format!("c-{name}"),
                interface: "eth0".into(),
            },
            address: address.into(),
            pod: PodName {
                namespace: "default".into(),
                name: name.into(),
            },
            since: 1,
        }
    }

    fn names(links: &[&str]) -> BTreeSet<String> {
        links.iter().map(|link| (*link).to_owned()).collect()
    }

    #[test]
    fn a_sandbox_without_its_link_is_gone_and_the_others_stay() {
        let saved = Saved {
            allocations: vec![
                allocation("a", [10, 0, 0, 1]),
                allocation("b", [10, 0, 0, 2]),
            ],
            ..Saved::default()
        };
        let links = names(&["eth0", &onsen_wiring::host_link("old", "default", "b", 0)]);
        let recovered = recover(Found::Whole(saved.clone()), true, &links, &[], 5);
        assert_eq!(recovered.saved, saved);
        assert_eq!(
            recovered.gone,
            BTreeSet::from([saved.allocations[0].key.clone()])
        );
    }

    #[test]
    fn a_lost_checkpoint_is_rebuilt_from_the_pods_links() {
        let pod = PodLink {
            address: [10, 0, 0, 7].into(),
            link: Some("eni0d7763386da".into()),
        };
        let stale = PodLink {
            address: [10, 0, 0, 8].into(),
            link: None,
        };
        let recovered = recover(
            Found::Bad("cut".into()),
            true,
            &names(&["eni0d7763386da"]),
            &[pod, stale],
            5,
        );
        assert_eq!(recovered.saved.allocations.len(), 1);
        assert!(recovered.rebuilt);
        assert_eq!(recovered.stale, BTreeSet::from([[10, 0, 0, 8].into()]));
        let allocation = &recovered.saved.allocations[0];
        assert_eq!(allocation.address, IpAddr::from([10, 0, 0, 7]));
        assert_eq!(
            allocation.key,
            key_of_link(allocation.address, "eni0d7763386da")
        );
        assert!(recovered.gone.is_empty());
        assert_eq!(recovered.remarks.len(), 2);
    }

    #[test]
    fn what_was_rebuilt_once_is_known_again_after_the_next_start() {
        let rebuilt = Allocation {
            key: key_of_link([10, 0, 0, 7].into(), "old0d7763386da"),
            address: [10, 0, 0, 7].into(),
            pod: PodName::default(),
            since: 1,
        };
        let saved = Saved {
            allocations: vec![rebuilt.clone()],
            ..Saved::default()
        };
        let pod = PodLink {
            address: [10, 0, 0, 7].into(),
            link: Some("eni0d7763386da".into()),
        };
        let links = names(&["eni0d7763386da"]);
        let here = recover(Found::Whole(saved.clone()), true, &links, &[pod], 5);
        assert!(here.gone.is_empty());
        let gone = recover(Found::Whole(saved), true, &links, &[], 5);
        assert_eq!(gone.gone, BTreeSet::from([rebuilt.key]));
    }

    #[test]
    fn an_address_is_not_held_a_second_time_because_the_kernel_shows_it_too() {
        let saved = Saved {
            allocations: vec![allocation("a", [10, 0, 0, 1])],
            ..Saved::default()
        };
        let link = onsen_wiring::host_link("eni", "default", "a", 0);
        let pod = PodLink {
            address: [10, 0, 0, 1].into(),
            link: Some(link.clone()),
        };
        let recovered = recover(
            Found::Whole(saved.clone()),
            true,
            &names(&[&link]),
            &[pod],
            5,
        );
        assert_eq!(recovered.saved, saved);
        assert!(recovered.remarks.is_empty() && !recovered.rebuilt);
    }
}
