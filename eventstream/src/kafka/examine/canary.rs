//! Events there and back.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::Examination;
use crate::client::Client;
use crate::deadline;
use crate::doctor::facts::RoundTrip;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::config::{self, ClientConfigs};
use crate::kafka::error::from_kafka;
use crate::publish::receipt::block_on;
use crate::publish::{Delivery, Publish};

/// How many are measured.
const CANARIES: usize = 10;
/// All have one key, and so go to one partition.
const KEY: &str = "doctor";

/// Publishes canaries one after another, and reads each back before the next.
pub(crate) fn round_trip(
    client: &Client,
    what: &Examination,
    topic: &str,
    on_broker: &str,
    deadline: Instant,
) -> Result<RoundTrip> {
    // The first one shows where the others will be, and establishes the connections.
    let first = publish(client, topic, deadline)?;
    let presets = if what.is_embedded {
        config::EMBEDDED
    } else {
        &[]
    };
    let mut properties = ClientConfigs::new(&what.config, &what.brokers, presets)?.admin;
    // librdkafka requires a group id; the group is neither joined nor committed to.
    properties.set("group.id", "eventstream-doctor");
    properties.set("enable.auto.commit", "false");
    let reader: BaseConsumer = properties
        .create()
        .map_err(|e| from_kafka("read a canary", e))?;
    let mut place = TopicPartitionList::new();
    let offset = Offset::Offset(first.offset());
    let assigned = place.add_partition_offset(on_broker, first.partition(), offset);
    assigned
        .and_then(|()| reader.assign(&place))
        .map_err(|e| from_kafka("read a canary", e))?;
    read(&reader, first.offset(), deadline)?;
    let mut times = Vec::with_capacity(CANARIES);
    for _ in 0..CANARIES {
        let begin = Instant::now();
        let stored = publish(client, topic, deadline)?;
        read(&reader, stored.offset(), deadline)?;
        times.push(begin.elapsed());
    }
    times.sort();
    Ok(RoundTrip {
        topic: on_broker.to_owned(),
        times,
    })
}

fn publish(client: &Client, topic: &str, deadline: Instant) -> Result<Delivery> {
    let left = deadline::left(deadline).max(Duration::from_millis(1));
    let event = Publish::new(topic, "doctorCanary").key(KEY).timeout(left);
    block_on(async { client.publish(event).await?.await })
}

fn read(reader: &BaseConsumer, offset: i64, deadline: Instant) -> Result<()> {
    loop {
        let left = deadline::left(deadline);
        if left.is_zero() {
            let text = "read a canary: it was stored, but was not read back in time";
            return Err(Error::new(ErrorKind::Timeout, text));
        }
        match reader.poll(left.min(Duration::from_millis(100))) {
            Some(Ok(record)) if record.offset() >= offset => return Ok(()),
            Some(Ok(_)) | None => {}
            Some(Err(error)) => {
                // librdkafka looks for the coordinator of a group that is never joined.
                let of_group = Some(Code::GroupAuthorizationFailed);
                let is_of_group = error.rdkafka_error_code() == of_group;
                let error = from_kafka("read a canary", error);
                if !is_of_group && !error.is_retriable() {
                    return Err(error);
                }
            }
        }
    }
}
