//! What handlers have seen, for the behaviour that waits for it.

use std::future::{Future, ready};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use eventstream::{Context, Event};
use tokio::time::{Instant, sleep};

use super::setup::SOON;

/// A list that handlers append to.
pub(super) struct Seen<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Seen<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Seen<T> {
    pub(super) fn push(&self, item: T) {
        self.lock().push(item);
    }

    pub(super) fn all(&self) -> Vec<T> {
        self.lock().clone()
    }

    /// Waits for this many, and returns all that there are then.
    pub(super) async fn wait(&self, count: usize) -> Result<Vec<T>> {
        until(&format!("{count} items"), || self.lock().len() >= count)
            .await
            .map_err(|error| error.context(format!("{} came", self.lock().len())))?;
        Ok(self.all())
    }

    /// Like `wait`, but waits a little longer, so that one too many shows.
    pub(super) async fn wait_exactly(&self, count: usize) -> Result<Vec<T>> {
        self.wait(count).await?;
        sleep(Duration::from_millis(200)).await;
        let all = self.all();
        ensure!(all.len() == count, "{} came, not {count}", all.len());
        Ok(all)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handler call, copied.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: Option<String>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(super) timestamp: Option<SystemTime>,
}

impl Call {
    pub(super) fn new(context: &Context) -> Self {
        Self {
            topic: context.topic().to_string(),
            partition: context.partition(),
            offset: context.offset(),
            key: context
                .key()
                .map(|key| String::from_utf8_lossy(key).into_owned()),
            headers: context
                .headers()
                .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
                .collect(),
            timestamp: context.timestamp(),
        }
    }

    /// The text of a header.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(one, _)| one == name)?;
        String::from_utf8(value.clone()?).ok()
    }
}

/// The events, with their calls.
pub(super) type Events = Seen<(Call, Event)>;

impl Events {
    /// A handler that records every event and succeeds.
    pub(super) fn handler(
        &self,
    ) -> impl Fn(Context, Event) -> std::future::Ready<Result<(), io::Error>> + Send + Sync + 'static
    {
        let seen = self.clone();
        move |context, event| {
            seen.push((Call::new(&context), event));
            ready(Ok(()))
        }
    }
}

/// The number that `publish_numbers` gave the event.
pub(super) fn number(event: &Event) -> u64 {
    event
        .payload()
        .get("n")
        .and_then(|n| n.decode().ok())
        .unwrap_or(u64::MAX)
}

/// The numbers of events, sorted.
pub(super) fn numbers(events: &[(Call, Event)]) -> Vec<u64> {
    let mut numbers: Vec<_> = events.iter().map(|(_, event)| number(event)).collect();
    numbers.sort_unstable();
    numbers
}

/// Polls every few milliseconds until the condition holds.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) -> Result<()> {
    until_ready(what, || ready(Ok(condition()))).await
}

/// Like `until`, for an async condition.
pub(super) async fn until_ready<F: Future<Output = Result<bool>>>(
    what: &str,
    condition: impl Fn() -> F,
) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while !condition().await? {
        ensure!(
            Instant::now() < deadline,
            "still waiting for {what} after {SOON:?}"
        );
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
