//! Publishing on the embedded broker.

use std::time::Duration;

use eventstream::{Client, ErrorKind, Publish};

#[tokio::test]
async fn publishes_and_tells_where() {
    let client = Client::embedded().prefix("p").build().unwrap();
    let mut receipts = Vec::new();
    for i in 0..10_000 {
        receipts.push(
            client
                .publish(
                    Publish::new("t", "e")
                        .key(format!("k{}", i % 10))
                        .payload(serde_json::json!({"n": i})),
                )
                .await
                .unwrap(),
        );
    }
    for receipt in receipts {
        let delivery = receipt.await.unwrap();
        assert!(delivery.offset() >= 0);
    }
    assert_eq!(client.writer_stats().stored, 10_000);
    assert!(client.shutdown(Duration::from_secs(5)).await.is_empty());
    let error = client.publish(Publish::new("t", "e")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}
