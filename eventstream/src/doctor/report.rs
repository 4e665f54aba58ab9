//! The results of the checks.

use serde::Serialize;

/// The verdict of one check, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// The check could not run: [`Finding::found`] says why. It does not count.
    NotRun,
    /// It works now, but will not under a load, a fault or on a day that has to be expected.
    Warning,
    /// It does not work.
    Failure,
}

impl CheckStatus {
    /// `ok`, `not_run`, `warning` or `failure`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotRun => "not_run",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// What one check found.
///
/// ```
/// use eventstream::{CheckStatus, Client, Doctor};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), eventstream::Error> {
/// // Nobody listens on port 1.
/// let report = Doctor::new(Client::kafka(["127.0.0.1:1"])).run().await?;
/// let finding = report.finding("listeners.connect").expect("every check has its finding");
/// assert_eq!(finding.status, CheckStatus::Failure);
/// assert!(finding.found.starts_with("127.0.0.1:1: "), "{}", finding.found);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The id of the check, one of [`Doctor::CHECKS`](crate::Doctor::CHECKS).
    pub check: &'static str,
    /// The verdict.
    pub status: CheckStatus,
    /// What was found, in one or more sentences; if the check did not run, why.
    pub found: String,
    /// What to do about it; empty if there is nothing to do.
    pub remedy: String,
}

/// What a [`Doctor`](crate::Doctor) found: one finding for each check, in the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The findings.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The worst verdict, ignoring checks that did not run: ok, warning or failure.
    pub fn status(&self) -> CheckStatus {
        let ran = self.findings.iter().map(|finding| finding.status);
        ran.filter(|status| *status != CheckStatus::NotRun)
            .max()
            .unwrap_or(CheckStatus::Ok)
    }

    /// The finding of a check.
    pub fn finding(&self, check: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.check == check)
    }
}

/// The verdicts of one check on everything it looked at, which become one finding.
#[derive(Debug)]
pub(super) struct Tally {
    check: &'static str,
    said: Vec<(CheckStatus, String, String)>,
}

impl Tally {
    pub(super) fn new(check: &'static str) -> Self {
        Self {
            check,
            said: Vec::new(),
        }
    }

    pub(super) fn ok(&mut self, found: impl Into<String>) {
        self.said
            .push((CheckStatus::Ok, found.into(), String::new()));
    }

    pub(super) fn not_run(&mut self, why: impl Into<String>) {
        self.said
            .push((CheckStatus::NotRun, why.into(), String::new()));
    }

    pub(super) fn warn(&mut self, found: impl Into<String>, remedy: impl Into<String>) {
        self.said
            .push((CheckStatus::Warning, found.into(), remedy.into()));
    }

    pub(super) fn fail(&mut self, found: impl Into<String>, remedy: impl Into<String>) {
        self.said
            .push((CheckStatus::Failure, found.into(), remedy.into()));
    }

    /// The worst verdict, with the distinct texts of everything that has it.
    pub(super) fn finding(self) -> Finding {
        let worst = self.said.iter().map(|(status, ..)| *status).max();
        let status = worst.unwrap_or(CheckStatus::NotRun);
        let (mut found, mut remedies) = (Vec::new(), Vec::new());
        for (_, text, remedy) in self.said.into_iter().filter(|said| said.0 == status) {
            push_new(&mut found, text);
            push_new(&mut remedies, remedy);
        }
        if found.is_empty() {
            found.push("there is nothing to check".to_owned());
        }
        Finding {
            check: self.check,
            status,
            found: found.join("; "),
            remedy: remedies.join("; "),
        }
    }
}

fn push_new(texts: &mut Vec<String>, text: String) {
    if !text.is_empty() && !texts.contains(&text) {
        texts.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_told_and_each_word_once() {
        let mut tally = Tally::new("a");
        tally.ok("fine");
        tally.warn("low", "raise it");
        tally.warn("lower", "raise it");
        tally.not_run("no right");
        let finding = tally.finding();
        assert_eq!(finding.status, CheckStatus::Warning);
        assert_eq!(
            (&*finding.found, &*finding.remedy),
            ("low; lower", "raise it")
        );
        assert_eq!(Tally::new("a").finding().status, CheckStatus::NotRun);
    }

    #[test]
    fn what_did_not_run_counts_for_nothing() {
        let of = |statuses: &[CheckStatus]| {
            let finding = |status: &CheckStatus| Finding {
                check: "a",
                status: *status,
                found: String::new(),
                remedy: String::new(),
            };
            Report {
                findings: statuses.iter().map(finding).collect(),
            }
        };
        use CheckStatus::{Failure, NotRun, Ok, Warning};
        assert_eq!(of(&[Ok, NotRun]).status(), Ok);
        assert_eq!(of(&[NotRun]).status(), Ok);
        assert_eq!(of(&[NotRun, Warning, Ok]).status(), Warning);
        assert_eq!(of(&[Failure, Warning]).status(), Failure);
    }
}
