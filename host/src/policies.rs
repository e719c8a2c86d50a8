//! Which policy runs: loads it, tries it, swaps it, runs it.
//!
//! In: the environment's choice, a file that may say otherwise at any time, snapshots. Out: news for
//! the daemon's loop, proposals.
//! Must hold: a policy that cannot be loaded, refuses its settings or fails on the last snapshot never
//! replaces one that works; compiling and running happen beside the loop, on threads with at least
//! 2 MiB of stack (tokio's blocking threads, see `main`).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use onsen_core::cidr::Unit;
use onsen_core::proposal::Proposal;
use onsen_core::snapshot::{Setting, Snapshot};
use onsen_policy_runner::{Engine, Limits, Policy, PolicyError, builtin};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::requests::{Mailbox, Message};
use crate::settings::{Reference, Settings, parse_flag};

/// The policy that decides when the chosen one does not.
pub(crate) const DEFAULT: &str = "default-warm-eni";

const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// A policy with the settings it runs with.
#[derive(Clone)]
pub(crate) struct Chosen {
    /// The component.
    pub(crate) policy: Arc<Policy>,
    /// Where it came from.
    pub(crate) reference: Reference,
    /// By key.
    pub(crate) settings: BTreeMap<String, String>,
}

impl Chosen {
    /// As the core wants them: sorted by key.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let setting = |(key, value): (&String, &String)| Setting {
            key: key.clone(),
            value: value.clone(),
        };
        self.settings.iter().map(setting).collect()
    }

    /// What new blocks are by default.
    pub(crate) fn unit(&self, prefixes_possible: bool) -> Unit {
        let wanted = self.settings.get("ENABLE_PREFIX_DELEGATION");
        if prefixes_possible && wanted.is_some_and(|text| parse_flag(text) == Some(true)) {
            Unit::Prefix
        } else {
            Unit::Address
        }
    }
}

/// What the watcher found.
pub(crate) enum News {
    /// This runs from now on.
    Changed(Chosen),
    /// What was asked for cannot run; what ran goes on.
    Refused(String),
}

/// What the policy file may say.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    policy: Option<String>,
    #[serde(default)]
    settings: BTreeMap<String, Scalar>,
}

/// People write numbers without quotes.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(serde_json::Number),
    Flag(bool),
}

impl Scalar {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
        }
    }
}

/// What the operator asks for at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    reference: Reference,
    settings: BTreeMap<String, String>,
    /// Keys that the file sets; what it says must be right.
    from_file: BTreeSet<String>,
    wasm: Cow<'static, [u8]>,
}

/// Makes policies out of what the operator asks for.
pub(crate) struct Watcher {
    engine: Engine,
    /// Where compiled policies are kept.
    cache: Option<PathBuf>,
    built_in: Arc<Policy>,
    reference: Reference,
    settings: BTreeMap<String, String>,
    file: Option<PathBuf>,
    /// Not tried again until it changes, be it good or bad.
    tried: Option<Result<Wanted, String>>,
    running: Option<(Cow<'static, [u8]>, Arc<Policy>)>,
}

impl Watcher {
    /// Loads the built-in default, without which nothing starts. Blocks while it compiles.
    pub(crate) fn new(settings: &Settings) -> Result<Self, String> {
        let (engine, cache) = start_engine(settings.cache_dir.clone())
            .map_err(|error| format!("the policy engine does not start: {error}"))?;
        let wasm = builtin::get(DEFAULT).map_err(|absent| absent.to_string())?;
        let built_in = load(&engine, cache.as_deref(), wasm)
            .map_err(|error| format!("the built-in policy {DEFAULT} does not load: {error}"))?;
        Ok(Self {
            engine,
            cache,
            built_in: Arc::new(built_in),
            reference: settings.policy.clone(),
            settings: settings.policy_settings.clone(),
            file: settings.policy_file.clone(),
            tried: None,
            running: None,
        })
    }

    /// The policy that decides when the chosen one does not.
    pub(crate) fn built_in(&self) -> Arc<Policy> {
        Arc::clone(&self.built_in)
    }

