//! Publishing: everything at once, one event in flight, a hundred in flight, partitions not written
//! to before.

pub(crate) mod floor;
pub(crate) mod ours;
