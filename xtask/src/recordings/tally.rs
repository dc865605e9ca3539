//! What came of each recording, printed and counted.

use std::fmt::Display;

use anyhow::{Result, ensure};

#[derive(Debug, Default)]
pub(super) struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    pub(super) fn skip(&mut self, name: &str, reason: impl Display) {
        println!("skip {name}: {reason}");
        self.skipped += 1;
    }

    /// Takes what a replay found, or why there was none.
    pub(super) fn take<T: Display>(&mut self, name: &str, differences: Result<Vec<T>>) {
        let problems: Vec<String> = match differences {
            Ok(differences) => differences.iter().map(ToString::to_string).collect(),
            Err(error) => vec![format!("{error:#}")],
        };
        self.count(name, &problems);
    }

    pub(super) fn count(&mut self, name: &str, problems: &[String]) {
        if problems.is_empty() {
            println!("ok   {name}");
            self.passed += 1;
            return;
        }
        println!("FAIL {name} ({})", problems.len());
        for problem in problems {
            println!("  {}", problem.replace('\n', "\n  "));
        }
        self.failed += 1;
    }

    /// Prints the numbers; an error if anything differs, or if there was nothing.
    pub(super) fn finish(&self) -> Result<()> {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        println!("{passed} ok, {failed} failed, {skipped} skipped");
        ensure!(*failed == 0, "the node differs from the recordings");
        ensure!(passed + skipped > 0, "there are no such recordings");
        Ok(())
    }
}
