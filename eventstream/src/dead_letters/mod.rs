//! The dead letters of a topic: what is wrong and since when, each record in full, and how to replay them.
//!
//! ```
//! use eventstream::dead_letters::{Filter, Replay};
//! use eventstream::{Client, DeadLetterReason};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), eventstream::Error> {
//! let client = Client::embedded().build()?;
//! # client.create_topic("player", 1, 1, std::time::Duration::from_secs(10)).await?;
//! let letters = client.dead_letters("player")?;
//! for cause in letters.causes().await?.list() {
//!     println!("{} x {:?}: {}", cause.count(), cause.reason(), cause.error());
//! }
//!
//! let exhausted = Filter::new().reason(DeadLetterReason::Exhausted);
//! let plan = letters.filter(exhausted).replay(Replay::new().rate(1000)).await?;
//! println!("{} go back to {}", plan.to_replay(), plan.target());
//! let report = plan.run(|_| {}).await?;
//! assert_eq!(report.replayed(), 0);
//! # Ok(()) }
//! ```
//!
//! Reading joins no group and commits nothing. Times are the records' own, which a dead letter keeps from its original,
//! unless the topic's brokers write theirs (`message.timestamp.type`).
//!
//! # What is done, and what is promised
//!
//! Whatever was replayed, parked or edited is recorded in a separate topic next to the dead letters
//! (`player-dlq-replayed` for `player-dlq`), and skipped from then on, unless [`DeadLetters::all`] asks for it. A run
//! writes a batch of at most [`IN_FLIGHT`] records, waits until the broker has acknowledged each, and records the batch
//! before it writes the next. So a run that is killed and run again repeats at most the one batch that was written but
//! not recorded, and nothing is left out. Records carry the id of the dead-letter topic: one that is deleted and
//! recreated starts afresh. Two concurrent runs would each repeat what the other does: the one that finds the other's
//! record among its own stops with an error.

mod causes;
mod done;
mod edit;
mod filter;
mod fold;
mod follow;
mod ledger;
mod letter;
mod offsets;
mod plan;
mod report;
mod run;
mod stream;

use std::fmt;
use std::time::Duration;

use crate::client::Client;
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::kafka::{Bounds, Kafka};
use crate::name::Topic;

pub use self::causes::{By, Cause, Causes};
pub use self::filter::Filter;
pub use self::follow::{Follow, GroupProgress};
pub use self::letter::Letter;
pub use self::plan::{Plan, Replay};
pub use self::report::{End, Progress, Report};
pub use self::run::IN_FLIGHT;
pub use self::stream::Letters;

use self::done::Done;
use self::ledger::Ledger;

/// The suffix of the topic for parked records, after the source topic.
const PARKED_SUFFIX: &str = "-parked";
/// The suffix of the topic in which work is recorded, after the dead-letter topic.
const LEDGER_SUFFIX: &str = "-replayed";

/// The dead letters of one topic. Created by [`Client::dead_letters`]; cheap to clone.
#[derive(Clone)]
pub struct DeadLetters {
    client: Client,
    /// The topic the records came from.
    source: Topic,
    /// The topic of the dead letters.
    topic: Topic,
    filter: Filter,
    all: bool,
    timeout: Duration,
}

impl DeadLetters {
    pub(crate) fn new(client: Client, source: Topic) -> Result<Self> {
        let doing = "dead letters";
        let kafka = client.on_brokers(doing)?;
        let suffix = kafka.dead_letter_suffix();
        kafka
            .sender
            .fits(doing, source.as_str(), &format!("{suffix}{LEDGER_SUFFIX}"))?;
        let topic = Topic::new(format!("{source}{suffix}"))?;
        Ok(Self {
            client,
            source,
            topic,
            filter: Filter::new(),
            all: false,
            timeout: Duration::from_secs(60),
        })
    }

    /// Only those that match the filter [default: all].
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Also those that were replayed, parked or edited [default: they are skipped]. They can be read, but are not
    /// replayed again.
    #[must_use]
    pub fn all(mut self) -> Self {
        self.all = true;
        self
    }

    /// How long a request to the brokers may take [default: 60 s]. Reading itself fails if nothing arrives for 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The topic the records came from, without prefix.
    pub fn source(&self) -> &Topic {
        &self.source
    }

    /// The topic the dead letters are in, without prefix.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// What is wrong: dead letters by reason, event name, folded error and group, most frequent first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnknownTopic`] if neither the topic nor its dead-letter topic exists; a topic without dead letters
    /// has no causes. [`ErrorKind::Unreachable`], [`ErrorKind::Authentication`] or [`ErrorKind::Unauthorized`] if the
    /// brokers do not answer or do not allow it.
    pub async fn causes(&self) -> Result<Causes> {
        self.causes_by(By::Cause).await
    }

    /// Like [`causes`](Self::causes), but grouped by one property alone.
    ///
    /// # Errors
    ///
    /// As `causes`.
    pub async fn causes_by(&self, by: By) -> Result<Causes> {
        let mut letters = self.letters().await?;
        let mut causes = Causes::by(by);
        while let Some(batch) = letters.batch().await? {
            batch.iter().for_each(|letter| causes.add(letter));
        }
        Ok(causes.sorted())
    }

    /// Every dead letter, in order within its partition.
    ///
    /// # Errors
    ///
    /// As [`causes`](Self::causes).
    pub async fn letters(&self) -> Result<Letters> {
        let Some(bounds) = self.bounds().await? else {
            return Ok(Letters::empty());
        };
        let spans = self.filter.narrowed(&bounds.spans);
        // Started first, so that the ledger is read while the first records arrive.
        let scan = self.kafka()?.scan(&self.topic, &spans)?;
        let done = if self.all {
            Done::default()
        } else {
            Ledger::new(self, &bounds)?.read().await?.0
        };
        Ok(Letters::new(scan, self.filter.clone(), done))
    }

    fn kafka(&self) -> Result<&Kafka> {
        self.client.on_brokers("dead letters")
    }

    /// The current bounds of the dead-letter topic; `None` if it does not exist.
    async fn bounds(&self) -> Result<Option<Bounds>> {
        let kafka = self.kafka()?;
        let since = self.filter.oldest();
        let found = kafka
            .bounds(self.topic.as_str(), since, self.timeout)
            .await?;
        if found.is_none() {
            let source = kafka.bounds(self.source.as_str(), None, self.timeout);
            if source.await?.is_none() {
                let text = format!(
                    "dead letters: there is no topic {}, nor {}",
                    self.source, self.topic
                );
                return Err(Error::new(ErrorKind::UnknownTopic, text));
            }
        }
        Ok(found)
    }

    /// The topic for parked records.
    fn parked(&self) -> Result<Topic> {
        Topic::new(format!("{}{PARKED_SUFFIX}", self.source))
    }

    fn refused(field: &str, value: impl Into<String>, allowed: impl Into<String>) -> Error {
        let fault = Fault::new(field, value, allowed);
        Error::from_faults(ErrorKind::Validation, "replay dead letters", vec![fault])
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("topic", &self.topic)
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}
