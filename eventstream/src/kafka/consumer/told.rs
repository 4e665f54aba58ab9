use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Atomic};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::error::{Error, ErrorKind};
use crate::guard::{self, tracing};
use crate::subscribe::{FailedAttempt, OnRetry, OnSubscriptionError};

/// The messages queued for a callback in each registration. A callback that is too slow misses
/// some, and is told how many: nobody waits for it.
const WAITING: usize = 1024;

/// The channel to a registration's own callbacks: they run in order on a worker of the runtime, one
/// at a time, whichever thread sends a message.
pub(super) struct Told {
    words: Option<mpsc::Sender<(Word, TaskTrackerToken)>>,
    wants_retries: bool,
    missed: Arc<AtomicU64>,
    /// Waiting for the tasks of the group includes their messages.
    tasks: TaskTracker,
}

enum Word {
    Error(Error),
    Retry(Box<FailedAttempt>),
}

impl Told {
    pub(super) fn start(
        runtime: &Handle,
        tasks: &TaskTracker,
        on_error: Option<OnSubscriptionError>,
        on_retry: Option<OnRetry>,
    ) -> Self {
        let missed = Arc::new(AtomicU64::new(0));
        let wants_retries = on_retry.is_some();
        let words = (on_error.is_some() || wants_retries).then(|| {
            let (words, waiting) = mpsc::channel(WAITING);
            runtime.spawn(tell_all(waiting, Arc::clone(&missed), on_error, on_retry));
            words
        });
        Self {
            words,
            wants_retries,
            missed,
            tasks: tasks.clone(),
        }
    }

    pub(super) fn error(&self, error: &Error) {
        self.say(|| Word::Error(error.clone()));
    }

    pub(super) fn wants_retries(&self) -> bool {
        self.wants_retries
    }

    pub(super) fn retry(&self, attempt: FailedAttempt) {
        self.say(|| Word::Retry(Box::new(attempt)));
    }

    fn say(&self, word: impl FnOnce() -> Word) {
        let Some(words) = &self.words else { return };
        // A closed queue has ended with its runtime.
        match words.try_reserve() {
            Ok(room) => room.send((word(), self.tasks.token())),
            Err(mpsc::error::TrySendError::Full(())) => {
                self.missed.fetch_add(1, Atomic::Relaxed);
            }
            Err(mpsc::error::TrySendError::Closed(())) => {}
        }
    }
}

/// The task that calls the callbacks, as long as its registration is referenced.
async fn tell_all(
    mut waiting: mpsc::Receiver<(Word, TaskTrackerToken)>,
    missed: Arc<AtomicU64>,
    on_error: Option<OnSubscriptionError>,
    on_retry: Option<OnRetry>,
) {
    let tell = |error: Error| {
        if let Some(on_error) = &on_error {
            guard::callback("an on_error callback of a subscription", || on_error(error));
        }
    };
    while let Some((word, _token)) = waiting.recv().await {
        match word {
            Word::Error(error) => tell(error),
            Word::Retry(attempt) => {
                if let Some(on_retry) = &on_retry {
                    let call = || on_retry(*attempt);
                    guard::callback("an on_retry callback of a subscription", call);
                }
            }
        }
        let count = missed.swap(0, Atomic::Relaxed);
        if count > 0 {
            let text = format!(
                "{count} errors or retries were not reported: the callbacks of the subscription are \
                 too slow, or block"
            );
            tracing::warn!("{text}");
            tell(Error::new(ErrorKind::Handler, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn tells_in_order_and_says_how_much_a_slow_callback_missed() {
        let (sender, told) = std::sync::mpsc::channel();
        let tasks = TaskTracker::new();
        let on_error = move |error: Error| {
            let _ = sender.send(error.to_string());
            assert!(!error.to_string().ends_with('7'), "a panic is survived");
        };
        let way = Told::start(&Handle::current(), &tasks, Some(Arc::new(on_error)), None);
        // The only worker is this task, so nothing is taken meanwhile.
        for n in 0..WAITING + 5 {
            way.error(&Error::new(ErrorKind::Handler, format!("{n}")));
        }
        tasks.close();
        let all = tokio::time::timeout(Duration::from_secs(20), tasks.wait());
        all.await.expect("everything is told");
        let told: Vec<_> = told.try_iter().collect();
        assert_eq!(told.len(), WAITING + 1);
        assert_eq!((&*told[0], &*told[2]), ("0", "1"));
        assert!(told[1].starts_with("5 errors"), "{}", told[1]);
        assert_eq!(told[WAITING], (WAITING - 1).to_string());
    }
}
