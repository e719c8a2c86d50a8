//! Turns bytes into a policy that may run: compiled, of the right world, content with its settings,
//! tried on what this node has just seen.
//!
//! In: a component, settings, the last snapshots. Out: the policy, or why not.
//! Must hold: nothing here touches what runs; compiling happens in a child process where it can, so
//! that a component that takes too much time or memory to compile takes it from nobody else.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use onsen_core::snapshot::Snapshot;
use onsen_policy_runner::{Engine, Limits, Policy, PolicyError, builtin};

use super::fetch::Component;
use super::wish::Ask;
use super::{Candidate, DEFAULT};

/// How often a child is asked whether it is done.
const PACE: Duration = Duration::from_millis(20);

/// Makes policies.
pub(super) struct Trial {
    engine: Engine,
    /// Where compiled policies are kept.
    cache: Option<PathBuf>,
    built_in: Arc<Policy>,
    /// Compiled already: what runs, and its shadow.
    known: Vec<Arc<Policy>>,
}

impl Trial {
    /// Loads the built-in default, without which nothing starts. Blocks while it compiles.
    pub(super) fn new(cache: PathBuf) -> Result<Self, String> {
        let (engine, cache) = start_engine(cache)
            .map_err(|error| format!("the policy engine does not start: {error}"))?;
        let wasm = builtin::get(DEFAULT).map_err(|absent| absent.to_string())?;
        let built_in = load(&engine, cache.as_deref(), wasm)
            .map_err(|error| format!("the built-in policy {DEFAULT} does not load: {error}"))?;
        Ok(Self {
            engine,
            cache,
            built_in: Arc::new(built_in),
            known: Vec::new(),
        })
    }

    pub(super) fn built_in(&self) -> Arc<Policy> {
        Arc::clone(&self.built_in)
    }

    pub(super) fn limits(&self) -> &Limits {
        self.engine.limits()
    }

    /// Keeps these two from being compiled again.
    pub(super) fn remember(&mut self, running: &Candidate, shadow: Option<&Candidate>) {
        self.known = shadow
            .into_iter()
            .chain([running])
            .map(|candidate| Arc::clone(&candidate.policy))
            .collect();
    }

    /// A policy that may run. Blocks while it compiles.
    pub(super) fn make(
        &self,
        ask: &Ask,
        component: Component,
        seen: &[Arc<Snapshot>],
    ) -> Result<Candidate, String> {
        let refused = |why: &dyn std::fmt::Display| format!("policy {}: {why}", ask.reference);
        let Component { wasm, key } = component;
        let (policy, load) = self.load(&wasm).map_err(|error| refused(&error))?;
        let candidate = Candidate {
            policy,
            reference: ask.reference.clone(),
            settings: ask.settings.clone(),
            wasm: Arc::new(wasm),
            key,
            load,
        };
        let settings = candidate.settings();
        let problems = candidate
            .policy
            .configure(&settings)
            .map_err(|error| refused(&error))?;
        // The environment's settings are for whichever policy runs, and upstream starts with bad
        // ones; what a rule says was written for this one. A policy may also tell of names that are
        // none of its settings ("did you mean"): that is advice.
        let specs = &candidate.policy.metadata().settings;
        let (fatal, harmless): (Vec<_>, Vec<_>) = problems.into_iter().partition(|problem| {
            ask.own.contains(&problem.key) && specs.iter().any(|spec| spec.key == problem.key)
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
        for snapshot in seen {
            let snapshot = candidate.see(snapshot, Vec::new());
            candidate.policy.decide(&snapshot).map_err(|error| {
                refused(&format!(
                    "it fails on snapshot {}, which this node has just seen: {error}",
                    snapshot.decision_id
                ))
            })?;
        }
        Ok(candidate)
    }

    /// The policy, and how long that took.
    fn load(&self, wasm: &[u8]) -> Result<(Arc<Policy>, Duration), PolicyError> {
        let digest = onsen_policy_runner::digest(wasm);
        let known = self.known.iter().chain([&self.built_in]);
        if let Some(policy) = known.into_iter().find(|policy| policy.digest() == digest) {
            return Ok((Arc::clone(policy), Duration::ZERO));
        }
        let started = Instant::now();
        let policy = load(&self.engine, self.cache.as_deref(), wasm)?;
        Ok((Arc::new(policy), started.elapsed()))
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
/// the cache, and ends.
fn load(engine: &Engine, cache: Option<&Path>, wasm: &[u8]) -> Result<Policy, PolicyError> {
    let Some(cache) = cache else {
        return engine.load(wasm);
    };
    let limits = engine.limits();
    // What is refused by its first bytes needs no child.
    if wasm.len() <= limits.component_bytes {
        match compile_beside(cache, wasm, limits.compile_time) {
            // When it failed, this process fails alike and has a typed error to tell.
            Ok(Some(status)) if status.code().is_some() => {}
            Ok(Some(status)) => {
                return Err(PolicyError::Compile(format!(
                    "the process that compiled it ended with {status}; it may have wanted too much memory"
                )));
            }
            Ok(None) => {
                return Err(PolicyError::Compile(format!(
                    "it was not done within {:?}",
                    limits.compile_time
                )));
            }
            Err(error) => tracing::debug!("no child process compiles policies: {error}"),
        }
    }
    engine.load(wasm)
}

/// How the child ended; nothing when it had to be ended.
fn compile_beside(cache: &Path, wasm: &[u8], limit: Duration) -> io::Result<Option<ExitStatus>> {
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
    let ended = wait(&mut child, limit);
    // A child that ends early does not read all; its status says more than the broken pipe.
    match (ended, written) {
        (Ok(None), Err(error)) | (Err(error), _) => Err(error),
        (Ok(ended), _) => Ok(ended),
    }
}

fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(PACE);
    }
}

/// What that child does: compiles a component into the cache.
pub(crate) fn compile_into(cache: &Path, mut component: impl Read) -> Result<(), String> {
    // Where memory runs out, this process is to die and not the daemon. Asking for that needs no
    // right; where it fails, nothing is lost.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
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
