//! Every gate, every test, the demo and the documents' commands: what CI runs, in one order, to
//! the end even when one fails.

use std::process::Command;
use std::time::Instant;

use crate::failure::Failure;
use crate::run::{cargo, root, run, say};
use crate::test::Tally;
use crate::{build, contract, layers, licences, policies, purity, test, tools};

/// The verdicts, as they come.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    failed: Vec<&'static str>,
}

impl Report {
    fn gate(&mut self, name: &'static str, check: impl FnOnce() -> Result<(), Failure>) {
        say(&format!("== {name}"));
        let start = Instant::now();
        let verdict = check();
        let seconds = start.elapsed().as_secs();
        self.lines.push(match verdict {
            Ok(()) => format!("ok    {name} ({seconds} s)"),
            Err(failure) => {
                self.failed.push(name);
                let line = format!("FAIL  {name} ({seconds} s): {}", failure.chain());
                say(&line);
                line
            }
        });
    }

    fn end(self, mut tally: Tally) -> Result<(), Failure> {
        let all = self.lines.len();
        for line in &self.lines {
            println!("{line}");
        }
        // A gate is a check like any test.
        let gates_passed = all - self.failed.len();
        tally.passed += gates_passed as u64;
        tally.failed += self.failed.len() as u64;
        test::print(&tally);
        if tally.failed == 0 {
            return Ok(());
        }
        Err(Failure::Checks {
            failed: tally.failed as usize,
            all: (tally.failed + tally.passed) as usize,
            names: if self.failed.is_empty() {
                "tests, see above".to_owned()
            } else {
                self.failed.join(", ")
            },
        })
    }
}

/// The fast gates.
pub(crate) fn gates() -> Result<(), Failure> {
    let mut report = Report::default();
    fast(&mut report);
    report.end(Tally::default())
}

/// Everything.
pub(crate) fn ci() -> Result<(), Failure> {
    let mut report = Report::default();
    report.gate("setup", || tools::setup(true));
    fast(&mut report);
    report.gate("policies", || policies::build(root()));
    report.gate("lint", || {
        run(cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-Dwarnings",
        ])
        .env("CARGO_TERM_COLOR", "never"))
    });
    report.gate("documents", || {
        run(cargo(&["doc", "--workspace", "--no-deps", "--locked"])
            .env("RUSTDOCFLAGS", "-Dwarnings"))
    });
    let mut folder = None;
    report.gate("build", || {
        folder = Some(build::build(false)?);
        Ok(())
    });
    let mut tally = Tally::default();
    if let Some(folder) = folder {
        report.gate("tests", || {
            tally = test::run_all()?;
            Ok(())
        });
        // The demo and the documents replace themselves by a program in private namespaces, so
        // they are run as processes.
        let xtask = folder.join("xtask");
        report.gate("demo", || {
            run(Command::new(&xtask).args(["demo", "--fast", "--built"]))
        });
        report.gate("commands in documents", || {
            run(Command::new(&xtask).arg("docs"))
        });
    }
    report.end(tally)
}

fn fast(report: &mut Report) {
    report.gate("format", || run(&mut cargo(&["fmt", "--all", "--check"])));
    report.gate("layers", || none_wrong("layers", &layers::check()?));
    report.gate("licences", || none_wrong("licences", &licences::check()?));
    report.gate("documents of the contract", contract::check);
    report.gate("purity", purity::check);
}

fn none_wrong(what: &str, wrong: &[String]) -> Result<(), Failure> {
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::Unreadable(format!("{what}: {}", wrong.join("; "))))
}
