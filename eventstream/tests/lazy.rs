//! A client that publishes nothing has no producer. Alone in its process, as it counts threads.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::time::{Duration, Instant};

use eventstream::{BrokerConfig, Client, Context, Event, Publish, Subscribe};

const SOON: Duration = Duration::from_secs(20);

/// How many delivery threads there are; Linux keeps 15 bytes of a name.
fn delivery_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
    tasks
        .filter_map(|task| name(task.ok()?).ok())
        .filter(|name| name.starts_with("eventstream-del"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_producer_is_made_at_the_first_publish() {
    let client = Client::embedded().build().unwrap();
    let broker = client.embedded_broker().unwrap();
    broker.create_topic("t", 1).unwrap();
    let subscription = client
        .register(
            Subscribe::new("t")
                .group_id("g")
                .on("tested", |_: Context, _: Event| async {
                    Ok::<(), std::io::Error>(())
                }),
        )
        .await
        .unwrap();
    let deadline = Instant::now() + SOON;
    while client.reader_stats().partitions == 0 {
        assert!(Instant::now() < deadline, "assigned");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(delivery_threads(), 0, "nothing was published");
    let config = BrokerConfig::new();
    let unused = Client::embedded()
        .embedded_broker(broker)
        .config(config)
        .build()
        .unwrap();
    unused.flush(Duration::ZERO).await.unwrap();
    assert!(unused.health().problems.is_empty());
    assert!(unused.shutdown(SOON).await.is_empty());
    let closed = unused.publish(Publish::new("t", "tested")).await;
    assert_eq!(closed.unwrap_err().kind(), eventstream::ErrorKind::Closed);
    assert_eq!(delivery_threads(), 0);

    client
        .publish_sync(Publish::new("t", "tested"))
        .await
        .unwrap();
    assert_eq!(delivery_threads(), 1);
    subscription.stop(SOON).await.unwrap();
    assert!(client.shutdown(SOON).await.is_empty());
    // A thread that was joined may still be listed for a moment.
    let deadline = Instant::now() + SOON;
    while delivery_threads() > 0 {
        assert!(Instant::now() < deadline, "the delivery thread has ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
