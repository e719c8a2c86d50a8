//! The form of a workload file. docs/workloads.md tells people of it.

use onsen_core::time::{MINUTE, Millis};
use onsen_policy_runner::documents::Span;
use serde::Deserialize;

const HOUR: Millis = 60 * MINUTE;
/// Longer than this is not simulated: a week.
const LONGEST: Millis = 7 * 24 * HOUR;
/// More pods than this on one node are a slip of the pen: ten times what kubelet supports.
const MOST_PODS: u32 = 2_500;

/// A workload.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "workload"))]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// A word or two, for headings.
    pub name: String,
    /// What it stands for, and where it comes from.
    pub about: String,
    /// The node it was made for; the command line may say otherwise.
    pub instance_type: String,
    /// Pods that kubelet runs at most; 0: not known.
    #[serde(default)]
    pub max_pods: u32,
    /// How long pods come and go.
    #[cfg_attr(test, schemars(with = "crate::scenario::schema::DurationForm"))]
    pub duration: Span,
    /// What comes and goes, each on its own.
    pub loads: Vec<Load>,
}

/// One generator of pods.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "load"))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Load {
    /// A number of pods that stay.
    Hold {
        /// How many.
        pods: u32,
        /// When they come.
        #[serde(default)]
        #[cfg_attr(test, schemars(with = "crate::scenario::schema::DurationForm"))]
        from: Span,
        /// When they go; absent: they stay to the end.
        #[serde(default)]
        #[cfg_attr(test, schemars(with = "Option<crate::scenario::schema::DurationForm>"))]
        until: Option<Span>,
        /// Time between two arrivals; 0: all at once.
        #[serde(default)]
        #[cfg_attr(test, schemars(with = "crate::scenario::schema::DurationForm"))]
        every: Span,
        /// Each pod lives about so long and is replaced at once; absent: none is replaced.
        #[serde(default)]
        #[cfg_attr(test, schemars(with = "Option<crate::scenario::schema::DurationForm>"))]
        lifetime: Option<Span>,
    },
    /// A number of pods that rises and falls as a sine does.
    Wave {
        /// At the least.
        min: u32,
        /// At the most.
        max: u32,
        /// From one peak to the next.
        #[cfg_attr(test, schemars(with = "crate::scenario::schema::DurationForm"))]
        period: Span,
        /// When the first peak is.
        #[cfg_attr(test, schemars(with = "crate::scenario::schema::DurationForm"))]
        peak: Span,
    },
    /// Groups of pods that work and end.
    Jobs {
        /// Pods of one group.
        pods: u32,
        /// From one group to the next; about so long when `random` is set.
        #[cfg_attr(test, schemars(with = "crate::scenario::schema::DurationForm"))]
        every: Span,
        /// When the first group comes.
        #[serde(default)]
        #[cfg_attr(test, schemars(with = "crate::scenario::schema::DurationForm"))]
        from: Span,
        /// Within this time a group has come.
        #[serde(default)]
        #[cfg_attr(test, schemars(with = "crate::scenario::schema::DurationForm"))]
        spread: Span,
        /// How long a pod works: between half and one and a half times this.
        #[cfg_attr(test, schemars(with = "crate::scenario::schema::DurationForm"))]
        runtime: Span,
        /// Groups come by chance, independent of each other.
        #[serde(default)]
        random: bool,
    },
    /// A deployment whose pods are replaced by new ones, some at a time.
    Rollout {
        /// Pods of the deployment.
        pods: u32,
        /// From one roll-out to the next.
        #[cfg_attr(test, schemars(with = "crate::scenario::schema::DurationForm"))]
        every: Span,
        /// When the first one begins.
        #[cfg_attr(test, schemars(with = "crate::scenario::schema::DurationForm"))]
        from: Span,
        /// New pods that come before old ones go.
        surge: u32,
        /// How long a new pod takes until an old one goes.
        #[cfg_attr(test, schemars(with = "crate::scenario::schema::DurationForm"))]
        ready: Span,
    },
}

/// Why a file is no workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// It is not YAML, or a field is unknown, missing or of another type.
    #[error("line {line}, column {column}: {message}")]
    Shape {
        /// Where.
        line: u64,
        /// Where.
        column: u64,
        /// What is wrong.
        message: String,
    },
    /// A value makes no sense.
    #[error("loads[{at}] ({kind}): {message}")]
    Load {
        /// Which, counted from 0.
        at: usize,
        /// Its kind.
        kind: &'static str,
        /// What is wrong.
        message: &'static str,
    },
    /// The duration makes no sense.
    #[error("duration: it must be more than 0 and at most a week")]
    Duration,
}

impl Workload {
    /// Reads a file.
    pub fn read(text: &str) -> Result<Self, WorkloadError> {
        let workload: Self = serde_saphyr::from_str(text).map_err(|error| {
            let (line, column) = error
                .location()
                .map_or((1, 1), |place| (place.line(), place.column()));
            // The place comes first here.
            let message = error.without_snippet().to_string();
            let behind = format!(" at line {line}, column {column}");
            WorkloadError::Shape {
                line,
                column,
                message: message.strip_suffix(&behind).unwrap_or(&message).to_owned(),
            }
        })?;
        workload.check()?;
        Ok(workload)
    }

    fn check(&self) -> Result<(), WorkloadError> {
        if !(1..=LONGEST).contains(&self.duration.0) {
            return Err(WorkloadError::Duration);
        }
        for (at, load) in self.loads.iter().enumerate() {
            let (kind, wrong) = load.check();
            if let Some(message) = wrong {
                return Err(WorkloadError::Load { at, kind, message });
            }
        }
        Ok(())
    }
}

impl Load {
    /// Its kind, and what is wrong with it.
    fn check(&self) -> (&'static str, Option<&'static str>) {
        const SECOND: Millis = 1_000;
        let short = |span: Span| span.0 < SECOND;
        match *self {
            Self::Hold { pods, lifetime, .. } => (
                "hold",
                if pods > MOST_PODS {
                    Some("`pods` must be at most 2500")
                } else if lifetime.is_some_and(short) {
                    Some("`lifetime` must be at least 1s")
                } else {
                    None
                },
            ),
            Self::Wave {
                min, max, period, ..
            } => (
                "wave",
                if min > max || max > MOST_PODS {
                    Some("`min` must be at most `max`, and `max` at most 2500")
                } else if period.0 < MINUTE {
                    Some("`period` must be at least 1m")
                } else {
                    None
                },
            ),
            Self::Jobs {
                pods,
                every,
                runtime,
                ..
            } => (
                "jobs",
                if pods > MOST_PODS {
                    Some("`pods` must be at most 2500")
                } else if short(every) || short(runtime) {
                    Some("`every` and `runtime` must be at least 1s")
                } else {
                    None
                },
            ),
            Self::Rollout {
                pods, every, surge, ..
            } => (
                "rollout",
                if pods > MOST_PODS || surge == 0 {
                    Some("`surge` must be at least 1, and `pods` at most 2500")
                } else if every.0 < MINUTE {
                    Some("`every` must be at least 1m")
                } else {
                    None
                },
            ),
        }
    }
}
