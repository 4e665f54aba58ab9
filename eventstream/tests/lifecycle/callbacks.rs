use std::sync::Arc;
use std::sync::Mutex;

use eventstream::{Context, Event, Exhausted, Retry, StartOffset, Subscribe};
use tokio::runtime::Handle;

use crate::support::{SOON, client, publish, until};

#[tokio::test(flavor = "multi_thread")]
async fn on_error_runs_on_a_worker_whoever_tells_it() {
    let client = client();
    let told = Arc::new(Mutex::new(Vec::new()));
    let subscribe = |name: &str| {
        let told = Arc::clone(&told);
        Subscribe::new("t")
            .group_id("g")
            .offset(StartOffset::Head)
            .retry(Retry::attempts(1).then(Exhausted::Stop))
            .on_error(move |_| {
                let thread = std::thread::current().name().unwrap_or("").to_owned();
                told.lock()
                    .unwrap()
                    .push((thread, Handle::try_current().is_ok()));
            })
            .on(name, |_: Context, _: Event| async {
                Err::<(), _>(std::io::Error::other("never"))
            })
    };
    let first = client.register(subscribe("tested")).await.unwrap();
    let second = client.register(subscribe("other")).await.unwrap();
    publish(&client, "t", 1).await;
    until("ended", || first.is_ended() && second.is_ended()).await;
    until("both told", || told.lock().unwrap().len() == 2).await;
    for (thread, on_worker) in &*told.lock().unwrap() {
        assert!(on_worker, "on {thread}");
    }
    client.shutdown(SOON).await;
}
