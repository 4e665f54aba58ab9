//! Asking before something is written.

use std::io::{self, IsTerminal};

use crate::ask::answer;
use crate::exit::Usage;
use crate::output;
use crate::signals::Interrupt;

/// What a command is told to do without being asked.
#[derive(clap::Args, Clone, Copy)]
pub(super) struct Consent {
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// Only show what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl Consent {
    /// Whether somebody can be asked, where that is needed.
    pub(super) fn check(self) -> Result<(), Usage> {
        let asks = !self.yes && !self.dry_run;
        if asks && !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Err(Usage(
                "--yes: needed where there is no terminal to ask on; --dry-run shows what would be done"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Whether it may go on: it may with `--yes`, or if `word` is typed. `None` when a signal comes first.
    pub(super) async fn given(self, word: &'static str, interrupt: &Interrupt) -> Option<bool> {
        if self.yes {
            return Some(true);
        }
        output::say(&format!("Type {word} to go on, anything else to leave it:"));
        let answer = answer(interrupt).await?;
        Some(answer.is_ok_and(|line| line.trim() == word))
    }
}
