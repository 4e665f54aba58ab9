//! The tool as a process, on an embedded broker in another.

mod audit;
mod bench;
mod demo;
mod endings;
mod metadata;
mod publish;
mod round_trip;
mod subscribe;
mod support;
mod usage;
