//! IAM: the policies allow exactly the EC2 actions that the daemon calls.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failing unwrap is a failing test"
)]

use std::collections::BTreeSet;

use onsen_deploy_tests::{read, sources};
use serde_json::Value;

/// What an operation of the SDK may start with, in Rust's spelling.
const VERBS: [&str; 9] = [
    "assign_",
    "attach_",
    "create_",
    "delete_",
    "describe_",
    "detach_",
    "modify_",
    "unassign_",
    "disassociate_",
];

/// Operations called on an EC2 client, as IAM writes them. Tags in a request that creates
/// something are an action of their own.
fn in_code() -> BTreeSet<String> {
    let mut actions = BTreeSet::new();
    for (_, text) in sources("host/src") {
        // Chains of calls go over lines.
        let flat: String = text.split_whitespace().collect();
        for client in ["self.changing.", "self.reading."] {
            for after in flat.split(client).skip(1) {
                let call = after.split('(').next().unwrap();
                if VERBS.iter().any(|verb| call.starts_with(verb)) {
                    actions.insert(format!("ec2:{}", camel(call)));
                }
            }
        }
        if flat.contains(".tag_specifications(") {
            actions.insert("ec2:CreateTags".to_owned());
        }
    }
    actions
}

fn camel(snake: &str) -> String {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    };
    snake.split('_').map(capital).collect()
}

fn statements(path: &str) -> Vec<Value> {
    let policy: Value = serde_json::from_str(&read(path)).unwrap();
    assert_eq!(policy["Version"], "2012-10-17");
    policy["Statement"].as_array().unwrap().clone()
}

fn actions(statement: &Value) -> Vec<String> {
    let list = statement["Action"].as_array().unwrap();
    list.iter()
        .map(|action| action.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_policies_allow_what_the_daemon_calls_and_nothing_else() {
    let code = in_code();
    assert!(code.contains("ec2:AssignPrivateIpAddresses"), "{code:?}");
    for path in ["deploy/iam/policy.json", "deploy/iam/policy-own-enis.json"] {
        let allowed: BTreeSet<String> = statements(path).iter().flat_map(actions).collect();
        assert_eq!(allowed, code, "{path}");
        for statement in statements(path) {
            assert_eq!(statement["Effect"], "Allow");
        }
    }
}

/// Tags can be set while an ENI is created, never on what is there.
#[test]
fn tags_are_allowed_only_while_an_eni_is_created() {
    for path in ["deploy/iam/policy.json", "deploy/iam/policy-own-enis.json"] {
        for statement in statements(path) {
            if actions(&statement).contains(&"ec2:CreateTags".to_owned()) {
                assert_eq!(
                    statement["Condition"]["StringEquals"]["ec2:CreateAction"],
                    "CreateNetworkInterface",
                    "{path}"
                );
            }
        }
    }
}

/// An ENI that does not bear the cluster's tag cannot be taken off a node or deleted.
#[test]
fn the_strict_policy_destroys_only_enis_of_the_cluster() {
    let key = "aws:ResourceTag/cluster.k8s.amazonaws.com/name";
    for action in [
        "ec2:DeleteNetworkInterface",
        "ec2:DetachNetworkInterface",
        "ec2:AttachNetworkInterface",
        "ec2:ModifyNetworkInterfaceAttribute",
    ] {
        let mut on_enis = 0;
        for statement in statements("deploy/iam/policy-own-enis.json") {
            let resource = statement["Resource"].to_string();
            if actions(&statement).contains(&action.to_owned())
                && (resource.contains("network-interface/") || resource.contains("\"*\""))
            {
                on_enis += 1;
                assert_eq!(
                    statement["Condition"]["StringEquals"][key], "CLUSTER_NAME",
                    "{action}"
                );
            }
        }
        assert_eq!(on_enis, 1, "{action}");
    }
}
