//! The demo: nine steps that show on real programs that a Wasm policy fills a warm pool, and that
//! pods get addresses and can talk.
//!
//! In: the built programs. Out: a live table, progress lines, a summary of checks. What must hold:
//! it ends well only if every check held, and leaves nothing on the machine, however it ends.

mod checks;
mod pods;
mod screen;
mod steps;
mod why;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use onsen_harness::{LabOptions, private};

use crate::failure::Failure;
use crate::{build, setup};

/// How the demo runs.
#[derive(Args)]
pub(crate) struct Options {
    /// Scale EC2's latencies and the cooldown down
    #[arg(long)]
    fast: bool,
    /// Leave it running after the last check, for a look around with `onsen status`
    #[arg(long)]
    keep: bool,
    /// Use the programs as they are: no setup, no build
    #[arg(long)]
    built: bool,
}

/// How fast the world turns.
struct Speed {
    latency_scale: f64,
    cooldown: Duration,
    min_eni_age: Duration,
}

impl Options {
    fn speed(&self) -> Speed {
        if self.fast {
            Speed {
                latency_scale: 0.1,
                cooldown: Duration::from_secs(3),
                min_eni_age: Duration::from_secs(1),
            }
        } else {
            Speed {
                latency_scale: 1.0,
                cooldown: Duration::from_secs(8),
                min_eni_age: Duration::from_secs(5),
            }
        }
    }

    fn lab(&self) -> LabOptions {
        let speed = self.speed();
        let seconds = |time: Duration| time.as_secs().to_string();
        let mut options = LabOptions {
            instance_types: vec!["m5.large", "m5.large"],
            latency_scale: speed.latency_scale,
            ..LabOptions::default()
        };
        if self.keep {
            // Seen from other terminals too.
            options.base = std::env::temp_dir();
        }
        options.settings.extend([
            ("IP_COOLDOWN_PERIOD".to_owned(), seconds(speed.cooldown)),
            ("ONSEN_MIN_ENI_AGE".to_owned(), seconds(speed.min_eni_age)),
            ("ONSEN_POLICY_WATCH".to_owned(), "2".to_owned()),
        ]);
        options
    }

    /// The arguments that say the same.
    fn arguments(&self) -> Vec<&'static str> {
        let mut arguments = vec!["demo", "--built"];
        arguments.extend(self.fast.then_some("--fast"));
        arguments.extend(self.keep.then_some("--keep"));
        arguments
    }
}

/// Runs the demo.
pub(crate) fn demo(options: &Options) -> Result<(), Failure> {
    if !private::is_inside() {
        if !options.built {
            setup::setup()?;
        }
        // A build replaces this very program, so the fresh one goes on.
        let program: PathBuf = if options.built {
            std::env::current_exe().map_err(Failure::io("find the running program"))?
        } else {
            build::build(false)?.join("xtask")
        };
        if let Some(reason) = private::why_not() {
            return Err(Failure::Missing(reason));
        }
        return Err(private::exec(&program, &options.arguments()).into());
    }
    private::prepare()?;
    let start = Instant::now();
    let mut checks = checks::Checks::default();
    let outcome = steps::run(options, &mut checks);
    checks.summary(start.elapsed());
    outcome?;
    checks.verdict()
}
