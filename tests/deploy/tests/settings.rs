//! Environment variables: the programs, the chart and the documents know the same.

#![expect(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::collections::BTreeSet;

use onsen_deploy_tests::{is_variable, quoted, read, sources};
use serde_json::Value;

/// In the sources, and nothing to set: the misspelling of a guide, names in errors and tags.
const NOT_TO_SET: [&str; 2] = [
    "WAM_ENI_TARGET",
    // Every pod has it from Kubernetes.
    "KUBERNETES_SERVICE_HOST",
];
/// Set by the chart for each pod by itself.
const BY_POD: [&str; 1] = ["MY_NODE_NAME"];

/// Where programs read their environment.
const READERS: [&str; 3] = [
    "host/src/settings.rs",
    "host/src/settings",
    "deploy/image/src/settings.rs",
];

/// Names that the programs act upon.
fn in_code() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, text) in READERS.iter().flat_map(|reader| sources(reader)) {
        // Names that are only warned about are nothing to offer.
        let acted_upon = match text.split_once("const UNSUPPORTED") {
            Some((before, after)) => format!("{before}{}", after.split_once("];").unwrap().1),
            None => text.clone(),
        };
        let found = quoted(&acted_upon);
        names.extend(
            found
                .into_iter()
                .filter(|name| is_variable(name) && !NOT_TO_SET.contains(name))
                .map(str::to_owned),
        );
    }
    assert!(
        names.len() > 40,
        "the sources are not read any more: {names:?}"
    );
    names
}

fn in_chart() -> BTreeSet<String> {
    let values: Value = serde_saphyr::from_str(&read("deploy/helm/onsen/values.yaml")).unwrap();
    ["/env", "/init/env"]
        .iter()
        .flat_map(|group| values.pointer(group).unwrap().as_object().unwrap().keys())
        .cloned()
        .chain(BY_POD.map(str::to_owned))
        .collect()
}

fn difference(left: &BTreeSet<String>, right: &BTreeSet<String>) -> Vec<String> {
    left.difference(right).cloned().collect()
}

#[test]
fn every_variable_of_the_programs_is_in_the_chart_and_the_other_way_round() {
    let (code, chart) = (in_code(), in_chart());
    assert_eq!(
        difference(&code, &chart),
        Vec::<String>::new(),
        "missing in deploy/helm/onsen/values.yaml"
    );
    assert_eq!(
        difference(&chart, &code),
        Vec::<String>::new(),
        "in deploy/helm/onsen/values.yaml, and no program reads it"
    );
}

#[test]
fn the_charts_schema_names_the_variables_of_its_values() {
    let schema: Value =
        serde_json::from_str(&read("deploy/helm/onsen/values.schema.json")).unwrap();
    let mut names: BTreeSet<String> = BY_POD.map(str::to_owned).into();
    for group in ["/properties/env", "/properties/init/properties/env"] {
        let variables = schema.pointer(group).unwrap();
        assert_eq!(
            variables.get("additionalProperties"),
            Some(&Value::Bool(false))
        );
        names.extend(
            variables
                .get("properties")
                .unwrap()
                .as_object()
                .unwrap()
                .keys()
                .cloned(),
        );
    }
    assert_eq!(names, in_chart());
}

#[test]
fn every_variable_is_in_the_document_of_settings() {
    let document = read("docs/settings.md");
    let told: BTreeSet<String> = document
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    assert_eq!(difference(&in_code(), &told), Vec::<String>::new());
}
