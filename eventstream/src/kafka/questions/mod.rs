//! Requests to the brokers whose answers arrive on a queue, so that no call blocks: what a topic
//! is, where partitions begin and end, what a group has committed. Each broker concerned gets one
//! request, however many partitions are asked about.
//!
//! Every `unsafe` of these calls is here.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_void};
use std::fmt;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka_sys as sys;
use rdkafka_sys::{RDKafkaErrorCode as Code, rd_kafka_resp_err_t as RespErr};

use super::native::text;

mod configs;
mod groups;

pub(super) use self::configs::{Configs, ConfigsOf};
pub(crate) use self::groups::Described;
pub(super) use self::groups::partitions_of;

/// A partition, by its topic's name on the broker.
pub(super) type TopicPartition = (String, i32);

/// Distinguishes a topic from an earlier one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TopicId {
    high: i64,
    low: i64,
}

impl TopicId {
    #[cfg(test)]
    pub(super) fn of(number: i64) -> Self {
        Self {
            high: 0,
            low: number,
        }
    }

    /// Parses the output of [`Display`](fmt::Display).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bits = u128::from_str_radix(text, 16).ok()?;
        (text.len() == 32).then_some(Self {
            high: (bits >> 64) as i64,
            low: bits as i64,
        })
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

/// A topic as the brokers describe it.
pub(super) struct TopicFacts {
    pub(super) name: String,
    /// `None` if these brokers have no topic ids.
    pub(super) id: Option<TopicId>,
    pub(super) error: Option<Code>,
    /// The leader of each partition.
    pub(super) partitions: BTreeMap<i32, Option<i32>>,
    /// This client's rights; empty if they were not requested, or the broker does not report them.
    pub(super) rights: Rights,
}

/// This client's rights on a topic or a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) describe: bool,
}

/// Which offset of a partition to request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Earliest,
    Latest,
    /// Of the first record with this timestamp, in milliseconds, or a later one; -1 if there is
    /// none.
    At(i64),
}

/// A group's committed offset in a partition.
pub(super) struct Committed {
    pub(super) partition: TopicPartition,
    /// Negative if nothing is committed.
    pub(super) offset: i64,
    pub(super) metadata: String,
    pub(super) error: Option<Code>,
}

/// A leader's answer about a partition.
pub(super) type FoundOffset = (TopicPartition, Result<i64, Code>);

/// The result of a request.
pub(super) enum Answer {
    Topics(Result<Vec<TopicFacts>, Refused>),
    Offsets(Result<Vec<FoundOffset>, Refused>),
    Committed(Result<Vec<Committed>, Refused>),
    /// The properties of each resource, or its error.
    Configs(Result<Vec<Result<Configs, Code>>, Refused>),
    /// A group as its coordinator describes it, or the coordinator's error.
    Group(Result<Result<Described, Code>, Refused>),
}

/// Why a whole request has no answer.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: Code,
    pub(super) reason: String,
}

/// How many partitions one request about offsets, or commits, should be for. librdkafka compares each partition of a
/// request with each, on the thread that asks.
pub(super) const AT_ONCE: usize = 500;

/// How long requests about offsets stay open in librdkafka, at least. Their timeout's timer runs while the thread that
/// asks still looks for the leaders (`rd_kafka_topic_partition_list_query_leaders_async`), and if it ends the request
/// first, the request is freed twice. Where the CPU is scarce, that thread may wait for seconds. So who asks has a
/// deadline of its own, and discards what comes after it.
const OFFSETS: Duration = Duration::from_secs(60);

/// How long requests to a coordinator stay open in librdkafka, the maximum. It aborts the process if such a request
/// times out before its coordinator is found, and that one is found afterwards (its issues 3663 and 4605). So these
/// requests wait for the coordinator; to give up, end the client.
pub(super) const TO_COORDINATOR: Duration = Duration::from_secs(3600);

