//! Where each field of an envelope is in its text, and how they are read from it.

use super::scan::{Flaw, Scanner, Text};
use super::text::{eq_fold, unescape};

/// The longest text that spans can address.
pub(super) const MAX_LEN: usize = (1 << 31) - 1;
/// Marks a span into the arena of unescaped strings instead of the text.
const IN_ARENA: u32 = 1 << 31;

/// A range of the envelope's buffer or of its arena; empty if the field is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// The caller has checked that the end is at most [`MAX_LEN`].
    pub(super) fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= MAX_LEN);
        Self {
            start: start as u32,
            len: (end - start) as u32,
        }
    }

    fn in_arena(start: usize, end: usize) -> Self {
        let span = Self::new(start, end);
        Self {
            start: span.start | IN_ARENA,
            ..span
        }
    }

    pub(super) fn is_in_arena(self) -> bool {
        self.start & IN_ARENA != 0
    }

    pub(super) fn range(self) -> std::ops::Range<usize> {
        let start = (self.start & !IN_ARENA) as usize;
        start..start + self.len as usize
    }
}

/// The fields, in wire order.
#[derive(Clone, Default)]
pub(super) struct Fields {
    pub(super) id: Span,
    pub(super) name: Span,
    pub(super) namespace: Span,
    pub(super) parent_namespace: Span,
    pub(super) union_namespace: Span,
    pub(super) client_id: Span,
    pub(super) trace_id: Span,
    pub(super) span_context: Span,
    pub(super) user_id: Span,
    pub(super) session_id: Span,
    pub(super) timestamp: Span,
    pub(super) timestamp_unix_nano: i64,
    pub(super) version: i64,
    pub(super) event_id: i64,
    pub(super) event_type: i64,
    pub(super) event_level: i64,
    pub(super) service: Span,
    /// JSON text, like the other lists and objects.
    pub(super) client_ids: Span,
    pub(super) target_user_ids: Span,
    pub(super) target_namespace: Span,
    pub(super) privacy: bool,
    pub(super) topic: Span,
    pub(super) source_namespace: Span,
    pub(super) additional_fields: Span,
    pub(super) payload: Span,
}

