//! What the demo claims, each claim with its verdict.

use std::time::Duration;

use crate::failure::Failure;

/// The verdicts so far.
#[derive(Default)]
pub(crate) struct Checks {
    all: Vec<(String, bool)>,
}

impl Checks {
    /// Takes a verdict down; the line that tells it.
    pub(crate) fn note(&mut self, claim: &str, holds: bool) -> String {
        self.all.push((claim.to_owned(), holds));
        format!("  {}  {claim}", if holds { "ok  " } else { "FAIL" })
    }

    /// Prints every check once more.
    pub(crate) fn summary(&self, took: Duration) {
        println!();
        println!("Summary");
        for (claim, holds) in &self.all {
            println!("  {}  {claim}", if *holds { "ok  " } else { "FAIL" });
        }
        let failed = self.failed().count();
        println!(
            "{} checks held, {failed} failed, in {:.1} s",
            self.all.len() - failed,
            took.as_secs_f64()
        );
    }

    /// Success only when there were checks and all held.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        let failed: Vec<&str> = self.failed().collect();
        if failed.is_empty() && !self.all.is_empty() {
            return Ok(());
        }
        Err(Failure::Checks {
            failed: failed.len(),
            all: self.all.len(),
            names: failed.join("; "),
        })
    }

    fn failed(&self) -> impl Iterator<Item = &str> {
        self.all
            .iter()
            .filter(|(_, holds)| !holds)
            .map(|(claim, _)| claim.as_str())
    }
}
