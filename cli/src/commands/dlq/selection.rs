//! Which dead letters are selected: the options common to all of `dlq`.

use std::ops::Range;
use std::time::SystemTime;

use eventstream::dead_letters::{DeadLetters, Filter};
use eventstream::{Client, DeadLetterReason, Topic};

use crate::time::time_or_age;

#[derive(clap::Args)]
pub(super) struct Selection {
    /// Topic the events came from, without the prefix
    #[arg(long, value_name = "TOPIC")]
    topic: Topic,
    /// undecodable, exhausted, unmatched or rejected; repeatable
    #[arg(long = "reason", value_name = "REASON", value_parser = reason, help_heading = "Filters")]
    reasons: Vec<DeadLetterReason>,
    /// Only events of this name; repeatable
    #[arg(long = "name", value_name = "NAME", help_heading = "Filters")]
    names: Vec<String>,
    /// Only those whose error contains this text, in full or as `list` shows it; repeatable
    #[arg(long = "error", value_name = "TEXT", help_heading = "Filters")]
    errors: Vec<String>,
    /// Only with this key; repeatable
    #[arg(long = "key", value_name = "KEY", help_heading = "Filters")]
    keys: Vec<String>,
    /// Only those that this group dead-lettered, with or without the prefix; repeatable
    #[arg(long = "group", value_name = "GROUP", help_heading = "Filters")]
    groups: Vec<String>,
    /// Only since this time: RFC 3339, or an age such as 90s, 15m, 2h or 7d
    #[arg(long, value_name = "TIME", value_parser = time_or_age, help_heading = "Filters")]
    since: Option<SystemTime>,
    /// Only before this time, or older than this age
    #[arg(long, value_name = "TIME", value_parser = time_or_age, help_heading = "Filters")]
    until: Option<SystemTime>,
    /// Only the event with this id; repeatable
    #[arg(long = "id", value_name = "ID", help_heading = "Filters")]
    ids: Vec<String>,
    /// Only at these offsets of a partition of the dead-letter topic, inclusive; repeatable
    #[arg(long = "at", value_name = "PARTITION@OFFSET[..OFFSET]", value_parser = place, help_heading = "Filters")]
    places: Vec<Place>,
}

/// A partition, and offsets of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    partition: i32,
    offsets: Range<i64>,
}

impl Selection {
    /// The selected dead letters, or those at `place`.
    pub(super) fn of(&self, client: &Client, place: Option<&Place>) -> anyhow::Result<DeadLetters> {
        let mut filter = Filter::new();
        filter = self.reasons.iter().fold(filter, |f, r| f.reason(*r));
        filter = self.names.iter().fold(filter, Filter::name);
        filter = self.errors.iter().fold(filter, Filter::error);
        filter = self
            .keys
            .iter()
            .fold(filter, |f, key| f.key(key.as_bytes()));
        filter = self.groups.iter().fold(filter, Filter::group);
        filter = self.ids.iter().fold(filter, Filter::id);
        for place in self.places.iter().chain(place) {
            filter = filter.at(place.partition, place.offsets.clone());
        }
        if let Some(since) = self.since {
            filter = filter.since(since);
        }
        if let Some(until) = self.until {
            filter = filter.until(until);
        }
        Ok(client.dead_letters(self.topic.as_str())?.filter(filter))
    }
}

fn reason(text: &str) -> Result<DeadLetterReason, String> {
    text.parse().map_err(|error: eventstream::Error| {
        let allowed = error.faults().first().map(|fault| fault.allowed.clone());
        allowed.unwrap_or_default()
    })
}

/// clap's parser for places.
pub(super) fn place(text: &str) -> Result<Place, String> {
    read_place(text).ok_or_else(|| {
        "must be PARTITION@OFFSET or PARTITION@OFFSET..OFFSET, such as 3@17".to_owned()
    })
}

fn read_place(text: &str) -> Option<Place> {
    let (partition, offsets) = text.split_once('@')?;
    let (first, last) = offsets.split_once("..").unwrap_or((offsets, offsets));
    let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
    let (first, last) = (number(first)?, number(last)?);
    let partition = partition.parse().ok().filter(|partition| *partition >= 0)?;
    (first <= last).then(|| Place {
        partition,
        offsets: first..last.saturating_add(1),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::time::age;

    #[test]
    fn places_are_a_partition_and_offsets() {
        let read = |text| read_place(text).map(|place| (place.partition, place.offsets));
        assert_eq!(read("3@17"), Some((3, 17..18)));
        assert_eq!(read("0@5..9"), Some((0, 5..10)));
        for wrong in [
            "", "3", "3@", "@7", "3@9..5", "-1@7", "3@-7", "3@a", "3@1...2",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_are_points_or_ages() {
        assert_eq!(age("90s"), Some(Duration::from_secs(90)));
        assert_eq!(age("2h"), Some(Duration::from_secs(7200)));
        assert_eq!(age("7d"), Some(Duration::from_secs(7 * 86_400)));
        for wrong in ["", "h", "2", "2 h", "-2h", "2y", "2ü"] {
            assert!(time_or_age(wrong).is_err(), "{wrong}");
        }
        let point = time_or_age("1970-01-01T00:00:05Z");
        assert_eq!(point, Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(5)));
    }
}
