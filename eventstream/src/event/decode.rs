//! From a record's bytes to an [`Event`]: one pass, no copy unless the bytes are not UTF-8.

use std::ops::Range;
use std::sync::Arc;

use super::fields::{self, MAX_LEN, Refusal, Span};
use super::text::lossy;
use super::{Event, Inner, Place};
use crate::error::{Error, ErrorKind};

/// How much of a key an error quotes, in characters.
const KEY_SHOWN: usize = 40;

pub(super) fn decode(
    body: &Arc<[u8]>,
    value: Range<usize>,
    place: Option<Place>,
) -> Result<Event, Error> {
    let wire = match body.get(value.clone()) {
        Some(wire) if body.len() <= MAX_LEN => wire,
        _ => return Err(refuse("the record is longer than 2 GiB")),
    };
    if wire.is_empty() {
        return Err(refuse("the value is empty"));
    }
    // Most texts are ASCII, which takes less time to see.
    if !wire.is_ascii() && std::str::from_utf8(wire).is_err() {
        return decode_lossy(body, value, place);
    }
    read(Arc::clone(body), value.clone(), value, place)
}

/// Appends the repaired text to a copy of the body, so that the spans of the wire text and the key remain valid.
#[cold]
fn decode_lossy(
    body: &Arc<[u8]>,
    value: Range<usize>,
    place: Option<Place>,
) -> Result<Event, Error> {
    let mut longer = body.to_vec();
    lossy(&body[value.clone()], &mut longer);
    if longer.len() > MAX_LEN {
        return Err(refuse("the record is longer than 2 GiB"));
    }
    let text = body.len()..longer.len();
    read(Arc::from(longer), value, text, place)
}

fn read(
    body: Arc<[u8]>,
    wire: Range<usize>,
    text: Range<usize>,
    place: Option<Place>,
) -> Result<Event, Error> {
    let mut arena = String::new();
    let fields = fields::read(&body, text.clone(), &mut arena)
        .map_err(|refusal| explain(&refusal, &body, text.start))?;
    if arena.len() > MAX_LEN {
        return Err(refuse("the record is longer than 2 GiB"));
    }
    Ok(Event {
        inner: Arc::new(Inner {
            wire: Span::new(wire.start, wire.end),
            text: Span::new(text.start, text.end),
            arena: arena.into_boxed_str(),
            body,
            fields,
            place,
        }),
    })
}

#[cold]
fn refuse(why: &str) -> Error {
    Error::new(ErrorKind::Decode, format!("cannot decode the event: {why}"))
}

#[cold]
fn explain(refusal: &Refusal, body: &[u8], base: usize) -> Error {
    let flaw = refusal.flaw;
    let mut why = String::new();
    if let Some(key) = refusal.key {
        let key = String::from_utf8_lossy(&body[key.start..key.end]);
        why.push_str("field `");
        why.extend(key.chars().take(KEY_SHOWN).flat_map(char::escape_debug));
        why.push_str("`: ");
    }
    why.push_str(flaw.what);
    if let Some(found) = flaw.found {
        why.push_str(", found ");
        why.push_str(found);
    }
    refuse(&format!("{why}, at byte {}", flaw.at - base))
}
