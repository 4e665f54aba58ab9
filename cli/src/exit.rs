//! How a command ends: its exit code and last message.

use std::fmt;
use std::io;
use std::process::ExitCode;

use eventstream::{Error, ErrorKind};

/// The result of a command that could run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    /// Something failed, and standard error says what.
    Failed,
    /// The doctor found a failure; its warnings are `Failed`, as monitoring systems expect.
    Critical,
    /// A signal arrived before the work was done.
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

/// Invalid or contradictory options: exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Prints an error and returns its exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return Exit::Done.code();
    }
    let ours = error.downcast_ref::<Error>();
    let mut text = chain(error.as_ref());
    if let Some(ours) = ours {
        push_remedy(&mut text, ours);
    }
    crate::output::say(&format!("error: {text}"));
    let usage = error.is::<Usage>() || ours.is_some_and(|error| error.kind() == ErrorKind::Config);
    if usage {
        ExitCode::from(2)
    } else {
        Exit::Failed.code()
    }
}

/// The reader of standard output is gone, which ends a command silently.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Names rejected fields by their options.
pub(crate) fn in_options(error: Error) -> anyhow::Error {
    if error.kind() != ErrorKind::Validation || error.faults().is_empty() {
        return error.into();
    }
    let faults = error.faults().iter();
    let faults: Vec<_> = faults.map(|fault| format!("--{fault}")).collect();
    Usage(faults.join("\n       ")).into()
}

/// Appends what to do, unless the text says so already, as it does of wrong settings and fields.
pub(crate) fn push_remedy(text: &mut String, error: &Error) {
    let remedy = error.remedy();
    let says_so = matches!(error.kind(), ErrorKind::Config | ErrorKind::Validation);
    if !says_so && !text.contains(remedy) {
        text.push_str("; ");
        text.push_str(remedy);
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Some errors repeat their cause.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}
