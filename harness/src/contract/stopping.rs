//! Subscriptions of one group that stop, or hand over to each other, while others continue.

use std::future::ready;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use eventstream::{
    Backoff, Client, Concurrency, Context, ErrorKind, Event, Exhausted, Retry, StartOffset,
    Subscribe, Subscription,
};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::seen::{Events, Seen, number, numbers, until};
use super::setup::{SOON, Setup, end, publish_numbers};

const KEYS: [&str; 3] = ["k", "l", "m"];

fn subscribe(topic: &str) -> Subscribe {
    Subscribe::new(topic)
        .group_id("g")
        .offset(StartOffset::Head)
}

/// The events that the group's next member gets, once one more is published.
async fn left_over(setup: &Setup, topic: &str, extra: u64) -> Result<Vec<u64>> {
    let client = setup.client()?;
    publish_numbers(&client, topic, "b", &KEYS, extra..extra + 1).await?;
    let seen = Events::default();
    let _subscription = client
        .register(subscribe(topic).on_any(seen.handler()))
        .await?;
    until("the extra event", || numbers(&seen.all()).contains(&extra)).await?;
    sleep(Duration::from_millis(200)).await;
    let all = numbers(&seen.all());
    end(&client).await?;
    Ok(all)
}

/// A subscription that is paused and then stopped handles what is queued; the group continues and its offsets
/// advance.
///
/// # Errors
/// The behaviour differs.
pub async fn a_paused_subscription_that_stops_holds_up_no_other(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("stop_paused", 2)?;
    let client = setup.client()?;
    let (a, b) = (Events::default(), Events::default());
    let paused = client
        .register(subscribe(&topic).on("a", a.handler()))
        .await?;
    let _other = client
        .register(subscribe(&topic).on("b", b.handler()))
        .await?;
    publish_numbers(&client, &topic, "b", &KEYS, 0..6).await?;
    b.wait_exactly(6).await?;
    paused.pause();
    publish_numbers(&client, &topic, "a", &KEYS, 6..20).await?;
    publish_numbers(&client, &topic, "b", &KEYS, 20..40).await?;
    b.wait_exactly(26).await?;
    ensure!(a.all().is_empty(), "handled while paused");
    paused.stop(SOON).await?;
    assert_eq!(numbers(&a.all()), (6..20).collect::<Vec<_>>());
    publish_numbers(&client, &topic, "b", &KEYS, 40..60).await?;
    b.wait_exactly(46).await?;
    end(&client).await?;
    assert_eq!(left_over(setup, &topic, 60).await?, [60]);
    Ok(())
}

/// A subscription that stops but cannot handle its events gives them up at its deadline, and reports how many.
///
/// # Errors
/// The behaviour differs.
pub async fn a_failing_subscription_that_stops_holds_up_no_other(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("stop_failing", 1)?;
    let client = setup.client()?;
    let (errors, calls, b) = (Seen::default(), Seen::default(), Events::default());
    let (told, called) = (errors.clone(), calls.clone());
    let slowly = Backoff::default().initial(Duration::from_millis(50));
    let failing = client
        .register(
            subscribe(&topic)
                .retry(Retry::forever().backoff(slowly))
                .on_error(move |error| told.push(error.to_string()))
                .on("a", move |_: Context, event: Event| {
                    called.push(number(&event));
                    ready(Err::<(), _>(io::Error::other("never")))
                }),
        )
        .await?;
    let _other = client
        .register(subscribe(&topic).on("b", b.handler()))
        .await?;
    publish_numbers(&client, &topic, "a", &KEYS, 0..7).await?;
    publish_numbers(&client, &topic, "b", &KEYS, 7..20).await?;
    b.wait_exactly(13).await?;
    calls.wait(2).await?;
    let left = failing.stop(Duration::from_millis(300)).await;
    let left = left.err().context("stopped with events that fail")?;
    ensure!(left.kind() == ErrorKind::Timeout, "{left}");
    ensure!(left.to_string().contains("of 1 partition"), "{left}");
    until("the count of what is given up", || {
        errors.all().iter().any(|error| error.contains("7 records"))
    })
    .await?;
    ensure!(calls.all().iter().all(|n| *n == 0), "order was broken");
    end(&client).await?;
    assert_eq!(left_over(setup, &topic, 20).await?, [20]);
    Ok(())
}

/// A policy that stops ends every subscription of the group here, reports it to each, and leaves the event to others.
///
/// # Errors
/// The behaviour differs.
pub async fn a_policy_that_stops_ends_the_whole_group(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("stop_policy", 1)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "b", &KEYS, 0..3).await?;
    publish_numbers(&client, &topic, "a", &KEYS, 3..4).await?;
    publish_numbers(&client, &topic, "b", &KEYS, 4..9).await?;
    let begun = SystemTime::now();
    let (errors, b) = (Seen::default(), Events::default());
    let told = |name: &'static str| {
        let errors = errors.clone();
        move |_| errors.push(name)
    };
    let stopping = client
        .register(
            subscribe(&topic)
                .retry(Retry::attempts(1).then(Exhausted::Stop))
                .on_error(told("a"))
                .on("a", |_: Context, _: Event| {
                    ready(Err::<(), _>(io::Error::other("never")))
                }),
        )
        .await?;
    let other = client
        .register(subscribe(&topic).on_error(told("b")).on("b", b.handler()))
        .await?;
    for subscription in [&stopping, &other] {
        timeout(SOON, subscription.ended()).await?;
        let health = subscription.health();
        let problem = health.problems.first().context("no problem in health")?;
        ensure!(problem.since() >= begun, "{problem}");
        ensure!(problem.error().kind() == ErrorKind::Handler, "{problem}");
        ensure!(problem.remedy().contains("handler"), "{problem}");
    }
    let mut told = errors.all();
    told.sort_unstable();
    assert_eq!(told, ["a", "b"]);
    end(&client).await?;
    let left = left_over(setup, &topic, 9).await?;
    ensure!(left.contains(&3) && !left.contains(&0), "{left:?}");
    Ok(())
}

