//! SIGINT and SIGTERM: the first asks the command to stop, the second exits at once, or lets the
//! command print a summary first.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::INTERRUPTED;

/// Whether the command was asked to stop.
#[derive(Clone)]
pub(crate) struct Interrupt {
    asked: CancellationToken,
    again: CancellationToken,
    /// The command handles a second signal itself, and a third ends the process.
    has_last_word: Arc<AtomicBool>,
}

impl Interrupt {
    /// Listens from now on, as long as the runtime lives.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut int = signal(SignalKind::interrupt())?;
        let mut term = signal(SignalKind::terminate())?;
        let interrupt = Self {
            asked: CancellationToken::new(),
            again: CancellationToken::new(),
            has_last_word: Arc::default(),
        };
        let heard = interrupt.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                }
                let last_word = heard.has_last_word.load(Ordering::SeqCst);
                if !heard.is_asked() {
                    heard.asked.cancel();
                } else if last_word && !heard.again.is_cancelled() {
                    heard.again.cancel();
                } else {
                    std::process::exit(i32::from(INTERRUPTED));
                }
            }
        });
        Ok(interrupt)
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    pub(crate) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Makes a second signal complete [`again`](Self::again) instead of ending the process.
    pub(crate) fn keep_last_word(&self) {
        self.has_last_word.store(true, Ordering::SeqCst);
    }

    /// Completes at a second signal.
    pub(crate) async fn again(&self) {
        self.again.cancelled().await;
    }

    pub(crate) fn is_again(&self) -> bool {
        self.again.is_cancelled()
    }

    /// The result of `work`, or `None` if a signal arrives first; the work is then dropped.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.asked() => None,
        }
    }
}
