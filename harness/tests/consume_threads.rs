//! Alone in its binary: it counts the threads of the process.

#[path = "consume/support.rs"]
mod support;

use std::time::Duration;

use eventstream::{BrokerConfig, StartOffset};
use eventstream_harness::{shared, unique_topic};
use support::{END, Seen, client, counting, create, publish, register, threads, until};

#[test]
fn no_thread_is_left() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _ = shared().bootstrap();
    let topic = unique_topic("threads");
    create(&topic, 2);
    let before = threads();
    runtime.block_on(async {
        let client = client(BrokerConfig::new());
        publish(&client, &topic, "e", 0..100).await;
        let seen = Seen::default();
        let subscribe = counting(&topic, &topic, StartOffset::Head, &seen, Duration::ZERO);
        let subscription = register(&client, subscribe).await;
        until("all", END, || seen.distinct() == 100).await;
        subscription.detach();
        assert!(threads().iter().any(|name| name.starts_with("eventstream")));
        assert!(client.shutdown(END).await.is_empty());
        drop(client);
        let alive = || {
            tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks()
        };
        until("no task", END, || alive() == 0).await;
        until("no thread", END, || {
            !threads().iter().any(|name| name.starts_with("eventstream"))
        })
        .await;
    });
    println!("before {before:?}, after {:?}", threads());
}