/// A queue on which answers arrive, each with its request's token.
pub(super) struct Questions<'a, C: ClientContext> {
    pub(super) client: &'a Client<C>,
    pub(super) queue: *mut sys::rd_kafka_queue_t,
    pub(super) timeout: Duration,
}

impl<C: ClientContext> Questions<'_, C> {
    /// Describes topics. Never creates one.
    pub(super) fn topics(&self, names: &[&str], token: usize) {
        self.describe(names, false, token);
    }

    /// Describes topics, and whether this client may read them.
    pub(super) fn rights_on(&self, names: &[&str], token: usize) {
        self.describe(names, true, token);
    }

    fn describe(&self, names: &[&str], with_rights: bool, token: usize) {
        let names: Vec<CString> = names.iter().filter_map(|n| CString::new(*n).ok()).collect();
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let options = self.options(
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            token,
        );
        if with_rights {
            options.ask_rights();
        }
        if is_embedded(self.client) {
            // This request goes to the controller, and the mock cluster names none.
            options.ask_broker(1);
        }
        // SAFETY: client, queue and names are alive; librdkafka copies names and options.
        unsafe {
            let topics =
                sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            sys::rd_kafka_DescribeTopics(self.client.native_ptr(), topics, options.0, self.queue);
            sys::rd_kafka_TopicCollection_destroy(topics);
        }
    }

    /// Requests one offset of each partition, of which there should be no more than [`AT_ONCE`]. If a leader does not
    /// answer, the other answers of the request arrive only at its timeout, so each leader is asked separately. The
    /// timeout may be longer than this client's.
    pub(super) fn offsets<'a>(
        &self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
        which: Which,
        token: usize,
    ) {
        let options = self.options_for(
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS,
            self.timeout.max(OFFSETS),
            token,
        );
        let spec = match which {
            Which::Earliest => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64,
            Which::Latest => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64,
            Which::At(millis) => millis.max(0),
        };
        // SAFETY: client and queue are alive; the list is owned by this scope and destroyed once;
        // librdkafka copies it, its names and the options.
        unsafe {
            let list = list_of(partitions, Some(spec));
            sys::rd_kafka_ListOffsets(self.client.native_ptr(), list, options.0, self.queue);
            sys::rd_kafka_topic_partition_list_destroy(list);
        }
    }

    /// Requests a group's committed offsets in these partitions, of which there must be some. The answer may take as
    /// long as the coordinator is unavailable, or longer if a connection is half open, so only use it with a client
    /// that ends with the request.
    pub(super) fn committed<'a>(
        &self,
        group: &str,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
        token: usize,
    ) {
        let options = self.options_for(
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
            TO_COORDINATOR,
            token,
        );
        let group = CString::new(group).unwrap_or_default();
        // SAFETY: client and queue are alive; list and request are owned by this scope and destroyed once; librdkafka
        // copies them and the options. An offset held back by a transaction arrives as an error instead of an older
        // one.
        unsafe {
            let list = list_of(partitions, None);
            let error = sys::rd_kafka_AdminOptions_set_require_stable_offsets(options.0, 1);
            if !error.is_null() {
                sys::rd_kafka_error_destroy(error);
            }
            let mut request = sys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), list);
            sys::rd_kafka_topic_partition_list_destroy(list);
            sys::rd_kafka_ListConsumerGroupOffsets(
                self.client.native_ptr(),
                &mut request,
                1,
                options.0,
                self.queue,
            );
            sys::rd_kafka_ListConsumerGroupOffsets_destroy(request);
        }
    }

    /// Describes a group: its kind, its members, and whether this client may read in it. The answer may take as long
    /// as the coordinator is unavailable.
    pub(super) fn group(&self, name: &str, token: usize) {
        let name = CString::new(name).unwrap_or_default();
        let options = self.options_for(
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
            TO_COORDINATOR,
            token,
        );
        options.ask_rights();
        let mut names = [name.as_ptr()];
        // SAFETY: client, queue and name are alive; librdkafka copies name and options.
        unsafe {
            sys::rd_kafka_DescribeConsumerGroups(
                self.client.native_ptr(),
                names.as_mut_ptr(),
                names.len(),
                options.0,
                self.queue,
            );
        }
    }

    /// Whether a broker has reported the cluster's id.
    pub(super) fn is_connected(&self) -> bool {
        cluster(self.client).is_some()
    }

    fn options(&self, operation: sys::rd_kafka_admin_op_t, token: usize) -> Options {
        self.options_for(operation, self.timeout, token)
    }

    fn options_for(
        &self,
        operation: sys::rd_kafka_admin_op_t,
        timeout: Duration,
        token: usize,
    ) -> Options {
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let mut reason: [c_char; 256] = [0; 256];
        // SAFETY: the client is alive; the buffer is as long as it is said to be. The token is a
        // number that travels in a pointer and is never followed.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(self.client.native_ptr(), operation);
            // Rejected only if out of range, and then the default applies.
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options,
                millis.max(1),
                reason.as_mut_ptr(),
                reason.len(),
            );
            sys::rd_kafka_AdminOptions_set_opaque(options, token as *mut c_void);
            Options(options)
        }
    }
}

