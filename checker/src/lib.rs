//! The history of a fault run, and the checker that judges it.
//!
//! A run writes what it does and sees ([`history`]); nothing here needs Kafka or the library.

pub mod history;
