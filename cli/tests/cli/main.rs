//! The tool as a process, on an embedded broker in another.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod audit;
mod bench;
mod copy;
mod demo;
mod dlq;
mod doctor;
mod endings;
mod group;
#[path = "../letters/mod.rs"]
mod letters;
mod metadata;
mod publish;
mod round_trip;
mod select;
mod subscribe;
mod support;
mod usage;