/// Whether the broker is an embedded one. The client must have received an answer from it.
pub(super) fn is_embedded<C: ClientContext>(client: &Client<C>) -> bool {
    cluster(client).is_some_and(|name| name.starts_with("mockCluster"))
}

fn cluster<C: ClientContext>(client: &Client<C>) -> Option<String> {
    let client = client.native_ptr();
    // SAFETY: the client is alive; the text is owned, and freed by librdkafka.
    unsafe {
        let name = sys::rd_kafka_clusterid(client, 0);
        if name.is_null() {
            return None;
        }
        let cluster = text(name).into_owned();
        sys::rd_kafka_mem_free(client, name.cast());
        Some(cluster)
    }
}

struct Options(*mut sys::rd_kafka_AdminOptions_t);

impl Options {
    fn ask_broker(&self, id: i32) {
        let mut reason: [c_char; 256] = [0; 256];
        // SAFETY: owned; the buffer has the given length. It accepts any number above 0.
        unsafe {
            sys::rd_kafka_AdminOptions_set_broker(self.0, id, reason.as_mut_ptr(), reason.len());
        }
    }
}

impl Options {
    /// Requests this client's rights too.
    fn ask_rights(&self) {
        // SAFETY: owned; the error is destroyed. Both kinds of descriptions support this option.
        unsafe {
            let error = sys::rd_kafka_AdminOptions_set_include_authorized_operations(self.0, 1);
            if !error.is_null() {
                sys::rd_kafka_error_destroy(error);
            }
        }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: owned.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0) }
    }
}

/// A list of librdkafka, to be destroyed by the caller. Without an offset, each element has
/// librdkafka's value for none.
///
/// # Safety
///
/// None of its own: marked because the list must not be leaked.
pub(super) unsafe fn list_of<'a>(
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
    offset: Option<i64>,
) -> *mut sys::rd_kafka_topic_partition_list_t {
    // SAFETY: librdkafka copies the names; the element that it gives back is the list's.
    unsafe {
        let list = sys::rd_kafka_topic_partition_list_new(0);
        for (topic, partition) in partitions {
            let Ok(topic) = CString::new(topic.as_str()) else {
                continue;
            };
            let element = sys::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), *partition);
            if let Some(offset) = offset {
                (*element).offset = offset;
            }
        }
        list
    }
}

