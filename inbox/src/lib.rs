//! An inbox on PostgreSQL for [`eventstream`]: what a handler does in its database happens once, however often an event
//! is delivered.
//!
//! A consumer group handles an event again after a kill, a rebalance in the middle of a handler, or a move of its
//! offsets, and a publisher may store one twice. [`Inbox::once`] records the event's id in the handler's own database
//! transaction and reports whether it was already there.
//!
//! | to | see |
//! |---|---|
//! | create the table | [`migrate`], [`MIGRATION`] |
//! | handle an event once | [`Inbox::once`] |
//! | handle several with one statement | [`Inbox::once_each`] |
//! | keep the table small | [`Inbox::retain`] |
//!
//! The database is reached through `sqlx` 0.8, whose TLS features you choose.

mod error;
mod inbox;
mod migrate;

pub use error::{Error, ErrorKind, Result};
pub use inbox::{Inbox, Seen};
pub use migrate::{MIGRATION, migrate};
