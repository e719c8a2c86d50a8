//! Which policy a node runs: the document behind the ConfigMap `onsen-policy`, or a file of the same shape.
//!
//! In: YAML (or JSON, which is YAML), the node's name and labels. Out: the rule that fits, or an
//! error with line, column and field.
//! Must hold: the first rule that fits wins; the same document, name and labels give the same rule on
//! every machine; what a document says and nobody understands is an error.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};
use sha2::{Digest, Sha256};

use crate::documents::Scalar;
use crate::reference::Reference;

/// The doc comments are the reference for people: `docs/policy-rules.schema.json` is made of them.
///
/// Rules are looked at from the top; the first that fits a node is its rule. A node that no rule
/// fits runs what the environment of its daemon says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "policy rules"))]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// From the top.
    pub rules: Vec<Rule>,
}

/// What some nodes run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "rule"))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rule {
    /// For people; it is shown in the node's status.
    #[serde(default)]
    pub name: Option<String>,
    /// Labels that a node must have, all of them. Left out: every node fits.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// Where the policy comes from: `builtin:NAME`, `configmap:KEY`, `file:PATH` or
    /// `oci:REGISTRY/REPOSITORY@sha256:DIGEST`. Left out: what the environment names.
    #[serde(default, deserialize_with = "optional_reference")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub policy: Option<Reference>,
    /// Settings of the policy. They come on top of the environment's.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, SettingForm>"))]
    pub settings: BTreeMap<String, Scalar>,
    /// A second policy that is asked the same and whose answers are compared and never carried out.
    #[serde(default)]
    pub shadow: Option<Shadow>,
    /// Percentage of the nodes that this rule is for, by a hash of their names; the others go on to
    /// the rules below. Raising it adds nodes and takes none away. Left out: all of them.
    #[serde(default)]
    pub rollout: Percentage,
}

/// A policy that is compared.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "shadow"))]
#[serde(deny_unknown_fields)]
pub struct Shadow {
    /// Where it comes from.
    #[serde(deserialize_with = "reference")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub policy: Reference,
    /// Its settings. They come on top of the environment's.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, SettingForm>"))]
    pub settings: BTreeMap<String, Scalar>,
}

/// 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentage(u8);

impl Default for Percentage {
    fn default() -> Self {
        Self(100)
    }
}

/// Why a document cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}{}: {message}", of(field))]
pub struct RulesError {
    /// Counted from 1.
    pub line: u64,
    /// Counted from 1.
    pub column: u64,
    /// `rules[1].shadow.policy`; empty when it is about the whole.
    pub field: String,
    /// What is wrong, and what is allowed.
    pub message: String,
}

fn of(field: &str) -> String {
    if field.is_empty() {
        String::new()
    } else {
        format!(", field {field}")
    }
}

impl Rules {
    /// Reads a document. One without any text has no rules.
    pub fn read(text: &str) -> Result<Self, RulesError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut field = String::new();
        let read = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
            serde_path_to_error::deserialize(deserializer).map_err(|error| {
                let path = error.path().to_string();
                // A single dot stands for the whole.
                field = if path == "." { String::new() } else { path };
                error.into_inner()
            })
        });
        read.map_err(|error: serde_saphyr::Error| {
            let (line, column) = error
                .location()
                .map_or((1, 1), |place| (place.line(), place.column()));
            let message = error.without_snippet().to_string();
            let behind = format!(" at line {line}, column {column}");
            RulesError {
                line,
                column,
                field,
                message: message.strip_suffix(&behind).unwrap_or(&message).to_owned(),
            }
        })
    }

    /// The rule of a node, and its place from 0.
    pub fn of_node(&self, name: &str, labels: &BTreeMap<String, String>) -> Option<(usize, &Rule)> {
        let share = share(name);
        self.rules
            .iter()
            .enumerate()
            .find(|(_, rule)| rule.selects(labels) && share < rule.rollout.0)
    }
}

impl Rule {
    fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.node_selector
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// Where a node stands from 0 to 99: by its name only, so that the same nodes come first each time.
fn share(name: &str) -> u8 {
    let hash = Sha256::digest(name.as_bytes());
    let number = hash
        .iter()
        .take(8)
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    (number % 100) as u8
}

fn reference<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reference, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(de::Error::custom)
}

fn optional_reference<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Reference>, D::Error> {
    reference(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Percentage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        u8::try_from(number)
            .ok()
            .filter(|number| *number <= 100)
            .map(Self)
            .ok_or_else(|| {
                let unexpected = de::Unexpected::Unsigned(number);
                de::Error::invalid_value(unexpected, &"a percentage from 0 to 100")
            })
    }
}

