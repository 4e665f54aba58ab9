//! Metrics and traces, on the embedded broker.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod dashboard;
mod logged;
mod metrics;
mod scrape;
mod traces;
