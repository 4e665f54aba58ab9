//! A consumer's queue, polled for events instead of messages: a poll that can be woken, and
//! rebalances that arrive as events to be answered later, not inside a callback.
//!
//! Every `unsafe` of the consumer is here.

use std::ffi::CStr;
use std::ptr;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka_sys as sys;
use rdkafka_sys::{RDKafkaErrorCode as Code, rd_kafka_resp_err_t as RespErr};

use crate::kafka::native::{self, slice, text};
use crate::kafka::questions::{self, Answer, Questions};
use crate::record::Headers;

/// An event of a consumer, other than a record.
pub(super) enum Event {
    Assign(Vec<TopicPartition>),
    Revoke(Vec<TopicPartition>),
    /// The outcome of an asynchronous commit: of the whole request, and of each partition.
    Committed(Option<Code>, Vec<(TopicPartition, i64, Option<Code>)>),
    /// Everything below this offset was read, and there is no more.
    End(TopicPartition, i64),
    /// The next offset to read does not exist; with the truncation point, if that is the reason.
    OutOfRange(TopicPartition, Option<i64>),
    /// What comes next cannot be read, and why.
    Unreadable(TopicPartition, Code, String),
    /// The answer to a request, with its token.
    Answer(usize, Answer),
    Error {
        code: Code,
        reason: String,
        /// The topic it is about, if librdkafka reports it.
        topic: Option<String>,
        fatal: bool,
    },
}

pub(super) use crate::kafka::questions::TopicPartition;

/// A record in librdkafka's memory.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    message: &'a sys::rd_kafka_message_t,
}

impl<'a> Message<'a> {
    fn name(&self) -> &'a CStr {
        // SAFETY: the topic's name lives as long as the message.
        unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(self.message.rkt)) }
    }

    pub(super) fn topic(&self) -> &'a str {
        self.name().to_str().unwrap_or_default()
    }

    pub(super) fn is_of(&self, (topic, partition): &TopicPartition) -> bool {
        self.message.partition == *partition && self.name().to_bytes() == topic.as_bytes()
    }

    pub(super) fn partition(&self) -> i32 {
        self.message.partition
    }

    pub(super) fn offset(&self) -> i64 {
        self.message.offset
    }

    pub(super) fn timestamp_ms(&self) -> Option<i64> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        let millis = unsafe { sys::rd_kafka_message_timestamp(self.message, &mut kind) };
        (kind != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE).then_some(millis)
    }

    pub(super) fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: key and length belong together and live as long as the message.
        unsafe { slice(self.message.key, self.message.key_len) }
    }

    pub(super) fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: as for the key.
        unsafe { slice(self.message.payload, self.message.len) }
    }

    pub(super) fn headers(&self) -> Headers {
        // SAFETY: the message is alive.
        let headers = unsafe { native::headers(self.message) };
        (!headers.is_empty()).then(|| headers.into())
    }
}

/// The queue of a group consumer. Must be dropped before the consumer.
pub(super) struct ConsumerQueue(*mut sys::rd_kafka_queue_t);

// SAFETY: queues may be used from any thread.
unsafe impl Send for ConsumerQueue {}
// SAFETY: as above.
unsafe impl Sync for ConsumerQueue {}

impl Drop for ConsumerQueue {
    fn drop(&mut self) {
        // SAFETY: the reference is owned.
        unsafe { sys::rd_kafka_queue_destroy(self.0) }
    }
}

impl ConsumerQueue {
    /// The queue of a consumer with a group; `None` for one without.
    pub(super) fn new<C: ClientContext>(client: &Client<C>) -> Option<Self> {
        // SAFETY: the client is alive; a null pointer says that it is no group consumer.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(client.native_ptr()) };
        (!queue.is_null()).then_some(Self(queue))
    }

    /// Makes a blocking poll, or the next one, return at once.
    pub(super) fn wake(&self) {
        // SAFETY: the reference is owned.
        unsafe { sys::rd_kafka_queue_yield(self.0) }
    }

