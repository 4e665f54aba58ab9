//! A client with its broker, failures counted, and topics read back as stored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eventstream::{BrokerConfig, Client, EmbeddedBroker, ErrorKind, Publish, Undelivered};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// Generous for two busy cores.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Setup {
    pub(crate) broker: EmbeddedBroker,
    pub(crate) client: Client,
    pub(crate) failed: Failed,
}

/// The failures reported to `on_error`, by key.
#[derive(Clone, Default)]
pub(crate) struct Failed(Arc<Mutex<HashMap<String, Vec<ErrorKind>>>>);

impl Failed {
    fn push(&self, undelivered: &Undelivered) {
        let key = String::from_utf8_lossy(undelivered.key().unwrap_or_default()).into_owned();
        let kind = undelivered.error().kind();
        self.0.lock().unwrap().entry(key).or_default().push(kind);
    }

    /// How many keys failed, each exactly once and in this way.
    pub(crate) fn once_each(&self, kind: ErrorKind) -> usize {
        let told = self.0.lock().unwrap();
        for (key, kinds) in told.iter() {
            assert_eq!(kinds, &[kind], "{key}");
        }
        told.len()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().values().map(Vec::len).sum()
    }
}

/// A client without prefix on a broker of its own, with the topic `t` of one partition.
pub(crate) fn setup(config: BrokerConfig) -> Setup {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    let failed = Failed::default();
    let seen = failed.clone();
    let client = Client::embedded()
        .embedded_broker(&broker)
        .config(config)
        .on_error(move |undelivered| seen.push(&undelivered))
        .build()
        .unwrap();
    Setup {
        broker,
        client,
        failed,
    }
}

pub(crate) fn event(key: impl std::fmt::Display) -> Publish {
    Publish::new("t", "tested")
        .key(key.to_string())
        .payload(serde_json::json!({"a": 1}))
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.value).unwrap()
    }
}

/// The first `count` records of a topic, in order within each partition.
pub(crate) fn read(
    broker: &EmbeddedBroker,
    topic: &str,
    partitions: i32,
    count: usize,
) -> Vec<Record> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("group.id", "reader")
        .set("fetch.wait.max.ms", "5")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&list).unwrap();
    let deadline = Instant::now() + SOON;
    let mut records = Vec::new();
    while records.len() < count {
        assert!(
            Instant::now() < deadline,
            "{} of {count} records",
            records.len()
        );
        let Some(message) = consumer.poll(Duration::from_millis(50)) else {
            continue;
        };
        let message = message.unwrap();
        let headers = message.headers().map(|headers| {
            let all = headers.iter();
            all.map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec)))
                .collect()
        });
        records.push(Record {
            partition: message.partition(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().unwrap_or_default().to_vec(),
            headers: headers.unwrap_or_default(),
        });
    }
    records
}
