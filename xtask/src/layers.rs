//! The arrows between packages: who may use whom, and what each must never reach.
//!
//! In: `cargo metadata`. Out: one line per arrow that is not allowed. A new arrow is a decision: it
//! is made here, with a page in docs/decisions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::failure::Failure;
use crate::run;

/// What one package may use.
struct Rule {
    package: &'static str,
    /// Packages of ours it may name.
    ours: &'static [&'static str],
    /// Packages it must not reach, however far away. A trailing `*` stands for any ending.
    never: &'static [&'static str],
}

const AWS: &str = "aws-*";

/// One rule for each package of the workspace.
const RULES: [Rule; 28] = [
    Rule {
        package: "onsen-core",
        ours: &[],
        never: &["*"],
    },
    Rule {
        package: "onsen-wiring",
        ours: &[],
        never: &["tokio", "nix", "serde*", AWS],
    },
    Rule {
        package: "onsen-net",
        ours: &["onsen-wiring"],
        never: &["onsen-core", "wasmtime", AWS],
    },
    Rule {
        package: "onsen-rpc",
        ours: &[],
        never: &["onsen-core", "wasmtime", AWS],
    },
    Rule {
        package: "onsen-policy-build",
        ours: &[],
        never: &["wasmtime", "tokio", AWS],
    },
    Rule {
        package: "onsen-policy-runner",
        ours: &["onsen-core"],
        never: &["tokio", AWS],
    },
    Rule {
        package: "onsen-registry",
        ours: &[],
        never: &["onsen-core", "wasmtime", AWS],
    },
    Rule {
        package: "onsen-policy-sdk",
        ours: &[],
        never: &["onsen-core", "wasmtime", "tokio", AWS],
    },
    Rule {
        package: "onsen-policy-default-warm-eni",
        ours: &["onsen-policy-sdk"],
        never: &["onsen-core", "wasmtime", "tokio", AWS],
    },
    Rule {
        package: "onsen-policy-prefix-frugal",
        ours: &["onsen-policy-sdk"],
        never: &["onsen-core", "wasmtime", "tokio", AWS],
    },
    Rule {
        package: "onsen-policy-burst-ready",
        ours: &["onsen-policy-sdk"],
        never: &["onsen-core", "wasmtime", "tokio", AWS],
    },
    Rule {
        package: "onsen-policy-gpu-few-pods",
        ours: &["onsen-policy-sdk"],
        never: &["onsen-core", "wasmtime", "tokio", AWS],
    },
    Rule {
        package: "onsen-policy-office-hours",
        ours: &["onsen-policy-sdk"],
        never: &["onsen-core", "wasmtime", "tokio", AWS],
    },
    Rule {
        package: "onsen-policy-scarce-subnet",
        ours: &["onsen-policy-sdk"],
        never: &["onsen-core", "wasmtime", "tokio", AWS],
    },
    Rule {
        package: "onsen-host",
        ours: &[
            "onsen-core",
            "onsen-wiring",
            "onsen-net",
            "onsen-rpc",
            "onsen-policy-runner",
            "onsen-registry",
        ],
        never: &["onsen-sim", "onsen-cli"],
    },
    Rule {
        package: "onsen-cni",
        ours: &["onsen-wiring", "onsen-net", "onsen-rpc"],
        never: &["onsen-core", "wasmtime", AWS],
    },
    Rule {
        package: "onsen-image",
        ours: &["onsen-rpc"],
        never: &["onsen-core", "wasmtime", AWS],
    },
    Rule {
        package: "onsen-sim",
        ours: &["onsen-core", "onsen-policy-runner"],
        never: &["tokio", "onsen-host", AWS],
    },
    Rule {
        package: "onsen-cli",
        ours: &[
            "onsen-sim",
            "onsen-core",
            "onsen-policy-build",
            "onsen-policy-runner",
            "onsen-registry",
        ],
        never: &["onsen-host", AWS],
    },
    Rule {
        package: "onsen-fake-aws",
        ours: &["onsen-sim", "onsen-rpc"],
        never: &["onsen-host", AWS],
    },
    Rule {
        package: "onsen-fuzz",
        ours: &[],
        never: &["*"],
    },
    Rule {
        package: "onsen-harness",
        ours: &[],
        never: &["tokio", "wasmtime", AWS],
    },
    Rule {
        package: "onsen-hostile",
        ours: &[],
        never: &["tokio", "wasmtime", AWS],
    },
    Rule {
        package: "onsen-node-tests",
        ours: &["onsen-harness"],
        never: &["tokio", "wasmtime", AWS],
    },
    Rule {
        package: "onsen-cluster-tests",
        ours: &["onsen-harness"],
        never: &["tokio", "wasmtime", AWS],
    },
    Rule {
        package: "onsen-deploy-tests",
        ours: &[],
        never: &["tokio", "wasmtime", AWS],
    },
    Rule {
        package: "onsen-policy-tests",
        ours: &["onsen-core", "onsen-policy-runner", "onsen-sim"],
        never: &["tokio", "onsen-host", AWS],
    },
    Rule {
        package: "xtask",
        ours: &[
            "onsen-cluster-tests",
            "onsen-harness",
            "onsen-hostile",
            "onsen-policy-build",
        ],
        never: &["tokio", "wasmtime", AWS],
    },
];

/// Only these may link the two heavy ones.
const ONLY: [(&str, &[&str]); 2] = [
    ("aws-sdk-ec2", &["onsen-host"]),
    ("wasmtime", &["onsen-policy-runner"]),
];

