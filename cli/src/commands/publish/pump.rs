//! Publishes lines, collects their outcomes and shuts down.

use std::io;
use std::time::{Duration, Instant};

use eventstream::Client;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::WINDOW;
use super::input::{Input, Line};
use super::outcomes::{Outcome, Outcomes, Summary};
use crate::exit::Exit;
use crate::output::Lines;
use crate::progress::Progress;
use crate::signals::Interrupt;

/// Whether to read on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Go,
    Stop,
}

/// Moves lines to the broker.
pub(crate) struct Pump<'a> {
    pub(crate) client: &'a Client,
    /// The time limit of an event.
    pub(crate) patience: Duration,
    pub(crate) progress: &'a Progress,
    pub(crate) interrupt: &'a Interrupt,
    /// The reader of the events on standard output is gone.
    pub(crate) events_closed: &'a CancellationToken,
}

impl Pump<'_> {
    /// Passes lines to `publish` and writes their outcomes to standard output, until the input ends
    /// or there is a reason to stop. Then waits for the pending outcomes and shuts the client down.
    pub(crate) async fn run(
        self,
        mut input: Input,
        lines: Option<Lines>,
        publish: impl AsyncFn(Line, &mpsc::Sender<Outcome>) -> Next,
    ) -> anyhow::Result<Exit> {
        let Self {
            progress,
            interrupt,
            events_closed,
            ..
        } = self;
        interrupt.keep_last_word();
        let started = Instant::now();
        let receipts_closed = lines.as_ref().map(|lines| lines.ended().clone());
        let receipts_closed = receipts_closed.unwrap_or_default();
        let (outcomes, queue) = mpsc::channel(WINDOW);
        let collector = Outcomes::new(lines, progress.clone(), interrupt.clone());
        let refused = collector.refused();
        let told = collector.told();
        let mut collected = tokio::spawn(collector.collect(queue));
        let mut read = 0_u64;
        let mut broken = None;
        let whole = loop {
            let line = tokio::select! {
                biased;
                () = interrupt.asked() => break false,
                () = receipts_closed.cancelled() => break false,
                () = events_closed.cancelled() => break false,
                () = refused.cancelled() => break false,
                line = input.next() => line,
            };
            match line {
                None => break true,
                Some(Err(error)) => {
                    broken = Some(error);
                    break false;
                }
                Some(Ok(line)) => {
                    read += 1;
                    progress.inc();
                    progress.estimate(line.end, input.size());
                    if publish(line, &outcomes).await == Next::Stop {
                        break false;
                    }
                }
            }
        };
        drop(outcomes);
        let summary: Summary = tokio::select! {
            biased;
            summary = &mut collected => summary?,
            () = interrupt.asked() => {
                self.say_what_is_left(read - told.get());
                collected.await?
            }
        };
        progress.end();
        let closed = self.is_closed(&summary);
        let interrupted = interrupt.is_asked() && !(whole && summary.is_clean());
        let mut ending = String::new();
        if closed {
            ending = "; standard output was closed early".to_owned();
        }
        if interrupted {
            ending += "; interrupted";
        }
        let refused = refused.is_cancelled() && !closed && !interrupted;
        if refused {
            ending = "; refused".to_owned();
        }
        if (closed || interrupted || refused) && !whole {
            ending += ": the remaining lines were not published";
        }
        summary.say(read, started.elapsed(), &ending);
        if !interrupt.is_again() {
            self.client.shutdown(Duration::from_secs(5)).await;
        }
        if let Some(error) = broken {
            return Err(anyhow::Error::new(error).context("read the input"));
        }
        if interrupted {
            return Ok(Exit::Interrupted);
        }
        if let Some(error) = summary.output.filter(|_| !closed) {
            return Err(anyhow::Error::new(error).context("write the receipts"));
        }
        Ok(if summary.failed == 0 && !closed {
            Exit::Done
        } else {
            Exit::Failed
        })
    }

    /// Whether standard output was closed before everything was written.
    fn is_closed(&self, summary: &Summary) -> bool {
        let error = summary.output.as_ref();
        error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
            || self.events_closed.is_cancelled()
    }

    fn say_what_is_left(&self, left: u64) {
        if left == 0 {
            return;
        }
        let (events, are) = match left {
            1 => ("event", "is"),
            _ => ("events", "are"),
        };
        let why = self.client.health().problems.into_iter().next();
        let why = why.map_or_else(String::new, |problem| format!(" ({problem})"));
        self.progress.say(&format!(
            "interrupted: {left} {events} {are} accepted but not stored yet{why}; waiting for at most {} s, \
             or until a second interrupt",
            self.patience.as_secs_f64()
        ));
    }
}
