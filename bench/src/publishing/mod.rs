//! Publishing: all at once, one in flight, a hundred in flight.

pub(crate) mod floor;
pub(crate) mod ours;
