use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Signals that something others wait for has changed.
pub(super) struct Changes(watch::Sender<()>);

impl Default for Changes {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl Changes {
    pub(super) fn tell(&self) {
        self.0.send_replace(());
    }

    /// Checks at each change until there is a result; `None` if there was none in time.
    pub(super) async fn until<T>(
        &self,
        deadline: Instant,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let mut changes = self.0.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = look() {
                return Some(found);
            }
            let changed = tokio::time::timeout_at(deadline, changes.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return look();
            }
        }
    }
}

/// The deadline of a wait that starts now.
pub(super) fn deadline(bound: Duration) -> Instant {
    crate::deadline::after(bound).into()
}
