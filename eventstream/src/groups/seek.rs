//! The target of a seek, decided from what is known of a partition, without IO.

use std::time::{Duration, SystemTime};

/// Where to move a group's committed offset to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeekTo {
    /// To the first record that the broker still has.
    Head,
    /// To the end: existing records are not read.
    Tail,
    /// To this offset, or to the nearer end if it is out of range.
    Offset(i64),
    /// To the first record with this timestamp or later; to the end if there is none.
    Time(SystemTime),
    /// Like `Time`, this long before now.
    Age(Duration),
    /// This many records forward from the committed offset, or back if negative, but no further than
    /// the ends. It counts offsets: in a compacted topic, fewer of them are records.
    By(i64),
}

/// What to move and where to: a topic, given without the client's prefix, with all or some of its
/// partitions.
///
/// ```
/// use eventstream::{Seek, SeekTo};
///
/// let seek = Seek::new("player", SeekTo::Head).partition(3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a seek does nothing until `ConsumerGroup::plan_seek`"]
pub struct Seek {
    pub(crate) topic: String,
    pub(crate) to: SeekTo,
    pub(crate) partitions: Vec<i32>,
}

impl Seek {
    /// All partitions of the topic.
    pub fn new(topic: impl Into<String>, to: SeekTo) -> Self {
        Self {
            topic: topic.into(),
            to,
            partitions: Vec::new(),
        }
    }

    /// Only this partition, and any others for which it is called.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partitions.push(partition);
        self
    }
}

/// What is known of a partition.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) low: i64,
    pub(crate) end: i64,
    pub(crate) committed: Option<i64>,
    /// The offset of the first record at the requested time.
    pub(crate) at_time: Option<i64>,
}

/// The target offset; `None` without a committed offset to count from.
pub(crate) fn target(to: SeekTo, place: Place) -> Option<i64> {
    let offset = match to {
        SeekTo::Head => place.low,
        SeekTo::Tail => place.end,
        SeekTo::Offset(offset) => offset,
        SeekTo::Time(_) | SeekTo::Age(_) => place.at_time.unwrap_or(place.end),
        SeekTo::By(records) => place.committed?.saturating_add(records),
    };
    Some(offset.clamp(place.low, place.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_lies_within_the_log() {
        let place = Place {
            low: 20,
            end: 100,
            committed: Some(50),
            at_time: Some(70),
        };
        let time = SeekTo::Time(SystemTime::now());
        for (to, offset) in [
            (SeekTo::Head, 20),
            (SeekTo::Tail, 100),
            (SeekTo::Offset(60), 60),
            (SeekTo::Offset(0), 20),
            (SeekTo::Offset(i64::MAX), 100),
            (time, 70),
            (SeekTo::Age(Duration::MAX), 70),
            (SeekTo::By(0), 50),
            (SeekTo::By(7), 57),
            (SeekTo::By(51), 100),
            (SeekTo::By(-31), 20),
            (SeekTo::By(i64::MIN), 20),
        ] {
            assert_eq!(target(to, place), Some(offset), "{to:?}");
        }
        let none = Place {
            committed: None,
            at_time: None,
            ..place
        };
        assert_eq!(target(SeekTo::By(1), none), None);
        assert_eq!(target(time, none), Some(100));
    }
}
