//! Confirmation before something is written.

use std::io::{self, IsTerminal};

use crate::ask::answer;
use crate::exit::Usage;
use crate::output;
use crate::signals::Interrupt;

/// Whether a command asks for confirmation.
#[derive(clap::Args, Clone, Copy)]
pub(super) struct Consent {
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl Consent {
    /// Fails if confirmation is needed and there is no terminal to ask at.
    pub(super) fn check(self) -> Result<(), Usage> {
        let asks = !self.yes && !self.dry_run;
        if asks && !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Err(Usage(
                "--yes: required if standard input or error is not a terminal; --dry-run shows what would be done"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Whether to continue: with `--yes`, or if `word` is typed. `None` if a signal arrives first.
    pub(super) async fn given(self, word: &'static str, interrupt: &Interrupt) -> Option<bool> {
        if self.yes {
            return Some(true);
        }
        output::say(&format!(
            "Type {word} to continue, anything else to cancel:"
        ));
        let answer = answer(interrupt).await?;
        Some(answer.is_ok_and(|line| line.trim() == word))
    }
}
