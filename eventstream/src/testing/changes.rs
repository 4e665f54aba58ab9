use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Something that others wait for has changed.
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

    /// Looks at each change until there is something; `None`: there was nothing in time.
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

/// When a wait that begins now ends.
pub(super) fn deadline(bound: Duration) -> Instant {
    crate::deadline::after(bound).into()
}
