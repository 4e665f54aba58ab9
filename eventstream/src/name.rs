//! Names validated once, at construction: topics, event names and consumer groups.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Fault, Result};

/// Kafka's own limit for a topic name, in bytes.
const TOPIC_MAX: usize = 249;
/// The README's limit for an event name, in bytes.
const EVENT_NAME_MAX: usize = 256;
/// Kafka sets no limit for a group id; its offsets topic keeps the id in every key, so a bound is wise.
const GROUP_MAX: usize = 249;
/// How much of an invalid value an error quotes, in characters.
const SHOWN: usize = 80;

/// A topic's name on the broker; an empty prefix leaves it unchanged.
pub(crate) fn prefixed(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        // In a single allocation, as traced events need it each.
        [prefix, name].join(".")
    }
}

/// A validated name: the type, its constructor and the conversions that every name has.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path, $doing:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `name` and keeps it.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::Validation`] if the name is empty, too long or has characters that are not allowed.
            pub fn new(name: impl AsRef<str>) -> Result<Self, Error> {
                let name = name.as_ref();
                match $check(name) {
                    None => Ok(Self(Arc::from(name))),
                    Some(fault) => Err(Error::from_faults(
                        ErrorKind::Validation,
                        $doing,
                        vec![fault],
                    )),
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self, Error> {
                Self::new(name)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;

            fn try_from(name: &str) -> Result<Self, Error> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(name: String) -> Result<Self, Error> {
                Self::new(name)
            }
        }
    };
}

name! {
    /// A topic without the client's prefix, as Kafka allows it: 1 to 249 ASCII letters, digits, `.`, `_` and `-`, and not
    /// `.` or `..`. Cheap to clone.
    ///
    /// Publishing allows fewer names, see [`Publish`](crate::Publish).
    ///
    /// ```
    /// use eventstream::Topic;
    ///
    /// let topic = Topic::new("userAccount")?;
    /// assert_eq!(topic.as_str(), "userAccount");
    /// assert!(Topic::new("user account").is_err());
    /// # Ok::<(), eventstream::Error>(())
    /// ```
    Topic, check_topic, "invalid topic"
}

name! {
    /// The name of an event: runs of ASCII letters and digits joined by single `'`, `_`, `.` or `-`, at most 256 bytes.
    /// Cheap to clone.
    ///
    /// ```
    /// use eventstream::EventName;
    ///
    /// let name: EventName = "userLoggedIn".parse()?;
    /// assert_eq!(name.to_string(), "userLoggedIn");
    /// assert!(EventName::new("-userLoggedIn").is_err());
    /// # Ok::<(), eventstream::Error>(())
    /// ```
    EventName, check_event_name, "invalid event name"
}

name! {
    /// A consumer group without the client's prefix: 1 to 249 bytes of text without control characters. Cheap to clone.
    ///
    /// ```
    /// use eventstream::GroupId;
    ///
    /// assert_eq!(GroupId::new("billing service")?.as_str(), "billing service");
    /// assert!(GroupId::new("").is_err());
    /// # Ok::<(), eventstream::Error>(())
    /// ```
    GroupId, check_group_id, "invalid group id"
}

/// The fault of `topic` for Kafka, if any.
pub(crate) fn check_topic(topic: &str) -> Option<Fault> {
    let legal = |b: u8| CLASS[usize::from(b)] & (REFUSED | APOSTROPHE) == 0;
    let fits = !topic.is_empty() && topic.len() <= TOPIC_MAX && !matches!(topic, "." | "..");
    if fits && topic.bytes().all(legal) {
        return None;
    }
    let allowed = format!("must be 1 to {TOPIC_MAX} bytes of A-Z a-z 0-9 . _ -, and not . or ..");
    Some(Fault::new("topic", shown(topic), allowed))
}

