//! One node, as every test of a library user uses it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventstream_harness::{shared, unique_topic};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn keeps_records_as_they_were_sent() -> Result<()> {
    let topic = unique_topic("keeps_records_as_they_were_sent");
    let admin = shared().admin();
    admin.create_topic(&topic, 3, 1, &[("retention.ms", "60000")])?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", shared().bootstrap())
        .set("enable.idempotence", "true")
        .create()?;
    for number in 0..30_i32 {
        let header = Header {
            key: "number",
            value: Some(&number.to_string()),
        };
        let value = format!("value {number}");
        let record = BaseRecord::to(&topic)
            .partition(number % 3)
            .key("k")
            .payload(&value);
        let record = record.headers(OwnedHeaders::new().insert(header));
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(PATIENCE)?;

    let records = admin.read_all(&topic)?;
    assert_eq!(records.len(), 30);
    let last = records.last().context("no record")?;
    assert_eq!((last.partition, last.offset), (2, 9));
    assert_eq!(last.value.as_deref(), Some(&b"value 29"[..]));
    assert_eq!(last.headers, [("number".to_owned(), Some(b"29".to_vec()))]);
    ensure!(last.timestamp.is_some(), "no timestamp");
    assert_eq!(admin.end_offsets(&topic)?, [(0, 10), (0, 10), (0, 10)]);
    assert_eq!(admin.count_records(&topic)?, 30);
    assert_eq!(admin.committed("nobody", &topic)?, [None, None, None]);
    assert_eq!(admin.members("nobody")?, 0);
    Ok(())
}

#[test]
fn changes_topics() -> Result<()> {
    let topic = unique_topic("changes_topics");
    let admin = shared().admin();
    admin.create_topic(&topic, 1, 1, &[])?;
    ensure!(
        admin.create_topic(&topic, 1, 1, &[]).is_err(),
        "created twice"
    );
    admin.add_partitions(&topic, 4)?;
    assert_eq!(admin.partitions(&topic)?, 4);
    assert_eq!(admin.leader(&topic, 3)?, Some(1));
    admin.delete_topic(&topic)?;
    ensure!(admin.partitions(&topic).is_err(), "still there");
    Ok(())
}
