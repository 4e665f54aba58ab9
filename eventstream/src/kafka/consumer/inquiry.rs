//! Questions about topics and the group whose answers come later: the polling thread does not wait for them.
//!
//! librdkafka's calls for them are not in its Rust binding; every `unsafe` is around one of them.

use std::ffi::{CString, c_char};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka_sys as sys;
use rdkafka_sys::{RDKafkaErrorCode as Code, rd_kafka_resp_err_t as RespErr};

use crate::kafka::native::text;

const PATIENCE: Duration = Duration::from_secs(5);

/// A queue of its own for the answers. Must be dropped before the consumer.
pub(super) struct Inquiry {
    queue: *mut sys::rd_kafka_queue_t,
    waiting: usize,
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

/// A group as its coordinator describes it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Described {
    /// Whether this client may read in it; `None` where the broker does not say.
    pub(super) may_read: Option<bool>,
    /// Whether the broker assigns (KIP-848); `None` where it does not say.
    pub(super) broker_assigns: Option<bool>,
    pub(super) assignor: String,
    /// It has, or had, members of a kind that can be described.
    pub(super) exists: bool,
    /// The client id and the host of each member.
    pub(super) members: Vec<(String, String)>,
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
        Self { queue, waiting: 0 }
    }

    /// Whether an answer is still to come.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Asks which of the topics this client may read.
    pub(super) fn ask_topics<C: ClientContext>(&mut self, client: &Client<C>, topics: &[String]) {
        let names = c_texts(topics);
        let mut names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let options = Options::new(
            client,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        // SAFETY: client, names, options and queue are alive; librdkafka copies the names.
        unsafe {
            let topics =
                sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            sys::rd_kafka_DescribeTopics(client.native_ptr(), topics, options.0, self.queue);
            sys::rd_kafka_TopicCollection_destroy(topics);
        }
        self.waiting += 1;
    }

    /// Asks what the group is, who its members are, and whether this client may read in it.
    pub(super) fn ask_group<C: ClientContext>(&mut self, client: &Client<C>, group: &str) {
        let names = c_texts(&[group]);
        let mut names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let options = Options::new(
            client,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
        );
        // SAFETY: as above.
        unsafe {
            sys::rd_kafka_DescribeConsumerGroups(
                client.native_ptr(),
                names.as_mut_ptr(),
                names.len(),
                options.0,
                self.queue,
            );
        }
        self.waiting += 1;
    }

    /// An answer that has come.
    pub(super) fn answer(&mut self) -> Option<Answer> {
        // SAFETY: the queue is alive; the event is owned by this scope and destroyed once, after what it lends was read.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.queue, 0);
            if event.is_null() {
                return None;
            }
            self.waiting = self.waiting.saturating_sub(1);
            let answer = match code(sys::rd_kafka_event_error(event)) {
                Some(code) => Answer::Failed(code),
                None => read(event),
            };
            sys::rd_kafka_event_destroy(event);
            Some(answer)
        }
    }
}

struct Options(*mut sys::rd_kafka_AdminOptions_t);

impl Options {
    fn new<C: ClientContext>(client: &Client<C>, of: sys::rd_kafka_admin_op_t) -> Self {
        let mut message: [c_char; 128] = [0; 128];
        let millis = i32::try_from(PATIENCE.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the client is alive; the options are owned, the error of a call is destroyed.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(client.native_ptr(), of);
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options,
                millis,
                message.as_mut_ptr(),
                message.len(),
            );
            let error = sys::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
            if !error.is_null() {
                sys::rd_kafka_error_destroy(error);
            }
            Self(options)
        }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: they are owned.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0) }
    }
}

