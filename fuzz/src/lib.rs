//! Feeds mutated examples to whatever reads what strangers write.
//!
//! In: a target's name, its examples in `fuzz/corpus/NAME/`, a function that takes bytes. Out: nothing, or a
//! panic that says how to repeat it; the input that did it is kept among the examples.
//! Must hold: the same seed, examples and count give the same inputs, so that a red run is red again; a run
//! is bounded by count and never by time.
//!
//! Targets are tests beside the code that they try, so that each compiles as cheaply as that code does:
//!
//! ```no_run
//! onsen_fuzz::fuzz("cni-stdin", |bytes| {
//!     let _ = std::str::from_utf8(bytes);
//! });
//! ```
//!
//! `ONSEN_FUZZ_RUNS` sets the count (a smoke run by default), `ONSEN_FUZZ_SEED` another beginning.
//! docs/decisions/0010-fuzzing-without-a-fuzzer.md says why it is no coverage-guided fuzzer.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")
)]

mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

pub use mutate::Mutator;

/// Inputs of a smoke run.
const RUNS: u64 = 2000;

/// Runs a target on its examples and on mutations of them.
///
/// # Panics
///
/// When the target does, and when there are no examples.
pub fn fuzz(name: &str, target: impl Fn(&[u8])) {
    fuzz_times(name, RUNS, target);
}

/// As [`fuzz`], for targets that are slow: `runs` is their smoke run, and what `ONSEN_FUZZ_RUNS` says is
/// cut in the same proportion.
///
/// # Panics
///
/// When the target does, and when there are no examples.
pub fn fuzz_times(name: &str, runs: u64, target: impl Fn(&[u8])) {
    fuzz_examples(name, runs, Vec::new(), target);
}

/// As [`fuzz_times`], with more examples than the corpus has: such as are made, not kept.
///
/// # Panics
///
/// When the target does, and when there are no examples.
pub fn fuzz_examples(name: &str, runs: u64, made: Vec<Vec<u8>>, target: impl Fn(&[u8])) {
    let folder = corpus().join(name);
    let mut examples = examples(&folder);
    examples.extend(made.into_iter().map(|bytes| (folder.join("(made)"), bytes)));
    assert!(!examples.is_empty(), "no examples in {}", folder.display());
    for (path, bytes) in &examples {
        let held = catch_unwind(AssertUnwindSafe(|| target(bytes))).is_ok();
        assert!(held, "the example {} fails, see above", path.display());
    }
    let runs = number("ONSEN_FUZZ_RUNS").map_or(runs, |wanted| (wanted * runs / RUNS).max(1));
    let seed = number("ONSEN_FUZZ_SEED").unwrap_or(1);
    let bytes = examples.into_iter().map(|(_, bytes)| bytes).collect();
    let mut mutator = Mutator::new(seed, bytes);
    for run in 0..runs {
        let input = mutator.next_input();
        let held = catch_unwind(AssertUnwindSafe(|| target(&input))).is_ok();
        assert!(
            held,
            "input {run} of seed {seed} fails, see above; {}; mend the reader, name a test after it",
            keep(&folder, &input)
        );
    }
}

/// The folder of examples.
fn corpus() -> PathBuf {
    // What cargo says now comes first: several checkouts may share one target folder. It names the
    // package that is tested, which may be one or two folders deep.
    let root = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .and_then(|here| {
            let mut above = here.ancestors().map(|folder| folder.join("fuzz/corpus"));
            above.find(|folder| folder.is_dir())
        });
    root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus"))
}

fn examples(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(PathBuf, Vec<u8>)> = entries
        .filter_map(|entry| {
            let bytes = std::fs::read(entry.path()).ok()?;
            Some((entry.path(), bytes))
        })
        .collect();
    // A folder has no order of its own.
    found.sort();
    found
}

/// Keeps an input, so that it is tried first in each later run.
fn keep(folder: &Path, input: &[u8]) -> String {
    // FNV-1a: the same finding gets the same name.
    let digest = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let path = folder.join(format!("found-{digest:016x}"));
    match std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, input)) {
        Ok(()) => format!("it is kept in {}", path.display()),
        Err(error) => format!(
            "it cannot be kept in {}: {error}: {}",
            path.display(),
            input.escape_ascii()
        ),
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
