//! The outcome of each line, reported in the order of the input.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eventstream::{Delivery, Error, ErrorKind, Receipt};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::is_bad_line;
use crate::exit::{chain, push_remedy};
use crate::ndjson::BadLine;
use crate::output::{self, Lines};
use crate::progress::Progress;
use crate::signals::Interrupt;

/// One line in flight.
pub(crate) struct Outcome {
    line: u64,
    state: State,
}

enum State {
    Accepted {
        receipt: Receipt,
        key: Option<String>,
    },
    Failed(Failure),
    /// Validated, but not published.
    Disabled,
}

struct Failure {
    kind: &'static str,
    message: String,
    /// The brokers refuse this client, so there is no point in continuing.
    refused: bool,
    /// The line itself is at fault, not the broker or the connection.
    is_its_own: bool,
}

impl Failure {
    fn new(error: &Error) -> Self {
        // A line that is at fault says nothing about the others.
        let refused = error.is_final() && !is_bad_line(error.kind());
        let mut message = chain(error);
        if refused {
            push_remedy(&mut message, error);
        }
        Self {
            kind: error.kind().as_str(),
            message,
            refused,
            is_its_own: false,
        }
    }
}

impl Outcome {
    /// Accepted with this key or, without one, with its id as key.
    pub(crate) fn accepted(line: u64, receipt: Receipt, key: Option<String>) -> Self {
        let state = State::Accepted { receipt, key };
        Self { line, state }
    }

    pub(crate) fn failed(line: u64, error: &Error) -> Self {
        let state = State::Failed(Failure::new(error));
        Self { line, state }
    }

    pub(crate) fn bad(line: u64, bad: BadLine) -> Self {
        let state = State::Failed(Failure {
            kind: bad.kind,
            message: bad.message,
            refused: false,
            is_its_own: true,
        });
        Self { line, state }
    }

    pub(crate) fn disabled(line: u64) -> Self {
        let state = State::Disabled;
        Self { line, state }
    }

    /// Passes it to the collector, and waits if the window is full.
    pub(crate) async fn tell(self, outcomes: &mpsc::Sender<Self>) {
        // The collector outlives its last sender.
        let _ = outcomes.send(self).await;
    }
}

/// Waits for the outcomes in turn and reports each.
pub(super) struct Outcomes {
    lines: Option<Lines>,
    progress: Progress,
    interrupt: Interrupt,
    refused: CancellationToken,
    told: Told,
    /// The latest failure that is not the line's own fault. Those that follow with the same message
    /// are reported in one line: an outage fails events by the thousand.
    repeated: Option<Repeated>,
}

/// How many lines have an outcome.
#[derive(Clone, Default)]
pub(super) struct Told(Arc<AtomicU64>);

impl Told {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct Repeated {
    message: String,
    first: u64,
    last: u64,
}

/// The result of a run.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) stored: u64,
    pub(super) failed: u64,
    pub(super) disabled: u64,
    /// Accepted, but the outcome was not waited for.
    pub(super) unknown: u64,
    /// The error that ended the writing of receipts.
    pub(super) output: Option<io::Error>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Receipted<'a> {
    Stored {
        line: u64,
        id: &'a str,
        topic: &'a str,
        key: &'a str,
        partition: i32,
        offset: i64,
    },
    Failed {
        line: u64,
        error: ToldError<'a>,
    },
    Disabled {
        line: u64,
        disabled: bool,
    },
}

#[derive(Serialize)]
struct ToldError<'a> {
    kind: &'a str,
    message: &'a str,
}

impl Outcomes {
    pub(super) fn new(lines: Option<Lines>, progress: Progress, interrupt: Interrupt) -> Self {
        Self {
            lines,
            progress,
            interrupt,
            refused: CancellationToken::new(),
            told: Told::default(),
            repeated: None,
        }
    }

    /// Cancelled once the brokers are known to refuse this client.
    pub(super) fn refused(&self) -> CancellationToken {
        self.refused.clone()
    }

    pub(super) fn told(&self) -> Told {
        self.told.clone()
    }

