//! A broker for one behaviour, and the operations that behaviours share.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventstream::{BrokerConfig, Client, ClientBuilder, EmbeddedBroker, Publish};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokio::task::block_in_place;

use crate::admin::Admin;
use crate::shared::unique_topic;

/// Generous for two busy cores.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// The prefix of every topic and group here.
const PREFIX: &str = "contract";

/// The broker that a behaviour runs on.
pub struct Setup {
    brokers: String,
    broker: Broker,
}

enum Broker {
    Embedded(EmbeddedBroker),
    Kafka(&'static Admin),
}

impl Setup {
    /// A private embedded broker.
    ///
    /// # Panics
    /// It cannot start.
    #[must_use]
    pub fn embedded() -> Self {
        let broker = EmbeddedBroker::start().expect("the embedded broker starts");
        Self {
            brokers: broker.address().to_owned(),
            broker: Broker::Embedded(broker),
        }
    }

    /// A running cluster.
    #[must_use]
    pub fn kafka(brokers: &str, admin: &'static Admin) -> Self {
        Self {
            brokers: brokers.to_owned(),
            broker: Broker::Kafka(admin),
        }
    }

    /// A client with the settings that most behaviours need.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn client(&self) -> Result<Client> {
        Ok(self.builder().build()?)
    }

    /// A client builder with these settings.
    pub fn builder(&self) -> ClientBuilder {
        let builder = match &self.broker {
            Broker::Embedded(broker) => Client::embedded().embedded_broker(broker),
            Broker::Kafka(_) => Client::kafka([&self.brokers]),
        };
        builder.prefix(PREFIX).config(self.config())
    }

    /// The configuration of the clients: the defaults, without the wait for more registrations where it is not the point.
    pub fn config(&self) -> BrokerConfig {
        let config = BrokerConfig::new().registration_settle(Duration::from_millis(100));
        match &self.broker {
            // There, a rebalance only happens once the session timeout has passed.
            Broker::Embedded(_) => config.session_timeout(Duration::from_millis(1500)),
            Broker::Kafka(_) => config,
        }
    }

    /// Creates a topic with this many partitions, and its dead-letter topic with one. Named without the prefix.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn create_topic(&self, behaviour: &str, partitions: i32) -> Result<String> {
        let topic = unique_topic(behaviour);
        self.create(&topic, partitions)?;
        self.create(&format!("{topic}-dlq"), 1)?;
        Ok(topic)
    }

    /// Creates a topic, named without the prefix.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn create(&self, topic: &str, partitions: i32) -> Result<()> {
        let name = self.on_broker(topic);
        match &self.broker {
            Broker::Embedded(broker) => broker.create_topic(&name, partitions)?,
            Broker::Kafka(admin) => {
                block_in_place(|| admin.create_topic(&name, partitions, 1, &[]))?;
            }
        }
        Ok(())
    }

    /// The topic's name with the prefix.
    pub fn on_broker(&self, topic: &str) -> String {
        format!("{PREFIX}.{topic}")
    }

    /// Writes records directly to the first partition, not through the library.
    ///
    /// # Errors
    /// They are not stored.
    pub fn write_raw(&self, topic: &str, values: &[Option<&[u8]>]) -> Result<()> {
        let topic = self.on_broker(topic);
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .create()?;
        block_in_place(|| {
            for value in values {
                let mut record = BaseRecord::to(&topic).key("raw").partition(0);
                if let Some(value) = value {
                    record = record.payload(*value);
                }
                producer.send(record).map_err(|(error, _)| error)?;
            }
            producer.flush(SOON).context("writing past the library")
        })
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("brokers", &self.brokers)
            .finish_non_exhaustive()
    }
}

/// Publishes numbered events with this name and the keys in turn, and returns when all are stored.
pub(super) async fn publish_numbers(
    client: &Client,
    topic: &str,
    name: &str,
    keys: &[&str],
    numbers: std::ops::Range<u64>,
) -> Result<()> {
    let mut receipts = Vec::new();
    for number in numbers {
        let key = keys[usize::try_from(number)? % keys.len()];
        let event = Publish::new(topic, name)
            .key(key)
            .payload(serde_json::json!({ "n": number }));
        receipts.push(client.publish(event).await?);
    }
    for receipt in receipts {
        receipt.await?;
    }
    Ok(())
}

/// Ends a client that has nothing left to do.
///
/// # Errors
/// An event was not delivered.
pub async fn end(client: &Client) -> Result<()> {
    let undelivered = client.shutdown(SOON).await;
    ensure!(undelivered.is_empty(), "not delivered: {undelivered:?}");
    Ok(())
}
