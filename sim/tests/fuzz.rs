//! Scenario and workload files, nearly right: read, or refused with words.
#![allow(missing_docs, reason = "a test")]
#![allow(clippy::allow_attributes, reason = "expectations differ by target")]

use onsen_fuzz::fuzz_times;
use onsen_sim::{scenario, workload};

#[test]
fn a_broken_scenario_is_refused_with_words() {
    fuzz_times("scenario", 500, |bytes| {
        if let Err(error) = scenario::read(&String::from_utf8_lossy(bytes)) {
            assert!(!error.to_string().is_empty());
        }
    });
}

#[test]
fn a_broken_workload_is_refused_with_words() {
    fuzz_times("workload", 500, |bytes| {
        if let Err(error) = workload::Workload::read(&String::from_utf8_lossy(bytes)) {
            assert!(!error.to_string().is_empty());
        }
    });
}
