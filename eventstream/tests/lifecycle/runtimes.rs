use std::time::{Duration, Instant};

use eventstream::{BrokerConfig, Context, EmbeddedBroker, Event, Subscribe};
use tokio::runtime::{Builder, Runtime};

use crate::support::{SOON, channel, client_of, next, numbers, publish, until};

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_group_ends_with_its_runtime_and_a_new_registration_gets_a_new_one() {
    let client = client_of(&EmbeddedBroker::start().unwrap(), BrokerConfig::new());
    let (first, second) = (runtime(), runtime());
    let subscription = first.block_on(async {
        let (sender, mut numbers_of) = channel();
        let subscription = client.register(numbers(sender)).await.unwrap();
        publish(&client, "t", 1).await;
        assert_eq!(next(&mut numbers_of).await, 1);
        subscription
    });
    drop(first);
    second.block_on(async {
        until("ended", || subscription.is_ended()).await;
        assert!(!subscription.health().is_healthy());
        let (sender, mut numbers_of) = channel();
        let again = client.register(numbers(sender)).await.unwrap();
        publish(&client, "t", 2).await;
        while next(&mut numbers_of).await != 2 {}
        again.stop(SOON).await.unwrap();
        let start = Instant::now();
        client.shutdown(Duration::from_secs(5)).await;
        assert!(start.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn a_runtime_may_go_before_its_group_has_started() {
    let config = BrokerConfig::new().registration_settle(Duration::from_secs(3));
    let client = client_of(&EmbeddedBroker::start().unwrap(), config);
    let (first, second) = (runtime(), runtime());
    let (sender, mut numbers_of) = channel();
    let early = first
        .block_on(client.register(numbers(sender.clone())))
        .unwrap();
    drop(first);
    second.block_on(async {
        until("ended", || early.is_ended()).await;
        let _late = client.register(numbers(sender)).await.unwrap();
        publish(&client, "t", 1).await;
        assert_eq!(next(&mut numbers_of).await, 1);
        client.shutdown(SOON).await;
    });
}

#[test]
fn a_blocking_client_that_is_dropped_holds_no_partitions() {
    let broker = EmbeddedBroker::start().unwrap();
    let builder = eventstream::Client::embedded()
        .prefix("p")
        .embedded_broker(&broker);
    let client = builder.build_blocking().unwrap();
    let (begun, begins) = std::sync::mpsc::channel();
    let held = std::sync::Arc::new(());
    let watched = std::sync::Arc::downgrade(&held);
    let subscribe = Subscribe::new("t")
        .group_id("g")
        .offset(eventstream::StartOffset::Head)
        .on_any(move |_: Context, _: Event| {
            let (_held, begun) = (&held, begun.send(()));
            async move {
                begun?;
                std::future::pending::<Result<(), std::sync::mpsc::SendError<()>>>().await
            }
        });
    client.register(subscribe).unwrap().detach();
    let second = runtime();
    let other = client_of(&broker, BrokerConfig::new());
    second.block_on(publish(&other, "t", 1));
    begins.recv_timeout(SOON).unwrap();
    drop(client);
    let start = Instant::now();
    second.block_on(async {
        until("freed", || watched.upgrade().is_none()).await;
        assert!(start.elapsed() < Duration::from_secs(8), "held for long");
        let (sender, mut numbers_of) = channel();
        let _subscription = other.register(numbers(sender)).await.unwrap();
        assert_eq!(next(&mut numbers_of).await, 1);
        other.shutdown(SOON).await;
    });
}

#[test]
fn a_registration_on_a_runtime_that_shuts_down_is_refused() {
    let client = client_of(&EmbeddedBroker::start().unwrap(), BrokerConfig::new());
    // One worker registers, the other one shuts down.
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (begins, begun) = std::sync::mpsc::channel();
    let (tells, told) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        begins.send(()).unwrap();
        while !tokio::spawn(std::future::pending::<()>()).is_finished() {
            std::thread::yield_now();
        }
        let (sender, _numbers) = channel();
        tells.send(client.register(numbers(sender)).await).unwrap();
    });
    begun.recv().unwrap();
    runtime.shutdown_background();
    let registered = told.recv_timeout(Duration::from_secs(10));
    let error = registered.expect("an answer").expect_err("refused");
    assert_eq!(error.kind(), eventstream::ErrorKind::Closed);
}