/// A subscription is idle if nothing is queued or running, not while a handler runs or events wait for it.
///
/// # Errors
/// The behaviour differs.
pub async fn idle_waits_for_what_is_queued_and_running(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("idle", 2)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "e", &KEYS, 0..20).await?;
    let (begun, done) = (Seen::default(), Seen::default());
    let gate = Arc::new(Semaphore::new(0));
    let (starts, ends, closed) = (begun.clone(), done.clone(), Arc::clone(&gate));
    let handler = move |_: Context, event: Event| {
        starts.push(number(&event));
        let (ends, gate) = (ends.clone(), Arc::clone(&closed));
        async move {
            gate.acquire().await.map_err(io::Error::other)?.forget();
            ends.push(number(&event));
            Ok::<_, io::Error>(())
        }
    };
    let subscription = client.register(subscribe(&topic).on_any(handler)).await?;
    begun.wait(1).await?;
    let early = timeout(Duration::from_millis(300), subscription.idle()).await;
    ensure!(early.is_err(), "idle while a handler runs");
    until("all records", || client.reader_stats().records == 20).await?;
    gate.add_permits(19);
    done.wait(19).await?;
    let early = timeout(Duration::from_millis(300), subscription.idle()).await;
    ensure!(early.is_err(), "idle before the last event");
    let (idle, ()) = tokio::join!(timeout(SOON, subscription.idle()), async {
        gate.add_permits(1);
    });
    idle?;
    ensure!(done.all().len() == 20, "{:?}", done.all());
    ensure!(!subscription.is_ended(), "ended by itself");
    end(&client).await?;
    timeout(SOON, subscription.idle()).await?;
    ensure!(subscription.is_ended(), "the client is shut down");
    Ok(())
}

/// With `Serial`, no handler starts once the time of a stop is over, even if it was next.
///
/// # Errors
/// The behaviour differs.
pub async fn serial_begins_nothing_after_a_stop(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("stop_serial", 4)?;
    let client = setup.client()?;
    let keys = ["a", "b", "c", "d", "e", "f", "g"];
    publish_numbers(&client, &topic, "e", &keys, 0..40).await?;
    let begun = Seen::default();
    let noted = begun.clone();
    let subscription = client
        .register(subscribe(&topic).concurrency(Concurrency::Serial).on_any(
            move |context: Context, _: Event| {
                noted.push(context.partition());
                async move {
                    context.cancelled().await;
                    Err::<(), _>(io::Error::other("cancelled"))
                }
            },
        ))
        .await?;
    begun.wait(1).await?;
    // The others have their records and wait for their turn.
    sleep(Duration::from_millis(500)).await;
    let left = subscription.stop(Duration::from_millis(500)).await;
    let left = left.err().context("stopped though a handler ran")?;
    ensure!(left.to_string().contains("are cancelled"), "{left}");
    sleep(Duration::from_millis(200)).await;
    assert_eq!(begun.all().len(), 1, "begun in {:?}", begun.all());
    end(&client).await
}

async fn slow_worker(
    client: &Client,
    topic: &str,
    worker: &'static str,
    seen: &Seen<(i32, u64, &'static str, bool)>,
) -> Result<Subscription> {
    let seen = seen.clone();
    let subscribe = subscribe(topic).on("e", move |context: Context, event: Event| {
        let seen = seen.clone();
        async move {
            let (partition, n) = (context.partition(), number(&event));
            seen.push((partition, n, worker, true));
            sleep(Duration::from_millis(5)).await;
            seen.push((partition, n, worker, false));
            Ok::<_, io::Error>(())
        }
    });
    Ok(client.register(subscribe).await?)
}

/// Workers of one name that start and stop never break the order of a partition.
///
/// # Errors
/// The behaviour differs.
pub async fn workers_that_come_and_go_keep_the_order(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("workers", 2)?;
    let client = setup.client()?;
    let seen = Seen::default();
    let first = slow_worker(&client, &topic, "first", &seen).await?;
    publish_numbers(&client, &topic, "e", &KEYS, 0..60).await?;
    seen.wait(4).await?;
    let second = slow_worker(&client, &topic, "second", &seen).await?;
    publish_numbers(&client, &topic, "e", &KEYS, 60..120).await?;
    until("the second worker's first event", || {
        seen.all()
            .iter()
            .any(|(_, _, worker, _)| *worker == "second")
    })
    .await?;
    publish_numbers(&client, &topic, "e", &KEYS, 120..180).await?;
    first.stop(SOON).await?;
    publish_numbers(&client, &topic, "e", &KEYS, 180..200).await?;
    let all = seen.wait_exactly(400).await?;
    for partition in 0..2 {
        let calls: Vec<_> = all.iter().filter(|call| call.0 == partition).collect();
        for pair in calls.chunks(2) {
            let (begun, ended) = (pair[0], pair[1]);
            ensure!(begun.3 && !ended.3 && begun.1 == ended.1, "{pair:?}");
        }
        ensure!(
            calls.is_sorted_by_key(|call| call.1),
            "out of order in {partition}: {calls:?}"
        );
    }
    second.detach();
    end(&client).await
}
