//! The gRPC wire of the Amazon VPC CNI: messages, clients and servers generated from `proto/rpc.proto`.
//!
//! Three parties speak it: the CNI plugin, the daemon and the network policy agent. Each can be
//! upstream's while the others are ours, so numbers and names here never change.

/// Generated from `proto/rpc.proto`; the comments of its items are the proto file's.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code; which of these fire depends on the generator's version"
)]
mod generated {
    tonic::include_proto!("rpc");
}

pub use generated::*;

/// Where the daemon listens; network policy agents and upstream's plugins have it built in.
pub const DAEMON_SOCKET: &str = "/var/run/aws-node/ipamd.sock";

/// Where the network policy agent listens.
pub const POLICY_AGENT_SOCKET: &str = "/var/run/aws-node/npa.sock";

/// Found in the status message of `DelNetwork` when the daemon does not know the pod; plugins look for it.
pub const UNKNOWN_POD: &str = "datastore: unknown pod";

/// Response metadata of `AddNetwork`: why no address was given, as one line, percent-encoded ASCII.
///
/// Our addition. Upstream's daemon does not send it and upstream's plugin does not read it.
pub const REASON_METADATA: &str = "onsen-reason";

/// Request metadata of `DelNetwork`: the address that the result of ADD names. By it and the
/// pod's name a daemon that has lost its checkpoint finds the sandbox: another sandbox of the same pod may run, and
/// another pod may have the address by now.
///
/// Our addition. Upstream's plugin does not send it and upstream's daemon does not read it.
pub const ADDRESS_METADATA: &str = "onsen-address";

/// `DelNetworkRequest.reason` of a CNI DEL.
pub const REASON_POD_DELETED: &str = "PodDeleted";

/// `DelNetworkRequest.reason` when the plugin takes a failed ADD back.
pub const REASON_SETUP_FAILED: &str = "SetupNSFailed";

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    fn check(message: &(impl Message + std::fmt::Debug), bytes: &[u8]) {
        assert_eq!(message.encode_to_vec(), bytes, "{message:?}");
    }

    #[test]
    fn a_branch_allocation_carries_minus_one_as_ten_bytes() {
        check(
            &IpAllocationMetadata {
                ipv4_addr: "10.0.0.5".into(),
                ipv6_addr: String::new(),
                device_number: -1,
                route_table_id: 0,
            },
            b"\x0a\x0810.0.0.5\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        );
    }

    #[test]
    fn an_add_request_uses_the_published_field_numbers() {
        check(
            &AddNetworkRequest {
                k8s_pod_name: "a".into(),
                k8s_pod_namespace: "b".into(),
                k8s_pod_infra_container_id: "c".into(),
                netns: "d".into(),
                if_name: "e".into(),
                network_name: "f".into(),
                container_id: "g".into(),
                client_version: "h".into(),
                requires_multi_nic_attachment: true,
            },
            b"\x0a\x01a\x12\x01b\x1a\x01c\x22\x01d\x2a\x01e\x32\x01f\x3a\x01g\x42\x01h\x48\x01",
        );
    }

    #[test]
    fn an_add_reply_uses_the_published_field_numbers() {
        check(
            &AddNetworkReply {
                success: true,
                ip_allocation_metadata: vec![IpAllocationMetadata {
                    ipv4_addr: String::new(),
                    ipv6_addr: "::1".into(),
                    device_number: 1,
                    route_table_id: 254,
                }],
                use_external_snat: true,
                vpc_v4_cidrs: vec!["x".into()],
                pod_vlan_id: 3,
                pod_eni_mac: "m".into(),
                pod_eni_subnet_gw: "g".into(),
                parent_if_index: 2,
                vpc_v6_cidrs: vec!["y".into()],
                network_policy_mode: "s".into(),
            },
            b"\x08\x01\x12\x0a\x12\x03::1\x18\x01\x20\xfe\x01\x28\x01\x32\x01x\x38\x03\x42\x01m\
              \x4a\x01g\x50\x02\x62\x01y\x6a\x01s",
        );
    }

    #[test]
    fn a_del_request_and_its_reply_use_the_published_field_numbers() {
        check(
            &DelNetworkRequest {
                k8s_pod_name: "a".into(),
                k8s_pod_namespace: "b".into(),
                k8s_pod_infra_container_id: "c".into(),
                reason: "d".into(),
                if_name: "e".into(),
                network_name: "f".into(),
                container_id: "g".into(),
                client_version: "h".into(),
                k8s_pod_uid: "i".into(),
            },
            b"\x0a\x01a\x12\x01b\x1a\x01c\x2a\x01d\x32\x01e\x3a\x01f\x42\x01g\x4a\x01h\x52\x01i",
        );
        check(
            &DelNetworkReply {
                success: true,
                ip_allocation_metadata: vec![],
                pod_vlan_id: 4,
                network_policy_mode: "s".into(),
            },
            b"\x08\x01\x20\x04\x32\x01s",
        );
    }

    #[test]
    fn an_answer_of_an_older_daemon_still_decodes() {
        // Numbers 3, 4 and 11 of the reply were in use up to v1.19; they must be skipped, not misread.
        let reply = AddNetworkReply::decode(&b"\x08\x01\x18\x07\x20\x01\x5a\x03::1"[..]);
        assert_eq!(
            reply,
            Ok(AddNetworkReply {
                success: true,
                ..AddNetworkReply::default()
            })
        );
    }
}
