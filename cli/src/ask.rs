//! Confirmation before something is changed.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::exit::{Exit, Usage};
use crate::output;
use crate::signals::Interrupt;

#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Consent {
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// Show what would change, and change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

/// The answer to a question.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Go,
    /// The user said no, or it was a dry run.
    Leave,
    Interrupted,
}

impl Consent {
    /// Fails if there is no terminal to ask at.
    pub(crate) fn check(self) -> anyhow::Result<()> {
        if self.yes || self.dry_run || io::stdin().is_terminal() {
            return Ok(());
        }
        let text = "--yes or --dry-run: one is required if standard input is not a terminal";
        Err(Usage(text.to_owned()).into())
    }

    pub(crate) fn is_dry_run(self) -> bool {
        self.dry_run
    }

    /// Asks on standard error and reads a line from the terminal. Anything but yes means no.
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

/// How a command ends that was not confirmed.
pub(crate) fn declined() -> Exit {
    output::say("not done: not confirmed");
    Exit::Failed
}

/// A line typed at the terminal. `None` if a signal arrives first.
pub(crate) async fn answer(interrupt: &Interrupt) -> Option<io::Result<String>> {
    // The process does not wait for this thread when it exits.
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = interrupt.or(line).await?;
    Some(line.unwrap_or_else(|error| Err(io::Error::other(error))))
}
