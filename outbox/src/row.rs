//! An event as a row: which part of the outbox it belongs to, and its headers as text.

use eventstream::SealedEvent;
use serde::{Deserialize, Serialize};

/// How many parts the outbox has, and so how many relays can share it.
pub(crate) const SLOTS: u16 = 64;

/// What events are ordered by: topic and key. It is stored in the table, so it must be the same in every process and
/// version.
#[derive(Clone, Copy)]
pub(crate) struct KeyHash(u64);

impl KeyHash {
    pub(crate) fn of(topic: &str, key: &[u8]) -> Self {
        // FNV-1a with a final mix, as its low bits are weak.
        let bytes = topic.bytes().chain([0]).chain(key.iter().copied());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self((hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn slot(self) -> i16 {
        i16::try_from((self.0 >> 32) % u64::from(SLOTS)).expect("there are few slots")
    }

    /// The lock of the key. Two keys with the same lock only wait for each other.
    pub(crate) fn lock(self) -> i32 {
        i32::from_ne_bytes(
            u32::try_from(self.0 & 0xffff_ffff)
                .expect("32 bits")
                .to_ne_bytes(),
        )
    }
}

/// One header: its value as text if possible, otherwise as hex digits; neither if it is null.
#[derive(Serialize, Deserialize)]
struct Header {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

pub(crate) fn write_headers(event: &SealedEvent) -> String {
    if event.headers().len() == 0 {
        return String::new();
    }
    let headers = event.headers().map(|(name, value)| {
        let text = value.and_then(|value| std::str::from_utf8(value).ok());
        let hex = value.filter(|_| text.is_none());
        Header {
            name: name.to_owned(),
            text: text.map(str::to_owned),
            hex: hex.map(|value| value.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    });
    let headers: Vec<_> = headers.collect();
    serde_json::to_string(&headers).expect("texts are JSON")
}

/// `None` if the text was not written by `write_headers`.
pub(crate) fn read_headers(text: &str) -> Option<Vec<(String, Option<Vec<u8>>)>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let headers: Vec<Header> = serde_json::from_str(text).ok()?;
    let read = |header: Header| {
        let value = match (header.text, header.hex) {
            (Some(text), _) => Some(text.into_bytes()),
            (None, Some(hex)) => Some(unhex(&hex)?),
            (None, None) => None,
        };
        Some((header.name, value))
    };
    headers.into_iter().map(read).collect()
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use eventstream::Publish;

    use super::*;

    #[test]
    fn headers_come_back_as_they_were() {
        let event = Publish::new("t", "n")
            .header("text", "a\0\"b")
            .header("bytes", [0xff, 0x0a])
            .header("empty", "");
        let event = event.seal(false).expect("valid");
        let expected: Vec<_> = event
            .headers()
            .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
            .collect();
        let text = write_headers(&event);
        assert!(!text.contains('\0'));
        assert_eq!(read_headers(&text), Some(expected));
        let null = SealedEvent::new("i", "t", [], "{}", [("null".to_owned(), None)]);
        assert_eq!(
            read_headers(&write_headers(&null)),
            Some(vec![("null".to_owned(), None)])
        );
        assert_eq!(read_headers("no JSON"), None);
    }

    #[test]
    fn keys_spread_over_all_slots_and_stay_where_they_are() {
        let slots = (0..1000).map(|n| KeyHash::of("t", format!("player-{n}").as_bytes()).slot());
        assert_eq!(slots.collect::<HashSet<_>>().len(), usize::from(SLOTS));
        // The table has rows of an older version.
        assert_eq!(KeyHash::of("purse", b"player-7").slot(), 44);
        assert_ne!(KeyHash::of("a", b"b").lock(), KeyHash::of("ab", b"").lock());
    }
}