/// The answer in an event, with its token; `None` if the event is not one.
///
/// # Safety
///
/// `event` must be alive.
pub(super) unsafe fn answer(event: *mut sys::rd_kafka_event_t) -> Option<(usize, Answer)> {
    // SAFETY: by contract; everything read lives as long as the event, and is copied.
    unsafe {
        let refused = || {
            let code = sys::rd_kafka_event_error(event);
            (code != RespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| Refused {
                code: code.into(),
                reason: text(sys::rd_kafka_event_error_string(event)).into_owned(),
            })
        };
        let answer = match sys::rd_kafka_event_type(event) {
            sys::RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT => Answer::Topics(match refused() {
                Some(refused) => Err(refused),
                None => Ok(topics(sys::rd_kafka_event_DescribeTopics_result(event))),
            }),
            sys::RD_KAFKA_EVENT_LISTOFFSETS_RESULT => Answer::Offsets(match refused() {
                Some(refused) => Err(refused),
                None => Ok(offsets(sys::rd_kafka_event_ListOffsets_result(event))),
            }),
            sys::RD_KAFKA_EVENT_LISTCONSUMERGROUPOFFSETS_RESULT => {
                Answer::Committed(match refused() {
                    Some(refused) => Err(refused),
                    None => committed(sys::rd_kafka_event_ListConsumerGroupOffsets_result(event)),
                })
            }
            sys::RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT => Answer::Configs(match refused() {
                Some(refused) => Err(refused),
                None => Ok(configs::all(sys::rd_kafka_event_DescribeConfigs_result(
                    event,
                ))),
            }),
            sys::RD_KAFKA_EVENT_DESCRIBECONSUMERGROUPS_RESULT => Answer::Group(match refused() {
                Some(refused) => Err(refused),
                None => Ok(groups::first(
                    sys::rd_kafka_event_DescribeConsumerGroups_result(event),
                )),
            }),
            _ => return None,
        };
        Some((sys::rd_kafka_event_opaque(event) as usize, answer))
    }
}

/// # Safety
///
/// `result` must be alive.
unsafe fn topics(result: *const sys::rd_kafka_DescribeTopics_result_t) -> Vec<TopicFacts> {
    let mut count = 0;
    // SAFETY: by contract; arrays are as long as said.
    unsafe {
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let describe = |at: usize| {
            let topic = *topics.add(at);
            let mut parts = 0;
            let partitions = sys::rd_kafka_TopicDescription_partitions(topic, &mut parts);
            let partition = |at: usize| {
                let partition = *partitions.add(at);
                let leader = sys::rd_kafka_TopicPartitionInfo_leader(partition);
                let leader = (!leader.is_null()).then(|| sys::rd_kafka_Node_id(leader));
                (
                    sys::rd_kafka_TopicPartitionInfo_partition(partition),
                    leader.filter(|id| *id >= 0),
                )
            };
            let mut allowed = 0;
            let operations =
                sys::rd_kafka_TopicDescription_authorized_operations(topic, &mut allowed);
            let id = sys::rd_kafka_TopicDescription_topic_id(topic);
            let id = (!id.is_null()).then(|| TopicId {
                high: sys::rd_kafka_Uuid_most_significant_bits(id),
                low: sys::rd_kafka_Uuid_least_significant_bits(id),
            });
            TopicFacts {
                name: text(sys::rd_kafka_TopicDescription_name(topic)).into_owned(),
                id: id.filter(|id| *id != TopicId { high: 0, low: 0 }),
                error: error_code(sys::rd_kafka_TopicDescription_error(topic)),
                partitions: (0..parts).map(partition).collect(),
                rights: rights(operations, allowed),
            }
        };
        (0..count).map(describe).collect()
    }
}

/// # Safety
///
/// `result` must be alive.
unsafe fn offsets(result: *const sys::rd_kafka_ListOffsets_result_t) -> Vec<FoundOffset> {
    let mut count = 0;
    // SAFETY: by contract; arrays are as long as said.
    unsafe {
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &mut count);
        let read = |at: usize| {
            let info = *infos.add(at);
            let found = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
            let offset = match code(found.err) {
                Some(code) => Err(code),
                None if found.offset >= -1 => Ok(found.offset),
                // librdkafka leaves this, without an error, if the leader did not answer.
                None => Err(Code::OperationTimedOut),
            };
            ((text(found.topic).into_owned(), found.partition), offset)
        };
        (0..count).map(read).collect()
    }
}

