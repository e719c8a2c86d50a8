//! The JSON Schema of workload files, for editors: `docs/workload.schema.json`.
//!
//! `ONSEN_RENEW=1 cargo test -p onsen-sim schema` writes the file anew.

use std::path::Path;

use schemars::schema_for;
use serde_json::Value;

use super::Workload;

#[test]
fn the_committed_schema_of_workloads_is_that_of_the_code() {
    let mut schema: Value = schema_for!(Workload).to_value();
    schema["title"] = "Workload of an Onsen node".into();
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/workload.schema.json");
    if std::env::var_os("ONSEN_RENEW").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "docs/workload.schema.json is out of date: run `ONSEN_RENEW=1 cargo test -p onsen-sim schema`"
    );
}
