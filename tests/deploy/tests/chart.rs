//! The chart and the kustomization: what they render, whether Kubernetes takes it, whether the two agree.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failing unwrap is a failing test"
)]

use std::process::Command;

use onsen_deploy_tests::{
    Objects, chart, object, objects, output, read, root, tempfile_folder, template, tool,
};
use serde_json::{Value, json};

/// Oldest and newest versions whose schemas the objects must fit.
const KUBERNETES: [&str; 3] = ["1.28", "1.33", "1.37"];

/// Values that turn on all that the chart can make.
fn everything() -> Value {
    json!({
        "imagePullSecrets": [{"name": "registry"}],
        "env": {"WARM_IP_TARGET": 5, "ENABLE_PREFIX_DELEGATION": true, "CLUSTER_NAME": "prod"},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "conflist": "{\"name\": \"aws-cni\", \"plugins\": []}\n",
        "policy": {"rules": [{"name": "all", "policy": "builtin:prefix-frugal", "settings": {"WARM_IP_TARGET": 4}}]},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/onsen"}},
        "nodeSelector": {"onsen.dev/node": "true"},
        "podAnnotations": {"a": "b"},
        "extraContainers": [{"name": "agent", "image": "agent:1"}],
        "extraVolumes": [{"name": "bpf", "hostPath": {"path": "/sys/fs/bpf"}}],
        "extraVolumeMounts": [{"name": "bpf", "mountPath": "/bpf"}],
        "podMonitor": {"create": true, "labels": {"release": "prometheus"}},
        "prometheusRule": {"create": true},
        "dashboard": {"create": true},
    })
}

fn daemon_set(objects: &Objects) -> &Value {
    object(objects, "DaemonSet", "aws-node")
}

fn env(objects: &Objects, name: &str) -> Option<String> {
    let daemon = &daemon_set(objects)["spec"]["template"]["spec"]["containers"][0];
    let variables = daemon["env"].as_array().unwrap();
    let found = variables.iter().find(|variable| variable["name"] == name)?;
    Some(found["value"].as_str().unwrap().to_owned())
}

#[test]
fn helm_finds_nothing_to_complain_of() {
    let Some(helm) = tool("helm lint", "bin/helm") else {
        return;
    };
    output(
        Command::new(helm)
            .args(["lint", "--strict", "--kube-version", "1.34.0"])
            .arg(root().join("deploy/helm/onsen")),
    );
}

#[test]
fn every_object_fits_the_schemas_of_kubernetes() {
    let name = "schemas of Kubernetes";
    let Some(validate) = tool(name, "venv/bin/kubernetes-validate") else {
        return;
    };
    for (label, values) in [("defaults", json!({})), ("everything", everything())] {
        let Some(all) = chart(name, &values) else {
            return;
        };
        // Kubernetes does not have these kinds: they are the Prometheus operator's.
        let known: Vec<&Value> = all
            .iter()
            .filter(|((kind, _), _)| !["PodMonitor", "PrometheusRule"].contains(&kind.as_str()))
            .map(|(_, object)| object)
            .collect();
        let texts: Vec<String> = known.iter().map(ToString::to_string).collect();
        let file = tempfile_folder().join(format!("{label}.yaml"));
        std::fs::write(&file, texts.join("\n---\n")).unwrap();
        for version in KUBERNETES {
            let said = output(
                Command::new(&validate)
                    .args(["--strict", "-k", version])
                    .arg(&file),
            );
            assert_eq!(
                said.matches(" passed for resource ").count(),
                known.len(),
                "{said}"
            );
        }
    }
}

#[test]
fn a_misspelt_member_does_not_fit_the_schemas() {
    let Some(validate) = tool("schemas of Kubernetes", "venv/bin/kubernetes-validate") else {
        return;
    };
    let text = read("deploy/kustomize/base/onsen.yaml").replace("hostNetwork:", "hostNetwrok:");
    let file = tempfile_folder().join("misspelt.yaml");
    std::fs::write(&file, text).unwrap();
    let verdict = onsen_deploy_tests::run(Command::new(validate).arg("--strict").arg(&file));
    assert!(!verdict.status.success());
    let said = String::from_utf8_lossy(&verdict.stdout).into_owned()
        + &String::from_utf8_lossy(&verdict.stderr);
    assert!(said.contains("hostNetwrok"), "{said}");
}

