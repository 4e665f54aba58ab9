//! Questions before something is changed.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::exit::Usage;
use crate::signals::Interrupt;

#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Consent {
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    /// Show what would be done, without doing it
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

/// What is to be done after it was shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Go,
    /// Somebody said no, or it was a dry run.
    Leave,
    Interrupted,
}

impl Consent {
    /// Refuses to go on where nobody can be asked.
    pub(crate) fn check(self) -> anyhow::Result<()> {
        if self.yes || self.dry_run || io::stdin().is_terminal() {
            return Ok(());
        }
        let text = "--yes or --dry-run: one of them is needed where there is no terminal to ask at";
        Err(Usage(text.to_owned()).into())
    }

    pub(crate) fn is_dry_run(self) -> bool {
        self.dry_run
    }

    /// Asks on standard error, and reads a line from the terminal. Anything but yes is no.
    pub(crate) async fn ask(self, question: &str, interrupt: &Interrupt) -> io::Result<Answer> {
        if self.dry_run {
            return Ok(Answer::Leave);
        }
        if self.yes {
            return Ok(Answer::Go);
        }
        let mut err = io::stderr().lock();
        write!(err, "{question} [y/N] ")?;
        err.flush()?;
        drop(err);
        let Some(line) = answer(interrupt).await else {
            return Ok(Answer::Interrupted);
        };
        Ok(match line?.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Answer::Go,
            _ => Answer::Leave,
        })
    }
}

/// A line typed at the terminal. `None` when a signal comes first.
pub(crate) async fn answer(interrupt: &Interrupt) -> Option<io::Result<String>> {
    // Nobody waits for the thread when the process ends.
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = interrupt.or(line).await?;
    Some(line.unwrap_or_else(|error| Err(io::Error::other(error))))
}