    /// Requests whose answers arrive as an [`Event::Answer`].
    pub(super) fn questions<'a, C: ClientContext>(
        &self,
        client: &'a Client<C>,
        timeout: Duration,
    ) -> Questions<'a, C> {
        Questions {
            client,
            queue: self.0,
            timeout,
        }
    }

    /// Commits without waiting; the outcome arrives as an [`Event::Committed`]. `rd_kafka_commit`, which `rdkafka`
    /// calls, reports the outcome of an asynchronous commit to a callback only, never as an event.
    pub(super) fn commit<C: ClientContext>(
        &self,
        client: &Client<C>,
        offsets: &TopicPartitionList,
    ) -> Result<(), Code> {
        // SAFETY: client and queue are alive; librdkafka copies the list and holds the queue until
        // the outcome.
        let error = unsafe {
            sys::rd_kafka_commit_queue(
                client.native_ptr(),
                offsets.ptr(),
                self.0,
                None,
                ptr::null_mut(),
            )
        };
        code(error).map_or(Ok(()), Err)
    }

    /// Waits for one event and passes it to `sink`, or its records to `take`; `false` if there was
    /// none, or the poll was woken.
    pub(super) fn poll<C: ClientContext>(
        &self,
        client: &Client<C>,
        timeout: Duration,
        take: &mut dyn FnMut(Message<'_>),
        sink: &mut dyn FnMut(Event),
    ) -> bool {
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive; the event is owned by this scope and destroyed once, after
        // `take` is done with what it borrows.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.0, millis);
            if event.is_null() {
                return false;
            }
            serve(event, client, take, sink);
            sys::rd_kafka_event_destroy(event);
        }
        true
    }
}

/// What is known of a consumer's membership.
#[derive(Default)]
pub(super) struct Membership {
    /// The coordinator has assigned it an id.
    pub(super) is_known: bool,
    /// With KIP-848, above 0 once the group has admitted it.
    pub(super) generation: i32,
}

/// Read from librdkafka, not from the broker.
pub(super) fn membership<C: ClientContext>(client: &Client<C>) -> Membership {
    // SAFETY: the client is alive; the metadata is owned by this scope and destroyed once, after
    // what it lends was read.
    unsafe {
        let metadata = sys::rd_kafka_consumer_group_metadata(client.native_ptr());
        if metadata.is_null() {
            return Membership::default();
        }
        let id = sys::rd_kafka_consumer_group_metadata_member_id(metadata);
        let membership = Membership {
            is_known: !text(id).is_empty(),
            generation: sys::rd_kafka_consumer_group_metadata_generation_id(metadata),
        };
        sys::rd_kafka_consumer_group_metadata_destroy(metadata);
        membership
    }
}