#[test]
fn the_kustomization_gives_the_objects_of_the_chart() {
    let name = "chart and kustomization agree";
    let Some(wanted) = chart(name, &json!({})) else {
        return;
    };
    assert_eq!(
        objects(&read("deploy/kustomize/base/onsen.yaml")),
        wanted,
        "deploy/kustomize/base/kustomization.yaml says how to make it anew"
    );
    let Some(mut kustomize) = kustomize(name) else {
        return;
    };
    let built = output(kustomize.arg(root().join("deploy/kustomize/base")));
    assert_eq!(objects(&built), wanted);
}

/// kubectl has kustomize in it; where there is no kubectl, setup brings the program itself.
fn kustomize(test: &str) -> Option<Command> {
    let mut kubectl = Command::new("kubectl");
    kubectl.arg("kustomize");
    if kubectl
        .arg("--help")
        .output()
        .is_ok_and(|said| said.status.success())
    {
        let mut kubectl = Command::new("kubectl");
        kubectl.arg("kustomize");
        return Some(kubectl);
    }
    let mut command = Command::new(tool(test, "bin/kustomize")?);
    command.arg("build");
    Some(command)
}

/// What other software relies on: the names, folders and commands of the stock manifests.
#[test]
fn the_daemon_set_stands_where_aws_node_stood() {
    let all = objects(&read("deploy/kustomize/base/onsen.yaml"));
    let set = daemon_set(&all);
    assert_eq!(set["metadata"]["namespace"], "kube-system");
    assert_eq!(
        set["spec"]["selector"]["matchLabels"],
        json!({"k8s-app": "aws-node"})
    );
    assert_eq!(
        set["spec"]["template"]["metadata"]["labels"]["k8s-app"],
        "aws-node"
    );
    assert_eq!(
        set["spec"]["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}})
    );
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["hostNetwork"], true);
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    assert_eq!(pod["serviceAccountName"], "aws-node");
    assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!(pod["terminationGracePeriodSeconds"], 10);
    assert_eq!(pod["initContainers"][0]["name"], "aws-vpc-cni-init");
    let daemon = &pod["containers"][0];
    assert_eq!(daemon["name"], "aws-node");
    assert_eq!(
        daemon["ports"],
        json!([{"name": "metrics", "containerPort": 61678}])
    );
    for (probe, delay) in [("livenessProbe", 60), ("readinessProbe", 1)] {
        assert_eq!(
            daemon[probe],
            json!({
                "exec": {"command": [
                    "/app/grpc-health-probe",
                    "-addr=unix:///var/run/aws-node/ipamd.sock",
                    "-connect-timeout=5s",
                    "-rpc-timeout=5s",
                ]},
                "timeoutSeconds": 10,
                "initialDelaySeconds": delay,
            })
        );
    }
    let mounted = |container: &Value| -> Vec<(String, String)> {
        let volumes = pod["volumes"].as_array().unwrap();
        let mounts = container["volumeMounts"].as_array().unwrap();
        mounts
            .iter()
            .map(|mount| {
                let volume = volumes.iter().find(|v| v["name"] == mount["name"]).unwrap();
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                (text(&volume["hostPath"]["path"]), text(&mount["mountPath"]))
            })
            .collect()
    };
    let expected = [
        ("/opt/cni/bin", "/host/opt/cni/bin"),
        ("/etc/cni/net.d", "/host/etc/cni/net.d"),
        ("/var/log/aws-routed-eni", "/host/var/log/aws-routed-eni"),
        ("/var/run/aws-node", "/var/run/aws-node"),
        ("/run/xtables.lock", "/run/xtables.lock"),
    ]
    .map(|(host, container)| (host.to_owned(), container.to_owned()));
    assert_eq!(mounted(daemon), expected);
    assert_eq!(mounted(&pod["initContainers"][0]), expected[..1]);
}