/// # Safety
///
/// `event` must be a live event.
unsafe fn read(event: *mut sys::rd_kafka_event_t) -> Answer {
    // SAFETY: by contract; everything read lives as long as the event, and is copied.
    unsafe {
        let mut count = 0;
        let topics = sys::rd_kafka_event_DescribeTopics_result(event);
        if !topics.is_null() {
            let topics = sys::rd_kafka_DescribeTopics_result_topics(topics, &mut count);
            let topics = (0..count).map(|i| {
                let topic = *topics.add(i);
                let name = text(sys::rd_kafka_TopicDescription_name(topic)).into_owned();
                let mut allowed = 0;
                let operations =
                    sys::rd_kafka_TopicDescription_authorized_operations(topic, &mut allowed);
                let error = error_code(sys::rd_kafka_TopicDescription_error(topic));
                (
                    name,
                    error.map_or_else(|| Ok(may_read(operations, allowed)), Err),
                )
            });
            return Answer::Topics(topics.collect());
        }
        let groups = sys::rd_kafka_event_DescribeConsumerGroups_result(event);
        if groups.is_null() {
            return Answer::Failed(Code::InvalidArgument);
        }
        let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(groups, &mut count);
        if count == 0 {
            return Answer::Failed(Code::InvalidArgument);
        }
        let group = *groups;
        if let Some(code) = error_code(sys::rd_kafka_ConsumerGroupDescription_error(group)) {
            return Answer::Group(Err(code));
        }
        Answer::Group(Ok(describe(group)))
    }
}

/// # Safety
///
/// `group` must be alive.
unsafe fn describe(group: *const sys::rd_kafka_ConsumerGroupDescription_t) -> Described {
    use sys::rd_kafka_consumer_group_type_t as Type;
    // SAFETY: by contract; everything read lives as long as the group, and is copied.
    unsafe {
        let mut allowed = 0;
        let operations =
            sys::rd_kafka_ConsumerGroupDescription_authorized_operations(group, &mut allowed);
        let members = 0..sys::rd_kafka_ConsumerGroupDescription_member_count(group);
        let members = members.map(|i| {
            let member = sys::rd_kafka_ConsumerGroupDescription_member(group, i);
            (
                text(sys::rd_kafka_MemberDescription_client_id(member)).into_owned(),
                text(sys::rd_kafka_MemberDescription_host(member)).into_owned(),
            )
        });
        Described {
            may_read: (!operations.is_null()).then(|| may_read(operations, allowed)),
            broker_assigns: match sys::rd_kafka_ConsumerGroupDescription_type(group) {
                Type::RD_KAFKA_CONSUMER_GROUP_TYPE_CONSUMER => Some(true),
                Type::RD_KAFKA_CONSUMER_GROUP_TYPE_CLASSIC => Some(false),
                _ => None,
            },
            exists: sys::rd_kafka_ConsumerGroupDescription_state(group)
                != sys::rd_kafka_consumer_group_state_t::RD_KAFKA_CONSUMER_GROUP_STATE_DEAD,
            assignor: text(sys::rd_kafka_ConsumerGroupDescription_partition_assignor(
                group,
            ))
            .into_owned(),
            members: members.collect(),
        }
    }
}

/// # Safety
///
/// `operations` must have so many elements, or be null.
unsafe fn may_read(operations: *const sys::rd_kafka_AclOperation_t, count: usize) -> bool {
    use sys::rd_kafka_AclOperation_t as Operation;
    // SAFETY: by contract.
    (!operations.is_null())
        .then(|| unsafe { std::slice::from_raw_parts(operations, count) })
        .is_some_and(|operations| operations.contains(&Operation::RD_KAFKA_ACL_OPERATION_READ))
}

/// # Safety
///
/// `error` must be alive or null.
unsafe fn error_code(error: *const sys::rd_kafka_error_t) -> Option<Code> {
    // SAFETY: by contract.
    (!error.is_null())
        .then(|| unsafe { sys::rd_kafka_error_code(error) })
        .and_then(code)
}

fn code(error: RespErr) -> Option<Code> {
    (error != RespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
}

/// Names as C texts; Kafka has none with a null in it.
fn c_texts<T: AsRef<str>>(names: &[T]) -> Vec<CString> {
    let texts = names.iter().map(|name| CString::new(name.as_ref()));
    texts.filter_map(Result::ok).collect()
}
