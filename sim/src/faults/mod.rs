//! Nodes in a bad world: everything goes wrong that can, and the laws hold.
//!
//! In: a seed. Out: how many steps were checked and which situations were met, or the law that broke,
//! with all that is needed to repeat it.
//!
//! A seed lives twice: first a storm of so many steps, in which pods come and go, daemons die and EC2
//! misbehaves as `draw` says; then calm, in which all faults have ended, and the node must serve its
//! pods, come to rest and stay there (L1), with pools that agree with the account (E5).
//!
//! What must hold: the same seed and options give the same life, to the last byte of its trace.

#[expect(
    clippy::unnecessary_wraps,
    reason = "one of several deeds is done, and all have one shape"
)]
mod deeds;
mod draw;
#[expect(
    clippy::unnecessary_wraps,
    reason = "a policy may fail, though not each does"
)]
mod policies;
mod shrink;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use onsen_core::time::{MINUTE, Millis};
use onsen_policy_runner::Policy;

use crate::world::{Marks, Spoil, WorldError};
use deeds::Life;

pub use draw::names;
pub use shrink::shrink;

/// Steps of a storm, unless told otherwise.
pub const STORM: u64 = 1_500;
/// Once all faults have ended, a node rests within this time.
pub const REST_WITHIN: Millis = 60 * MINUTE;
/// And does nothing at EC2 for at least so long.
pub const REST_FOR: Millis = 40 * MINUTE;
/// Lines of the trace that a failure shows.
const TAIL: usize = 60;

/// What a life is like besides its seed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Steps of the storm; 0: [`STORM`].
    pub storm: u64,
    /// What must stay off, by the names of [`names`].
    pub without: BTreeSet<String>,
    /// Components that decide on some nodes, beside the native policies, with their references.
    pub components: Vec<(String, Arc<Policy>)>,
    /// For canaries: spoils each node's core.
    pub spoil: Spoil,
}

impl Options {
    fn storm(&self) -> u64 {
        if self.storm == 0 { STORM } else { self.storm }
    }
}

/// A life in which no law broke.
#[derive(Clone, Debug, Default)]
pub struct Lived {
    /// Events handled by a core, each followed by all checks.
    pub steps: u64,
    /// Virtual time.
    pub virtual_ms: Millis,
    /// Situations met.
    pub marks: Marks,
}

/// A law broke.
#[derive(Clone, Debug, thiserror::Error)]
#[error("step {step}: {error}\n{}\nneeds: {}\nrepeat: {}", tail.join("\n"), self.needs(), self.command())]
pub struct Broken {
    /// Of the life.
    pub seed: u64,
    /// At which step.
    pub step: u64,
    /// Which law, where and how.
    pub error: WorldError,
    /// What happened last.
    pub tail: Vec<String>,
    /// Steps of the storm.
    pub storm: u64,
    /// What was off.
    pub without: BTreeSet<String>,
    /// References of components that took part.
    pub components: Vec<String>,
}

impl Broken {
    /// The law's number, `P1`.
    pub fn law(&self) -> &str {
        match &self.error {
            WorldError::BrokenLaw { law, .. } => law.split(':').next().unwrap_or_default(),
            WorldError::InstanceType(_)
            | WorldError::Account(_)
            | WorldError::Pool { .. }
            | WorldError::NoPod(_) => "",
        }
    }

    /// Repeats it.
    pub fn command(&self) -> String {
        // Writing to a String cannot fail.
        let mut command = format!("onsen simulate --faults --seed {}", self.seed);
        if self.storm != STORM {
            let _ = write!(command, " --storm {}", self.storm);
        }
        if !self.without.is_empty() {
            let names: Vec<&str> = self.without.iter().map(String::as_str).collect();
            let _ = write!(command, " --without {}", names.join(","));
        }
        for reference in &self.components {
            let _ = write!(command, " --policy {reference}");
        }
        command
    }

    /// What it needs: all that was not off. Few names after [`shrink`].
    fn needs(&self) -> String {
        let on = names().filter(|name| !self.without.contains(*name));
        on.collect::<Vec<_>>().join(", ")
    }
}

/// Situations that a search must have met, or it has tested too little.
pub const MUST_MEET: [&str; 43] = [
    "add-while-down",
    "address-lost",
    "block-lost",
    "built-in-decides",
    "checkpoint-corrupt",
    "checkpoint-failed",
    "checkpoint-lost",
    "clock-set-back",
    "clock-set-forward",
    "cooling-lost",
    "crash",
    "crash-before-link-ready",
    "crash-between-attach-and-modify",
    "crash-between-create-and-attach",
    "crash-during-assign",
    "crash-during-attach",
    "crash-during-create",
    "crash-during-delete",
    "crash-during-detach",
    "crash-during-modify",
    "crash-during-unassign",
    "crash-during-write",
    "del-while-down",
    "device-did-not-appear",
    "ec2-denied",
    "ec2-throttled",
    "ec2-unknown",
    "eni-adopted",
    "eni-lost",
    "eni-not-configured",
    "eni-orphan",
    "holders-rebuilt-from-links",
    "link-not-made-ready",
    "look-failed",
    "node-full",
    "plugin-hung-up",
    "pod-deleted-while-waiting",
    "policy-failed",
    "same-address-again",
    "sandbox-gone-at-start",
    "served-by-a-later-sandbox",
    "subnet-empty",
    "taken-behind-the-nodes-back",
];

/// Lives a seed; on failure once more with a trace.
pub fn live(seed: u64, options: &Options) -> Result<Lived, Box<Broken>> {
    lived(seed, options, false).or_else(|_| lived(seed, options, true))
}

/// All that happens in a seed's life, in words.
pub fn trace(seed: u64, options: &Options) -> Result<Vec<String>, WorldError> {
    let mut life = Life::begin(seed, options)?;
    life.world.keep_trace();
    life.live(options.storm())?;
    Ok(life.world.trace().to_vec())
}

/// One life, without a second look at a failure.
fn lived(seed: u64, options: &Options, traced: bool) -> Result<Lived, Box<Broken>> {
    let broken = |error: WorldError, life: Option<&Life>| {
        let lines = life.map(|life| life.world.trace()).unwrap_or_default();
        let clipped = |line: &String| line.chars().take(600).collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(TAIL));
        Box::new(Broken {
            seed,
            step: life.map_or(0, |life| life.world.steps()),
            error,
            tail: tail.map(clipped).collect(),
            storm: options.storm(),
            without: options.without.clone(),
            components: options.components.iter().map(|it| it.0.clone()).collect(),
        })
    };
    let mut life = Life::begin(seed, options).map_err(|error| broken(error, None))?;
    if traced {
        life.world.keep_trace();
    }
    match life.live(options.storm()) {
        Ok(()) => Ok(Lived {
            steps: life.world.steps(),
            virtual_ms: life.world.elapsed(),
            marks: life.world.marks().clone(),
        }),
        Err(error) => Err(broken(error, Some(&life))),
    }
}
