use std::ops::Range;
use std::time::SystemTime;

use super::fold::fold;
use super::letter::Letter;
use crate::kafka::Span;
use crate::subscribe::DeadLetterReason;

/// Which dead letters to select. All criteria must match; of several values for one criterion, any may match.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use eventstream::DeadLetterReason;
/// use eventstream::dead_letters::Filter;
///
/// let filter = Filter::new()
///     .reason(DeadLetterReason::Exhausted)
///     .error("connection refused")
///     .since(SystemTime::now() - Duration::from_secs(2 * 3600));
/// # drop(filter);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Filter {
    reasons: Vec<DeadLetterReason>,
    names: Vec<String>,
    errors: Vec<String>,
    keys: Vec<Vec<u8>>,
    groups: Vec<String>,
    ids: Vec<String>,
    places: Vec<(i32, Range<i64>)>,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
}

impl Filter {
    /// Matches everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this reason.
    pub fn reason(mut self, reason: DeadLetterReason) -> Self {
        self.reasons.push(reason);
        self
    }

    /// For events with this name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.names.push(name.into());
        self
    }

    /// Whose error contains this text, as written or folded as in [`Cause::error`](super::Cause::error).
    pub fn error(mut self, text: impl Into<String>) -> Self {
        self.errors.push(text.into());
        self
    }

    /// With this key.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.keys.push(key.into());
        self
    }

    /// Given up on by this group: its name on the broker, or without the prefix.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.groups.push(group.into());
        self
    }

    /// For the event with this id.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.ids.push(id.into());
        self
    }

    /// At these offsets of a partition of the dead-letter topic.
    pub fn at(mut self, partition: i32, offsets: Range<i64>) -> Self {
        self.places.push((partition, offsets));
        self
    }

    /// At or after this time.
    pub fn since(mut self, time: SystemTime) -> Self {
        self.since = Some(time);
        self
    }

    /// Before this time.
    pub fn until(mut self, time: SystemTime) -> Self {
        self.until = Some(time);
        self
    }

    pub(super) fn oldest(&self) -> Option<SystemTime> {
        self.since
    }

    /// The spans, limited to the positions selected.
    pub(super) fn narrowed(&self, spans: &[Span]) -> Vec<Span> {
        if self.places.is_empty() {
            return spans.to_vec();
        }
        let narrowed = spans.iter().filter_map(|span| {
            let wanted = self.places.iter().filter(|(id, _)| *id == span.partition);
            let from = wanted.clone().map(|(_, offsets)| offsets.start).min()?;
            let to = wanted.map(|(_, offsets)| offsets.end).max()?;
            Some(Span {
                partition: span.partition,
                from: from.clamp(span.from, span.to),
                to: to.clamp(span.from, span.to),
            })
        });
        narrowed.collect()
    }

    /// Whether a dead letter is selected. The most expensive conditions are checked last.
    pub(super) fn lets(&self, letter: &Letter) -> bool {
        let context = letter.context();
        let origin = letter.origin();
        let (partition, offset) = (context.partition(), context.offset());
        let time = letter.time();
        let is_group = |wanted: &String| {
            let group = origin.map_or("", |origin| origin.group());
            let bare = group.strip_suffix(wanted.as_str());
            bare.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        one_of(&self.places, |(id, offsets)| {
            *id == partition && offsets.contains(&offset)
        }) && one_of(&self.reasons, |wanted| {
            origin.is_some_and(|origin| origin.reason() == *wanted)
        }) && one_of(&self.names, |wanted| {
            origin.and_then(|origin| origin.event_name()) == Some(wanted)
        }) && one_of(&self.keys, |wanted| context.key() == Some(wanted))
            && one_of(&self.groups, is_group)
            && self
                .since
                .is_none_or(|since| time.is_some_and(|time| time >= since))
            && self
                .until
                .is_none_or(|until| time.is_some_and(|time| time < until))
            && one_of(&self.errors, |wanted| {
                let error = origin.map_or("", |origin| origin.error());
                error.contains(wanted) || fold(error).contains(wanted)
            })
            && (self.ids.is_empty() || self.has_id(letter))
    }

    fn has_id(&self, letter: &Letter) -> bool {
        let event = letter.event();
        event.is_ok_and(|event| self.ids.iter().any(|wanted| *wanted == event.id()))
    }
}