    /// The first choice. When it cannot run, the built-in default does, and the text says why.
    pub(crate) fn first(&mut self) -> (Chosen, Option<String>) {
        let wanted = self.read();
        match self.try_out(wanted, None) {
            News::Changed(chosen) => (chosen, None),
            News::Refused(why) => {
                let chosen = Chosen {
                    policy: self.built_in(),
                    reference: Reference::BuiltIn(DEFAULT.into()),
                    settings: self.settings.clone(),
                };
                (chosen, Some(why))
            }
        }
    }

    /// What is new, if anything. Blocks while it compiles.
    fn look(&mut self, last: Option<&Snapshot>) -> Option<News> {
        let wanted = self.read();
        let is_new = self.tried.as_ref() != Some(&wanted);
        is_new.then(|| self.try_out(wanted, last))
    }

    fn try_out(&mut self, wanted: Result<Wanted, String>, last: Option<&Snapshot>) -> News {
        self.tried = Some(wanted.clone());
        let made = wanted.and_then(|wanted| {
            let wasm = wanted.wasm.clone();
            Ok((wasm, self.make(wanted, last)?))
        });
        match made {
            Ok((wasm, chosen)) => {
                self.running = Some((wasm, Arc::clone(&chosen.policy)));
                News::Changed(chosen)
            }
            Err(why) => News::Refused(why),
        }
    }

    fn read(&self) -> Result<Wanted, String> {
        let file = match &self.file {
            Some(path) => read_file(path)?,
            None => PolicyFile::default(),
        };
        let reference = match &file.policy {
            Some(text) => text
                .parse()
                .map_err(|expected| format!("policy {text:?} is not {expected}"))?,
            None => self.reference.clone(),
        };
        let wasm = match &reference {
            Reference::BuiltIn(name) => builtin::get(name)
                .map_err(|absent| absent.to_string())?
                .into(),
            Reference::File(path) => fs::read(path)
                .map_err(|error| format!("policy {reference} cannot be read: {error}"))?
                .into(),
        };
        let mut settings = self.settings.clone();
        let from_file = file.settings.keys().cloned().collect();
        settings.extend(
            file.settings
                .into_iter()
                .map(|(key, value)| (key, value.into_text())),
        );
        Ok(Wanted {
            reference,
            settings,
            from_file,
            wasm,
        })
    }

    /// What is compiled already: the built-in default, and what runs.
    fn known(&self, wasm: &[u8]) -> Option<Arc<Policy>> {
        if builtin::get(DEFAULT).is_ok_and(|default| default == wasm) {
            return Some(self.built_in());
        }
        let (bytes, policy) = self.running.as_ref()?;
        (**bytes == *wasm).then(|| Arc::clone(policy))
    }

    fn make(&self, wanted: Wanted, last: Option<&Snapshot>) -> Result<Chosen, String> {
        let refused = |why: &dyn std::fmt::Display| format!("policy {}: {why}", wanted.reference);
        let policy = match self.known(&wanted.wasm) {
            Some(known) => known,
            None => load(&self.engine, self.cache.as_deref(), &wanted.wasm)
                .map(Arc::new)
                .map_err(|error| refused(&error))?,
        };
        let chosen = Chosen {
            policy,
            reference: wanted.reference.clone(),
            settings: wanted.settings,
        };
        let settings = chosen.settings();
        let problems = chosen
            .policy
            .configure(&settings)
            .map_err(|error| refused(&error))?;
        // The environment's settings are for whichever policy runs, and upstream starts with bad
        // ones; what the file says was written for this one. A policy may also tell of names that are
        // none of its settings ("did you mean"): that is advice.
        let specs = &chosen.policy.metadata().settings;
        let (fatal, harmless): (Vec<_>, Vec<_>) = problems.into_iter().partition(|problem| {
            wanted.from_file.contains(&problem.key)
                && specs.iter().any(|spec| spec.key == problem.key)
        });
        for problem in harmless {
            tracing::warn!(
                setting = problem.key,
                "the policy on a setting: {}",
                problem.message
            );
        }
        if !fatal.is_empty() {
            let texts: Vec<_> = fatal
                .iter()
                .map(|problem| format!("{}: {}", problem.key, problem.message))
                .collect();
            return Err(refused(&format!(
                "it does not take its settings: {}",
                texts.join("; ")
            )));
        }
        if let Some(last) = last {
            let trial = Snapshot {
                settings,
                unit: chosen.unit(last.limits.prefixes),
                memo: Vec::new(),
                ..last.clone()
            };
            chosen.policy.decide(&trial).map_err(|error| {
                refused(&format!("it fails on this node's last snapshot: {error}"))
            })?;
        }
        Ok(chosen)
    }

