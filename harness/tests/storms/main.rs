//! Members that are processes: they join, leave and are killed at random under load.

mod batches;
mod exactly_once;
#[path = "../members/mod.rs"]
mod members;
mod moving;
mod pulled;
mod rebalances;
#[path = "../consume/support.rs"]
mod support;
