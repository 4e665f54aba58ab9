use super::DeadLetters;
use super::done::{Deed, Done};
use super::ledger::Ledger;
use super::letter::Letter;
use crate::error::{Error, Result};
use crate::event::{Event, new_id};
use crate::publish::Publish;
use crate::publish::receipt::Delivery;

/// Refers to the dead letter that an event is an edited copy of: `player-dlq/3@17`.
const EDITED: &str = "eventstream-edited-from";

impl DeadLetters {
    /// Publishes an edited copy of a dead letter's event to the source topic, with its key and own headers, a new id,
    /// and the header `eventstream-edited-from` (`player-dlq/3@17`). Returns once the copy is stored and the dead
    /// letter is recorded as done. `event` is an envelope; anything in it that is not a field of [`Event`] is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if it is not an envelope,
    /// [`ErrorKind::Validation`](crate::ErrorKind::Validation) if the dead letter was replayed, parked or edited
    /// before; otherwise as [`Client::publish`](crate::Client::publish).
    ///
    /// # Cancellation
    ///
    /// If dropped before it returns, the copy may be published without being recorded.
    pub async fn edit(&self, letter: &Letter, event: &str) -> Result<Delivery> {
        let event = Event::decode(event)?;
        let raw = letter.raw();
        let bounds = self.bounds().await?.ok_or_else(|| {
            Error::new(
                crate::ErrorKind::UnknownTopic,
                format!("there is no topic {}", self.topic),
            )
        })?;
        let (done, mut ledger) = Ledger::new(self, &bounds)?.read().await?;
        if done.contains(raw.source.partition, raw.offset) {
            let allowed = "must not have been replayed, parked or edited";
            return Err(Self::refused("letter", letter.place(), allowed));
        }
        ledger.create().await?;
        let mut headers = letter.own_headers();
        headers.push((EDITED.to_owned(), Some(letter.place().into_bytes())));
        let copy = Publish::from(&event)
            .topic(self.source.as_str())
            .id(new_id().as_str())
            .of_record(raw.key().map(<[u8]>::to_vec), headers);
        let delivery = self.client.publish_sync(copy).await?;
        let mut edited = Done::default();
        edited.insert(raw.source.partition, raw.offset);
        ledger.record(&[(Deed::Edited, &edited)]).await?;
        Ok(delivery)
    }
}
