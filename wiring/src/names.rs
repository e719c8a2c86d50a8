//! Names of links. Calico, the network policy agent and upstream's daemon compute the same ones.

use alloc::{format, string::String};

use sha1::{Digest, Sha1};

/// The first 11 hex digits of the SHA-1 of `NAMESPACE.POD`, or `NAMESPACE.POD.INDEX` for further interfaces.
pub fn suffix(namespace: &str, pod: &str, index: u32) -> String {
    let input = if index == 0 {
        format!("{namespace}.{pod}")
    } else {
        format!("{namespace}.{pod}.{index}")
    };
    let digest = Sha1::digest(input.as_bytes());
    // Eleven hex digits are the first 44 bits.
    let head = digest
        .iter()
        .take(8)
        .fold(0, |head: u64, &byte| head << 8 | u64::from(byte));
    format!("{:011x}", head >> 20)
}

/// Name of a pod's link on the host.
pub fn host_link(prefix: &str, namespace: &str, pod: &str, index: u32) -> String {
    format!("{prefix}{}", suffix(namespace, pod, index))
}

/// Name of a pod's link in the pod: the one the runtime asked for, then `mNicIf1`, `mNicIf2` ...
pub fn pod_link(if_name: &str, index: u32) -> String {
    if index == 0 {
        if_name.into()
    } else {
        format!("mNicIf{index}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_those_upstream_computes() {
        assert_eq!(
            suffix("kube-system", "coredns-57ff979f67-qqbdh", 0),
            "b5faff8a083"
        );
        assert_eq!(suffix("default", "sample-pod", 0), "cc21c2d7785");
        assert_eq!(suffix("default", "web-0", 0), "0d7763386da");
        assert_eq!(suffix("default", "web-0", 1), "b813f772d20");
    }

    #[test]
    fn a_host_link_with_the_default_prefix_is_a_legal_link_name() {
        let name = host_link("eni", "default", "web-0", 0);
        assert_eq!(name, "eni0d7763386da");
        assert!(name.len() < 16);
        assert_eq!(pod_link("eth0", 0), "eth0");
        assert_eq!(pod_link("eth0", 2), "mNicIf2");
    }
}
