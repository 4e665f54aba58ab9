//! Metrics and traces, on the embedded broker.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod arrived;
mod collector;
mod dashboard;
mod logged;
mod metrics;
mod otlp;
mod scrape;
mod traces;
mod ways;
