//! What a service sees of the library: metrics, spans, health, counters, and how often what goes on happening is logged.

pub(crate) mod cadence;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod stats;
pub(crate) mod trace;
pub(crate) mod untold;
