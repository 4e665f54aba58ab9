//! The outbox on a real PostgreSQL, with a publisher that fails on command.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chores;
mod database;
mod failing;
mod long;
mod ordering;
mod relays;
mod support;