    /// Looks again each second, for as long as the loop listens.
    pub(crate) async fn watch(
        mut self,
        last: watch::Receiver<Option<Arc<Snapshot>>>,
        mailbox: Mailbox,
    ) {
        let mut ticks = tokio::time::interval(WATCH_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let snapshot = last.borrow().clone();
            let looked = tokio::task::spawn_blocking(move || {
                let news = self.look(snapshot.as_deref());
                (self, news)
            })
            .await;
            let news = match looked {
                Ok((watcher, news)) => {
                    self = watcher;
                    news
                }
                Err(panicked) => {
                    tracing::error!(
                        "the watcher of the policy is lost, changes need a restart: {panicked}"
                    );
                    return;
                }
            };
            if let Some(news) = news
                && mailbox.send(Message::Policy(Box::new(news))).is_err()
            {
                return;
            }
        }
    }
}

/// An engine, with its cache when that can be used.
fn start_engine(cache: PathBuf) -> Result<(Engine, Option<PathBuf>), PolicyError> {
    match Engine::new(Limits::default(), Some(cache.clone())) {
        Err(error @ PolicyError::Cache { .. }) => {
            tracing::warn!("{error}; policies are compiled at each start");
            Ok((Engine::new(Limits::default(), None)?, None))
        }
        engine => Ok((engine?, Some(cache))),
    }
}

/// Compiling takes tens of megabytes that an allocator does not give back. So a child does it, into
/// the cache, and ends. When it fails this process compiles, and has the error to tell.
fn load(engine: &Engine, cache: Option<&Path>, wasm: &[u8]) -> Result<Policy, PolicyError> {
    if let Some(cache) = cache
        && let Err(error) = compile_beside(cache, wasm)
    {
        tracing::debug!("no child process compiles policies: {error}");
    }
    engine.load(wasm)
}

fn compile_beside(cache: &Path, wasm: &[u8]) -> io::Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("--compile-policy")
        .arg(cache)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let written = child
        .stdin
        .take()
        .map_or(Ok(()), |mut stdin| stdin.write_all(wasm));
    child.wait()?;
    written
}

