#[cfg(feature = "tower")]
use std::any::{Any, TypeId};
#[cfg(feature = "tower")]
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::delivery::{Sabotage, chosen_sabotage};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::name::Topic;
use crate::publish::{Publish, PublishRaw, Receipt};
use crate::record::{RawRecord, Record};
use crate::subscribe::Staging;

/// Extensions set by layers, by type.
#[cfg(feature = "tower")]
type Extensions = HashMap<TypeId, Arc<dyn Any + Send + Sync>>;

/// What a handler may need besides its event: the record's topic, partition and offset, the attempt
/// number, and whether the result still counts.
#[derive(Clone)]
pub struct Context {
    pub(crate) record: Arc<Record>,
    pub(crate) attempt: u32,
    /// Exactly once: where what is published waits for the end of the attempt.
    staging: Option<Arc<Staging>>,
    /// Created by the first layer that sets an extension.
    #[cfg(feature = "tower")]
    extensions: Option<Arc<Extensions>>,
}

impl Context {
    pub(crate) fn of(record: &Arc<Record>, attempt: u32) -> Self {
        Self {
            record: Arc::clone(record),
            attempt,
            staging: None,
            #[cfg(feature = "tower")]
            extensions: None,
        }
    }

    pub(crate) fn staging(mut self, staging: Option<&Arc<Staging>>) -> Self {
        self.staging = staging.cloned();
        self
    }

    /// The attempt number, from 1. Counted in this process: after a rebalance or a restart it
    /// starts at 1 again.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The topic as it was given, without the client's prefix.
    pub fn topic(&self) -> &Topic {
        &self.record.source.topic
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.record.source.partition
    }

    /// The offset in the partition.
    pub fn offset(&self) -> i64 {
        self.record.offset
    }

    /// The event; `None` if the record is not an event, or no handler of the topic takes events.
    pub fn event(&self) -> Option<&Event> {
        self.record.event.as_ref()
    }

    /// The record before decoding.
    pub fn raw_record(&self) -> RawRecord {
        RawRecord::new(Arc::clone(&self.record))
    }

    /// Passes a value to the handler and the inner layers, which read it as [`Extension`](crate::Extension)
    /// or with [`extension`](Self::extension). Replaces a value of the same type.
    #[cfg(feature = "tower")]
    pub fn insert_extension<T: Send + Sync + 'static>(&mut self, value: T) {
        let extensions = self.extensions.get_or_insert_default();
        Arc::make_mut(extensions).insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// The value of this type that a layer has passed.
    #[cfg(feature = "tower")]
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<&T> {
        let value = self.extensions.as_ref()?.get(&TypeId::of::<T>())?;
        value.downcast_ref()
    }

    /// The record's key.
    pub fn key(&self) -> Option<&[u8]> {
        self.record.key()
    }

    /// The record's headers in order; names may repeat, values may be null.
    pub fn headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.record.header_values()
    }

    /// The record's timestamp, if it has one.
    pub fn timestamp(&self) -> Option<SystemTime> {
        let millis = u64::try_from(self.record.timestamp_ms?).ok()?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
    }

    /// Publishes an event through the client that reads this record, as
    /// [`Client::publish`](crate::Client::publish) does; a trace goes on in it. Await the receipt before the handler
    /// returns where the event must not be lost.
    ///
    /// A handler that fails afterwards is retried and publishes again. Give the event an
    /// [`id`](Publish::id) made from this record, so that the copies can be recognized.
    ///
    /// ```
    /// use eventstream::{Context, Payload, Publish};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Order { item: String }
    ///
    /// async fn ship(Payload(order): Payload<Order>, cx: Context) -> eventstream::Result<()> {
    ///     let id = format!("shipped-{}-{}", cx.partition(), cx.offset());
    ///     let event = Publish::new("shipping", "shipped").id(id).key(&order.item);
    ///     cx.publish(event).await?.await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// With [`exactly_once`](crate::Subscribe::exactly_once) the event is staged: it is sent after the
    /// handler has succeeded, in a transaction with the offset of its record, and its receipt completes at
    /// once. What a failed attempt has staged is dropped.
    ///
    /// # Errors
    ///
    /// As `Client::publish`. Staged: [`ErrorKind::Closed`](crate::ErrorKind::Closed) once the attempt is
    /// over, as in a task that it has left behind.
    pub async fn publish(&self, event: Publish) -> Result<Receipt> {
        let unstaged = chosen_sabotage() == Some(Sabotage::PublishUnstaged);
        match &self.staging {
            Some(staging) if !unstaged => staging.publish(&event),
            _ => self.record.source.publisher.publish(event).await,
        }
    }

    /// As [`publish`](Self::publish), for a record that is published unchanged, such as a
    /// [copy](PublishRaw::copy) of this one. Only with [`exactly_once`](crate::Subscribe::exactly_once).
    ///
    /// # Errors
    ///
    /// As `Client::publish_raw`; [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) without
    /// `exactly_once`: publish through the client there.
    pub fn publish_raw(&self, record: PublishRaw) -> Result<Receipt> {
        match &self.staging {
            Some(staging) => staging.publish_raw(record),
            None => Err(Error::new(
                ErrorKind::Unsupported,
                "publish_raw in a handler: its subscription is not `exactly_once`",
            )
            .with_remedy("publish it through the client")),
        }
    }

    /// Completes when the result of this handler no longer counts: its partition went to another
    /// member of the group, or the timeout of a stop has passed. The record is then read again. The
    /// future borrows nothing, so a spawned task can await it.
    ///
    /// ```
    /// use eventstream::{Context, Event};
    /// # async fn transcode(_: &Event) {}
    ///
    /// async fn replay_saved(cx: Context, event: Event) -> Result<(), &'static str> {
    ///     tokio::select! {
    ///         () = cx.cancelled() => Err("the partition is gone"),
    ///         () = transcode(&event) => Ok(()),
    ///     }
    /// }
    /// ```
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.record.source.lost.clone().cancelled_owned()
    }

    /// Whether the result of this handler no longer counts: see [`cancelled`](Self::cancelled).
    pub fn is_cancelled(&self) -> bool {
        self.record.source.lost.is_cancelled()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("offset", &self.offset())
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
