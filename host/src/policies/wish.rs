//! What is asked for: the rule that fits this node, on top of the daemon's environment.
//!
//! In: the rules (out of the cluster's ConfigMap, else a mounted file of the same shape), the node's
//! name and labels. Out: a [`Wish`], or what is wrong with the rules.
//! Must hold: the ConfigMap outranks the file, the file outranks the environment; two wishes are
//! equal exactly when they ask for the same bytes with the same settings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use onsen_core::snapshot::Setting;
use onsen_policy_runner::documents::Scalar;
use onsen_policy_runner::reference::Reference;
use onsen_policy_runner::rules::{Rule, Rules};
use tokio::sync::watch;

use super::labels::{Labels, Shown, parse_labels};
use crate::settings::Settings;

/// The key of the ConfigMap that holds the rules.
pub(crate) const RULES_KEY: &str = "rules.yaml";

/// What the cluster says of the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It has not answered yet.
    #[default]
    Nothing,
    /// There is no ConfigMap.
    Absent,
    /// There is one.
    ConfigMap(Arc<ConfigMap>),
}

/// The ConfigMap, as far as it concerns policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfigMap {
    /// `data`.
    pub(crate) texts: BTreeMap<String, String>,
    /// `binaryData`.
    pub(crate) binaries: BTreeMap<String, Arc<[u8]>>,
}

/// What the cluster tells this node.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    /// The rules.
    pub(crate) rules: watch::Receiver<Heard>,
    /// The labels.
    pub(crate) labels: watch::Receiver<Labels>,
}

/// A policy with its settings, not looked at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) reference: Reference,
    /// The environment's, and the rule's on top.
    pub(super) settings: BTreeMap<String, String>,
    /// Keys that the rule sets: what it says must be right.
    pub(super) own: BTreeSet<String>,
    pub(super) place: Place,
}

/// Where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The reference says it all, and it never means anything else.
    Named,
    /// In a file that may change.
    File {
        path: PathBuf,
        /// Absent when there is no such file.
        stamp: Option<Stamp>,
    },
    /// Here.
    Bytes(Arc<[u8]>),
}

/// Changes whenever a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// What is asked for at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// The rule in words; absent when only the environment speaks.
    pub(super) rule: Option<String>,
    pub(super) policy: Ask,
    pub(super) shadow: Option<Ask>,
}

/// Where wishes come from.
#[derive(Debug)]
pub(crate) struct Sources {
    node: String,
    reference: Reference,
    settings: BTreeMap<String, String>,
    file: Option<PathBuf>,
    labels_file: Option<PathBuf>,
    shown: Shown,
    pub(super) cluster: Option<Cluster>,
}

impl Sources {
    pub(crate) fn new(settings: &Settings, cluster: Option<Cluster>) -> Self {
        Self {
            node: settings.node_name.clone(),
            reference: settings.policy.clone(),
            settings: settings.policy_settings.clone(),
            file: settings.policy_file.clone(),
            labels_file: settings.node_labels_file.clone(),
            shown: settings.policy_labels.clone(),
            cluster,
        }
    }

