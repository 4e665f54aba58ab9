//! When offsets are committed, by each option of the configuration.

use std::io::Error as IoError;
use std::sync::Arc;
use std::time::Duration;

use eventstream::{BrokerConfig, CommitPolicy, Context, Event, StartOffset, Subscribe};
use eventstream_harness::unique_topic;
use tokio::sync::Semaphore;

use crate::support::{
    END, Seen, client, committed, counting, create, number, publish, register, until,
};

const NEVER: Duration = Duration::from_secs(3600);
const OFTEN: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn each_interval_or_each_event() {
    let topic = unique_topic("commit_interval");
    create(&topic, 1);
    let new = BrokerConfig::new;
    let configs = [
        ("never", new().commit(CommitPolicy::Interval(NEVER))),
        ("often", new().commit(CommitPolicy::Interval(OFTEN))),
        ("each", new().commit(CommitPolicy::EachEvent)),
    ];
    let group = |name: &str| format!("{topic}-{name}");
    let mut all = Vec::new();
    for (name, config) in configs {
        let (client, seen) = (client(config), Seen::default());
        let subscribe = counting(
            &topic,
            &group(name),
            StartOffset::Head,
            &seen,
            Duration::ZERO,
        );
        let subscription = register(&client, subscribe).await;
        all.push((client, seen, subscription));
    }
    publish(&all[0].0, &topic, "e", 0..20).await;
    until("all handled", END, || {
        all.iter().all(|(_, seen, _)| seen.distinct() == 20)
    })
    .await;
    for name in ["often", "each"] {
        until(name, END, || committed(&group(name), &topic) == 20).await;
    }
    assert_eq!(committed(&group("never"), &topic), 0);
    for (client, _, subscription) in all {
        subscription.stop(END).await.expect("stopped");
        assert!(client.shutdown(END).await.is_empty());
    }
    assert_eq!(committed(&group("never"), &topic), 20, "the last commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_or_after_the_handler() {
    let topic = unique_topic("commit_before");
    create(&topic, 1);
    let often = || BrokerConfig::new().commit(CommitPolicy::Interval(OFTEN));
    let (before, after) = (format!("{topic}-before"), format!("{topic}-after"));
    let gate = Arc::new(Semaphore::new(0));
    let mut all = Vec::new();
    for (group, config) in [
        (&before, often().commit(CommitPolicy::BeforeProcessing)),
        (&after, often()),
    ] {
        let (client, seen, gate) = (client(config), Seen::default(), Arc::clone(&gate));
        let entered = seen.clone();
        let handler = move |_: Context, event: Event| {
            entered.add(number(&event));
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.expect("open").forget();
                Ok::<_, IoError>(())
            }
        };
        let subscribe = Subscribe::new(&topic)
            .group_id(group)
            .offset(StartOffset::Head)
            .on_any(handler);
        let subscription = register(&client, subscribe).await;
        all.push((client, seen, subscription));
    }
    publish(&all[0].0, &topic, "e", 0..1).await;
    until("both handlers run", END, || {
        all.iter().all(|(_, seen, _)| seen.distinct() == 1)
    })
    .await;
    until("committed before", END, || committed(&before, &topic) == 1).await;
    assert_eq!(committed(&after, &topic), 0, "its handler still runs");
    gate.add_permits(2);
    until("committed after", END, || committed(&after, &topic) == 1).await;
    for (client, _, subscription) in all {
        subscription.stop(END).await.expect("stopped");
        assert!(client.shutdown(END).await.is_empty());
    }
}
