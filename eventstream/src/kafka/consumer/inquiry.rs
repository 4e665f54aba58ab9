//! Requests about rights and the group whose answers arrive later: the polling thread does not wait for them.
//!
//! `unsafe`: the queue on which the answers arrive.

use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka_sys as sys;
use rdkafka_sys::RDKafkaErrorCode as Code;

use crate::kafka::questions::{self, Described, Questions};

const PATIENCE: Duration = Duration::from_secs(5);
/// A request about the group that is open for this long has met an outage of its coordinator. The client must end
/// before librdkafka's own timeout for it: see [`questions`].
const OUTAGE: Duration = Duration::from_secs(1800);

/// A separate queue for the answers. Must be dropped before the consumer.
pub(super) struct Inquiry {
    queue: *mut sys::rd_kafka_queue_t,
    waiting: usize,
    asked: Instant,
}

// SAFETY: queues may be used from any thread.
unsafe impl Send for Inquiry {}

pub(super) enum Answer {
    /// For each topic: whether this client may read it, or the error.
    Topics(Vec<(String, Result<bool, Code>)>),
    Group(Result<Described, Code>),
    /// The request failed as a whole.
    Failed(Code),
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        // SAFETY: the reference is owned.
        unsafe { sys::rd_kafka_queue_destroy(self.queue) }
    }
}

impl Inquiry {
    pub(super) fn new<C: ClientContext>(client: &Client<C>) -> Self {
        // SAFETY: the client is alive.
        let queue = unsafe { sys::rd_kafka_queue_new(client.native_ptr()) };
        Self {
            queue,
            waiting: 0,
            asked: Instant::now(),
        }
    }

    /// Whether an answer is pending.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Whether an answer is overdue, so that the client must end.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.is_waiting() && now.duration_since(self.asked) >= OUTAGE
    }

    /// Requests which of the topics this client may read.
    pub(super) fn ask_topics<C: ClientContext>(&mut self, client: &Client<C>, topics: &[String]) {
        let names: Vec<_> = topics.iter().map(String::as_str).collect();
        self.questions(client).rights_on(&names, 0);
        self.count();
    }

    /// Requests the group's kind, its members, and whether this client may read in it.
    pub(super) fn ask_group<C: ClientContext>(&mut self, client: &Client<C>, group: &str) {
        self.questions(client).group(group, 0);
        self.count();
    }

    fn count(&mut self) {
        self.waiting += 1;
        self.asked = Instant::now();
    }

    fn questions<'a, C: ClientContext>(&self, client: &'a Client<C>) -> Questions<'a, C> {
        Questions {
            client,
            queue: self.queue,
            timeout: PATIENCE,
        }
    }

    /// An answer that has arrived.
    pub(super) fn answer(&mut self) -> Option<Answer> {
        // SAFETY: the queue is alive; the event is owned by this scope and destroyed once, after what it lends was read.
        let answer = unsafe {
            let event = sys::rd_kafka_queue_poll(self.queue, 0);
            if event.is_null() {
                return None;
            }
            let answer = questions::answer(event);
            sys::rd_kafka_event_destroy(event);
            answer
        };
        self.waiting = self.waiting.saturating_sub(1);
        Some(match answer {
            Some((_, questions::Answer::Topics(Ok(topics)))) => {
                let topics = topics.into_iter().map(|topic| {
                    let may_read = topic.error.map_or(Ok(topic.rights.read), Err);
                    (topic.name, may_read)
                });
                Answer::Topics(topics.collect())
            }
            Some((_, questions::Answer::Group(Ok(group)))) => Answer::Group(group),
            Some((
                _,
                questions::Answer::Topics(Err(refused)) | questions::Answer::Group(Err(refused)),
            )) => Answer::Failed(refused.code),
            // There are no other requests here.
            _ => Answer::Failed(Code::InvalidArgument),
        })
    }
}