/// A field to fill, by its type.
enum Slot<'f> {
    Text(&'f mut Span),
    Integer(&'f mut i64),
    Boolean(&'f mut bool),
    Strings(&'f mut Span),
    Object(&'f mut Span),
}

/// What [`Slot`] of [`Fields`] each key fills; written once, for the match of exact keys and the list of the names.
macro_rules! slots {
    ($($name:literal => $slot:ident $field:ident,)*) => {
        impl Fields {
            fn slot(&mut self, key: &[u8]) -> Option<Slot<'_>> {
                Some(match key {
                    $($name => Slot::$slot(&mut self.$field),)*
                    _ => return None,
                })
            }
        }

        const NAMES: &[&[u8]] = &[$($name),*];
    };
}

slots! {
    b"id" => Text id,
    b"name" => Text name,
    b"namespace" => Text namespace,
    b"parentNamespace" => Text parent_namespace,
    b"unionNamespace" => Text union_namespace,
    b"clientId" => Text client_id,
    b"traceId" => Text trace_id,
    b"spanContext" => Text span_context,
    b"userId" => Text user_id,
    b"sessionId" => Text session_id,
    b"timestamp" => Text timestamp,
    b"timestampUnixNano" => Integer timestamp_unix_nano,
    b"version" => Integer version,
    b"event_id" => Integer event_id,
    b"event_type" => Integer event_type,
    b"event_level" => Integer event_level,
    b"service" => Text service,
    b"client_ids" => Strings client_ids,
    b"target_user_ids" => Strings target_user_ids,
    b"target_namespace" => Text target_namespace,
    b"privacy" => Boolean privacy,
    b"topic" => Text topic,
    b"sourceNamespace" => Text source_namespace,
    b"additional_fields" => Object additional_fields,
    b"payload" => Object payload,
}

/// Why a text is not an envelope.
pub(super) struct Refusal {
    pub(super) flaw: Flaw,
    /// The key whose value is at fault, if any.
    pub(super) key: Option<Text>,
}

impl From<Flaw> for Refusal {
    fn from(flaw: Flaw) -> Self {
        Self { flaw, key: None }
    }
}

/// Reads the envelope at `text` in `body`, which must be UTF-8; spans count from the start of `body`. Strings with
/// escapes go to `arena`.
pub(super) fn read(
    body: &[u8],
    text: std::ops::Range<usize>,
    arena: &mut String,
) -> Result<Fields, Refusal> {
    let body = &body[..text.end];
    let mut scan = Scanner::new(body, text.start);
    let mut fields = Fields::default();
    scan.whitespace();
    if scan.peek() != b'{' {
        return Err(scan.wrong_type("expected an object").into());
    }
    scan.bump();
    scan.whitespace();
    if scan.peek() == b'}' {
        scan.bump();
    } else {
        loop {
            let key = scan.key()?;
            scan.whitespace();
            let name = &body[key.start..key.end];
            let read = match fields.slot(name) {
                Some(slot) => read_value(&mut scan, body, slot, arena),
                None => match folded_name(name, key.escaped).and_then(|name| fields.slot(name)) {
                    Some(slot) => read_value(&mut scan, body, slot, arena),
                    None => scan.skip_value(1),
                },
            };
            read.map_err(|flaw| Refusal {
                flaw,
                key: Some(key),
            })?;
            scan.whitespace();
            match scan.peek() {
                b',' => {
                    scan.bump();
                    scan.whitespace();
                }
                b'}' => {
                    scan.bump();
                    break;
                }
                _ => return Err(scan.flaw("expected a comma or }").into()),
            }
        }
    }
    if !scan.at_end() {
        return Err(scan.flaw("unexpected text after the object").into());
    }
    Ok(fields)
}

/// Our name for a key that is not an exact match, in another case or with escapes; `None` for an unknown key.
#[cold]
fn folded_name(key: &[u8], escaped: bool) -> Option<&'static [u8]> {
    let key = std::str::from_utf8(key).ok()?;
    let mut unescaped = String::new();
    let key = if escaped {
        unescape(key, &mut unescaped);
        unescaped.as_str()
    } else {
        key
    };
    NAMES.iter().copied().find(|name| eq_fold(key, name))
}

fn read_value(
    scan: &mut Scanner<'_>,
    body: &[u8],
    slot: Slot<'_>,
    arena: &mut String,
) -> Result<(), Flaw> {
    let start = scan.pos();
    match (scan.peek(), slot) {
        // As in Go, null leaves text, numbers and booleans unchanged and empties lists and objects.
        (b'n', slot) => {
            scan.literal("null")?;
            if let Slot::Strings(span) | Slot::Object(span) = slot {
                *span = Span::default();
            }
        }
        (b'"', Slot::Text(span)) => {
            let content = scan.string()?;
            *span = if content.escaped {
                let from = arena.len();
                unescape(str_of(&body[content.start..content.end]), arena);
                Span::in_arena(from, arena.len())
            } else {
                Span::new(content.start, content.end)
            };
        }
        (b'-' | b'0'..=b'9', Slot::Integer(value)) => {
            let integer = scan.number()?;
            let parsed = str_of(&body[start..scan.pos()]).parse();
            *value = match parsed {
                Ok(value) if integer => value,
                _ => {
                    return Err(Flaw {
                        at: start,
                        what: "expected a 64-bit integer",
                        found: Some("another number"),
                    });
                }
            };
        }
        (b't', Slot::Boolean(value)) => {
            scan.literal("true")?;
            *value = true;
        }
        (b'f', Slot::Boolean(value)) => {
            scan.literal("false")?;
            *value = false;
        }
        (b'[', Slot::Strings(span)) => {
            read_strings(scan)?;
            *span = Span::new(start, scan.pos());
        }
        (b'{', Slot::Object(span)) => {
            scan.skip_value(1)?;
            *span = Span::new(start, scan.pos());
        }
        (_, slot) => {
            return Err(scan.wrong_type(match slot {
                Slot::Text(_) => "expected a string",
                Slot::Integer(_) => "expected an integer",
                Slot::Boolean(_) => "expected a boolean",
                Slot::Strings(_) => "expected an array of strings",
                Slot::Object(_) => "expected an object",
            }));
        }
    }
    Ok(())
}

/// Text of a body known to be UTF-8, cut at ASCII characters.
fn str_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// An array whose elements are strings or null.
fn read_strings(scan: &mut Scanner<'_>) -> Result<(), Flaw> {
    scan.bump();
    scan.whitespace();
    if scan.peek() == b']' {
        scan.bump();
        return Ok(());
    }
    loop {
        scan.whitespace();
        match scan.peek() {
            b'"' => {
                scan.string()?;
            }
            b'n' => scan.literal("null")?,
            _ => return Err(scan.wrong_type("expected a string")),
        }
        scan.whitespace();
        match scan.peek() {
            b',' => scan.bump(),
            b']' => {
                scan.bump();
                return Ok(());
            }
            _ => return Err(scan.flaw("expected a comma or ]")),
        }
    }
}
