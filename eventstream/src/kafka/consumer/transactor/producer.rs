//! The transactional producer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::error::Error;
use crate::kafka::consumer::group::GroupEnv;
use crate::kafka::context::Reporter;
use crate::kafka::error::{from_code, from_kafka};
use crate::kafka::tokens::Supply;
use crate::name::prefixed;
use crate::publish::Output;

/// How long after the commit interval the broker aborts a transaction. After a member is killed, readers
/// and the next owner of its partitions wait that long at most.
const SLACK: Duration = Duration::from_secs(10);
/// The wait for room in librdkafka's queue, and before a request is made again.
const MOMENT: Duration = Duration::from_millis(10);

/// Field order is drop order: the supply goes before the client.
pub(super) struct TransactionalProducer {
    _supply: Option<Supply>,
    producer: BaseProducer<Context>,
    timeout: Duration,
}

/// librdkafka's callbacks.
struct Context {
    reporter: Arc<Reporter>,
    /// The first event of the transaction that was not stored: its topic, and why.
    failure: Mutex<Option<(String, Code)>>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reporter.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.error(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        use rdkafka::Message as _;
        let Err((error, message)) = result else {
            return;
        };
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        // What an abort takes back.
        if !matches!(code, Code::PurgeQueue | Code::PurgeInflight) {
            let failure = (message.topic().to_owned(), code);
            self.failure.lock().get_or_insert(failure);
        }
    }
}

impl TransactionalProducer {
    /// Makes a producer, and ends the transaction that an earlier one of the same name left open.
    pub(super) fn new(env: &GroupEnv) -> Result<Self, Error> {
        let timeout = env.commit.interval() + SLACK;
        let producer: BaseProducer<Context> = config(env, timeout)
            .create_with_context(Context {
                reporter: Arc::clone(&env.reporter),
                failure: Mutex::default(),
            })
            .map_err(|e| from_kafka("create the producer of transactions", e))?;
        let supply = env.reporter.supply(producer.client());
        producer
            .init_transactions(SLACK)
            .map_err(|e| failed("begin with transactions", e))?;
        Ok(Self {
            _supply: supply,
            producer,
            timeout,
        })
    }

    pub(super) fn begin(&self) -> Result<(), Error> {
        *self.producer.context().failure.lock() = None;
        let begun = self.producer.begin_transaction();
        begun.map_err(|e| failed("begin a transaction", e))
    }

    pub(super) fn send_all(&self, prefix: &str, outputs: &[Output]) -> Result<(), Error> {
        outputs
            .iter()
            .try_for_each(|output| self.send(prefix, output))
    }

    fn send(&self, prefix: &str, output: &Output) -> Result<(), Error> {
        let until = Instant::now() + self.timeout;
        let topic = prefixed(prefix, output.topic.as_str());
        let mut record = BaseRecord::<[u8], [u8]>::to(&topic);
        record.key = output.key.as_deref();
        record.payload = output.value.as_deref();
        record.partition = output.partition;
        record.timestamp = output.timestamp_ms;
        record.headers = (!output.headers.is_empty()).then(|| headers(output));
        while let Err((error, back)) = self.producer.send(record) {
            let is_full = error.rdkafka_error_code() == Some(Code::QueueFull);
            if !is_full || Instant::now() >= until {
                return Err(failed(format!("publish to {}", output.topic), error));
            }
            record = back;
            self.producer.poll(MOMENT);
        }
        Ok(())
    }

    /// Serves the reports.
    pub(super) fn poll(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Why the open transaction cannot be committed.
    pub(super) fn failure(&self) -> Option<Error> {
        let (topic, code) = self.producer.context().failure.lock().take()?;
        Some(from_code(format!("publish to {topic}"), code))
    }

    /// Commits what was sent since [`begin`](Self::begin), with these offsets.
    pub(super) fn commit(
        &self,
        offsets: &TopicPartitionList,
        metadata: &ConsumerGroupMetadata,
    ) -> Result<(), Error> {
        let until = Instant::now() + SLACK;
        let left = || until.saturating_duration_since(Instant::now());
        let offsets_sent = loop {
            let sent = (self.producer).send_offsets_to_transaction(offsets, metadata, left());
            match sent {
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && !left().is_zero() =>
                {
                    self.producer.poll(MOMENT);
                }
                sent => break sent,
            }
        };
        let committed = offsets_sent
            .map_err(|e| failed("send offsets to a transaction", e))
            .and_then(|()| {
                let committed = self.producer.commit_transaction(left());
                committed.map_err(|e| failed("commit a transaction", e))
            });
        // The event that was not stored says more than the failure of the transaction.
        committed.map_err(|error| self.failure().unwrap_or(error))
    }

    pub(super) fn abort(&self) -> Result<(), Error> {
        let aborted = self.producer.abort_transaction(SLACK);
        self.poll();
        aborted.map_err(|e| failed("abort a transaction", e))
    }
}

fn config(env: &GroupEnv, timeout: Duration) -> ClientConfig {
    let mut config = env.configs.producer.clone();
    let timeout = timeout.as_millis();
    config.set("transactional.id", &*env.transactional_id);
    config.set("transaction.timeout.ms", timeout.to_string());
    config.set("delivery.timeout.ms", timeout.to_string());
    for property in ["socket.timeout.ms", "request.timeout.ms"] {
        let own = config.get(property).and_then(|own| own.parse().ok());
        config.set(property, own.unwrap_or(timeout).min(timeout).to_string());
    }
    // Required by transactions, whatever the client's other events use.
    config.set("enable.idempotence", "true");
    config.set("acks", "-1");
    config.set("max.in.flight", "5");
    config.set("delivery.report.only.error", "true");
    config.remove("retries");
    config.remove("statistics.interval.ms");
    config
}

fn headers(output: &Output) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(output.headers.len());
    let insert = |headers: OwnedHeaders, (key, value): &(String, Option<Vec<u8>>)| {
        headers.insert(Header {
            key,
            value: value.as_ref(),
        })
    };
    output.headers.iter().fold(headers, insert)
}

fn failed(doing: impl Into<String>, error: KafkaError) -> Error {
    match &error {
        KafkaError::Transaction(cause) => {
            let doing = format!("{}: {cause}", doing.into());
            from_code(doing, cause.code())
        }
        _ => from_kafka(doing, error),
    }
}

/// Whether a rebalance caused it.
pub(super) fn is_overtaken(error: &Error) -> bool {
    let overtaken = [
        Code::IllegalGeneration,
        Code::UnknownMemberId,
        Code::RebalanceInProgress,
        Code::StaleMemberEpoch,
    ];
    let code = crate::kafka::error::code_of(error);
    code.is_some_and(|code| overtaken.contains(&code))
}