#[test]
fn the_daemon_keeps_two_of_roots_powers() {
    let all = objects(&read("deploy/kustomize/base/onsen.yaml"));
    let pod = &daemon_set(&all)["spec"]["template"]["spec"];
    let context = &pod["containers"][0]["securityContext"];
    assert_eq!(
        context["capabilities"],
        json!({"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]})
    );
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context.get("privileged"), None);
    assert_eq!(pod.get("hostPID"), None);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
}

#[test]
fn the_service_account_may_do_no_more_than_the_daemon_asks_for() {
    let all = objects(&read("deploy/kustomize/base/onsen.yaml"));
    let mut rights = Vec::new();
    for ((kind, _), role) in &all {
        if !["ClusterRole", "Role"].contains(&kind.as_str()) {
            continue;
        }
        for rule in role["rules"].as_array().unwrap() {
            let words = |member: &str| -> Vec<String> {
                let list = rule.get(member).and_then(Value::as_array);
                let texts = list.into_iter().flatten();
                texts
                    .map(|text| text.as_str().unwrap().to_owned())
                    .collect()
            };
            for resource in words("resources") {
                let names = words("resourceNames").join(",");
                let verbs = words("verbs").join(",");
                rights.push(format!("{kind} {resource} [{names}] {verbs}"));
            }
        }
    }
    rights.sort();
    // No write to a node's spec, where taints are; no pods, no secrets, no other ConfigMap.
    assert_eq!(
        rights,
        [
            "ClusterRole events [] create,patch",
            "ClusterRole nodes [] get,list,watch",
            "ClusterRole nodes/status [] patch",
            "Role configmaps [onsen-policy] get,list,watch",
        ]
    );
}

#[test]
fn the_roles_are_bound_to_the_account_of_the_pods() {
    let all = objects(&read("deploy/kustomize/base/onsen.yaml"));
    let account = daemon_set(&all)["spec"]["template"]["spec"]["serviceAccountName"].clone();
    for (kind, role) in [
        ("ClusterRoleBinding", "ClusterRole"),
        ("RoleBinding", "Role"),
    ] {
        let binding = object(&all, kind, "onsen-aws-node");
        object(&all, role, binding["roleRef"]["name"].as_str().unwrap());
        assert_eq!(binding["roleRef"]["kind"], role);
        assert_eq!(
            binding["subjects"],
            json!([{"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}])
        );
    }
    object(&all, "ServiceAccount", account.as_str().unwrap());
}

#[test]
fn values_reach_the_objects() {
    let Some(all) = chart("values", &everything()) else {
        return;
    };
    assert_eq!(env(&all, "WARM_IP_TARGET").unwrap(), "5");
    assert_eq!(env(&all, "ENABLE_PREFIX_DELEGATION").unwrap(), "true");
    assert_eq!(env(&all, "CLUSTER_NAME").unwrap(), "prod");
    assert_eq!(env(&all, "HTTPS_PROXY").unwrap(), "http://proxy:3128");
    assert_eq!(env(&all, "MINIMUM_IP_TARGET"), None, "a null is not set");
    let pod = &daemon_set(&all)["spec"]["template"]["spec"];
    assert_eq!(pod["nodeSelector"], json!({"onsen.dev/node": "true"}));
    assert_eq!(pod["containers"][1]["name"], "agent");
    let list = object(&all, "ConfigMap", "aws-node-conflist");
    assert_eq!(
        list["data"]["10-aws.conflist"],
        "{\"name\": \"aws-cni\", \"plugins\": []}\n"
    );
    let account = object(&all, "ServiceAccount", "aws-node");
    assert_eq!(
        account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"],
        "arn:aws:iam::1:role/onsen"
    );
    let policy = object(&all, "ConfigMap", "onsen-policy");
    let rules: Value =
        serde_saphyr::from_str(policy["data"]["rules.yaml"].as_str().unwrap()).unwrap();
    assert_eq!(rules, everything()["policy"]);
}

/// For trying it on some nodes while aws-node serves the others.
#[test]
fn another_name_shares_no_object_with_aws_node() {
    let name = "another name";
    let Some(canary) = chart(name, &json!({"name": "onsen"})) else {
        return;
    };
    let usual = objects(&read("deploy/kustomize/base/onsen.yaml"));
    for key in canary.keys() {
        assert!(!usual.contains_key(key), "{key:?} is in both");
    }
    let set = object(&canary, "DaemonSet", "onsen");
    assert_eq!(
        set["spec"]["selector"]["matchLabels"],
        json!({"k8s-app": "onsen"})
    );
    assert_eq!(
        set["spec"]["template"]["metadata"]["labels"]["k8s-app"],
        "onsen"
    );
    assert_eq!(
        set["spec"]["template"]["spec"]["serviceAccountName"],
        "onsen"
    );
}

#[test]
fn a_variable_that_this_version_does_not_know_is_refused() {
    let values = json!({"env": {"WARM_IP_TARGTE": "5"}});
    let Some(refused) = template("unknown variables", &values) else {
        return;
    };
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("WARM_IP_TARGTE"), "{said}");
}
