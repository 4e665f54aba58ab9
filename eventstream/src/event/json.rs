//! JSON that is kept as text and parsed on demand.

use std::borrow::Cow;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::scan::{Flaw, Scanner, Text};
use super::text::{mend_surrogates, unescape};
use crate::error::{Error, ErrorKind};

/// An absent object reads as this: the wire format cannot distinguish the two, as empty ones are not written.
const EMPTY: &str = "{}";

/// JSON inside an event, kept as text: nothing is parsed until it is asked for, and numbers keep every digit.
///
/// It borrows from its [`Event`](crate::Event) and is free to copy. To keep it longer, keep a clone of the event, which
/// is cheap. An absent payload reads as `{}`: the two are the same on the wire.
///
/// ```
/// use eventstream::Event;
///
/// #[derive(serde::Deserialize)]
/// struct Login {
///     user: u64,
/// }
///
/// let event = Event::decode(r#"{"payload":{"user":18446744073709551615,"tags":["a"]}}"#)?;
/// let login: Login = event.payload().decode()?;
/// assert_eq!(login.user, u64::MAX);
/// let tags = event.payload().get("tags").expect("it is there");
/// assert_eq!(tags.as_str(), r#"["a"]"#);
/// # Ok::<(), eventstream::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Json<'a> {
    /// Validated JSON.
    text: &'a str,
}

impl<'a> Json<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text: if text.is_empty() { EMPTY } else { text },
        }
    }

    /// Parses the JSON into `T`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] if the JSON does not fit `T`, or is nested deeper than 127 levels.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(self.text)
            .or_else(|error| match mend_surrogates(self.text) {
                Some(mended) => serde_json::from_str(&mended),
                None => Err(error),
            })
            .map_err(|error| {
                Error::new(ErrorKind::Decode, "cannot decode the payload").with_source(error)
            })
    }

    /// The member `key` of a JSON object, one level down; nothing if there is none or this is not an object. Of equal
    /// keys the last wins.
    ///
    /// It scans the text on each call and builds nothing. To read many members, [`decode`](Self::decode) into a struct.
    pub fn get(&self, key: &str) -> Option<Json<'a>> {
        member(self.text, key).ok().flatten()
    }

    /// Parses the JSON into a tree. 64-bit integers stay exact.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] if a number is beyond the range of a double, or the nesting is deeper than 127 levels.
    pub fn to_value(&self) -> Result<Value, Error> {
        self.decode()
    }

    /// The JSON text as written in the record.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The JSON text as written in the record; another name for [`as_str`](Self::as_str).
    pub fn json(&self) -> &'a str {
        self.text
    }

    /// Whether this is an object without members, or absent.
    pub fn is_empty(&self) -> bool {
        is_empty_container(self.text) && self.text.starts_with('{')
    }
}

/// Serializes the JSON unchanged. For JSON formats only.
impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.text).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// The JSON text.
impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// Prints only the size; the contents may be private.
impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.text.len())
    }
}

/// Whether JSON text is `{}`, `[]` or empty, ignoring whitespace.
pub(super) fn is_empty_container(json: &str) -> bool {
    match json.as_bytes().trim_ascii() {
        [b'{', inside @ .., b'}'] | [b'[', inside @ .., b']'] => inside.trim_ascii().is_empty(),
        json => json.len() <= 1,
    }
}

fn member<'a>(text: &'a str, wanted: &str) -> Result<Option<Json<'a>>, Flaw> {
    let mut scan = Scanner::new(text.as_bytes(), 0);
    let mut found = None;
    if scan.peek() != b'{' {
        return Ok(None);
    }
    scan.bump();
    scan.whitespace();
    while scan.peek() == b'"' {
        let key = scan.key()?;
        scan.whitespace();
        let start = scan.pos();
        scan.skip_value(1)?;
        if meaning(text, key) == wanted {
            found = Some(Json {
                text: &text[start..scan.pos()],
            });
        }
        scan.whitespace();
        if scan.peek() == b',' {
            scan.bump();
            scan.whitespace();
        }
    }
    Ok(found)
}

/// The elements of a validated array of strings and nulls; null reads as empty, as in Go.
pub(super) fn strings(array: &str) -> Vec<Cow<'_, str>> {
    let mut strings = Vec::new();
    let mut scan = Scanner::new(array.as_bytes(), 0);
    // The scanner has accepted this text before; if it disagreed now, the elements read so far would be returned.
    while !scan.at_end() {
        match scan.peek() {
            b'"' => match scan.string() {
                Ok(content) => strings.push(meaning(array, content)),
                Err(_) => break,
            },
            b'n' => {
                strings.push(Cow::Borrowed(""));
                if scan.literal("null").is_err() {
                    break;
                }
            }
            _ => scan.bump(),
        }
    }
    strings
}

fn meaning(text: &str, content: Text) -> Cow<'_, str> {
    let raw = &text[content.start..content.end];
    if !content.escaped {
        return Cow::Borrowed(raw);
    }
    let mut unescaped = String::with_capacity(raw.len());
    unescape(raw, &mut unescaped);
    Cow::Owned(unescaped)
}
