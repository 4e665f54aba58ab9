//! Publishing on the broker inside the process: what is accepted, reported and written.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod audit;
mod buffer;
mod copies;
mod ending;
mod local;
mod outcomes;
mod promises;
mod support;
mod validation;
mod wire;