/// A package in the graph.
#[derive(Default)]
struct Package {
    name: String,
    manifest: String,
    /// Ids of the packages its programs link.
    links: BTreeSet<String>,
}

/// Checks the workspace; what is wrong, one line each.
pub(crate) fn check() -> Result<Vec<String>, Failure> {
    let metadata = run::metadata(true)?;
    let (members, packages) = graph(&metadata)
        .ok_or_else(|| Failure::Unreadable("cargo metadata lacks its graph".to_owned()))?;
    let mut wrong = Vec::new();
    for id in &members {
        let Some(package) = packages.get(id) else {
            continue;
        };
        let text = std::fs::read_to_string(&package.manifest)
            .map_err(Failure::io(format!("read {}", package.manifest)))?;
        if !text.contains("[lints]\nworkspace = true") {
            wrong.push(format!(
                "{} does not take the workspace's lints",
                package.name
            ));
        }
        wrong.extend(judge(id, package, &members, &packages));
    }
    Ok(wrong)
}

fn judge(
    id: &str,
    package: &Package,
    members: &BTreeSet<String>,
    packages: &BTreeMap<String, Package>,
) -> Vec<String> {
    let name = &package.name;
    let Some(rule) = RULES.iter().find(|rule| rule.package == name) else {
        return vec![format!("{name} has no rule in xtask/src/layers.rs")];
    };
    let mut wrong = Vec::new();
    for other in &package.links {
        let Some(other_package) = packages.get(other) else {
            continue;
        };
        if members.contains(other) && !rule.ours.contains(&other_package.name.as_str()) {
            wrong.push(format!("{name} may not use {}", other_package.name));
        }
        if let Some((heavy, who)) = ONLY.iter().find(|(heavy, _)| *heavy == other_package.name)
            && !who.contains(&name.as_str())
        {
            wrong.push(format!(
                "only {} may link {heavy}, not {name}",
                who.join(", ")
            ));
        }
    }
    for reached in reach(id, packages) {
        if rule.never.iter().any(|pattern| matches(pattern, &reached)) {
            wrong.push(format!("{name} must never reach {reached}"));
        }
    }
    wrong
}

/// Names of all packages that `id` links, near and far.
fn reach(id: &str, packages: &BTreeMap<String, Package>) -> BTreeSet<String> {
    let mut seen = BTreeSet::from([id]);
    let mut left = vec![id];
    let mut names = BTreeSet::new();
    while let Some(next) = left.pop() {
        for other in packages.get(next).iter().flat_map(|package| &package.links) {
            if seen.insert(other) {
                left.push(other);
                names.extend(packages.get(other).map(|package| package.name.clone()));
            }
        }
    }
    names
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// Ids of the members, and every package with what it links. Build tools and tests of a package
/// are not linked into its programs and do not count.
fn graph(metadata: &Value) -> Option<(BTreeSet<String>, BTreeMap<String, Package>)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let members = metadata.get("workspace_members")?.as_array()?;
    let members = members.iter().filter_map(text).collect();
    let mut packages: BTreeMap<String, Package> = BTreeMap::new();
    for package in metadata.get("packages")?.as_array()? {
        packages.insert(
            text(package.get("id")?)?,
            Package {
                name: text(package.get("name")?)?,
                manifest: text(package.get("manifest_path")?)?,
                links: BTreeSet::new(),
            },
        );
    }
    for node in metadata.pointer("/resolve/nodes")?.as_array()? {
        let package = packages.get_mut(node.get("id")?.as_str()?)?;
        for dependency in node.get("deps")?.as_array()? {
            let kinds = dependency.get("dep_kinds")?.as_array()?;
            if kinds
                .iter()
                .any(|kind| kind.get("kind").is_some_and(Value::is_null))
            {
                package.links.insert(text(dependency.get("pkg")?)?);
            }
        }
    }
    Some((members, packages))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(links: &[(&str, &[&str])]) -> BTreeMap<String, Package> {
        let make = |name: &str, links: &[&str]| Package {
            name: name.to_owned(),
            manifest: String::new(),
            links: links.iter().map(|link| (*link).to_owned()).collect(),
        };
        links
            .iter()
            .map(|(name, links)| ((*name).to_owned(), make(name, links)))
            .collect()
    }

    #[test]
    fn an_arrow_that_is_not_allowed_is_named() {
        let packages = world(&[
            ("onsen-net", &["onsen-wiring", "onsen-core"]),
            ("onsen-wiring", &[]),
            ("onsen-core", &[]),
        ]);
        let members = packages.keys().cloned().collect();
        let wrong = judge("onsen-net", &packages["onsen-net"], &members, &packages);
        assert_eq!(
            wrong,
            [
                "onsen-net may not use onsen-core",
                "onsen-net must never reach onsen-core"
            ]
        );
    }

    #[test]
    fn a_forbidden_package_is_found_behind_others() {
        let packages = world(&[
            ("onsen-cni", &["innocent"]),
            ("innocent", &["aws-sdk-ec2"]),
            ("aws-sdk-ec2", &[]),
        ]);
        let members = BTreeSet::from(["onsen-cni".to_owned()]);
        let wrong = judge("onsen-cni", &packages["onsen-cni"], &members, &packages);
        assert_eq!(wrong, ["onsen-cni must never reach aws-sdk-ec2"]);
    }

    #[test]
    fn a_package_without_a_rule_is_named() {
        let packages = world(&[("onsen-new", &[])]);
        let wrong = judge(
            "onsen-new",
            &packages["onsen-new"],
            &BTreeSet::new(),
            &packages,
        );
        assert_eq!(wrong, ["onsen-new has no rule in xtask/src/layers.rs"]);
    }
}
