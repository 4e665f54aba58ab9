//! Questions about rights and the group whose answers come later: the polling thread does not wait for them.
//!
//! `unsafe`: the queue that the answers come over.

use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka_sys as sys;
use rdkafka_sys::RDKafkaErrorCode as Code;

use crate::kafka::questions::{self, Described, Questions};

const PATIENCE: Duration = Duration::from_secs(5);
/// A question about the group that is open for so long has met an outage of its coordinator. The client has
/// to end before librdkafka's own time for it is over: see [`questions`].
const OUTAGE: Duration = Duration::from_secs(1800);

/// A queue of its own for the answers. Must be dropped before the consumer.
pub(super) struct Inquiry {
    queue: *mut sys::rd_kafka_queue_t,
    waiting: usize,
    asked: Instant,
}

// SAFETY: queues may be used from any thread.
unsafe impl Send for Inquiry {}

pub(super) enum Answer {
    /// Of each topic: whether this client may read it, or what is said instead.
    Topics(Vec<(String, Result<bool, Code>)>),
    Group(Result<Described, Code>),
    /// The question failed as a whole.
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

    /// Whether an answer is still to come.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Whether an answer is overdue, so that the client has to end.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.is_waiting() && now.duration_since(self.asked) >= OUTAGE
    }

    /// Asks which of the topics this client may read.
    pub(super) fn ask_topics<C: ClientContext>(&mut self, client: &Client<C>, topics: &[String]) {
        let names: Vec<_> = topics.iter().map(String::as_str).collect();
        self.questions(client).rights_on(&names, 0);
        self.count();
    }

    /// Asks what the group is, who its members are, and whether this client may read in it.
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

    /// An answer that has come.
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
            // Nothing else is asked here.
            _ => Answer::Failed(Code::InvalidArgument),
        })
    }
}
