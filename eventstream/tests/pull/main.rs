//! Pulled events, on the embedded broker.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod bounds;
mod endings;
mod misuse;
mod support;
