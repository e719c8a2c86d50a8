//! `onsen policy check`: loads a component exactly as a node would, and tells what it is and what
//! it costs on a few reference nodes.

mod cost;

use std::borrow::Cow;
use std::path::Path;

use onsen_policy_runner::reference::{Reference, ReferenceError};
use onsen_policy_runner::{Limits, Policy, SettingKind, SettingSpec};
use serde_json::{Value, json};

use crate::cache;
use crate::error::CliError;
use crate::table::{pairs, table};
use cost::Cost;

/// What a ConfigMap can hold at most, all keys together.
const CONFIG_MAP_BYTES: usize = 1 << 20;

/// A component that a node would take, and its policy.
pub(crate) fn accepted(path: &Path) -> Result<(Cow<'static, [u8]>, Policy), CliError> {
    let reference = Reference::File(path.to_owned());
    let engine = cache::engine()?;
    let wasm = reference.bytes(engine.limits().component_bytes)?;
    let refused = |source| ReferenceError::Refused {
        reference: reference.clone(),
        source,
    };
    let policy = engine.load(&wasm).map_err(refused)?;
    let problems = policy.configure(&[]).map_err(refused)?;
    if let Some(problem) = problems.first() {
        return Err(CliError::Defaults {
            path: path.to_owned(),
            key: problem.key.clone(),
            message: problem.message.clone(),
        });
    }
    Ok((wasm, policy))
}

/// What a node would find, or why it would refuse.
pub(crate) fn check(path: &Path, as_json: bool) -> Result<String, CliError> {
    let (wasm, policy) = accepted(path)?;
    let cost = cost::measure(&policy).map_err(|source| CliError::Undecided {
        policy: path.display().to_string(),
        source,
    })?;
    if as_json {
        let document = document(&policy, wasm.len(), &cost);
        return Ok(format!("{document:#}\n"));
    }
    Ok(for_people(&policy, wasm.len(), &cost))
}

/// How a component of this size can reach a node.
fn shipping(bytes: usize) -> &'static str {
    if bytes <= CONFIG_MAP_BYTES {
        "fits into a ConfigMap (1 MiB): configmap:KEY, oci: or file:"
    } else {
        "too large for a ConfigMap (1 MiB): use oci: or file:"
    }
}

fn for_people(policy: &Policy, bytes: usize, cost: &Cost) -> String {
    let metadata = policy.metadata();
    let mut text = pairs(&[
        ("policy", format!("{} {}", metadata.name, metadata.version)),
        (
            "about",
            metadata
                .doc
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        ),
        ("world", policy.contract().to_owned()),
        ("imports", "nothing but onsen:policy/log".to_owned()),
        ("digest", policy.digest().to_owned()),
        ("size", format!("{bytes} bytes; {}", shipping(bytes))),
        (
            "worst fuel",
            format!(
                "{} of {} ({})",
                cost.fuel,
                Limits::default().fuel,
                cost.fuel_on
            ),
        ),
        (
            "worst time",
            format!("{:.2} ms here ({})", cost.millis, cost.millis_on),
        ),
        (
            "memory",
            format!(
                "{} of {} KiB",
                cost.memory_bytes >> 10,
                Limits::default().memory_bytes >> 10
            ),
        ),
    ]);
    if !metadata.settings.is_empty() {
        let rows: Vec<[String; 5]> = metadata.settings.iter().map(row).collect();
        text.push('\n');
        text.push_str(&table(
            ["SETTING", "TYPE", "DEFAULT", "RANGE", "ABOUT"],
            &rows,
        ));
    }
    text
}

fn row(setting: &SettingSpec) -> [String; 5] {
    let range = match (setting.min, setting.max) {
        (None, None) => String::new(),
        (min, max) => {
            let end = |bound: Option<i64>| bound.map_or(String::new(), |number| number.to_string());
            format!("{}..{}", end(min), end(max))
        }
    };
    [
        setting.key.clone(),
        kind(setting.kind).to_owned(),
        setting.default.clone(),
        range,
        setting.doc.clone(),
    ]
}

fn document(policy: &Policy, bytes: usize, cost: &Cost) -> Value {
    let metadata = policy.metadata();
    let settings: Vec<Value> = metadata
        .settings
        .iter()
        .map(|setting| {
            json!({
                "key": setting.key,
                "type": kind(setting.kind),
                "default": setting.default,
                "min": setting.min,
                "max": setting.max,
                "doc": setting.doc,
            })
        })
        .collect();
    json!({
        "name": metadata.name,
        "version": metadata.version,
        "doc": metadata.doc,
        "world": policy.contract(),
        "digest": policy.digest(),
        "imports": ["onsen:policy/log"],
        "bytes": bytes,
        "fits_config_map": bytes <= CONFIG_MAP_BYTES,
        "cost": {
            "snapshots": cost.snapshots,
            "fuel": cost.fuel,
            "fuel_limit": Limits::default().fuel,
            "fuel_on": cost.fuel_on,
            "millis": cost.millis,
            "millis_on": cost.millis_on,
            "memory_bytes": cost.memory_bytes,
            "memory_limit": Limits::default().memory_bytes,
        },
        "settings": settings,
    })
}

fn kind(kind: SettingKind) -> &'static str {
    match kind {
        SettingKind::Boolean => "boolean",
        SettingKind::Integer => "integer",
        SettingKind::Text => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onsen_policy_runner::builtin;

    #[test]
    fn the_built_in_policies_pass_and_show_their_settings() {
        let dir = tempfile::tempdir().unwrap();
        for name in builtin::names() {
            let path = dir.path().join(name);
            std::fs::write(&path, builtin::get(name).unwrap()).unwrap();
            let text = check(&path, false).unwrap();
            let first = text.lines().next().unwrap();
            assert!(
                first.starts_with("policy ") && first.contains(name),
                "{text}"
            );
            assert!(text.contains("sha256:"), "{text}");
            let document: Value = serde_json::from_str(&check(&path, true).unwrap()).unwrap();
            assert_eq!(document["name"], *name);
            assert!(!document["settings"].as_array().unwrap().is_empty());
        }
    }
}
