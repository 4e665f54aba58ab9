//! What a service can observe of the library: metrics, spans, health, counters, and how often repeated events are
//! logged.

pub(crate) mod cadence;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod stats;
pub(crate) mod trace;
pub(crate) mod untold;
