//! What a relay does beside its turns: it counts the outbox, and deletes rows that were kept long enough. Both may take
//! long in a large table, and cost neither leases nor rows.

use std::time::{Duration, Instant};

use super::store::{Store, answered};
use crate::error::Result;
use crate::failed::Depth;

/// Old rows are deleted for so long at a time.
const CLEANING: Duration = Duration::from_secs(5);

/// Does them all, whichever of them fails.
pub(crate) async fn run(store: Store) -> (Result<Depth>, Result<()>) {
    let depth = answered(store.depth()).await;
    (depth, clean(&store).await)
}

async fn clean(store: &Store) -> Result<()> {
    let began = Instant::now();
    if !store.keep.is_zero() {
        while answered(store.clean()).await? && began.elapsed() < CLEANING {}
    }
    Ok(())
}
