//! Publishing: all at once, one in flight, a hundred in flight, partitions nobody has written to.

pub(crate) mod floor;
pub(crate) mod ours;
