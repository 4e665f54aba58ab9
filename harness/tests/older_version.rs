//! The line before Kafka 4, which differs in its logging and its defaults.

use anyhow::Result;
use eventstream_harness::{Kafka, OLDER_VERSION, unique_topic};

#[test]
fn starts_without_creating_topics_by_itself() -> Result<()> {
    let kafka = Kafka::builder()
        .version(OLDER_VERSION)
        .auto_create_topics(false)
        .start()?;
    assert_eq!(kafka.version(), OLDER_VERSION);
    let topic = unique_topic("starts");
    let admin = kafka.admin()?;
    admin.create_topic(&topic, 2, 1, &[])?;
    assert_eq!(admin.partitions(&topic)?, 2);
    kafka.stop();
    kafka.restart_all()?;
    assert_eq!(admin.partitions(&topic)?, 2);
    Ok(())
}