/// The fault of `topic` for publishing events, if any: the Go SDK allows a subset of what Kafka allows. Allocates
/// only then.
pub(crate) fn check_published_topic(topic: &str) -> Option<Fault> {
    if topic.len() <= TOPIC_MAX && is_joined_runs::<APOSTROPHE>(topic.as_bytes()) {
        return None;
    }
    Some(joined_runs_fault("topic", topic, "_ . or -", TOPIC_MAX))
}

/// Whether a topic with the client's prefix and the suffix of dead letters is short enough for Kafka.
pub(crate) fn check_whole_topic(prefix: &str, topic: &str, suffix: &str) -> Option<Fault> {
    let dot = usize::from(!prefix.is_empty());
    let length = prefix.len() + dot + topic.len() + suffix.len();
    if length <= TOPIC_MAX {
        return None;
    }
    let mut allowed = format!("must be 1 to {TOPIC_MAX} bytes in total");
    if dot > 0 {
        allowed += &format!(", including the prefix {:?} and a dot", shown(prefix));
    }
    if !suffix.is_empty() {
        allowed += &format!(", and for its dead letters {suffix:?}");
    }
    Some(Fault::new("topic", shown(topic), allowed))
}

/// The fault of `name` as an event name, if any. Allocates only then.
pub(crate) fn check_event_name(name: &str) -> Option<Fault> {
    if name.len() <= EVENT_NAME_MAX && is_joined_runs::<0>(name.as_bytes()) {
        return None;
    }
    Some(joined_runs_fault(
        "event_name",
        name,
        "' _ . or -",
        EVENT_NAME_MAX,
    ))
}

fn check_group_id(group: &str) -> Option<Fault> {
    let printable = !group.chars().any(char::is_control);
    if !group.is_empty() && group.len() <= GROUP_MAX && printable {
        return None;
    }
    let allowed = format!("must be 1 to {GROUP_MAX} bytes without control characters");
    Some(Fault::new("group_id", shown(group), allowed))
}

/// Whether `id` is a version 4 UUID of 32 lower-case hex digits without hyphens, as strict validation requires.
pub(crate) fn is_uuid4_without_hyphens(id: &str) -> bool {
    let id = id.as_bytes();
    id.len() == 32
        && id.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        && id[12] == b'4'
        && matches!(id[16], b'8' | b'9' | b'a' | b'b')
}

const RUN: u8 = 0;
const JOINT: u8 = 1;
const REFUSED: u8 = 2;
/// Joins runs in event names, but is not allowed in Kafka's topic names.
const APOSTROPHE: u8 = 4;

/// The class of every byte, so that checking a name costs one load and no branch per byte.
const CLASS: [u8; 256] = {
    let mut table = [REFUSED; 256];
    let mut b = 0;
    while b < 128 {
        if (b as u8).is_ascii_alphanumeric() {
            table[b] = RUN;
        }
        b += 1;
    }
    table[b'\'' as usize] = JOINT | APOSTROPHE;
    table[b'_' as usize] = JOINT;
    table[b'.' as usize] = JOINT;
    table[b'-' as usize] = JOINT;
    table
};

/// The language `[A-Za-z0-9]+(['_.-][A-Za-z0-9]+)*`, without joints of the class `NO`.
fn is_joined_runs<const NO: u8>(name: &[u8]) -> bool {
    let (mut before, mut wrong) = (JOINT, 0);
    for &b in name {
        let class = CLASS[usize::from(b)];
        // A joint must follow a run.
        wrong |= (class & (REFUSED | NO)) | (class & before & JOINT);
        before = class;
    }
    wrong == 0 && before == RUN
}

#[cold]
fn joined_runs_fault(field: &str, value: &str, joints: &str, max: usize) -> Fault {
    let allowed =
        format!("must be runs of A-Z a-z 0-9 joined by single {joints}, 1 to {max} bytes in total");
    Fault::new(field, shown(value), allowed)
}

fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        None => value.to_owned(),
        Some((end, _)) => format!("{}...", &value[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepts_the_language_of_the_wire() {
        for good in [
            "a",
            "0",
            "a.b",
            "a'b",
            "a-b_c.d",
            "c82fd812-4499-42d2-bd74-806e32bda386",
        ] {
            assert!(check_event_name(good).is_none(), "{good}");
            let in_kafka = !good.contains('\'');
            assert_eq!(check_published_topic(good).is_none(), in_kafka, "{good}");
            assert_eq!(check_topic(good).is_none(), in_kafka, "{good}");
        }
        for bad in [
            "", "-a", "a-", "a..b", "a.-b", "a b", "a$", "#", "a,b", "é", "aé", "a\n",
        ] {
            assert!(check_published_topic(bad).is_some(), "{bad:?}");
            assert!(check_event_name(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn a_topic_is_what_kafka_allows() {
        for good in ["__consumer_offsets", "a--b", "-a", "a-", "a..b", "...", "_"] {
            assert!(check_topic(good).is_none(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a'b", "a$", "a/b", "é", "a\n"] {
            assert!(check_topic(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn prefix_and_suffix_count() {
        let fits = |prefix: &str, length: usize, suffix: &str| {
            check_whole_topic(prefix, &"a".repeat(length), suffix).is_none()
        };
        assert!(fits("", 249, "") && !fits("", 250, ""));
        assert!(fits("env", 245, "") && !fits("env", 246, ""));
        assert!(fits("env", 241, "-dlq") && !fits("env", 242, "-dlq"));
    }

    #[test]
    fn bounds_the_length() {
        assert!(Topic::new("a".repeat(249)).is_ok());
        assert!(Topic::new("a".repeat(250)).is_err());
        assert!(EventName::new("a".repeat(256)).is_ok());
        assert!(EventName::new("a".repeat(257)).is_err());
        assert!(GroupId::new("a".repeat(249)).is_ok());
        assert!(GroupId::new("a".repeat(250)).is_err());
    }

    #[test]
    fn a_refused_name_is_a_validation_error_that_names_the_field() {
        let error = Topic::new("a b").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Validation);
        assert_eq!(error.faults()[0].field, "topic");
        assert_eq!(error.faults()[0].value, "a b");
        let group = GroupId::new("a group").unwrap();
        assert_eq!(serde_json::to_string(&group).unwrap(), "\"a group\"");
        let long = EventName::new("é".repeat(300)).unwrap_err();
        assert!(long.to_string().len() < 400, "{long}");
    }

    #[test]
    fn a_group_id_may_hold_any_printable_text() {
        assert!(GroupId::new("a group, of Ünïcode").is_ok());
        assert!(GroupId::new("").is_err());
        assert!(GroupId::new("a\nb").is_err());
    }

    #[test]
    fn knows_a_version_4_uuid_without_hyphens() {
        for (id, good) in [
            ("c82fd812449942d2bd74806e32bda386", true),
            ("00000000000040008000000000000000", true),
            ("C82FD812449942D2BD74806E32BDA386", false),
            ("c82fd812449952d2bd74806e32bda386", false),
            ("c82fd812449942d2cd74806e32bda386", false),
            ("c82fd812-4499-42d2-bd74-806e32bda386", false),
            ("c82fd812449942d2bd74806e32bda38", false),
            ("c82fd812449942d2bd74806e32bda386\n", false),
            ("", false),
        ] {
            assert_eq!(is_uuid4_without_hyphens(id), good, "{id:?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_grammar_read_differently(name in "[a-zA-Z0-9'_.é -]{0,12}") {
            let by_split = name
                .split(['\'', '_', '.', '-'])
                .all(|run| !run.is_empty() && run.bytes().all(|b| b.is_ascii_alphanumeric()));
            prop_assert_eq!(check_event_name(&name).is_none(), by_split);
            let in_kafka = by_split && !name.contains('\'');
            prop_assert_eq!(check_published_topic(&name).is_none(), in_kafka);
            prop_assert!(!in_kafka || check_topic(&name).is_none());
        }
    }
}