#[cfg(test)]
struct SettingForm;

#[cfg(test)]
impl schemars::JsonSchema for SettingForm {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "value".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "integer", "boolean"],
            "description": "The value of a setting; numbers and flags need no quotes.",
        })
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Percentage {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "percentage".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "integer", "minimum": 0, "maximum": 100})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "
rules:
  - name: gpu
    nodeSelector: {team: ml, gpu: 'true'}
    policy: builtin:prefix-frugal
    settings: {FRUGAL_MIN_FREE: 4, WARM: yes please, ON: true}
    shadow: {policy: 'builtin:default-warm-eni'}
    rollout: 20
  - nodeSelector: {team: ml}
    settings: {WARM_IP_TARGET: 3}
";

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    fn place(rules: &Rules, name: &str, pairs: &[(&str, &str)]) -> Option<usize> {
        rules.of_node(name, &labels(pairs)).map(|(place, _)| place)
    }

    #[test]
    fn the_first_rule_whose_labels_a_node_has_is_its_rule() {
        let mut rules = Rules::read(DOCUMENT).unwrap();
        rules.rules[0].rollout = Percentage(100);
        let gpu = [("team", "ml"), ("gpu", "true"), ("zone", "a")];
        assert_eq!(place(&rules, "n", &gpu), Some(0));
        assert_eq!(
            place(&rules, "n", &[("team", "ml"), ("gpu", "false")]),
            Some(1)
        );
        assert_eq!(place(&rules, "n", &[("gpu", "true")]), None);
        let first = &rules.rules[0];
        let texts: Vec<_> = first.settings.values().map(|it| it.0.as_str()).collect();
        assert_eq!(texts, ["4", "true", "yes please"]);
        assert_eq!(rules.rules[1].policy, None);
    }

    #[test]
    fn a_rule_without_labels_fits_every_node_and_no_document_fits_none() {
        let rules = Rules::read(r#"{"rules": [{"policy": "builtin:prefix-frugal"}]}"#).unwrap();
        assert_eq!(place(&rules, "n", &[]), Some(0));
        assert_eq!(Rules::read(" \n").unwrap(), Rules::default());
    }

    #[test]
    fn a_rollout_takes_about_its_share_of_nodes_and_grows_without_moving_any() {
        let mut rules = Rules::read("rules: [{rollout: 0}]").unwrap();
        let names: Vec<_> = (0..1_000)
            .map(|n| format!("ip-10-0-{n}.internal"))
            .collect();
        let mut chosen = Vec::new();
        for percent in [0, 10, 50, 100] {
            rules.rules[0].rollout = Percentage(percent);
            let now: Vec<_> = names
                .iter()
                .filter(|name| place(&rules, name, &[]).is_some())
                .collect();
            let expected = usize::from(percent) * 10;
            assert!(
                now.len().abs_diff(expected) < 60,
                "{} of {expected}",
                now.len()
            );
            assert!(chosen.iter().all(|name| now.contains(name)));
            chosen = now;
        }
    }

    #[test]
    fn an_error_names_line_and_field() {
        for (text, line, field, words) in [
            (
                "rules:\n  - polcy: x\n",
                2,
                "rules[0].polcy",
                "unknown field",
            ),
            (
                "rules:\n  - {}\n  - policy: nobody\n",
                3,
                "rules[1].policy",
                "builtin:",
            ),
            (
                "rules:\n  - rollout: 101\n",
                2,
                "rules[0].rollout",
                "from 0 to 100",
            ),
            (
                "rules:\n  - shadow: {settings: {}}\n",
                2,
                "rules[0].shadow",
                "missing field",
            ),
            (
                "rules:\n  - settings: {A: [1]}\n",
                2,
                "rules[0].settings.A",
                "text, a whole number",
            ),
            ("rules: [\n", 1, "rules", "unclosed"),
            ("- rules\n", 1, "", ""),
        ] {
            let error = Rules::read(text).unwrap_err();
            assert_eq!((error.line, error.field.as_str()), (line, field), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn the_committed_schema_is_that_of_the_code() {
        let schema = schemars::schema_for!(Rules);
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../docs/policy-rules.schema.json");
        if std::env::var_os("ONSEN_RENEW").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "docs/policy-rules.schema.json is out of date: run `ONSEN_RENEW=1 cargo test -p onsen-policy-runner schema`"
        );
    }
}
