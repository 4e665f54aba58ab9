//! Three nodes and their failures.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventstream_harness::{Kafka, eventually, unique_topic};
use rdkafka::ClientConfig;
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message as _};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use std::sync::Mutex;

const PATIENCE: Duration = Duration::from_secs(60);

/// The values that brokers have acknowledged.
#[derive(Default)]
struct Acknowledged(Mutex<Vec<Vec<u8>>>);

impl rdkafka::ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let value = |message: &BorrowedMessage<'_>| message.payload().unwrap_or_default().to_vec();
        if let (Ok(message), Ok(mut all)) = (result, self.0.lock()) {
            all.push(value(message));
        }
    }
}

#[test]
fn loses_nothing_acknowledged_when_nodes_fail() -> Result<()> {
    let kafka = Kafka::builder().nodes(3).start()?;
    assert_eq!(kafka.node_ids(), [1, 2, 3]);
    let admin = kafka.admin()?;
    let topic = unique_topic("loses_nothing_acknowledged");
    admin.create_topic(&topic, 3, 3, &[])?;
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka.bootstrap())
        .set("enable.idempotence", "true");
    // A paused leader keeps its connections: only these timeouts end the wait for its answer, by default after a
    // minute.
    config
        .set("socket.timeout.ms", "3000")
        .set("request.timeout.ms", "2000");
    let producer: ThreadedProducer<Acknowledged> =
        config.create_with_context(Acknowledged::default())?;
    let send = |numbers: std::ops::Range<u32>| -> Result<()> {
        for number in numbers {
            let value = number.to_string();
            producer
                .send(BaseRecord::<(), _>::to(&topic).payload(&value))
                .map_err(|(error, _)| error)?;
        }
        Ok(())
    };

    send(0..5_000)?;
    kafka.kill(2)?;
    send(5_000..10_000)?;
    producer.flush(PATIENCE)?;
    kafka.restart(2)?;
    kafka.wait_in_sync(&topic, PATIENCE)?;
    kafka.pause(3)?;
    send(10_000..15_000)?;
    producer.flush(PATIENCE)?;
    kafka.resume(3)?;
    kafka.wait_in_sync(&topic, PATIENCE)?;

    let mut sent = std::mem::take(
        &mut *producer
            .context()
            .0
            .lock()
            .ok()
            .context("a delivery callback panicked")?,
    );
    let stored = admin.read_all(&topic)?;
    let mut stored: Vec<_> = stored
        .into_iter()
        .filter_map(|record| record.value)
        .collect();
    sent.sort_unstable();
    stored.sort_unstable();
    assert_eq!(sent.len(), 15_000);
    ensure!(
        sent == stored,
        "{} acknowledged, {} stored",
        sent.len(),
        stored.len()
    );

    let leader = admin.leader(&topic, 0)?.context("no leader")?;
    let other = if leader == 1 { 2 } else { 1 };
    kafka.move_leader(&topic, 0, other)?;
    kafka.shut_down(other)?;
    eventually("another leader", PATIENCE, || {
        Ok(admin.leader(&topic, 0)?.filter(|leader| *leader != other))
    })?;
    Ok(())
}