/// What that child does: compiles a component into the cache.
pub(crate) fn compile_into(cache: &Path, mut component: impl Read) -> Result<(), String> {
    let mut wasm = Vec::new();
    component
        .read_to_end(&mut wasm)
        .map_err(|error| format!("cannot read the component: {error}"))?;
    let engine = Engine::new(Limits::default(), Some(cache.to_owned()));
    engine
        .and_then(|engine| engine.load(&wasm))
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Absent is as good as empty: a mounted file may come later.
fn read_file(path: &Path) -> Result<PolicyFile, String> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            format!(
                "{} is not {{\"policy\": \"builtin:NAME\", \"settings\": {{\"KEY\": \"VALUE\"}}}}: {error}",
                path.display()
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(PolicyFile::default()),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

/// What came of asking a policy.
pub(crate) struct Asked {
    /// For the core.
    pub(crate) answer: Result<Proposal, String>,
    /// What the guest burnt, when it answered.
    pub(crate) fuel: u64,
    /// Why there is no answer, in one word.
    pub(crate) failure: Option<&'static str>,
}

/// Asks a policy. Blocks.
pub(crate) fn decide(policy: &Policy, snapshot: &Snapshot) -> Asked {
    match policy.decide(snapshot) {
        Ok(decided) => {
            for line in decided.log {
                tracing::debug!(decision = snapshot.decision_id, level = ?line.level, "policy: {}", line.message);
            }
            Asked {
                answer: Ok(decided.proposal),
                fuel: decided.fuel,
                failure: None,
            }
        }
        Err(error) => Asked {
            failure: Some(error.kind()),
            answer: Err(error.to_string()),
            fuel: 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_may_be_absent_and_numbers_need_no_quotes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.json");
        assert_eq!(read_file(&path).unwrap(), PolicyFile::default());
        fs::write(
            &path,
            r#"{"policy":"builtin:a","settings":{"A":1,"B":"x","C":true}}"#,
        )
        .unwrap();
        let file = read_file(&path).unwrap();
        assert_eq!(file.policy.as_deref(), Some("builtin:a"));
        let texts: Vec<_> = file.settings.into_values().map(Scalar::into_text).collect();
        assert_eq!(texts, ["1", "x", "true"]);
    }

    #[test]
    fn a_file_with_a_typing_error_says_what_it_should_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.json");
        fs::write(&path, r#"{"polcy":"builtin:a"}"#).unwrap();
        let why = read_file(&path).unwrap_err();
        assert!(
            why.contains("polcy") && why.contains("builtin:NAME"),
            "{why}"
        );
    }

    fn watcher(file: &Path) -> Watcher {
        let file = file.to_str().unwrap().to_owned();
        let settings = Settings::read(&|name| match name {
            "ONSEN_POLICY_FILE" => Some(file.clone()),
            "ONSEN_CACHE_DIR" => Some(format!("{file}.cache")),
            "WARM_IP_TARGET" => Some("5".into()),
            _ => None,
        });
        // Fails with what to run when the policies were not built.
        Watcher::new(&settings.unwrap()).unwrap()
    }

    fn changed(news: Option<News>) -> Chosen {
        match news {
            Some(News::Changed(chosen)) => chosen,
            Some(News::Refused(why)) => panic!("refused: {why}"),
            None => panic!("nothing new"),
        }
    }

    fn refused(news: Option<News>) -> String {
        match news {
            Some(News::Refused(why)) => why,
            Some(News::Changed(chosen)) => panic!("{} was taken", chosen.reference),
            None => panic!("nothing new"),
        }
    }

    #[test]
    fn the_file_swaps_the_policy_and_its_settings_and_what_is_bad_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("policy.json");
        let mut watcher = watcher(&file);
        let (first, why) = watcher.first();
        assert_eq!(
            (first.reference.to_string(), why),
            ("builtin:default-warm-eni".into(), None)
        );
        assert_eq!(first.settings["WARM_IP_TARGET"], "5");
        assert!(watcher.look(None).is_none(), "nothing changed");

        fs::write(&file, r#"{"policy":"builtin:prefix-frugal"}"#).unwrap();
        let second = changed(watcher.look(None));
        assert_eq!(second.reference.to_string(), "builtin:prefix-frugal");
        assert_ne!(second.policy.digest(), first.policy.digest());

        let component = directory.path().join("p.wasm");
        fs::write(&component, b"no component").unwrap();
        fs::write(
            &file,
            format!(r#"{{"policy":"file:{}"}}"#, component.display()),
        )
        .unwrap();
        let why = refused(watcher.look(None));
        assert!(why.contains("not a Wasm component"), "{why}");
        assert!(watcher.look(None).is_none(), "a bad one is not tried twice");

        // The same path with other bytes is news.
        fs::write(&component, builtin::get(DEFAULT).unwrap()).unwrap();
        let third = changed(watcher.look(None));
        assert_eq!(third.policy.digest(), first.policy.digest());

        fs::write(
            &file,
            r#"{"settings":{"ENABLE_PREFIX_DELEGATION":true,"WARM_IP_TARGET":7}}"#,
        )
        .unwrap();
        let fourth = changed(watcher.look(None));
        assert_eq!(fourth.settings["WARM_IP_TARGET"], "7");
        assert_eq!(
            (fourth.unit(true), fourth.unit(false)),
            (Unit::Prefix, Unit::Address)
        );
    }

    #[test]
    fn a_setting_of_the_file_that_the_policy_does_not_take_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("policy.json");
        let mut watcher = watcher(&file);
        watcher.first();
        fs::write(&file, r#"{"settings":{"WARM_IP_TARGET":"many"}}"#).unwrap();
        let why = refused(watcher.look(None));
        assert!(why.contains("WARM_IP_TARGET"), "{why}");
    }

    #[test]
    fn a_first_choice_that_cannot_run_leaves_the_node_with_the_default() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("policy.json");
        fs::write(&file, r#"{"policy":"builtin:absent"}"#).unwrap();
        let (chosen, why) = watcher(&file).first();
        assert_eq!(chosen.reference.to_string(), "builtin:default-warm-eni");
        assert!(why.unwrap().contains("absent"));
    }
}
