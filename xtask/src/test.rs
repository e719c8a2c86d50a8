//! Runs every test of the workspace and counts: passed, failed, and not run with the reason.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::failure::Failure;
use crate::run::{cargo, root, run, say};
use crate::{build, policies, tools};

/// What a run of tests gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// Tests that say they did not run, with their reasons.
    pub(crate) not_run: Vec<String>,
}

/// Sets up, builds and tests; fails when a test failed.
pub(crate) fn test(all: bool) -> Result<(), Failure> {
    tools::setup(all)?;
    build::build(false)?;
    let tally = run_all()?;
    print(&tally);
    if tally.failed == 0 {
        return Ok(());
    }
    Err(Failure::Checks {
        failed: tally.failed as usize,
        all: (tally.failed + tally.passed) as usize,
        names: "see above".to_owned(),
    })
}

/// A test that holds tables of documents, told to write them. It fails when a promise is broken.
pub(crate) fn renew(test: &str) -> Result<(), Failure> {
    policies::build(root())?;
    let test = ["test", "--workspace", "--locked", "--test", test, "current"];
    run(cargo(&test).env("ONSEN_RENEW", "1"))
}

/// The end of a run, for people and for machines.
pub(crate) fn print(tally: &Tally) {
    for line in &tally.not_run {
        println!("{line}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
}

/// Runs all tests of a workspace that is built.
pub(crate) fn run_all() -> Result<Tally, Failure> {
    // What passing tests print is wanted for its "not run" lines only.
    let mut command = cargo(&[
        "test",
        "--workspace",
        "--locked",
        "--no-fail-fast",
        "--",
        "--show-output",
    ]);
    let line = "cargo test --workspace";
    say(&format!("+ {line}"));
    let start = || Failure::io(format!("run `{line}`"));
    // One pipe for both streams keeps their order: cargo names the test program on stderr.
    let (reader, writer) = std::io::pipe().map_err(start())?;
    let writer_too = writer.try_clone().map_err(start())?;
    command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(writer_too);
    let mut child = command.spawn().map_err(start())?;
    // The command holds the writing ends; the reader waits for their closing.
    drop(command);
    let mut counter = Counter::default();
    for line in BufReader::new(reader).lines() {
        let line = line.map_err(Failure::io("read the tests' output"))?;
        if counter.count(&line) {
            say(&line);
        }
    }
    let status = child.wait().map_err(start())?;
    let mut tally = counter.tally;
    if !status.success() && tally.failed == 0 {
        // A crash or a program that does not compile has no failed test to its name.
        say(&format!(
            "cargo test ended with {status} although no test failed"
        ));
        tally.failed = 1;
    }
    Ok(tally)
}

/// Reads the tests' output line by line.
#[derive(Default)]
struct Counter {
    tally: Tally,
    inside_successes: bool,
}

impl Counter {
    /// Counts a line; true when people should see it.
    fn count(&mut self, line: &str) -> bool {
        if let Some(at) = line.find("not run: ") {
            let reason = line.get(at..).unwrap_or(line);
            self.tally.not_run.push(reason.to_owned());
            return true;
        }
        if line == "successes:" {
            self.inside_successes = true;
        } else if line == "failures:" || line.starts_with("test result: ") {
            self.inside_successes = false;
        }
        if let Some(rest) = line.strip_prefix("test result: ") {
            self.tally.passed += number_before(rest, " passed");
            self.tally.failed += number_before(rest, " failed");
        }
        !self.inside_successes && !line.is_empty()
    }
}

fn number_before(text: &str, word: &str) -> u64 {
    text.split_once(word)
        .and_then(|(before, _)| before.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up_and_output_of_passing_tests_is_hidden() {
        let mut counter = Counter::default();
        let shown: Vec<&str> = [
            "test a ... ok",
            "successes:",
            "---- a stdout ----",
            "chatter",
            "not run: kernel: not root",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured",
            "failures:",
            "---- b stdout ----",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored",
        ]
        .into_iter()
        .filter(|line| counter.count(line))
        .collect();
        assert_eq!(shown.len(), 6);
        assert!(!shown.contains(&"chatter"));
        assert_eq!(
            counter.tally,
            Tally {
                passed: 15,
                failed: 2,
                not_run: vec!["not run: kernel: not root".to_owned()]
            }
        );
    }
}
