//! Handlers: their arguments, their results, and what follows from them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arguments;
mod layers;
mod messages;
mod outcomes;
