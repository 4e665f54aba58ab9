//! Times and ages as users write them.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// An age: numbers with units, the largest first, such as `2h`, `90s` or `1d12h`.
pub(crate) fn age(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit());
        let (unit, after) = rest.split_at(letters.unwrap_or(rest.len()));
        let part = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            "d" => Duration::from_secs(number.checked_mul(86_400)?),
            _ => return None,
        };
        total = total.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// A time in RFC 3339.
pub(crate) fn time(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}

/// clap's parser for a time, or an age.
pub(crate) fn time_or_age(text: &str) -> Result<SystemTime, String> {
    let ago = || SystemTime::now().checked_sub(age(text)?);
    time(text).or_else(ago).ok_or_else(|| {
        "must be a time such as 2026-01-31T08:00:00Z, or an age such as 90s, 15m, 2h or 7d"
            .to_owned()
    })
}

/// In UTC with milliseconds, Kafka's resolution.
pub(crate) fn shown_time(time: SystemTime) -> Option<String> {
    let time = Timestamp::try_from(time).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

/// A duration, shortened for readers.
pub(crate) fn shown_age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..=9 => format!("{:.1}s", age.as_secs_f64()),
        10..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_numbers_with_units() {
        for (text, seconds) in [
            ("0s", 0),
            ("90s", 90),
            ("15m", 900),
            ("2h", 7200),
            ("1d12h", 129_600),
        ] {
            assert_eq!(age(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(age("1500ms"), Some(Duration::from_millis(1500)));
        for text in [
            "",
            "5",
            "h",
            "-5s",
            "5 s",
            "5x",
            "99999999999999999999d",
            "1.5h",
        ] {
            assert_eq!(age(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_or_an_age_is_a_time() {
        let time = time_or_age("2026-01-31T08:00:00Z").unwrap();
        assert_eq!(
            shown_time(time).as_deref(),
            Some("2026-01-31T08:00:00.000Z")
        );
        let ago = SystemTime::now().duration_since(time_or_age("2h").unwrap());
        assert!(ago.unwrap().as_secs().abs_diff(7200) < 60);
        assert!(time_or_age("yesterday").unwrap_err().contains("2h"));
    }

    #[test]
    fn an_age_is_shown_in_one_unit() {
        for (millis, text) in [
            (1234, "1.2s"),
            (45_000, "45s"),
            (3_600_000, "60m"),
            (90_000_000, "25h"),
        ] {
            assert_eq!(shown_age(Duration::from_millis(millis)), text);
        }
        assert_eq!(shown_age(Duration::from_secs(200_000)), "2d");
    }
}
