//! Alerts and dashboard: they parse, and the alerts fire when they should.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failing unwrap is a failing test"
)]

use std::process::Command;

use onsen_deploy_tests::{output, read, root, tool};
use serde_json::Value;

const ALERTS: &str = "deploy/helm/onsen/monitoring/alerts.yaml";
const DASHBOARD: &str = "deploy/helm/onsen/monitoring/dashboard.json";

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
