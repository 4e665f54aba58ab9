//! The tool as a process, on real Kafka. One program, so that its tests run side by side.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod console;
mod copy;
mod dlq;
mod doctor;
#[path = "../letters/mod.rs"]
mod letters;
mod offsets;
mod operations;
mod rights;
mod secured;
mod support;
