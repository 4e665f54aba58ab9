//! Creating a topic. As with questions, the client ends with the call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic as Native, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaRespErr;

use super::EmbeddedBroker;
use super::config::ClientConfigs;
use super::context::Reporter;
use super::denied::{Operation, Resource, is_denied};
use super::error::{from_code, from_kafka};
use super::inspect::{Asker, Asking, fetch};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::publish::receipt::block_on;

/// The topic to create, named as on the broker.
pub(super) struct NewTopic {
    pub(super) name: String,
    pub(super) partitions: u32,
    pub(super) replication: u16,
    /// Disables deletion by age and size.
    pub(super) kept: bool,
}

impl NewTopic {
    fn partitions(&self) -> Result<i32> {
        i32::try_from(self.partitions)
            .ok()
            .filter(|partitions| *partitions > 0)
            .ok_or_else(|| self.fault("partitions", self.partitions.to_string()))
    }

    fn fault(&self, field: &str, value: String) -> Error {
        let allowed = format!("must be from 1 to {}", i32::MAX);
        Error::from_faults(
            ErrorKind::Validation,
            &self.doing(),
            vec![Fault::new(field, value, allowed)],
        )
    }

    fn doing(&self) -> String {
        format!("create topic {}", self.name)
    }
}

/// Creates the topic; `false` if it already exists.
pub(super) fn create_topic(
    configs: &ClientConfigs,
    reporter: &Arc<Reporter>,
    topic: &NewTopic,
    timeout: Duration,
) -> Result<bool> {
    let deadline = crate::deadline::after(timeout);
    let partitions = topic.partitions()?;
    if topic.replication == 0 {
        return Err(topic.fault("replication", "0".to_owned()));
    }
    if exists(configs, reporter, topic, deadline)? {
        return Ok(false);
    }
    let admin: AdminClient<Asking> = configs
        .admin
        .create_with_context(Asking::new(reporter))
        .map_err(|e| from_kafka(topic.doing(), e))?;
    let _supply = reporter.supply(admin.inner());
    let mut native = Native::new(
        &topic.name,
        partitions,
        TopicReplication::Fixed(i32::from(topic.replication)),
    );
    if topic.kept {
        native = native
            .set("cleanup.policy", "delete")
            .set("retention.ms", "-1")
            .set("retention.bytes", "-1");
    }
    let left = deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(100));
    let options = AdminOptions::new()
        .request_timeout(Some(left))
        .operation_timeout(Some(left));
    let results = block_on(admin.create_topics([&native], &options))
        .map_err(|e| from_kafka(topic.doing(), e))?;
    match results.into_iter().next() {
        Some(Err((_, Code::TopicAlreadyExists))) => Ok(false),
        Some(Err((_, Code::UnsupportedFeature))) => Err(unsupported(topic)),
        Some(Err((_, code))) if is_denied(code) => {
            let on = Resource::Topic(&topic.name);
            Err(reporter.denied(&topic.doing(), Operation::Create, on, code))
        }
        Some(Err((_, code))) => Err(from_code(topic.doing(), code)),
        Some(Ok(_)) | None => Ok(true),
    }
}

/// Asked with a consumer, which reports why the brokers do not answer; an admin client does not.
fn exists(
    configs: &ClientConfigs,
    reporter: &Arc<Reporter>,
    topic: &NewTopic,
    deadline: Instant,
) -> Result<bool> {
    let client = Asker::new(&configs.admin, reporter).map_err(|e| from_kafka(topic.doing(), e))?;
    let found = fetch(&client, reporter, Some(&topic.name), deadline)?;
    let exists = found
        .topics()
        .iter()
        .any(|entry| entry.name() == topic.name && !is_unknown(entry.error()));
    let controller = controller(&client, deadline);
    if !exists && found.brokers().iter().all(|b| b.id() != controller) {
        return Err(unsupported(topic));
    }
    Ok(exists)
}

/// The broker that accepts admin requests. An embedded one names a broker that does not exist, and
/// librdkafka would wait for it until the deadline.
fn controller(client: &BaseConsumer<Asking>, deadline: Instant) -> i32 {
    let left = deadline.saturating_duration_since(Instant::now());
    let millis = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client is alive.
    unsafe { rdkafka_sys::rd_kafka_controllerid(client.client().native_ptr(), millis) }
}

fn is_unknown(error: Option<RDKafkaRespErr>) -> bool {
    error.is_some_and(|code| {
        matches!(
            code.into(),
            Code::UnknownTopic | Code::UnknownTopicOrPartition
        )
    })
}

/// The broker inside the process has one replica of everything; its topics are created directly.
pub(super) fn create_embedded(broker: &EmbeddedBroker, topic: &NewTopic) -> Result<bool> {
    let partitions = topic.partitions()?;
    match broker.create_topic(&topic.name, partitions) {
        Ok(()) => Ok(true),
        // It rejects nothing else once the number of partitions is valid.
        Err(error) if error.kind() == ErrorKind::Broker => Ok(false),
        Err(error) => Err(error),
    }
}

fn unsupported(topic: &NewTopic) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "{}: the broker does not answer admin requests; an embedded broker of another process never does",
            topic.doing()
        ),
    )
}
