use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eventstream::{BrokerConfig, Context, EmbeddedBroker, Event, Subscribe};

use crate::support::{SOON, channel, client, client_of, next, numbers, publish, until};

fn holding<T: Clone + Send + Sync + 'static>(held: T) -> Subscribe {
    Subscribe::new("t")
        .group_id("g")
        .on_any(move |_: Context, _: Event| {
            let held = held.clone();
            async move {
                drop(held);
                Ok::<_, std::io::Error>(())
            }
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_holds_its_client_is_freed_with_its_subscription() {
    for stop in [false, true] {
        let client = client();
        let held = Arc::new(());
        let watched = Arc::downgrade(&held);
        let subscribe = holding((client.clone(), held));
        let subscription = client.register(subscribe).await.unwrap();
        if stop {
            subscription.stop(SOON).await.unwrap();
        } else {
            drop(subscription);
        }
        drop(client);
        until("freed", || watched.upgrade().is_none()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_a_few_of_many_registrations_takes_no_time() {
    let config = BrokerConfig::new().registration_settle(Duration::from_millis(100));
    let client = client_of(&EmbeddedBroker::start().unwrap(), config);
    let mut all = Vec::new();
    let start = Instant::now();
    for n in 0..5000 {
        let subscribe = Subscribe::new("t")
            .group_id("g")
            .offset(eventstream::StartOffset::Head)
            .on(format!("name{n}"), |_: Context, _: Event| async {
                Ok::<_, std::io::Error>(())
            });
        all.push(client.register(subscribe).await.unwrap());
    }
    let registering = start.elapsed();
    let (sender, mut numbers_of) = channel();
    let last = client.register(numbers(sender)).await.unwrap();
    publish(&client, "t", 1).await;
    assert_eq!(next(&mut numbers_of).await, 1);
    let start = Instant::now();
    all.truncate(4950);
    let dropping = start.elapsed();
    println!("registering took {registering:?}, dropping {dropping:?}");
    assert!(dropping < Duration::from_millis(100), "{dropping:?}");
    assert!(registering < Duration::from_secs(3), "{registering:?}");
    drop((all, last));
    client.shutdown(SOON).await;
}

/// A member gives up its partition for another, and waits for a handler that runs on.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_with_more_time_does_not_lengthen_a_shutdown() {
    struct Running(Arc<AtomicBool>);
    impl Drop for Running {
        fn drop(&mut self) {
            self.0.store(false, Ordering::SeqCst);
        }
    }
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("p.t", 1).unwrap();
    let config = BrokerConfig::new().session_timeout(Duration::from_millis(1500));
    let (leaves, joins) = (
        client_of(&broker, config.clone()),
        client_of(&broker, config),
    );
    let runs = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&runs);
    let subscribe = Subscribe::new("t")
        .group_id("g")
        .offset(eventstream::StartOffset::Head)
        .on_any(move |_: Context, _: Event| {
            handler.store(true, Ordering::SeqCst);
            let running = Running(Arc::clone(&handler));
            async move {
                tokio::time::sleep(Duration::from_secs(15)).await;
                drop(running);
                Ok::<_, std::io::Error>(())
            }
        });
    let subscription = leaves.register(subscribe).await.unwrap();
    publish(&leaves, "t", 1).await;
    until("it runs", || runs.load(Ordering::SeqCst)).await;
    let (sender, _numbers) = channel();
    let _joins = joins.register(numbers(sender)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let start = Instant::now();
    let shutdown = tokio::spawn({
        let client = leaves.clone();
        async move { client.shutdown(Duration::from_secs(1)).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(subscription);
    until("it is cancelled", || !runs.load(Ordering::SeqCst)).await;
    shutdown.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{start:?}");
    joins.shutdown(SOON).await;
}

/// The first registration ends at the moment a second one arrives: that joins the group, or gets a
/// new one, but never one that is about to end.
#[test]
fn a_registration_is_never_taken_by_a_group_that_stops() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    // No consumer is created, so a stopped group ends at once.
    let config = BrokerConfig::new().registration_settle(Duration::from_secs(60));
    let client = client_of(&EmbeddedBroker::start().unwrap(), config);
    let (firsts, to_drop) = std::sync::mpsc::channel::<eventstream::Subscription>();
    let turn = Arc::new(std::sync::Barrier::new(2));
    let other = Arc::clone(&turn);
    let dropping = std::thread::spawn(move || {
        while let Ok(first) = to_drop.recv() {
            other.wait();
            drop(first);
        }
    });
    let mut seconds = Vec::new();
    for n in 0..500 {
        let subscribe = || {
            let (sender, _) = channel();
            numbers(sender).group_id(format!("g{n}"))
        };
        let first = runtime.block_on(client.register(subscribe())).unwrap();
        firsts.send(first).unwrap();
        turn.wait();
        for _ in 0..n % 64 {
            std::hint::spin_loop();
        }
        seconds.push(runtime.block_on(client.register(subscribe())).unwrap());
    }
    drop(firsts);
    dropping.join().unwrap();
    // Queued behind everything that had to end: a group stopped now.
    let (sender, _) = channel();
    let last = runtime.block_on(client.register(numbers(sender))).unwrap();
    runtime.block_on(last.stop(SOON)).unwrap();
    let ended = seconds.iter().filter(|one| one.is_ended());
    assert_eq!(ended.count(), 0);
    runtime.block_on(client.shutdown(SOON));
}
