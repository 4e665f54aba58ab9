//! The offsets of many partitions at once, one request for each broker: `rdkafka` asks for the
//! watermarks of one partition at a time.
//!
//! `unsafe`: librdkafka's admin call and the event that answers it.

use std::ffi::c_char;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka_sys as sys;
use rdkafka_sys::{RDKafkaErrorCode as Code, rd_kafka_resp_err_t as RespErr};

use super::native::text;

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spec {
    /// The first one that is kept.
    Earliest,
    /// The one that the next record gets.
    Latest,
}

/// A partition and its offset, or why that is not known.
pub(super) type Answer = ((String, i32), Result<i64, Code>);

/// Asks the leaders of `partitions`, each of which should have one: librdkafka waits for a leader
/// until the timeout. A broker that does not answer leaves its partitions at
/// [`Code::RequestTimedOut`].
pub(super) fn list_offsets<C: ClientContext>(
    client: &Client<C>,
    partitions: &[(String, i32)],
    spec: Spec,
    timeout: Duration,
) -> KafkaResult<Result<Vec<Answer>, Code>> {
    const ERROR: usize = 256;
    let offset = match spec {
        Spec::Earliest => Offset::Beginning,
        Spec::Latest => Offset::End,
    };
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        asked.add_partition_offset(topic, *partition, offset)?;
    }
    let millis = i32::try_from(timeout.as_millis())
        .unwrap_or(i32::MAX)
        .max(1);
    // The request has its own timeout, so the event comes; a second on top of it bounds the wait.
    let patience = millis.saturating_add(1000);
    // SAFETY: the client is alive. Queue and options are made here and destroyed once, after the
    // event that came through the queue; librdkafka copies the list and the options.
    unsafe {
        let client = client.native_ptr();
        let queue = sys::rd_kafka_queue_new(client);
        let options = sys::rd_kafka_AdminOptions_new(
            client,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS,
        );
        let mut error = [0 as c_char; ERROR];
        // It refuses times that are out of range; the default of a minute holds then.
        let _ = sys::rd_kafka_AdminOptions_set_request_timeout(
            options,
            millis,
            error.as_mut_ptr(),
            ERROR,
        );
        sys::rd_kafka_ListOffsets(client, asked.ptr(), options, queue);
        let event = sys::rd_kafka_queue_poll(queue, patience);
        let answers = if event.is_null() {
            Err(Code::OperationTimedOut)
        } else {
            let answers = read(event);
            sys::rd_kafka_event_destroy(event);
            answers
        };
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_queue_destroy(queue);
        Ok(answers)
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