    pub(super) async fn collect(mut self, mut queue: mpsc::Receiver<Outcome>) -> Summary {
        let mut summary = Summary::default();
        while let Some(Outcome { line, state }) = queue.recv().await {
            let failure = match state {
                State::Accepted { mut receipt, key } => match self.outcome(&mut receipt).await {
                    None => {
                        summary.unknown += 1;
                        self.tell(&unknown(line)).await;
                        continue;
                    }
                    Some(Ok(delivery)) => {
                        summary.stored += 1;
                        self.say_repeated();
                        self.tell(&Receipted::Stored {
                            line,
                            id: receipt.id(),
                            topic: delivery.topic().as_str(),
                            key: key.as_deref().unwrap_or(receipt.id()),
                            partition: delivery.partition(),
                            offset: delivery.offset(),
                        })
                        .await;
                        continue;
                    }
                    Some(Err(error)) => Failure::new(&error),
                },
                State::Failed(failure) => failure,
                State::Disabled => {
                    summary.disabled += 1;
                    let disabled = true;
                    self.tell(&Receipted::Disabled { line, disabled }).await;
                    continue;
                }
            };
            summary.failed += 1;
            self.fail(line, &failure).await;
        }
        self.say_repeated();
        if let Some(lines) = self.lines {
            let written = lines.finish();
            summary.output = tokio::select! {
                biased;
                written = written => written.err(),
                () = given_up(&self.interrupt) => None,
            };
        }
        summary
    }

    /// `None` if a second interrupt arrives before it is known.
    async fn outcome(&self, receipt: &mut Receipt) -> Option<Result<Delivery, Error>> {
        tokio::select! {
            biased;
            outcome = receipt => Some(outcome),
            () = self.interrupt.again() => None,
        }
    }

    async fn fail(&mut self, line: u64, failure: &Failure) {
        if failure.refused {
            self.refused.cancel();
        }
        let Failure { kind, message, .. } = failure;
        self.say(line, failure);
        let error = ToldError { kind, message };
        self.tell(&Receipted::Failed { line, error }).await;
    }

    fn say(&mut self, line: u64, failure: &Failure) {
        match &mut self.repeated {
            Some(repeated) if !failure.is_its_own && repeated.message == failure.message => {
                repeated.last = line;
                return;
            }
            _ => self.say_repeated(),
        }
        self.progress
            .say(&format!("line {line}: {}", failure.message));
        self.repeated = (!failure.is_its_own).then(|| Repeated {
            message: failure.message.clone(),
            first: line,
            last: line,
        });
    }

    fn say_repeated(&mut self) {
        if let Some(Repeated { first, last, .. }) = self.repeated.take()
            && last > first
        {
            self.progress
                .say(&format!("lines {} to {last}: the same error", first + 1));
        }
    }

    async fn tell(&self, told: &Receipted<'_>) {
        self.told.0.fetch_add(1, Ordering::SeqCst);
        if let Some(lines) = &self.lines {
            let mut text = serde_json::to_vec(told).expect("texts and numbers can be written");
            text.push(b'\n');
            tokio::select! {
                biased;
                // A reader that is gone is noticed where the input is read.
                _ = lines.send(text) => {}
                () = given_up(&self.interrupt) => {}
            }
        }
    }
}

/// The reader of the receipts is no longer waited for.
async fn given_up(interrupt: &Interrupt) {
    const GRACE: Duration = Duration::from_secs(1);
    interrupt.again().await;
    tokio::time::sleep(GRACE).await;
}

fn unknown(line: u64) -> Receipted<'static> {
    let error = ToldError {
        kind: ErrorKind::Closed.as_str(),
        message: "interrupted before its outcome was known; it may have been stored",
    };
    Receipted::Failed { line, error }
}

impl Summary {
    /// Whether every line that was read is stored.
    pub(super) fn is_clean(&self) -> bool {
        self.failed == 0 && self.unknown == 0
    }

    pub(super) fn say(&self, read: u64, took: Duration, ending: &str) {
        let rate = self.stored as f64 / took.as_secs_f64().max(f64::EPSILON);
        let mut text = format!(
            "{read} read, {} stored, {} failed",
            self.stored, self.failed
        );
        if self.unknown > 0 {
            text += &format!(", {} unknown (they may have been stored)", self.unknown);
        }
        text += &format!(", {rate:.0} events/s");
        if self.disabled > 0 {
            text += &format!(
                ", {} not published: audit logs are disabled (APP_EVENT_STREAM_AUDIT_LOG_ENABLED)",
                self.disabled
            );
        }
        output::say(&(text + ending));
    }
}
