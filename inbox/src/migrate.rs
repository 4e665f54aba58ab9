use sqlx::{PgPool, raw_sql};

use crate::error::{Error, Result};

/// The SQL that creates the inbox's table, for your own migration tool. It may be run again.
pub const MIGRATION: &str = include_str!("migration.sql");

/// Two services starting at the same time would both find the table missing.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1768845928, 0)";

/// Creates the inbox's table if it is missing, in the first schema of the connection's `search_path`. Call it when the
/// service starts, or in a separate migration: repeated and concurrent calls are safe.
///
/// # Errors
///
/// [`ErrorKind::Database`](crate::ErrorKind::Database): the database cannot be reached, or this user may not create
/// tables.
pub async fn migrate(pool: &PgPool) -> Result<()> {
    let failed = |error| Error::database("create the table of the inbox", error);
    let mut tx = pool.begin().await.map_err(failed)?;
    raw_sql(LOCK).execute(&mut *tx).await.map_err(failed)?;
    raw_sql(MIGRATION).execute(&mut *tx).await.map_err(failed)?;
    tx.commit().await.map_err(failed)
}
