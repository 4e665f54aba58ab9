//! Handlers: their arguments, what they return, and what becomes of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arguments;
mod layers;
mod messages;
mod outcomes;
