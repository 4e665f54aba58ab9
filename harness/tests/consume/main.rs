//! Consuming from a real Kafka.

mod basics;
mod commit_options;
mod commits;
mod damage;
mod dead_letters;
mod exactly_once;
mod groupless;
mod groups;
mod histories;
mod leaving;
mod many;
#[path = "../members/mod.rs"]
mod members;
mod remade;
mod starts;
mod support;
