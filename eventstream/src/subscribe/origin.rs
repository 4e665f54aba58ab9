//! The headers of a dead letter, written and read. They are stable, as tools and other services read them.

use std::time::{Duration, SystemTime};

use super::dead_letter_reason::DeadLetterReason;
use crate::error::{Error, ErrorKind, Fault, Result};

const PREFIX: &str = "eventstream-dead-letter-";
/// How often the record was replayed. A replayed record has only this header until it is dead-lettered again.
pub(crate) const REPLAYS: &str = "eventstream-dead-letter-replays";
/// Why a dead letter was parked.
pub(crate) const PARKED: &str = "eventstream-dead-letter-parked";

/// Why a record was dead-lettered and where it came from, read from its headers.
///
/// ```
/// use eventstream::DeadLetterOrigin;
///
/// # fn handle(context: &eventstream::Context) -> Result<(), eventstream::Error> {
/// if let Some(origin) = DeadLetterOrigin::read(context.headers())? {
///     println!("{}: {} from offset {}", origin.reason(), origin.error(), origin.offset());
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterOrigin {
    pub(crate) reason: DeadLetterReason,
    pub(crate) error: String,
    pub(crate) attempts: u32,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) group: String,
    pub(crate) event_name: Option<String>,
    pub(crate) replays: u32,
}

impl DeadLetterOrigin {
    /// Reads a record's headers, such as [`Context::headers`](crate::Context::headers) gives them.
    /// `None` if none of them belongs to a dead letter; a replayed record is not a dead letter. If a
    /// name occurs twice, the last one counts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] if one is missing or malformed; [`Error::faults`] lists
    /// each.
    pub fn read<'a>(
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<Option<Self>> {
        let mut found = Found::default();
        for (name, value) in headers {
            if let Some(name) = name.strip_prefix(PREFIX) {
                found.values.push((name, value));
            }
        }
        if found.values.iter().all(|(name, _)| *name == "replays") {
            return Ok(None);
        }
        let origin = Self {
            reason: found.reason(),
            error: found.text("error"),
            attempts: found.number("attempts"),
            topic: found.text("topic"),
            partition: found.number("partition"),
            offset: found.number("offset"),
            timestamp_ms: found.has("timestamp").then(|| found.number("timestamp")),
            group: found.text("group"),
            event_name: found.has("event-name").then(|| found.text("event-name")),
            replays: if found.has("replays") {
                found.number("replays")
            } else {
                0
            },
        };
        if found.faults.is_empty() {
            return Ok(Some(origin));
        }
        let doing = "read the headers of a dead letter";
        Err(Error::from_faults(ErrorKind::Decode, doing, found.faults))
    }

    /// The inverse of [`read`](Self::read).
    pub(crate) fn headers(self) -> impl Iterator<Item = (String, Option<Vec<u8>>)> {
        let values = [
            ("reason", Some(self.reason.to_string())),
            ("error", Some(self.error)),
            ("attempts", Some(self.attempts.to_string())),
            ("topic", Some(self.topic)),
            ("partition", Some(self.partition.to_string())),
            ("offset", Some(self.offset.to_string())),
            ("timestamp", self.timestamp_ms.map(|ms| ms.to_string())),
            ("group", Some(self.group)),
            ("event-name", self.event_name),
            (
                "replays",
                (self.replays > 0).then(|| self.replays.to_string()),
            ),
        ];
        values.into_iter().filter_map(|(name, value)| {
            Some((format!("{PREFIX}{name}"), Some(value?.into_bytes())))
        })
    }

    /// How often the record was replayed before, by its headers; 0 if they do not say, or not with a number.
    pub(crate) fn replays_in<'a>(
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> u32 {
        let values = headers.into_iter().filter(|(name, _)| *name == REPLAYS);
        values
            .last()
            .and_then(|(_, value)| std::str::from_utf8(value?).ok()?.parse().ok())
            .unwrap_or(0)
    }

    /// Whether a header is one of a dead letter.
    pub(crate) fn owns(name: &str) -> bool {
        name.starts_with(PREFIX)
    }

    /// Why it was dead-lettered. A reason that this version does not know is an error of
    /// [`read`](Self::read).
    pub fn reason(&self) -> DeadLetterReason {
        self.reason
    }

    /// The last error with its causes, cut at 8 KiB; empty if there was none.
    pub fn error(&self) -> &str {
        &self.error
    }

    /// How often a handler was started.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The topic the record was in, without the prefix of the client that read it.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition it was in.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Its offset there.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Its timestamp, where it had one; the epoch for one before it.
    pub fn timestamp(&self) -> Option<SystemTime> {
        let millis = u64::try_from(self.timestamp_ms?).unwrap_or(0);
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))
    }

    /// The group that dead-lettered it, by its full name on the broker.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The event's name, if the record could be decoded.
    pub fn event_name(&self) -> Option<&str> {
        self.event_name.as_deref()
    }

    /// How often it had been replayed before it was dead-lettered again.
    pub fn replays(&self) -> u32 {
        self.replays
    }
}