/// # Safety
///
/// `event` must be a live event of `client`.
unsafe fn serve<C: ClientContext>(
    event: *mut sys::rd_kafka_event_t,
    client: &Client<C>,
    take: &mut dyn FnMut(Message<'_>),
    sink: &mut dyn FnMut(Event),
) {
    // SAFETY: by contract; everything read lives as long as the event.
    unsafe {
        match sys::rd_kafka_event_type(event) {
            sys::RD_KAFKA_EVENT_FETCH => loop {
                let message = sys::rd_kafka_event_message_next(event);
                if message.is_null() {
                    return;
                }
                let message = &*message;
                let message = Message { message };
                match message.message.err {
                    RespErr::RD_KAFKA_RESP_ERR_NO_ERROR => take(message),
                    error => sink(Event::Error {
                        code: error.into(),
                        reason: text(sys::rd_kafka_message_errstr(message.message)).into_owned(),
                        topic: None,
                        fatal: false,
                    }),
                }
            },
            sys::RD_KAFKA_EVENT_REBALANCE => {
                let partitions = list(sys::rd_kafka_event_topic_partition_list(event))
                    .into_iter()
                    .map(|(partition, _, _)| partition)
                    .collect();
                sink(match sys::rd_kafka_event_error(event) {
                    RespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Event::Assign(partitions),
                    _ => Event::Revoke(partitions),
                });
            }
            sys::RD_KAFKA_EVENT_OFFSET_COMMIT => sink(Event::Committed(
                code(sys::rd_kafka_event_error(event)),
                list(sys::rd_kafka_event_topic_partition_list(event)),
            )),
            sys::RD_KAFKA_EVENT_ERROR => {
                let Some(code) = code(sys::rd_kafka_event_error(event)) else {
                    return;
                };
                let reason = text(sys::rd_kafka_event_error_string(event));
                match (code, place(event)) {
                    (Code::PartitionEOF, Some((name, offset))) => sink(Event::End(name, offset)),
                    (Code::AutoOffsetReset, Some((name, offset))) => {
                        sink(Event::OutOfRange(name, cut_off(offset, &reason)));
                    }
                    (
                        Code::BadMessage | Code::BadCompression | Code::NotImplemented,
                        // The offset may be one that the damage has made up.
                        Some((name, _)),
                    ) => sink(Event::Unreadable(name, code, reason.into_owned())),
                    (code, topic) => sink(Event::Error {
                        code,
                        reason: reason.into_owned(),
                        topic: topic.map(|((topic, _), _)| topic),
                        fatal: sys::rd_kafka_event_error_is_fatal(event) != 0,
                    }),
                }
            }
            sys::RD_KAFKA_EVENT_LOG => {
                native::log(event, client.context());
            }
            sys::RD_KAFKA_EVENT_STATS => {
                let json = sys::rd_kafka_event_stats(event);
                if !json.is_null() {
                    client.context().stats_raw(CStr::from_ptr(json).to_bytes());
                }
            }
            _ => {
                if let Some((token, answer)) = questions::answer(event) {
                    sink(Event::Answer(token, answer));
                }
            }
        }
    }
}

/// Which partition an error is of, and at which offset.
///
/// # Safety
///
/// `event` must be a live error event.
unsafe fn place(event: *mut sys::rd_kafka_event_t) -> Option<(TopicPartition, i64)> {
    // SAFETY: by contract; the partition is owned, and destroyed once after it was copied.
    unsafe {
        let partition = sys::rd_kafka_event_topic_partition(event);
        if partition.is_null() {
            return None;
        }
        let name = text((*partition).topic).into_owned();
        let found = ((name, (*partition).partition), (*partition).offset);
        sys::rd_kafka_topic_partition_destroy(partition);
        Some(found)
    }
}

/// Where a log was truncated. For an offset that is merely out of range, the error contains the offset; only after a
/// truncation it has none, and the new end is in the text alone. If it is not found there, all of the log is in
/// doubt.
fn cut_off(offset: i64, reason: &str) -> Option<i64> {
    if offset >= 0 {
        return None;
    }
    let (_, rest) = reason
        .split_once("broker end offset is ")
        .unwrap_or_default();
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    Some(digits.and_then(|digits| digits.parse().ok()).unwrap_or(0))
}

fn code(error: RespErr) -> Option<Code> {
    (error != RespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
}

/// # Safety
///
/// `list` must be null or a live list.
unsafe fn list(
    list: *const sys::rd_kafka_topic_partition_list_t,
) -> Vec<(TopicPartition, i64, Option<Code>)> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: by contract; names are copied.
    unsafe {
        let list = &*list;
        (0..usize::try_from(list.cnt).unwrap_or(0))
            .map(|i| {
                let element = &*list.elems.add(i);
                let topic = text(element.topic).into_owned();
                (
                    (topic, element.partition),
                    element.offset,
                    code(element.err),
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_log_was_cut_off_is_read_from_the_error() {
        let reason = "Partition log truncation detected at offset 9 (leader epoch 1): broker end \
                      offset is 7 (offset leader epoch 2). Reset to INVALID.";
        assert_eq!(cut_off(-1001, reason), Some(7));
        assert_eq!(cut_off(-1001, "another text"), Some(0));
        assert_eq!(cut_off(50, "fetch failed: Offset out of range"), None);
    }
}
