//! The last version before Kafka 4, which differs in logging, defaults and group protocols.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::Result;
use eventstream::{Assignment, BrokerConfig, Client, Context, ErrorKind, Event, Subscribe};
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

#[tokio::test(flavor = "multi_thread")]
async fn says_that_it_does_not_assign_itself() -> Result<()> {
    let kafka = Kafka::builder().version(OLDER_VERSION).start()?;
    let topic = unique_topic("kip848");
    kafka.admin()?.create_topic(&topic, 1, 1, &[])?;
    let config = BrokerConfig::new().assignment(Assignment::Consumer);
    let client = Client::kafka([kafka.bootstrap()]).config(config).build()?;
    let (tell, told) = mpsc::channel();
    let subscribe = Subscribe::new(&topic)
        .group_id("kip848")
        .on_error(move |error| drop(tell.send(error)))
        .on_any(|_: Context, _: Event| async { anyhow::Ok(()) });
    let subscription = client.register(subscribe).await?;
    let error = told.recv_timeout(Duration::from_secs(20))?;
    println!("{error}");
    let health = subscription.health();
    assert!(!health.is_healthy(), "{health:?}");
    println!("{health:?}");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    client.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
