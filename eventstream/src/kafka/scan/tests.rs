use std::time::{Duration, SystemTime};

use super::{Bounds, Span};
use crate::client::Client;
use crate::name::Topic;
use crate::publish::Publish;
use crate::record::Record;

const PATIENCE: Duration = Duration::from_secs(60);

async fn client() -> Client {
    let client = Client::embedded().prefix("p").build().expect("a client");
    let created = client.create_topic("t", 3, 1, PATIENCE).await;
    assert!(created.expect("created"));
    client
}

async fn publish(client: &Client, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let event = Publish::new("t", "n").key(format!("k{}", n % 9));
        let event = event.header("n", n.to_string());
        let _receipt = client.publish(event).await.expect("accepted");
    }
    client.flush(PATIENCE).await.expect("stored");
}

async fn bounds(client: &Client) -> Bounds {
    let kafka = client.on_brokers("test").expect("embedded");
    let bounds = kafka.bounds("t", None, PATIENCE).await;
    bounds.expect("an answer").expect("a topic")
}

/// The partition, offset and number of each record in these spans.
async fn read(client: &Client, spans: &[Span]) -> Vec<(i32, i64, usize)> {
    let kafka = client.on_brokers("test").expect("embedded");
    let topic = Topic::new("t").expect("valid");
    let mut scan = kafka.scan(&topic, spans).expect("a scan");
    let mut read = Vec::new();
    while let Some(batch) = scan.next().await {
        for record in batch.expect("no error") {
            assert_eq!(record.source.topic.as_str(), "t");
            let place = (record.source.partition, record.offset);
            read.push((place.0, place.1, number(&record)));
        }
    }
    read
}

fn number(record: &Record) -> usize {
    let (_, value) = record.header_values().next().expect("a header");
    let text = std::str::from_utf8(value.expect("a value")).expect("text");
    text.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_what_is_there_at_the_start_and_no_more() {
    let client = client().await;
    publish(&client, 0..500).await;
    let found = bounds(&client).await;
    publish(&client, 500..600).await;
    let mut read = read(&client, &found.spans).await;
    for partition in 0..3 {
        let of_it = read.iter().filter(|(id, _, _)| *id == partition);
        let offsets: Vec<_> = of_it.map(|(_, offset, _)| *offset).collect();
        let span = found.spans.iter().find(|span| span.partition == partition);
        let span = span.expect("a span");
        assert_eq!(offsets, (span.from..span.to).collect::<Vec<_>>());
    }
    read.sort_by_key(|(_, _, number)| *number);
    let numbers: Vec<_> = read.iter().map(|(_, _, number)| *number).collect();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_a_part_of_a_partition_and_nothing_of_the_others() {
    let client = client().await;
    publish(&client, 0..300).await;
    let found = bounds(&client).await;
    let fullest = found
        .spans
        .iter()
        .max_by_key(|span| span.to)
        .expect("three");
    let part = Span {
        from: 10,
        to: 20,
        ..*fullest
    };
    let read = read(&client, &[part]).await;
    let places: Vec<_> = read.iter().map(|(id, offset, _)| (*id, *offset)).collect();
    let expected: Vec<_> = (10..20).map(|offset| (part.partition, offset)).collect();
    assert_eq!(places, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_nothing_ends_at_once_and_what_is_not_there_is_none() {
    let client = client().await;
    let found = bounds(&client).await;
    assert_eq!(found.spans.len(), 3);
    assert!(read(&client, &found.spans).await.is_empty());
    assert!(read(&client, &[]).await.is_empty());
    let kafka = client.on_brokers("test").expect("embedded");
    let missing = kafka.bounds("missing", Some(SystemTime::now()), PATIENCE);
    assert!(missing.await.expect("an answer").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_nobody_reads_waits_and_ends_with_its_handle() {
    let client = client().await;
    publish(&client, 0..5_000).await;
    let found = bounds(&client).await;
    let kafka = client.on_brokers("test").expect("embedded");
    let topic = Topic::new("t").expect("valid");
    let mut scan = kafka.scan(&topic, &found.spans).expect("a scan");
    assert!(scan.next().await.expect("records").is_ok());
    assert!(scan.waiting() <= super::WAITING);
    let ended = scan.ended();
    drop(scan);
    tokio::time::timeout(PATIENCE, ended)
        .await
        .expect("it ends");
}
