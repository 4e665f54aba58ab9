//! How a command ends: its exit code and what it says last.

use std::fmt;
use std::io;
use std::process::ExitCode;

use eventstream::ErrorKind;

/// The end of a command that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    /// Something failed, and standard error says what.
    Failed,
    /// A doctor found a failure; its warnings are `Failed`, as monitoring systems expect.
    Critical,
    /// A signal came before the work was done.
    Interrupted,
}

impl Exit {
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Critical => 2,
            Self::Interrupted => INTERRUPTED,
        })
    }
}

pub(crate) const INTERRUPTED: u8 = 130;

/// Options that contradict each other or do not fit: exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Says what went wrong and gives the exit code for it.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return Exit::Done.code();
    }
    crate::output::say(&format!("error: {}", chain(error.as_ref())));
    let usage = error.is::<Usage>()
        || error
            .downcast_ref::<eventstream::Error>()
            .is_some_and(|error| error.kind() == ErrorKind::Config);
    if usage {
        ExitCode::from(2)
    } else {
        Exit::Failed.code()
    }
}

/// Whoever read standard output has gone: a quiet end.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Some causes repeat theirs.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}
