//! Asking before something is written.

use std::io::{self, BufRead, IsTerminal};

use crate::exit::Usage;
use crate::output;
use crate::signals::Interrupt;

/// What a command is told to do without being asked.
#[derive(Clone, Copy)]
pub(super) struct Consent {
    pub(super) yes: bool,
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
        let answer = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        let answer = interrupt.or(answer).await?;
        Some(matches!(answer, Ok(Ok(line)) if line.trim() == word))
    }
}
