//! The offsets of many partitions at once, one request for each broker: `rdkafka` asks for the
//! watermarks of one partition at a time.
//!
//! `unsafe`: librdkafka's admin call and the event that answers it.

use std::ffi::{c_char, c_void};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka_sys as sys;
use rdkafka_sys::{RDKafkaErrorCode as Code, rd_kafka_resp_err_t as RespErr};

use super::native::text;

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Spec {
    /// The first one that is kept.
    Earliest,
    /// The one that the next record gets.
    Latest,
}

/// A partition and its offset, or why that is not known.
pub(super) type Answer = ((String, i32), Result<i64, Code>);

/// One question: which offset of which partitions.
pub(super) struct Ask {
    pub(super) partitions: Vec<(String, i32)>,
    pub(super) spec: Spec,
}

/// Asks all at once, and gives the answers in the order of the questions. The partitions of one
/// question should have one leader: where one of several does not answer, librdkafka keeps back what
/// the others said until the timeout. Each should have a leader, for which librdkafka waits as well.
pub(super) fn list_offsets<C: ClientContext>(
    client: &Client<C>,
    asked: &[Ask],
    timeout: Duration,
) -> KafkaResult<Vec<Result<Vec<Answer>, Code>>> {
    let lists = asked.iter().map(list).collect::<KafkaResult<Vec<_>>>()?;
    let mut answers = vec![Err(Code::OperationTimedOut); asked.len()];
    let millis = i32::try_from(timeout.as_millis())
        .unwrap_or(i32::MAX)
        .max(1);
    // Each request has the timeout, so its event comes; a second on top of it bounds the wait.
    let deadline = Instant::now() + timeout.min(LONGEST) + Duration::from_secs(1);
    // SAFETY: the client is alive. Queue and options are made here and destroyed once, the queue
    // after the last event was taken from it; librdkafka copies lists and options, and holds the
    // queue as long as a question is open.
    unsafe {
        let client = client.native_ptr();
        let queue = sys::rd_kafka_queue_new(client);
        for (number, list) in lists.iter().enumerate() {
            let options = options(client, millis, number);
            sys::rd_kafka_ListOffsets(client, list.ptr(), options, queue);
            sys::rd_kafka_AdminOptions_destroy(options);
        }
        for _ in asked {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
            let event = sys::rd_kafka_queue_poll(queue, left);
            if event.is_null() {
                break;
            }
            let number = sys::rd_kafka_event_opaque(event) as usize;
            if let Some(answer) = answers.get_mut(number) {
                *answer = read(event);
            }
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
    }
    Ok(answers)
}

const LONGEST: Duration = Duration::from_secs(3600);

fn list(ask: &Ask) -> KafkaResult<TopicPartitionList> {
    let offset = match ask.spec {
        Spec::Earliest => Offset::Beginning,
        Spec::Latest => Offset::End,
    };
    let mut list = TopicPartitionList::with_capacity(ask.partitions.len());
    for (topic, partition) in &ask.partitions {
        list.add_partition_offset(topic, *partition, offset)?;
    }
    Ok(list)
}

/// # Safety
///
/// `client` must be alive. The options are the caller's to destroy.
unsafe fn options(
    client: *mut sys::rd_kafka_t,
    millis: i32,
    number: usize,
) -> *mut sys::rd_kafka_AdminOptions_t {
    const ERROR: usize = 256;
    // SAFETY: by contract; the buffer outlives the call that may write to it. The number travels as
    // a pointer that nobody follows.
    unsafe {
        let kind = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        let options = sys::rd_kafka_AdminOptions_new(client, kind);
        let mut error = [0 as c_char; ERROR];
        let text = error.as_mut_ptr();
        // It refuses times that are out of range; the default of a minute holds then.
        let _ = sys::rd_kafka_AdminOptions_set_request_timeout(options, millis, text, ERROR);
        sys::rd_kafka_AdminOptions_set_opaque(options, number as *mut c_void);
        options
    }
}

/// # Safety
///
/// `event` must be a live event.
unsafe fn read(event: *mut sys::rd_kafka_event_t) -> Result<Vec<Answer>, Code> {
    // SAFETY: by contract; what the result lends lives as long as the event, and names are copied.
    unsafe {
        let error = sys::rd_kafka_event_error(event);
        if error != RespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(error.into());
        }
        let result = sys::rd_kafka_event_ListOffsets_result(event);
        if result.is_null() {
            return Err(Code::Fail);
        }
        let mut count = 0;
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &mut count);
        let mut answers = Vec::with_capacity(count);
        for at in 0..count {
            let partition = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(at));
            let offset = match partition.err {
                RespErr::RD_KAFKA_RESP_ERR_NO_ERROR if partition.offset >= 0 => {
                    Ok(partition.offset)
                }
                // The request to its broker failed; librdkafka keeps the cause to itself.
                RespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Err(Code::RequestTimedOut),
                error => Err(error.into()),
            };
            let topic = text(partition.topic).into_owned();
            answers.push(((topic, partition.partition), offset));
        }
        Ok(answers)
    }
}
