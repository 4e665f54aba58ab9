//! What runs concurrently, and what waits.

use std::collections::BTreeMap;
use std::future::ready;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Result, ensure};
use eventstream::{Backoff, Concurrency, Context, Event, Publish, Retry, StartOffset, Subscribe};
use tokio::sync::Barrier;
use tokio::time::{sleep, timeout};

use super::seen::{Call, Events, Seen, number, numbers};
use super::setup::{SOON, Setup, end, publish_numbers};

/// Registers a handler whose calls wait at a barrier for this many: they only get through if this many really run
/// concurrently.
async fn meeting(
    setup: &Setup,
    topic: &str,
    concurrency: Concurrency,
    at_once: usize,
    count: usize,
) -> Result<Vec<(Call, Event)>> {
    let client = setup.client()?;
    let (seen, barrier) = (Events::default(), Arc::new(Barrier::new(at_once)));
    let noted = seen.clone();
    let subscribe = Subscribe::new(topic)
        .group_id("g")
        .offset(StartOffset::Head)
        .concurrency(concurrency)
        .on_any(move |context: Context, event: Event| {
            let (seen, barrier) = (noted.clone(), Arc::clone(&barrier));
            async move {
                if timeout(SOON, barrier.wait()).await.is_ok() {
                    seen.push((Call::new(&context), event));
                }
                Ok::<_, io::Error>(())
            }
        });
    let _subscription = client.register(subscribe).await?;
    let all = seen.wait_exactly(count).await?;
    end(&client).await?;
    Ok(all)
}

/// With `PerKey(4)`, four keys of one partition are handled concurrently, and each key in order.
///
/// # Errors
/// The behaviour differs.
pub async fn keys_run_in_parallel_and_in_order(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("per_key", 1)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "e", &["a", "b", "c", "d"], 0..80).await?;
    end(&client).await?;
    let all = meeting(setup, &topic, Concurrency::PerKey(4), 4, 80).await?;
    assert_eq!(numbers(&all), (0..80).collect::<Vec<_>>());
    let mut last = BTreeMap::new();
    for (call, event) in all {
        if let Some(before) = last.insert(call.key, number(&event)) {
            ensure!(before < number(&event), "{before} before {event:?}");
        }
    }
    Ok(())
}

/// By default, partitions are handled concurrently, and each one in order.
///
/// # Errors
/// The behaviour differs.
pub async fn partitions_run_in_parallel_and_in_order(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("per_partition", 2)?;
    let client = setup.client()?;
    let mut counts = [0, 0];
    for key in 0..200 {
        let event = Publish::new(&topic, "e").key(key.to_string());
        let partition = client.publish_sync(event).await?.partition();
        counts[usize::try_from(partition)?] += 1;
        if counts.iter().all(|count| *count >= 10) {
            break;
        }
    }
    end(&client).await?;
    // As many pairs as the smaller partition has; the rest would wait at the barrier forever.
    let pairs = *counts.iter().min().unwrap_or(&0);
    ensure!(pairs >= 10, "{counts:?}");
    let client = setup.client()?;
    let (seen, barrier) = (Events::default(), Arc::new(Barrier::new(2)));
    let noted = seen.clone();
    let subscribe = Subscribe::new(&topic)
        .group_id("g")
        .offset(StartOffset::Head)
        .on_any(move |context: Context, event: Event| {
            let (seen, barrier) = (noted.clone(), Arc::clone(&barrier));
            async move {
                if context.offset() < pairs {
                    barrier.wait().await;
                    seen.push((Call::new(&context), event));
                }
                Ok::<_, io::Error>(())
            }
        });
    let _subscription = client.register(subscribe).await?;
    let all = seen.wait_exactly(usize::try_from(pairs)? * 2).await?;
    for partition in [0, 1] {
        let offsets: Vec<_> = all
            .iter()
            .filter(|(call, _)| call.partition == partition)
            .map(|(call, _)| call.offset)
            .collect();
        assert_eq!(offsets, (0..pairs).collect::<Vec<_>>());
    }
    end(&client).await
}

/// `Serial` handles one event at a time over all partitions.
///
/// # Errors
/// The behaviour differs.
pub async fn serial_runs_one_at_a_time(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("serial", 4)?;
    let client = setup.client()?;
    let keys = ["a", "b", "c", "d", "e", "f", "g"];
    publish_numbers(&client, &topic, "e", &keys, 0..60).await?;
    let (seen, running) = (Seen::default(), Arc::new(AtomicUsize::new(0)));
    let noted = seen.clone();
    let subscribe = Subscribe::new(&topic)
        .group_id("g")
        .offset(StartOffset::Head)
        .concurrency(Concurrency::Serial)
        .on_any(move |_: Context, _: Event| {
            let (seen, running) = (noted.clone(), Arc::clone(&running));
            async move {
                let others = running.fetch_add(1, SeqCst);
                sleep(Duration::from_millis(2)).await;
                running.fetch_sub(1, SeqCst);
                seen.push(others);
                Ok::<_, io::Error>(())
            }
        });
    let _subscription = client.register(subscribe).await?;
    let others = seen.wait_exactly(60).await?;
    ensure!(others.iter().all(|others| *others == 0), "{others:?}");
    end(&client).await
}

/// With `PerKey`, a failing event holds back its key and no other, even with a limit of one.
///
/// # Errors
/// The behaviour differs.
pub async fn a_failing_key_holds_back_no_other(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("failing_key", 1)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "e", &["bad", "good"], 0..20).await?;
    let seen = Seen::default();
    let noted = seen.clone();
    let slow = Backoff::default().initial(Duration::from_millis(600));
    let subscribe = Subscribe::new(&topic)
        .group_id("g")
        .offset(StartOffset::Head)
        .concurrency(Concurrency::PerKey(1))
        .retry(Retry::forever().backoff(slow))
        .on_any(move |context: Context, event: Event| {
            ready(if number(&event) == 0 && context.attempt() == 1 {
                Err(io::Error::other("not yet"))
            } else {
                noted.push(number(&event));
                Ok(())
            })
        });
    let _subscription = client.register(subscribe).await?;
    let order = seen.wait_exactly(20).await?;
    let (good, bad): (Vec<u64>, Vec<u64>) =
        order.iter().copied().partition(|number| number % 2 == 1);
    ensure!(good.is_sorted() && bad.is_sorted(), "{order:?}");
    assert_eq!(&order[..10], &good[..], "the good key waited");
    end(&client).await
}