/// True if `wanted` is empty or one of its elements matches.
fn one_of<T>(wanted: &[T], holds: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(holds)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::name::Topic;
    use crate::publish::NoPublisher;
    use crate::record::{Record, Source};
    use crate::subscribe::DeadLetterOrigin;

    const VALUE: &[u8] = br#"{"id":"e1","name":"levelUp"}"#;

    fn letter() -> Letter {
        let origin = DeadLetterOrigin {
            reason: DeadLetterReason::Exhausted,
            error: "no answer from 10.0.0.7:5432".to_owned(),
            attempts: 3,
            topic: "player".to_owned(),
            partition: 1,
            offset: 9,
            timestamp_ms: Some(5_000),
            group: "dev.rewards".to_owned(),
            event_name: Some("levelUp".to_owned()),
            replays: 0,
        };
        Letter::new(&Arc::new(Record {
            source: Arc::new(Source {
                topic: Topic::new("player-dlq").expect("valid"),
                partition: 2,
                lost: CancellationToken::new(),
                publisher: Arc::new(NoPublisher),
            }),
            offset: 40,
            timestamp_ms: Some(5_000),
            body: [b"k7", VALUE].concat().into(),
            key: Some(0..2),
            value: Some(2..2 + VALUE.len()),
            headers: Some(origin.headers().collect()),
            event: None,
        }))
    }

    fn second(n: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(n)
    }

    #[test]
    fn each_thing_lets_through_what_it_names_and_nothing_else() {
        let letter = letter();
        let all = Filter::new();
        for (right, wrong) in [
            (
                all.clone().reason(DeadLetterReason::Exhausted),
                all.clone().reason(DeadLetterReason::Rejected),
            ),
            (all.clone().name("levelUp"), all.clone().name("level")),
            (all.clone().error("10.0.0.7"), all.clone().error("10.0.0.8")),
            (
                all.clone().error("no answer from <addr>"),
                all.clone().error("answer from <n>"),
            ),
            (all.clone().key("k7"), all.clone().key("k")),
            (all.clone().group("rewards"), all.clone().group("wards")),
            (all.clone().group("dev.rewards"), all.clone().group("dev")),
            (all.clone().id("e1"), all.clone().id("e")),
            (all.clone().at(2, 40..41), all.clone().at(2, 39..40)),
            (all.clone().at(2, 0..100), all.clone().at(1, 0..100)),
            (all.clone().since(second(5)), all.clone().since(second(6))),
            (all.clone().until(second(6)), all.clone().until(second(5))),
        ] {
            assert!(right.lets(&letter), "{right:?}");
            assert!(!wrong.lets(&letter), "{wrong:?}");
        }
    }

    #[test]
    fn all_things_have_to_hold_and_one_of_each() {
        let letter = letter();
        let filter = Filter::new().name("other").name("levelUp").key("k7");
        assert!(filter.lets(&letter));
        assert!(!filter.group("inventory").lets(&letter));
    }

    #[test]
    fn only_partitions_with_wanted_places_are_read() {
        let span = |partition, from, to| Span {
            partition,
            from,
            to,
        };
        let spans = [span(0, 10, 90), span(1, 0, 50)];
        assert_eq!(Filter::new().narrowed(&spans), spans);
        let filter = Filter::new().at(0, 20..30).at(0, 80..200).at(7, 0..1);
        assert_eq!(filter.narrowed(&spans), [span(0, 20, 90)]);
    }
}
