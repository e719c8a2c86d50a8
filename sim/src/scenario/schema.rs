//! The JSON Schema of scenario files, for editors: `docs/scenario.schema.json`.
//!
//! `ONSEN_RENEW=1 cargo test -p onsen-sim schema` writes the file anew.

use std::collections::BTreeSet;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, schema_for};
use serde_json::Value;

use super::expect::Number;
use super::format::{Arrive, ArriveMap, Document, Leave, LeaveMap, Range};

macro_rules! one_of {
    ($($type:ty, $name:literal, $about:literal, $map:ty, $($short:tt),+;)+) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let map = generator.subschema_for::<$map>();
                json_schema!({ "description": $about, "anyOf": [$($short,)+ map] })
            }
        }
    )+};
}

one_of! {
    Number, "number", "A number, or bounds.", Range, {"type": "integer", "minimum": 0};
    Arrive, "arrive", "How many pods arrive at once, or more exactly.", ArriveMap,
        {"type": "integer", "minimum": 0};
    Leave, "leave", "How many of the newest pods leave, `all`, or more exactly.", LeaveMap,
        {"type": "integer", "minimum": 0}, {"const": "all"};
}

/// How a [`onsen_policy_runner::documents::Scalar`] is written.
pub(super) struct ValueForm;
/// How a [`onsen_policy_runner::documents::Span`] is written.
pub(crate) struct DurationForm;

macro_rules! forms {
    ($($type:ty, $name:literal, $schema:tt;)+) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

forms! {
    ValueForm, "value", { "type": ["string", "integer", "boolean"] };
    DurationForm, "duration", {
        "type": ["integer", "string"], "minimum": 0,
        "description": "Text such as `90s` or `1m 30s`, or a number of milliseconds.",
    };
}

/// A snapshot has a schema of its own.
pub(super) fn snapshot(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "$ref": "snapshot.schema.json" })
}

/// The names that the code reads, as they stand in its own error.
fn names<T: serde::de::DeserializeOwned>() -> Vec<String> {
    let error = match serde_json::from_value::<T>("?".into()) {
        Ok(_) => panic!("`?` is a name"),
        Err(error) => error.to_string(),
    };
    let (_, list) = error.split_once("one of ").unwrap();
    let words = list
        .split(", ")
        .map(|word| word.trim_matches('`').to_owned());
    words.collect()
}

pub(super) fn fault_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": names::<crate::account::FaultName>() })
}

pub(super) fn operation(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": names::<crate::account::Operation>() })
}

#[test]
fn the_committed_schema_is_that_of_the_code() {
    let mut schema: Value = schema_for!(Document).to_value();
    schema["title"] = "Scenario of an Onsen node".into();
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scenario.schema.json");
    if std::env::var_os("ONSEN_RENEW").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "docs/scenario.schema.json is out of date: run `ONSEN_RENEW=1 cargo test -p onsen-sim schema`"
    );
}

/// All names of properties below a schema.
fn properties(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                names.extend(properties.keys().cloned());
            }
            map.values().for_each(|it| properties(it, names));
        }
        Value::Array(list) => list.iter().for_each(|it| properties(it, names)),
        _ => {}
    }
}

#[test]
fn the_document_for_people_names_every_field_and_every_fault() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policies/testing.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut names = BTreeSet::new();
    properties(&schema_for!(Document).to_value(), &mut names);
    names.extend(self::names::<crate::account::FaultName>());
    let words: BTreeSet<_> = text
        .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
        .collect();
    let missing: Vec<_> = names
        .iter()
        .filter(|it| !words.contains(it.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/policies/testing.md does not name {missing:?}"
    );
}