    /// The settings of the environment.
    pub(super) fn environment(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    /// What is asked for now. Nothing while the cluster has not answered and no file speaks.
    pub(super) fn read(&self) -> Result<Option<Wish>, String> {
        let heard = self
            .cluster
            .as_ref()
            .map(|cluster| cluster.rules.borrow().clone());
        let (text, called, config_map) = match heard {
            Some(Heard::ConfigMap(map)) => {
                let Some(text) = map.texts.get(RULES_KEY) else {
                    let keys: Vec<_> = map.texts.keys().map(String::as_str).collect();
                    return Err(format!(
                        "the ConfigMap has no key {RULES_KEY}; it has [{}]",
                        keys.join(", ")
                    ));
                };
                (
                    text.clone(),
                    "the ConfigMap".to_owned(),
                    Some(Arc::clone(&map)),
                )
            }
            Some(Heard::Nothing) if !self.file.as_ref().is_some_and(|path| path.exists()) => {
                return Ok(None);
            }
            _ => match &self.file {
                Some(path) => (read_text(path)?, path.display().to_string(), None),
                None => (String::new(), String::new(), None),
            },
        };
        let rules = Rules::read(&text).map_err(|error| format!("{called}, {error}"))?;
        let Some(labels) = self.labels()? else {
            return Ok(None);
        };
        let found = rules.of_node(&self.node, &labels);
        let map = config_map.as_deref();
        match found {
            Some((place, rule)) => self.of_rule(place, rule, map).map(Some),
            None => Ok(Some(Wish {
                rule: None,
                policy: self.ask(self.reference.clone(), &BTreeMap::new(), map)?,
                shadow: None,
            })),
        }
    }

    /// The labels that policies see. Nothing while they are not known.
    pub(super) fn shown(&self) -> Option<Vec<Setting>> {
        // A file that cannot be read is complained of where the rules are.
        let labels = self.labels().ok()??;
        Some(self.shown.of(&labels))
    }

    fn labels(&self) -> Result<Labels, String> {
        if let Some(path) = &self.labels_file {
            return Ok(Some(parse_labels(&read_text(path)?)));
        }
        match &self.cluster {
            Some(cluster) => Ok(cluster.labels.borrow().clone()),
            None => Ok(Some(BTreeMap::new())),
        }
    }

    fn of_rule(&self, place: usize, rule: &Rule, map: Option<&ConfigMap>) -> Result<Wish, String> {
        let number = place + 1;
        let title = match &rule.name {
            Some(name) => format!("{number} ({name})"),
            None => number.to_string(),
        };
        let in_rule = |why: String| format!("rule {title}: {why}");
        let reference = rule
            .policy
            .clone()
            .unwrap_or_else(|| self.reference.clone());
        let policy = self.ask(reference, &rule.settings, map).map_err(in_rule)?;
        let shadow = rule
            .shadow
            .as_ref()
            .map(|shadow| self.ask(shadow.policy.clone(), &shadow.settings, map))
            .transpose()
            .map_err(in_rule)?;
        Ok(Wish {
            rule: Some(title),
            policy,
            shadow,
        })
    }

    fn ask(
        &self,
        reference: Reference,
        own: &BTreeMap<String, Scalar>,
        map: Option<&ConfigMap>,
    ) -> Result<Ask, String> {
        let place = match (&reference, map) {
            (Reference::BuiltIn(_) | Reference::Oci(_), _) => Place::Named,
            (Reference::File(path), _) => file(path.clone()),
            (Reference::ConfigMap(key), Some(map)) => {
                let Some(bytes) = map.binaries.get(key) else {
                    let keys: Vec<_> = map.binaries.keys().map(String::as_str).collect();
                    return Err(format!(
                        "the ConfigMap's binaryData has no key {key}; it has [{}]",
                        keys.join(", ")
                    ));
                };
                Place::Bytes(Arc::clone(bytes))
            }
            // A mounted ConfigMap has its keys as files beside each other.
            (Reference::ConfigMap(key), None) => match &self.file {
                Some(rules) => file(rules.with_file_name(key)),
                None => {
                    return Err(format!(
                        "{reference} needs a ConfigMap or ONSEN_POLICY_FILE"
                    ));
                }
            },
        };
        let mut settings = self.settings.clone();
        settings.extend(
            own.iter()
                .map(|(key, value)| (key.clone(), value.0.clone())),
        );
        Ok(Ask {
            reference,
            settings,
            own: own.keys().cloned().collect(),
            place,
        })
    }
}

fn file(path: PathBuf) -> Place {
    let stamp = fs::metadata(&path).ok().map(|facts| Stamp {
        inode: facts.ino(),
        size: facts.size(),
        modified: (facts.mtime(), facts.mtime_nsec()),
    });
    Place::File { path, stamp }
}

/// Absent is as good as empty: a mounted file may come later.
fn read_text(path: &Path) -> Result<String, String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(folder: &Path, cluster: Option<Cluster>) -> Sources {
        let file = folder.join("rules.yaml").display().to_string();
        let labels = folder.join("labels").display().to_string();
        let settings = Settings::read(&|name| match name {
            "MY_NODE_NAME" => Some("n1".into()),
            "ONSEN_POLICY_FILE" => Some(file.clone()),
            "ONSEN_NODE_LABELS_FILE" => cluster.is_none().then(|| labels.clone()),
            "WARM_IP_TARGET" => Some("5".into()),
            _ => None,
        });
        Sources::new(&settings.unwrap(), cluster)
    }

