//! One turn of a relay with its database: what to write, and what to read.

use super::board::Row;
use super::leases::Leased;
use super::store::{Fetch, Store, answered};
use crate::error::Result;

/// The work to do; finished parts are removed, so that the rest can be retried.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) stored: Vec<i64>,
    pub(crate) rejected: Vec<(i64, String)>,
    /// The slots to release with the next renewal.
    pub(crate) renew: Option<Vec<i16>>,
    pub(crate) fetch: Option<Fetch>,
    pub(crate) probes: Vec<String>,
}

/// The results.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) marked: Vec<i64>,
    pub(crate) leased: Option<Leased>,
    /// Rows, and whether there may be more.
    pub(crate) rows: Option<(Vec<Row>, bool)>,
    pub(crate) probed: Vec<(String, Option<Row>)>,
}

/// Runs a turn. Whatever fails, everything before it is done.
pub(crate) async fn take(store: Store, mut turn: Turn) -> (Turn, Found, Result<()>) {
    let mut found = Found::default();
    let outcome = answered(turn.go(&store, &mut found)).await;
    (turn, found, outcome)
}

impl Turn {
    async fn go(&mut self, store: &Store, found: &mut Found) -> Result<()> {
        if !self.stored.is_empty() {
            store.mark(&self.stored).await?;
            found.marked.append(&mut self.stored);
        }
        if !self.rejected.is_empty() {
            store.reject(&self.rejected).await?;
            found
                .marked
                .extend(self.rejected.drain(..).map(|(id, _)| id));
        }
        if let Some(release) = &self.renew {
            found.leased = Some(store.lease(release).await?);
            self.renew = None;
        }
        if let Some(fetch) = &self.fetch {
            while let Some(topic) = self.probes.last() {
                let row = store.probe(&fetch.slots, &fetch.known, topic).await?;
                found
                    .probed
                    .extend(self.probes.pop().map(|topic| (topic, row)));
            }
            let rows = store.fetch(fetch).await?;
            let more = rows.len() >= fetch.limit;
            found.rows = Some((rows, more));
        }
        Ok(())
    }
}
