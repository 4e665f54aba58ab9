//! The envelope's time: RFC 3339 in whole seconds and UTC, and nanoseconds since the Unix epoch.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::short_text::ShortText;

/// `2024-10-28T10:18:45Z`.
pub(crate) type Stamp = ShortText<20>;

/// Written for a clock before 1970 or after 9999, since an event needs some timestamp.
const EPOCH: [u8; 20] = *b"1970-01-01T00:00:00Z";

thread_local! {
    /// The last second formatted on this thread, and its text: formatting costs more than the rest of the envelope.
    static LAST: Cell<(u64, [u8; 20])> = const { Cell::new((0, EPOCH)) };
}

/// The current time, as text and in nanoseconds since the Unix epoch.
pub(crate) fn now() -> (Stamp, i64) {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let nanos = i64::try_from(since.as_nanos()).unwrap_or(0);
    let (second, text) = LAST.get();
    if second == since.as_secs() {
        return (Stamp::from_ascii(text), nanos);
    }
    let text = format_seconds(UNIX_EPOCH + Duration::from_secs(since.as_secs()));
    let text = text.unwrap_or(Stamp::from_ascii(EPOCH));
    LAST.set((since.as_secs(), text.to_ascii()));
    (text, nanos)
}

/// `time` in whole seconds, rounded down; `None` outside the years 0 to 9999.
pub(crate) fn format_seconds(time: SystemTime) -> Option<Stamp> {
    let time = Timestamp::try_from(time).ok()?;
    let text = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    // Years before 0 have a sign, and so another length.
    Some(Stamp::from_ascii(text.as_bytes().try_into().ok()?))
}

/// `time` in nanoseconds since the Unix epoch; `None` outside the years 1678 to 2261.
pub(crate) fn unix_nanos(time: SystemTime) -> Option<i64> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).ok(),
        Err(before) => {
            let nanos = i128::try_from(before.duration().as_nanos()).ok()?;
            i64::try_from(-nanos).ok()
        }
    }
}

/// Reads RFC 3339 with 0 to 9 fraction digits and any zone.
pub(crate) fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}

pub(super) fn from_unix_nanos(nanos: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanos.unsigned_abs());
    if nanos < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_whole_seconds_in_utc() {
        let time = from_unix_nanos(1_730_110_725_123_456_789);
        assert_eq!(&*format_seconds(time).unwrap(), "2024-10-28T10:18:45Z");
        assert_eq!(unix_nanos(time), Some(1_730_110_725_123_456_789));
    }

    #[test]
    fn rounds_down_before_the_epoch_too() {
        let time = from_unix_nanos(-1);
        assert_eq!(&*format_seconds(time).unwrap(), "1969-12-31T23:59:59Z");
        assert_eq!(unix_nanos(time), Some(-1));
    }

    #[test]
    fn reads_every_form_that_publishers_have_written() {
        for (text, nanos) in [
            ("2024-10-28T10:18:45Z", 0),
            ("2024-10-28T10:18:45.1Z", 100_000_000),
            ("2024-10-28T10:18:45.12Z", 120_000_000),
            ("2024-10-28T10:18:45.123456789Z", 123_456_789),
            ("2024-10-28T17:18:45.5+07:00", 500_000_000),
        ] {
            let expected = from_unix_nanos(1_730_110_725_000_000_000 + nanos);
            assert_eq!(parse_rfc3339(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "string",
            "2024-10-28",
            "2024-10-28T10:18:45",
            "1730110725",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn the_text_and_the_nanoseconds_are_one_instant() {
        for _ in 0..3 {
            let (text, nanos) = now();
            let whole = from_unix_nanos(nanos - nanos % 1_000_000_000);
            assert_eq!(parse_rfc3339(&text), Some(whole));
        }
    }
}
