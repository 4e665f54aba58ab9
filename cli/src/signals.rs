//! SIGINT and SIGTERM: the first asks for an orderly end, the second ends at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::INTERRUPTED;

/// Whether the command was asked to end.
#[derive(Clone)]
pub(crate) struct Interrupt {
    asked: CancellationToken,
}

impl Interrupt {
    /// Listens from now on, for as long as the runtime lives.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut int = signal(SignalKind::interrupt())?;
        let mut term = signal(SignalKind::terminate())?;
        let asked = CancellationToken::new();
        let token = asked.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                }
                if token.is_cancelled() {
                    std::process::exit(i32::from(INTERRUPTED));
                }
                token.cancel();
            }
        });
        Ok(Self { asked })
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    pub(crate) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// `work`, unless a signal comes first: then `None`, and the work is dropped.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.asked() => None,
        }
    }
}
