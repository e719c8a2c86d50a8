//! This node's labels: which rule fits it, and which of them a policy sees.
//!
//! In: what the cluster tells or a file says, and the keys that the operator lets policies see. Out: all
//! labels for the rules, the shown ones for the snapshot.
//! Must hold: a policy, and so a recording, has no label whose key the operator does not name.

use std::collections::BTreeMap;

use onsen_core::snapshot::Setting;

/// Labels of this node; absent until the cluster has told them.
pub(crate) type Labels = Option<BTreeMap<String, String>>;

/// The keys of labels that policies see. One that ends in `*` stands for all that start so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown(Vec<String>);

impl Default for Shown {
    /// What tells groups of nodes from each other where nobody has made labels of his own.
    fn default() -> Self {
        Self(
            [
                "eks.amazonaws.com/capacityType",
                "eks.amazonaws.com/nodegroup",
                "karpenter.sh/capacity-type",
                "karpenter.sh/nodepool",
            ]
            .map(str::to_owned)
            .to_vec(),
        )
    }
}

impl Shown {
    /// Keys with commas between them; absent when one is no key.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let keys = text.split(',').map(str::trim).filter(|key| !key.is_empty());
        keys.map(|key| is_key(key).then(|| key.to_owned()))
            .collect::<Option<_>>()
            .map(Self)
    }

    /// What policies see of these labels, sorted by key.
    pub(crate) fn of(&self, labels: &BTreeMap<String, String>) -> Vec<Setting> {
        let is_shown = |key: &str| {
            self.0.iter().any(|shown| match shown.strip_suffix('*') {
                Some(start) => key.starts_with(start),
                None => key == shown,
            })
        };
        labels
            .iter()
            .filter(|(key, _)| is_shown(key))
            .map(|(key, value)| Setting {
                key: key.clone(),
                value: value.clone(),
            })
            .collect()
    }
}

/// Whether it may be the key of a label, or the start of keys and a star.
fn is_key(text: &str) -> bool {
    let key = text.strip_suffix('*').unwrap_or(text);
    key.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
}

/// `key=value`, one a line or with commas between them.
pub(super) fn parse_labels(text: &str) -> BTreeMap<String, String> {
    text.split(['\n', ','])
        .filter_map(|pair| pair.trim().split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(keys: &str, labels: &str) -> String {
        let shown = Shown::parse(keys).unwrap().of(&parse_labels(labels));
        let pairs: Vec<_> = shown
            .iter()
            .map(|it| format!("{}={}", it.key, it.value))
            .collect();
        pairs.join(" ")
    }

    #[test]
    fn a_policy_sees_labels_by_name_or_by_the_start_of_their_names_and_no_others() {
        let labels = "kind=dense\nteam.example.com/b=2,team.example.com/a=1\nsecret=x";
        assert_eq!(shown("kind", labels), "kind=dense");
        assert_eq!(
            shown("absent, team.example.com/*,kind", labels),
            "kind=dense team.example.com/a=1 team.example.com/b=2"
        );
        assert_eq!(shown("", labels), "");
        assert_eq!(shown("kin,secre", labels), "", "a key is the whole key");
        assert_eq!(shown("*", "b=2,a=1"), "a=1 b=2");
    }

    #[test]
    fn what_can_be_no_key_is_no_key() {
        for bad in ["a b", "kind=dense", "a*b", "**", "kind;x"] {
            assert_eq!(Shown::parse(bad), None, "{bad}");
        }
    }
}
