//! The blocking client with real events: handlers as sync closures, on the embedded broker.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::Error as IoError;
use std::sync::mpsc;
use std::time::Duration;

use eventstream::blocking::handler;
use eventstream::{
    Backoff, Client, Context, Event, Publish, RawRecord, Retry, StartOffset, Subscribe,
};

const END: Duration = Duration::from_secs(20);

#[test]
fn sync_handlers_get_events_fail_and_are_called_again() {
    let client = Client::embedded().prefix("p").build_blocking().unwrap();
    for n in 0..20 {
        let event = Publish::new("player", "levelUp").payload(BTreeMap::from([("n", n)]));
        client.publish_sync(event).unwrap();
    }
    let (sender, calls) = mpsc::channel();
    let raw = sender.clone();
    let subscription = client
        .register(
            Subscribe::new("player")
                .group_id("levels")
                .offset(StartOffset::Head)
                .retry(
                    Retry::forever().backoff(Backoff::default().initial(Duration::from_millis(5))),
                )
                .on(
                    "levelUp",
                    handler(move |context: Context, event: Event| {
                        // It may block, as it runs on a thread for that.
                        std::thread::sleep(Duration::from_millis(1));
                        let n: u32 = event.payload().get("n").unwrap().decode().unwrap();
                        sender.send((n, context.attempt())).unwrap();
                        match (n, context.attempt()) {
                            (7, 1) => Err(IoError::other("not yet")),
                            (8, 1) => panic!("not yet"),
                            _ => Ok(()),
                        }
                    }),
                )
                .on(
                    "other",
                    handler(move |context: Context, _: RawRecord| {
                        raw.send((1000, context.attempt())).unwrap();
                        Ok::<_, IoError>(())
                    }),
                ),
        )
        .unwrap();
    assert_eq!(subscription.slug(), "player$levelUp,other$levels");
    client
        .publish_sync(Publish::new("player", "other").payload(BTreeMap::<&str, u32>::new()))
        .unwrap();
    let mut seen: Vec<_> = (0..23).map(|_| calls.recv_timeout(END).unwrap()).collect();
    seen.sort_unstable();
    let mut wanted: Vec<_> = (0..20).map(|n| (n, 1)).collect();
    wanted.extend([(7, 2), (8, 2), (1000, 1)]);
    wanted.sort_unstable();
    assert_eq!(seen, wanted);

    subscription.pause();
    let event = Publish::new("player", "levelUp").payload(BTreeMap::from([("n", 20)]));
    client.publish_sync(event).unwrap();
    let paused = calls.recv_timeout(Duration::from_millis(500));
    assert!(paused.is_err(), "handled while paused: {paused:?}");
    subscription.resume();
    assert_eq!(calls.recv_timeout(END).unwrap(), (20, 1));
    assert!(subscription.health().is_healthy());
    subscription.stop(END).unwrap();
    let stats = client.reader_stats();
    assert_eq!((stats.handled, stats.failed_attempts), (22, 2));
    assert!(client.shutdown(END).is_empty());
}