    fn wish(sources: &Sources) -> Wish {
        sources.read().unwrap().unwrap()
    }

    #[test]
    fn without_rules_the_environment_speaks() {
        let folder = tempfile::tempdir().unwrap();
        let wish = wish(&sources(folder.path(), None));
        assert_eq!(wish.rule, None);
        assert_eq!(
            wish.policy.reference.to_string(),
            "builtin:default-warm-eni"
        );
        assert_eq!(wish.policy.settings["WARM_IP_TARGET"], "5");
    }

    #[test]
    fn a_node_that_changes_its_labels_changes_its_rule() {
        let folder = tempfile::tempdir().unwrap();
        let rules = "rules:\n- {name: dense, nodeSelector: {kind: dense}, policy: 'builtin:prefix-frugal'}\n- settings: {WARM_IP_TARGET: 7}\n";
        fs::write(folder.path().join("rules.yaml"), rules).unwrap();
        let sources = sources(folder.path(), None);
        let before = wish(&sources);
        assert_eq!(before.rule.as_deref(), Some("2"));
        assert_eq!(before.policy.settings["WARM_IP_TARGET"], "7");
        assert_eq!(before, wish(&sources), "nothing changed");
        fs::write(folder.path().join("labels"), "zone=a\nkind=dense\n").unwrap();
        let after = wish(&sources);
        assert_eq!(after.rule.as_deref(), Some("1 (dense)"));
        assert_eq!(after.policy.settings["WARM_IP_TARGET"], "5");
    }

    #[test]
    fn a_component_beside_the_mounted_rules_is_another_wish_when_its_bytes_change() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("rules.yaml"),
            "rules: [{policy: 'configmap:p.wasm'}]",
        )
        .unwrap();
        let sources = sources(folder.path(), None);
        let absent = wish(&sources);
        fs::write(folder.path().join("p.wasm"), b"one").unwrap();
        let one = wish(&sources);
        fs::write(folder.path().join("p.wasm"), b"other").unwrap();
        assert_ne!(absent, one);
        assert_ne!(one, wish(&sources));
    }

    #[test]
    fn the_clusters_word_outranks_the_file_and_its_silence_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (rules, heard) = watch::channel(Heard::Nothing);
        let (labels, told) = watch::channel(None);
        let cluster = Cluster {
            rules: heard,
            labels: told,
        };
        let sources = sources(folder.path(), Some(cluster));
        assert_eq!(sources.read(), Ok(None), "nobody has said anything");
        labels.send_replace(Some(BTreeMap::new()));
        fs::write(folder.path().join("rules.yaml"), "rules: [{name: mounted}]").unwrap();
        assert_eq!(wish(&sources).rule.as_deref(), Some("1 (mounted)"));

        let bytes: Arc<[u8]> = Arc::from(&b"p"[..]);
        let map = |text: &str| {
            Heard::ConfigMap(Arc::new(ConfigMap {
                texts: BTreeMap::from([(RULES_KEY.to_owned(), text.to_owned())]),
                binaries: BTreeMap::from([("p.wasm".to_owned(), Arc::clone(&bytes))]),
            }))
        };
        rules.send_replace(map("rules: [{policy: 'configmap:p.wasm'}]"));
        assert_eq!(
            wish(&sources).policy.place,
            Place::Bytes(Arc::clone(&bytes))
        );
        rules.send_replace(map("rules: [{name: x, policy: 'configmap:q.wasm'}]"));
        let why = sources.read().unwrap_err();
        assert!(
            why.contains("rule 1 (x)") && why.contains("[p.wasm]"),
            "{why}"
        );
        rules.send_replace(map("rules:\n- polcy: x"));
        let why = sources.read().unwrap_err();
        assert!(
            why.contains("the ConfigMap, line 2") && why.contains("polcy"),
            "{why}"
        );
        rules.send_replace(Heard::Absent);
        assert_eq!(wish(&sources).rule.as_deref(), Some("1 (mounted)"));
    }
}
