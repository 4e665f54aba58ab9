use std::collections::VecDeque;

use eventstream::{Client, Error, ErrorKind, Receipt};

use super::Common;
use super::figures::{Figures, Mark};
use crate::exit;
use crate::output;
use crate::progress::Progress;
use crate::signals::Interrupt;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) common: Common,
}

pub(crate) const EXAMPLES: &str = "\
Time is measured from the first publish to the last receipt.

Examples:
  eventstream bench publish --events 1000000 --topic bench --partitions 8
  eventstream bench publish --events 1000000 -X compression.type=zstd";

/// The maximum number of pending receipts, so that memory does not grow with the number of events.
const WINDOW: usize = 50_000;

pub(super) async fn run(
    args: &Args,
    client: &Client,
    interrupt: &Interrupt,
) -> anyhow::Result<Option<Figures>> {
    let events = &args.common.events;
    let progress = Progress::new(Some(*events), false);
    let mut open: VecDeque<Receipt> = VecDeque::with_capacity(WINDOW);
    let mut failures = Failures::default();
    let start = Mark::now()?;
    for n in 0..*events {
        if interrupt.is_asked() {
            progress.end();
            return Ok(None);
        }
        match client.publish(args.common.event(n)).await {
            Ok(receipt) => open.push_back(receipt),
            Err(error) => failures.add(error)?,
        }
        while open.len() >= WINDOW || open.front().is_some_and(Receipt::is_done) {
            let Some(receipt) = open.pop_front() else {
                break;
            };
            progress.inc();
            if let Err(error) = receipt.await {
                failures.add(error)?;
            }
        }
    }
    for receipt in open {
        let Some(outcome) = interrupt.or(receipt).await else {
            progress.end();
            return Ok(None);
        };
        progress.inc();
        if let Err(error) = outcome {
            failures.add(error)?;
        }
    }
    let end = Mark::now()?;
    progress.end();
    failures.say();
    Figures::between(start, end, *events, failures.count).map(Some)
}

/// Events that were not stored: how many, and the first one's error.
#[derive(Default)]
pub(super) struct Failures {
    pub(super) count: u64,
    first: Option<Error>,
}

impl Failures {
    /// Counts a failure.
    ///
    /// # Errors
    ///
    /// An error after which nothing else can succeed.
    pub(super) fn add(&mut self, error: Error) -> Result<(), Error> {
        if matches!(
            error.kind(),
            ErrorKind::Authentication | ErrorKind::Closed | ErrorKind::Validation
        ) {
            return Err(error);
        }
        self.count += 1;
        self.first.get_or_insert(error);
        Ok(())
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.take().or(other.first);
    }

    pub(super) fn say(&self) {
        if let Some(error) = &self.first {
            output::say(&format!(
                "{} events failed, the first: {}",
                self.count,
                exit::chain(error)
            ));
        }
    }
}
