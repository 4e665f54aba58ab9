//! The brokers and the database of the tests: that they are what the tests take them for.

mod cluster;
mod foreign_groups;
mod older_version;
mod one_node;
mod postgres;
