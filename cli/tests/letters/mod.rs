//! Dead letters as a subscription writes them.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

/// A dead letter: `n` is in its payload, its key is one of a hundred, and `h{n}` is its own header.
pub(crate) struct Letter {
    pub(crate) n: usize,
    /// `None`: written by another program, without our headers.
    pub(crate) reason: Option<&'static str>,
    pub(crate) name: String,
    pub(crate) error: String,
    pub(crate) source: String,
    pub(crate) group: String,
    pub(crate) replays: u32,
    pub(crate) timestamp: i64,
}

impl Letter {
    pub(crate) fn new(source: &str, n: usize) -> Self {
        Self {
            n,
            reason: Some("exhausted"),
            name: "paid".to_owned(),
            error: format!("connect 10.0.0.{}:5432: refused", n % 200),
            source: source.to_owned(),
            group: ".rewards".to_owned(),
            replays: 0,
            timestamp: 1_750_000_000_000 + 1000 * i64::try_from(n).unwrap(),
        }
    }

    pub(crate) fn key(&self) -> String {
        format!("k{}", self.n % 100)
    }

    pub(crate) fn value(&self) -> String {
        let (n, name) = (self.n, &self.name);
        format!(
            "{{\"id\":\"e{n}\", \"name\":\"{name}\",\"payload\":{{\"n\":{n},\"amount\":1.50}}}}"
        )
    }
}

/// Writes them to a topic, in order.
pub(crate) fn write(brokers: &str, topic: &str, letters: impl IntoIterator<Item = Letter>) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("partitioner", "consistent_random")
        // In order within a key even if a request is retried.
        .set("enable.idempotence", "true")
        .set("queue.buffering.max.messages", "1000000")
        .set("linger.ms", "20")
        .create()
        .unwrap();
    for letter in letters {
        let offset = letter.n.to_string();
        let timestamp = letter.timestamp.to_string();
        let own = format!("h{}", letter.n);
        let replays = letter.replays.to_string();
        let mut headers = OwnedHeaders::new().insert(Header {
            key: "own",
            value: Some(&own),
        });
        let ours = letter.reason.map(|reason| {
            [
                ("reason", reason),
                ("error", &letter.error),
                ("attempts", "3"),
                ("topic", &letter.source),
                ("partition", "0"),
                ("offset", &offset),
                ("timestamp", &timestamp),
                ("group", &letter.group),
                ("event-name", &letter.name),
                ("replays", &replays),
            ]
        });
        for (name, value) in ours.into_iter().flatten() {
            if name != "replays" || letter.replays > 0 {
                headers = headers.insert(Header {
                    key: &format!("eventstream-dead-letter-{name}"),
                    value: Some(value),
                });
            }
        }
        let (key, value) = (letter.key(), letter.value());
        let record = BaseRecord::to(topic)
            .key(&key)
            .payload(&value)
            .timestamp(letter.timestamp)
            .headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}
