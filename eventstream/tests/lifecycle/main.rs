//! The life of groups and registrations, on the embedded broker: how they end, and what that
//! releases.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod callbacks;
mod endings;
mod failing;
mod misuse;
mod runtimes;
mod support;
