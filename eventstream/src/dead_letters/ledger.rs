//! The topic in which work on dead letters is recorded.
//!
//! It holds plain records rather than a compacted log or a group's offsets: a filter picks any subset, and 10,000
//! offsets scattered over 100,000 do not fit into the 4 KiB of a commit's metadata. Entries only add up, so their
//! order does not matter, two writers do not interfere, and a duplicate changes nothing.

use super::done::{Deed, Done, Entry};
use super::{DeadLetters, LEDGER_SUFFIX};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::{Bounds, Outgoing};
use crate::name::Topic;

pub(super) struct Ledger<'a> {
    letters: &'a DeadLetters,
    topic: Topic,
    topic_id: Option<String>,
    replicas: u16,
    /// The position of our next record if nobody else writes: partition and offset.
    next: Option<(i32, i64)>,
}

impl<'a> Ledger<'a> {
    /// Bounds are those of the dead-letter topic.
    pub(super) fn new(letters: &'a DeadLetters, bounds: &Bounds) -> Result<Self> {
        Ok(Self {
            letters,
            topic: Topic::new(format!("{}{LEDGER_SUFFIX}", letters.topic))?,
            topic_id: bounds.id.clone(),
            replicas: bounds.replicas,
            next: None,
        })
    }

    /// Everything done so far, and the ledger to continue with.
    pub(super) async fn read(self) -> Result<(Done, Self)> {
        let mut done = Done::default();
        let kafka = self.letters.kafka()?;
        let bounds = kafka.bounds(self.topic.as_str(), None, self.letters.timeout);
        let Some(bounds) = bounds.await? else {
            return Ok((done, self));
        };
        let mut scan = kafka.scan(&self.topic, &bounds.spans)?;
        while let Some(batch) = scan.next().await {
            for record in batch? {
                // An unreadable record may say that something was done; if it were skipped, that would be done twice.
                let entry: Entry = serde_json::from_slice(record.value().unwrap_or_default())
                    .map_err(|e| {
                        let (partition, offset) = (record.source.partition, record.offset);
                        let text = format!(
                            "read the record of replays: {}/{partition}@{offset} is not an entry of it",
                            self.topic
                        );
                        Error::new(ErrorKind::Decode, text)
                            .with_source(e)
                            .with_remedy("use the version that wrote it, or a later one")
                    })?;
                entry.add_to(&mut done, self.topic_id.as_deref());
            }
        }
        Ok((done, self))
    }

    /// Creates the topic if it does not exist. A broker without admin requests creates it with the first record.
    pub(super) async fn create(&self) -> Result<()> {
        create(self.letters, &self.topic, 1, self.replicas).await
    }

    /// Returns once the record is stored. If it fails because of a second writer, the record is stored all the same.
    pub(super) async fn record(&mut self, deeds: &[(Deed, &Done)]) -> Result<()> {
        let entry = Entry::new(self.topic_id.as_deref(), deeds);
        let value = serde_json::to_vec(&entry).map_err(|e| {
            Error::new(ErrorKind::Encode, "record replayed dead letters").with_source(e)
        })?;
        let record = Outgoing {
            // One key and so one partition, however many the broker created.
            key: Some(self.letters.topic.as_str().as_bytes()),
            value: Some(&value),
            ..Outgoing::default()
        };
        let kafka = self.letters.kafka()?;
        let receipt = kafka
            .sender
            .publish_record(self.topic.as_str(), record)
            .await?;
        let stored = receipt.await?;
        let place = (stored.partition(), stored.offset());
        let expected = self.next.replace((place.0, place.1 + 1));
        if expected.is_some_and(|expected| expected != place) {
            let text = format!(
                "replay dead letters: another run also records in {}, so both may have replayed the same records",
                self.topic
            );
            return Err(Error::new(ErrorKind::Broker, text).with_remedy(
                "let one run finish, then run again; recorded dead letters are not repeated",
            ));
        }
        Ok(())
    }
}

/// Creates a topic that keeps its records forever; an existing one is left unchanged.
pub(super) async fn create(
    letters: &DeadLetters,
    topic: &Topic,
    partitions: u32,
    replicas: u16,
) -> Result<()> {
    let kafka = letters.kafka()?;
    let created = kafka.create_kept_topic(topic.as_str(), partitions, replicas, letters.timeout);
    match created.await {
        Err(error) if error.kind() != ErrorKind::Unsupported => Err(error),
        _ => Ok(()),
    }
}