/// # Safety
///
/// `result` must be alive.
unsafe fn committed(
    result: *const sys::rd_kafka_ListConsumerGroupOffsets_result_t,
) -> Result<Vec<Committed>, Refused> {
    let mut count = 0;
    let mut found = Vec::new();
    // SAFETY: by contract; arrays are as long as said.
    unsafe {
        let groups = sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
        for at in 0..count {
            let group = *groups.add(at);
            let error = sys::rd_kafka_group_result_error(group);
            if let Some(code) = error_code(error) {
                return Err(Refused {
                    code,
                    reason: text(sys::rd_kafka_error_string(error)).into_owned(),
                });
            }
            found.extend(elements(sys::rd_kafka_group_result_partitions(group)));
        }
    }
    Ok(found)
}

/// # Safety
///
/// `list` must be null or alive.
pub(super) unsafe fn elements(list: *const sys::rd_kafka_topic_partition_list_t) -> Vec<Committed> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: by contract; names and metadata are copied.
    unsafe {
        let read = |at: usize| {
            let element = &*(*list).elems.add(at);
            let metadata = super::native::slice(element.metadata, element.metadata_size);
            Committed {
                partition: (text(element.topic).into_owned(), element.partition),
                offset: element.offset,
                metadata: String::from_utf8_lossy(metadata.unwrap_or_default()).into_owned(),
                error: code(element.err),
            }
        };
        (0..usize::try_from((*list).cnt).unwrap_or(0))
            .map(read)
            .collect()
    }
}

/// The committed offsets of the consumer's own group; blocks. Offsets held back by a transaction have an error.
pub(super) fn committed_now<'a, C: ClientContext>(
    client: &Client<C>,
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
    timeout: Duration,
) -> Result<Vec<Committed>, Code> {
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client is alive; the list is owned by this scope and destroyed once, after it was
    // read.
    unsafe {
        let list = list_of(partitions, None);
        let error = code(sys::rd_kafka_committed(client.native_ptr(), list, millis));
        let found = error.map_or_else(|| Ok(elements(list)), Err);
        sys::rd_kafka_topic_partition_list_destroy(list);
        found
    }
}

/// # Safety
///
/// `operations` must have so many elements, or be null.
unsafe fn rights(operations: *const sys::rd_kafka_AclOperation_t, count: usize) -> Rights {
    use sys::rd_kafka_AclOperation_t as Operation;
    if operations.is_null() {
        return Rights::default();
    }
    // SAFETY: by contract.
    let operations = unsafe { std::slice::from_raw_parts(operations, count) };
    Rights {
        read: operations.contains(&Operation::RD_KAFKA_ACL_OPERATION_READ),
        write: operations.contains(&Operation::RD_KAFKA_ACL_OPERATION_WRITE),
        describe: operations.contains(&Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE),
    }
}

/// # Safety
///
/// `error` must be null or alive.
pub(super) unsafe fn error_code(error: *const sys::rd_kafka_error_t) -> Option<Code> {
    if error.is_null() {
        return None;
    }
    // SAFETY: by contract.
    code(unsafe { sys::rd_kafka_error_code(error) })
}

fn code(error: RespErr) -> Option<Code> {
    (error != RespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_ids_are_read_as_written() {
        for (high, low) in [(0, 1), (-1, i64::MIN), (i64::MAX, -5)] {
            let id = TopicId { high, low };
            assert_eq!(TopicId::parse(&id.to_string()), Some(id));
        }
        for text in ["", "1", "zz", &"0".repeat(33)] {
            assert_eq!(TopicId::parse(text), None, "{text}");
        }
    }
}