/// The headers of a dead letter, without the prefix of their names.
#[derive(Default)]
struct Found<'a> {
    values: Vec<(&'a str, Option<&'a [u8]>)>,
    faults: Vec<Fault>,
}

impl<'a> Found<'a> {
    fn value(&self, name: &str) -> Option<&'a [u8]> {
        let mut from_the_last = self.values.iter().rev();
        from_the_last.find(|(found, _)| *found == name)?.1
    }

    fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    fn text(&mut self, name: &str) -> String {
        let text = self.value(name).map(std::str::from_utf8);
        if let Some(Ok(text)) = text {
            return text.to_owned();
        }
        self.fault(name, "must be present, as UTF-8 text");
        String::new()
    }

    fn reason(&mut self) -> DeadLetterReason {
        let text = self
            .value("reason")
            .and_then(|value| std::str::from_utf8(value).ok());
        if let Some(reason) = text.and_then(|text| text.parse().ok()) {
            return reason;
        }
        self.fault("reason", &DeadLetterReason::allowed());
        DeadLetterReason::Undecodable
    }

    fn number<T: std::str::FromStr + Default>(&mut self, name: &str) -> T {
        let text = self
            .value(name)
            .and_then(|value| std::str::from_utf8(value).ok());
        if let Some(number) = text.and_then(|text| text.parse().ok()) {
            return number;
        }
        self.fault(name, "must be present, as a decimal integer in range");
        T::default()
    }

    fn fault(&mut self, name: &str, allowed: &str) {
        let value = String::from_utf8_lossy(self.value(name).unwrap_or_default());
        let shown: String = value.chars().take(40).collect();
        self.faults
            .push(Fault::new(format!("{PREFIX}{name}"), shown, allowed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> DeadLetterOrigin {
        DeadLetterOrigin {
            reason: DeadLetterReason::Exhausted,
            error: "no such user: grün".to_owned(),
            attempts: 7,
            topic: "userAuthentication".to_owned(),
            partition: 3,
            offset: 1 << 40,
            timestamp_ms: Some(-1),
            group: "dev.inventory".to_owned(),
            event_name: Some("userLoggedIn".to_owned()),
            replays: 2,
        }
    }

    fn read(headers: &[(String, Option<Vec<u8>>)]) -> Result<Option<DeadLetterOrigin>> {
        DeadLetterOrigin::read(headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())))
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let full = origin();
        let bare = DeadLetterOrigin {
            error: String::new(),
            timestamp_ms: None,
            event_name: None,
            replays: 0,
            ..origin()
        };
        for origin in [full, bare] {
            let headers: Vec<_> = origin.clone().headers().collect();
            assert_eq!(read(&headers).expect("our own"), Some(origin));
        }
    }

    #[test]
    fn other_headers_are_no_dead_letter() {
        let headers = [("traceparent".to_owned(), Some(b"00-".to_vec()))];
        assert_eq!(read(&headers).expect("nothing to read"), None);
    }

    #[test]
    fn a_replayed_record_is_no_dead_letter_and_knows_how_often() {
        let headers = [
            (REPLAYS.to_owned(), Some(b"1".to_vec())),
            (REPLAYS.to_owned(), Some(b"2".to_vec())),
        ];
        assert_eq!(read(&headers).expect("nothing to read"), None);
        let count = |headers: &[(String, Option<Vec<u8>>)]| {
            DeadLetterOrigin::replays_in(headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())))
        };
        assert_eq!(count(&headers), 2);
        assert_eq!(count(&[(REPLAYS.to_owned(), Some(b"many".to_vec()))]), 0);
        assert_eq!(count(&[]), 0);
    }

    #[test]
    fn every_header_that_is_wrong_is_named() {
        let mut headers: Vec<_> = origin().headers().collect();
        let set = |headers: &mut Vec<_>, name: &str, value: Option<&[u8]>| {
            headers.push((format!("{PREFIX}{name}"), value.map(<[u8]>::to_vec)));
        };
        set(&mut headers, "partition", Some(b"three"));
        set(&mut headers, "offset", Some(b"9223372036854775808"));
        set(&mut headers, "group", Some(b"\xff"));
        set(&mut headers, "reason", Some(b"tired"));
        let error = read(&headers).expect_err("four are wrong");
        assert_eq!(error.kind(), ErrorKind::Decode);
        let named: Vec<_> = error.faults().iter().map(|f| f.field.clone()).collect();
        let expected = ["reason", "partition", "offset", "group"].map(|n| format!("{PREFIX}{n}"));
        assert_eq!(named, expected);
    }
}
