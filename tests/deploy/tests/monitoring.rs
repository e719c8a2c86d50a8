//! Alerts and dashboard: they parse, they fire when they should, and every series they name is exported.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failing unwrap is a failing test"
)]

use std::collections::BTreeSet;
use std::process::Command;

use onsen_deploy_tests::{output, quoted, read, root, sources, tool};
use serde_json::Value;

const ALERTS: &str = "deploy/helm/onsen/monitoring/alerts.yaml";
const DASHBOARD: &str = "deploy/helm/onsen/monitoring/dashboard.json";

/// Words of an expression that look like names of series.
fn series(expression: &str) -> BTreeSet<String> {
    expression
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("awscni_") || word.starts_with("onsen_"))
        .map(str::to_owned)
        .collect()
}

fn expressions_of_alerts() -> Vec<String> {
    let rules: Value = serde_saphyr::from_str(&read(ALERTS)).unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    let text = |rule: &Value| rule["expr"].as_str().unwrap().to_owned();
    rules.iter().map(text).collect()
}

fn expressions_of_dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .chain(
            variables
                .iter()
                .filter_map(|variable| Some(variable["query"]["query"].as_str()?.to_owned())),
        )
        .collect()
}

#[test]
fn every_series_that_is_asked_for_is_exported() {
    let exported: BTreeSet<String> = sources("host/src")
        .iter()
        .flat_map(|(_, text)| quoted(text))
        .flat_map(series)
        .collect();
    assert!(
        exported.len() > 20,
        "the sources are not read: {exported:?}"
    );
    let asked = [expressions_of_alerts(), expressions_of_dashboard()].concat();
    assert!(asked.len() > 20);
    for expression in asked {
        for name in series(&expression) {
            // A histogram is exported under three names.
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|ending| name.strip_suffix(ending));
            assert!(
                exported.contains(&name) || base.is_some_and(|base| exported.contains(base)),
                "{name} of {expression}"
            );
        }
    }
}

#[test]
fn each_alert_fires_for_the_node_in_its_trouble_and_for_no_other() {
    let Some(promtool) = tool("alerts", "bin/promtool") else {
        return;
    };
    output(
        Command::new(&promtool)
            .args(["check", "rules"])
            .arg(root().join(ALERTS)),
    );
    output(
        Command::new(promtool)
            .args(["test", "rules"])
            .arg(root().join("tests/deploy/alerts.yaml")),
    );
    // The file of tests names every alert there is.
    let tested = read("tests/deploy/alerts.yaml");
    let rules: Value = serde_saphyr::from_str(&read(ALERTS)).unwrap();
    for rule in rules["groups"][0]["rules"].as_array().unwrap() {
        let name = rule["alert"].as_str().unwrap();
        assert!(tested.contains(&format!("alertname=\"{name}\"")), "{name}");
    }
}

/// The dashboard's expressions as rules, with Grafana's variables filled in.
#[test]
fn the_dashboards_expressions_parse() {
    let Some(promtool) = tool("dashboard", "bin/promtool") else {
        return;
    };
    let rules: Vec<Value> = expressions_of_dashboard()
        .iter()
        .filter(|expression| !expression.starts_with("label_values("))
        .enumerate()
        .map(|(number, expression)| {
            let filled = expression
                .replace("$__rate_interval", "5m")
                .replace("$node", ".*");
            serde_json::json!({"record": format!("panel:{number}"), "expr": filled})
        })
        .collect();
    let file = onsen_deploy_tests::tempfile_folder().join("dashboard-rules.yaml");
    let group = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(&file, group.to_string()).unwrap();
    output(Command::new(promtool).args(["check", "rules"]).arg(file));
}
