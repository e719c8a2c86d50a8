//! The JSON Schemas of the documents, and proof that they follow the contract.
//!
//! In: the types of this folder and `wit/policy.wit`, whose comments become descriptions. Out:
//! `docs/snapshot.schema.json` and `docs/decision.schema.json`.
//!
//! `ONSEN_RENEW=1 cargo test -p onsen-policy-runner schema` writes the files anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, schema_for};
use serde_json::{Map, Value, json};
use wit_parser::{Resolve, Type, TypeDef, TypeDefKind};

use super::text::{Bytes, CidrText, Scalar, Span, Time};
use super::{DecisionDocument, SnapshotDocument};

macro_rules! text_schema {
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

text_schema! {
    Time, "time", {
        "type": ["integer", "string"], "minimum": 0,
        "description": "A number, or text: `2026-01-01T00:00:00Z`, `now-90s`, `now+1m 30s`.",
    };
    Span, "duration", {
        "type": ["integer", "string"], "minimum": 0,
        "description": "A number, or text such as `1m 30s`.",
    };
    CidrText, "cidr", {
        "type": "string", "description": "`10.0.0.16/28`, or one address.",
    };
    Bytes, "bytes", { "type": "string", "contentEncoding": "base64" };
    Scalar, "value", {
        "type": ["string", "integer", "boolean"],
        "description": "The value of a setting; numbers and flags need no quotes.",
    };
}

/// Fields of the contract that have another form in JSON, by record; and those that JSON has
/// instead or besides.
const OTHER_FORM: [(&str, &[&str], &[&str]); 6] = [
    ("snapshot", &["blocks"], &[]),
    ("eni", &["first-block", "block-count"], &["blocks"]),
    (
        "blocks",
        &["base-high", "base", "length"],
        &["cidr", "repeat"],
    ),
    ("attach-eni", &[], &["subnet_id"]),
    ("grow", &[], &["eni_id"]),
    ("release", &[], &["eni_id", "cidrs"]),
];

struct Contract(Resolve);

impl Contract {
    fn read() -> Self {
        let mut resolve = Resolve::default();
        resolve.push_path(root().join("wit")).unwrap();
        Self(resolve)
    }

    /// Types with a name, of the interface `types`.
    fn types(&self) -> impl Iterator<Item = (&str, &TypeDef)> {
        let types = self.0.types.iter();
        types.filter_map(|(_, it)| Some((it.name.as_deref()?, it)))
    }

    fn docs(docs: &wit_parser::Docs) -> String {
        let text = docs.contents.as_deref().unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The contract's comment first, then what holds for JSON only.
fn describe(schema: &mut Map<String, Value>, docs: &str) {
    let own = schema.get("description").and_then(Value::as_str);
    let text = [docs, own.unwrap_or_default()].join(" ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if !text.is_empty() {
        schema.insert("description".into(), text.into());
    }
}

/// A schema with the contract's comments in it.
fn generate(schema: Schema, about: &str) -> Value {
    let mut root = schema.to_value();
    let contract = Contract::read();
    let root_name = root["title"].as_str().unwrap().to_owned();
    for (name, it) in contract.types() {
        let name = if name == "blocks" { "block" } else { name };
        let part = if name == root_name {
            root.as_object_mut()
        } else {
            root["$defs"].get_mut(name).and_then(Value::as_object_mut)
        };
        if let Some(part) = part {
            annotate(part, it);
        }
    }
    root["title"] = about.into();
    root
}

fn annotate(part: &mut Map<String, Value>, it: &TypeDef) {
    if part.get("title").is_none() {
        describe(part, &Contract::docs(&it.docs));
    }
    match &it.kind {
        TypeDefKind::Record(record) => {
            let Some(properties) = part.get_mut("properties") else {
                return;
            };
            for field in &record.fields {
                if let Some(property) = properties.get_mut(field.name.replace('-', "_")) {
                    describe(
                        property.as_object_mut().unwrap(),
                        &Contract::docs(&field.docs),
                    );
                }
            }
        }
        TypeDefKind::Enum(cases) => {
            part.remove("type");
            part.remove("enum");
            let cases = cases.cases.iter().map(|case| {
                let mut schema = Map::from_iter([("const".to_owned(), json!(case.name))]);
                describe(&mut schema, &Contract::docs(&case.docs));
                Value::Object(schema)
            });
            part.insert("oneOf".into(), cases.collect());
        }
        _ => {}
    }
}

fn snapshot() -> Value {
    generate(schema_for!(SnapshotDocument), "Snapshot of an Onsen node")
}

fn decision() -> Value {
    generate(schema_for!(DecisionDocument), "Decision of an Onsen policy")
}

#[test]
fn the_committed_schemas_are_those_of_the_code() {
    for (name, schema) in [("snapshot", snapshot()), ("decision", decision())] {
        let path = root().join(format!("docs/{name}.schema.json"));
        let text = super::write(&schema).unwrap();
        if std::env::var_os("ONSEN_RENEW").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "docs/{name}.schema.json is out of date: run `ONSEN_RENEW=1 cargo test -p onsen-policy-runner schema`"
        );
    }
}

/// What a property takes: names of definitions and of JSON's types, `null` left aside.
fn takes(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if let Some(reference) = schema["$ref"].as_str() {
        found.insert(reference.replace("#/$defs/", ""));
    }
    match &schema["type"] {
        Value::String(one) => found.extend([one.clone()]),
        Value::Array(many) => found.extend(many.iter().map(|it| it.as_str().unwrap().to_owned())),
        _ => {}
    }
    for part in schema["anyOf"].as_array().into_iter().flatten() {
        found.extend(takes(part));
    }
    if found.remove("array") {
        let items = takes(&schema["items"]);
        found.extend(items.into_iter().map(|item| format!("list of {item}")));
    }
    found.remove("null");
    found
}

/// What the contract's type is called in a schema.
fn wanted(resolve: &Resolve, of: &Type) -> String {
    let Type::Id(id) = of else {
        return match of {
            Type::Bool => "boolean",
            Type::String => "string",
            _ => "integer",
        }
        .to_owned();
    };
    let it = &resolve.types[*id];
    match (&it.kind, it.name.as_deref()) {
        (TypeDefKind::Option(inner), _) => wanted(resolve, inner),
        (TypeDefKind::List(Type::U8), None) => "bytes".to_owned(),
        (TypeDefKind::List(inner), _) => match &*wanted(resolve, inner) {
            "setting" => "object".to_owned(),
            item => format!("list of {item}"),
        },
        (TypeDefKind::Type(inner), Some(name)) if name.ends_with("-index") => {
            wanted(resolve, inner)
        }
        (_, name) => name.unwrap().to_owned(),
    }
}

/// The properties that a record must have, with what each takes.
fn fields(contract: &Contract, name: &str, it: &TypeDef) -> Option<BTreeMap<String, String>> {
    let TypeDefKind::Record(record) = &it.kind else {
        return None;
    };
    let (_, gone, more) = OTHER_FORM
        .iter()
        .find(|(record, ..)| *record == name)
        .unwrap_or(&("", &[], &[]));
    for field in *gone {
        assert!(
            record.fields.iter().any(|it| it.name == *field),
            "{name} has no {field}: take it off the list"
        );
    }
    let kept = record.fields.iter().filter(|it| !gone.contains(&&*it.name));
    let typed = kept.map(|it| {
        // A list of the parallel lists is a field of each block.
        let takes = wanted(&contract.0, &it.ty);
        let takes = match takes.strip_prefix("list of ") {
            Some(item) if name == "blocks" => item.to_owned(),
            _ => takes,
        };
        (it.name.replace('-', "_"), takes)
    });
    let extra = more.iter().map(|it| ((*it).to_owned(), String::new()));
    Some(typed.chain(extra).collect())
}

#[test]
fn the_schemas_are_in_step_with_the_contract() {
    let contract = Contract::read();
    let (snapshot, decision) = (snapshot(), decision());
    // Not part of a snapshot or a decision, or of another form.
    let elsewhere = [
        "setting",
        "setting-kind",
        "setting-spec",
        "metadata",
        "problem",
        "level",
    ];
    let mut compared = 0;
    for (name, it) in contract.types() {
        if elsewhere.contains(&name) {
            continue;
        }
        let definition = if name == "blocks" { "block" } else { name };
        let schema = match name {
            "snapshot" => &snapshot,
            "decision" => &decision,
            _ => [&snapshot, &decision]
                .into_iter()
                .map(|root| &root["$defs"][definition])
                .find(|schema| !schema.is_null())
                .unwrap_or(&Value::Null),
        };
        if let Some(fields) = fields(&contract, name, it) {
            let properties = schema["properties"].as_object();
            let properties = properties.unwrap_or_else(|| panic!("no schema of record {name}"));
            assert_eq!(
                properties.keys().collect::<BTreeSet<_>>(),
                fields.keys().collect::<BTreeSet<_>>(),
                "fields of {name}"
            );
            assert_eq!(schema["additionalProperties"], json!(false), "{name}");
            for (field, takes_type) in fields.iter().filter(|(_, it)| !it.is_empty()) {
                assert_eq!(
                    takes(&properties[field]),
                    BTreeSet::from([takes_type.clone()]),
                    "type of {name}.{field}"
                );
            }
            compared += 1;
        } else if let TypeDefKind::Variant(variant) = &it.kind {
            let cases = schema["oneOf"].as_array().unwrap();
            let names = cases
                .iter()
                .flat_map(|case| case["properties"].as_object().unwrap().keys());
            assert_eq!(
                names.map(String::as_str).collect::<BTreeSet<_>>(),
                variant.cases.iter().map(|case| &*case.name).collect(),
                "cases of {name}"
            );
            compared += 1;
        } else if let TypeDefKind::Enum(it) = &it.kind {
            // As the code spells them: `annotate` has replaced the schema's own list.
            for case in &it.cases {
                let probe = json!(case.name);
                assert!(spelled(name, probe), "{name} does not know {}", case.name);
            }
            compared += 1;
        }
    }
    assert!(compared > 20, "only {compared} types compared");
}

/// Whether the code reads that word. The other direction the compiler checks: a case of the core
/// that a document lacks does not compile, and the core's cases are converted to the contract's.
fn spelled(name: &str, word: Value) -> bool {
    use super::words::{
        FamilyWord, KeepWord, OperationWord, PlacementWord, RoleWord, StateWord, TriggerWord,
        UnitWord,
    };
    fn reads<T: serde::de::DeserializeOwned>(word: Value) -> bool {
        serde_json::from_value::<T>(word).is_ok()
    }
    match name {
        "unit" => reads::<UnitWord>(word),
        "family" => reads::<FamilyWord>(word),
        "trigger" => reads::<TriggerWord>(word),
        "role" => reads::<RoleWord>(word),
        "eni-state" => reads::<StateWord>(word),
        "keep-reason" => reads::<KeepWord>(word),
        "operation" => reads::<OperationWord>(word),
        "placement" => reads::<PlacementWord>(word),
        _ => panic!("no words of {name}"),
    }
}
