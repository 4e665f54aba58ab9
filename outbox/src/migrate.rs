use sqlx::{PgPool, raw_sql};

use crate::error::{Error, Result};

/// The SQL that makes the outbox's tables, for a migration tool of your own. It may be run again.
pub const MIGRATION: &str = include_str!("migration.sql");

/// Two services that start together would both find a table missing.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1869968488, 0)";

/// Makes the outbox's tables where they are missing, in the first schema of the connection's `search_path`. For a start
/// of the service, or a migration of its own: it may be called again, and by several at once.
///
/// # Errors
///
/// [`ErrorKind::Database`](crate::ErrorKind::Database): the database is not reached, or this user may not make tables.
pub async fn migrate(pool: &PgPool) -> Result<()> {
    let failed = |error| Error::database("make the tables of the outbox", error);
    let mut tx = pool.begin().await.map_err(failed)?;
    raw_sql(LOCK).execute(&mut *tx).await.map_err(failed)?;
    raw_sql(MIGRATION).execute(&mut *tx).await.map_err(failed)?;
    tx.commit().await.map_err(failed)
}
