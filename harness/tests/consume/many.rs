//! A group with thousands of partitions.

use std::time::Duration;

use eventstream::{BrokerConfig, StartOffset};
use eventstream_harness::unique_topic;
use tokio::time::timeout;

use super::support::{END, Seen, client, committed, counting, create, publish, until};

/// With names as long as these, one commit of all of them is 1.4 MB, which a broker refuses.
const PARTITIONS: i32 = 2_600;
const NAME: usize = 230;

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_partitions_are_started_committed_and_given_up() {
    let mut topic = unique_topic("many");
    topic.extend(std::iter::repeat_n('x', NAME - topic.len()));
    create(&topic, PARTITIONS);
    let client = client(BrokerConfig::new());
    let seen = Seen::default();
    let subscribe = counting(&topic, &topic, StartOffset::Tail, &seen, Duration::ZERO);
    let subscription = client.register(subscribe).await.expect("registered");
    // The start of each partition is committed by then.
    let ready = timeout(Duration::from_secs(60), subscription.ready()).await;
    ready.expect("ready in time").expect("ready");

    publish(&client, &topic, "e", 0..50).await;
    until("each is handled", END, || seen.distinct() == 50).await;
    let stopped = subscription.stop(END).await;
    stopped.expect("all partitions are given up in time");
    assert_eq!(committed(&topic, &topic), 50);
    assert_eq!(seen.total(), 50);
    client.shutdown(END).await;
}
