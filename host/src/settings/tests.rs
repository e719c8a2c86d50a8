//! The environment as people write it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::*;

fn read(vars: &[(&str, &str)]) -> Result<Settings, Vec<Problem>> {
    let vars: BTreeMap<_, _> = vars.iter().copied().collect();
    Settings::read(&|name| vars.get(name).map(|value| (*value).to_owned()))
}

#[test]
fn an_empty_environment_gives_the_documented_defaults() {
    let settings = read(&[]).unwrap();
    assert_eq!(settings.cooldown, Duration::from_secs(30));
    assert_eq!(settings.mtu, 9001);
    assert_eq!(settings.veth_prefix, "eni");
    assert_eq!(settings.connmark, 0x80);
    assert!(settings.node_port && settings.manage_untagged && !settings.external_snat);
    assert_eq!(settings.network_policy_mode, "");
    assert_eq!(settings.policy.to_string(), "builtin:default-warm-eni");
    assert_eq!(
        settings.introspection,
        Some(Listen::Tcp(([127, 0, 0, 1], 61679).into()))
    );
    assert!(settings.policy_settings.is_empty());
    assert_eq!(settings.ignored, []);
}

#[test]
fn all_values_that_stop_the_daemon_are_named_at_once() {
    let problems = read(&[
        ("AWS_VPC_ENI_MTU", "99999"),
        ("AWS_VPC_K8S_CNI_VETHPREFIX", "vlan"),
        ("IP_COOLDOWN_PERIOD", "soon"),
        ("NETWORK_POLICY_ENFORCING_MODE", ""),
        ("INTROSPECTION_BIND_ADDRESS", "unix:"),
        ("ONSEN_POLICY", "oci:nowhere"),
        ("ONSEN_ADD_WAIT", "-1"),
        ("ONSEN_POLICY_LABELS", "team=a"),
        ("AWS_EC2_ENDPOINT", "localhost:80"),
        ("ENABLE_IPv6", "true"),
    ])
    .unwrap_err();
    let names: Vec<_> = problems.iter().map(|problem| problem.name).collect();
    assert_eq!(
        names,
        [
            "ENABLE_IPv6",
            "IP_COOLDOWN_PERIOD",
            "ONSEN_ADD_WAIT",
            "AWS_VPC_ENI_MTU",
            "AWS_VPC_K8S_CNI_VETHPREFIX",
            "NETWORK_POLICY_ENFORCING_MODE",
            "INTROSPECTION_BIND_ADDRESS",
            "ONSEN_POLICY",
            "ONSEN_POLICY_LABELS",
            "AWS_EC2_ENDPOINT",
        ]
    );
    assert_eq!(
        problems[1].to_string(),
        "IP_COOLDOWN_PERIOD=\"soon\": expected whole seconds from 0"
    );
}

#[test]
fn flags_are_read_as_go_reads_them_and_anything_else_is_the_default() {
    let settings = read(&[
        ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "T"),
        ("MANAGE_UNTAGGED_ENI", "no"),
        ("AWS_VPC_CNI_NODE_PORT_SUPPORT", "0"),
    ])
    .unwrap();
    assert!(settings.external_snat && settings.manage_untagged && !settings.node_port);
    assert_eq!(settings.ignored.len(), 1);
    assert_eq!(settings.ignored[0].name, "MANAGE_UNTAGGED_ENI");
    assert_eq!(settings.ignored[0].instead.as_deref(), Some("true"));
}

#[test]
fn targets_reach_the_policy_as_they_were_written_and_bad_ones_are_named() {
    let settings = read(&[
        ("WARM_IP_TARGET", "-3"),
        ("WARM_ENI_TARGET", "2"),
        ("MAX_ENI", "0"),
    ])
    .unwrap();
    assert_eq!(settings.policy_settings["WARM_IP_TARGET"], "-3");
    assert_eq!(settings.policy_settings["WARM_ENI_TARGET"], "2");
    assert_eq!(settings.max_eni, None);
    let names: Vec<_> = settings
        .ignored
        .iter()
        .map(|problem| problem.name)
        .collect();
    assert_eq!(names, ["WARM_IP_TARGET", "MAX_ENI"]);
}

#[test]
fn ranges_are_trimmed_cleared_and_bad_ones_left_out() {
    let settings = read(&[(
        "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
        " 10.1.2.3/16, nonsense,,0.0.0.0/0",
    )])
    .unwrap();
    let expected: [(IpAddr, u8); 2] = [([10, 1, 0, 0].into(), 16), ([0, 0, 0, 0].into(), 0)];
    assert_eq!(settings.excluded_snat_cidrs, expected);
    assert_eq!(settings.ignored[0].value, "nonsense");
}

#[test]
fn tags_that_others_own_are_left_out() {
    let settings = read(&[(
        "ADDITIONAL_ENI_TAGS",
        r#"{"team":"net","node.k8s.amazonaws.com/instance_id":"i-1"}"#,
    )])
    .unwrap();
    assert_eq!(settings.eni_tags.len(), 1);
    assert_eq!(settings.eni_tags["team"], "net");
    assert_eq!(
        read(&[("ADDITIONAL_ENI_TAGS", "{")]).unwrap().ignored.len(),
        1
    );
}

#[test]
fn what_is_set_and_not_acted_upon_is_named() {
    let settings = read(&[("ENABLE_POD_ENI", "true"), ("ENABLE_MULTI_NIC", "false")]).unwrap();
    assert_eq!(settings.unsupported, ["ENABLE_POD_ENI"]);
}
