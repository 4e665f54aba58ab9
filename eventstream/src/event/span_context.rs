//! The Jaeger span context that an envelope carries as text.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Fault};

const SAMPLED: u8 = 1;

/// An event's place in a distributed trace, as in an envelope's `spanContext`.
///
/// The text is Jaeger's `{trace}:{span}:{parent}:{flags}` in hex. Parsing also accepts shorter and upper-case digits;
/// flags are one or two hex digits. [`to_traceparent`](Self::to_traceparent) returns the W3C form.
///
/// ```
/// use eventstream::SpanContext;
///
/// let context: SpanContext = "00f067aa0ba902b7:00f067aa0ba902b7:0000000000000000:1".parse()?;
/// assert!(context.is_sampled());
/// assert_eq!(
///     context.to_traceparent(),
///     "00-000000000000000000f067aa0ba902b7-00f067aa0ba902b7-01"
/// );
/// # Ok::<(), eventstream::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SpanContext {
    /// The trace, shared by all its spans.
    pub trace_id: u128,
    /// The span that published the event.
    pub span_id: u64,
    /// The parent of that span; 0 for a root.
    pub parent_id: u64,
    /// Bit 1: sampled; 2: debug; 8: firehose.
    pub flags: u8,
}

impl SpanContext {
    /// Whether neither the trace nor the span is 0: only then can another span be its child.
    pub fn is_valid(&self) -> bool {
        self.trace_id != 0 && self.span_id != 0
    }

    /// Whether the publisher recorded its span.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The W3C `traceparent` header of this span. It has no room for parent, debug and firehose.
    pub fn to_traceparent(&self) -> String {
        let mut text = Vec::with_capacity(LONGEST);
        text.extend_from_slice(b"00-");
        text.extend_from_slice(&digits((self.trace_id >> 64) as u64));
        text.extend_from_slice(&digits(self.trace_id as u64));
        text.push(b'-');
        text.extend_from_slice(&digits(self.span_id));
        text.extend_from_slice(&[b'-', b'0', digit(self.flags & SAMPLED)]);
        text_of(text)
    }

    /// Appends the text as Jaeger's client writes it: a 64-bit trace id has 16 digits, any other 32;
    /// flags have no padding. Without formatting, which would take several times as long.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.reserve(LONGEST);
        let high = (self.trace_id >> 64) as u64;
        if high != 0 {
            out.extend_from_slice(&digits(high));
        }
        for id in [self.trace_id as u64, self.span_id, self.parent_id] {
            out.extend_from_slice(&digits(id));
            out.push(b':');
        }
        if self.flags > 0xf {
            out.push(digit(self.flags >> 4));
        }
        out.push(digit(self.flags & 0xf));
    }

    /// Reads a W3C `traceparent` header. The parent is 0: the header does not carry it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`] if the text is not a valid `traceparent`, or the trace or the span is 0.
    ///
    /// ```
    /// use eventstream::SpanContext;
    ///
    /// let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// let context = SpanContext::from_traceparent(header)?;
    /// assert_eq!(context.span_id, 0xb7ad_6b71_6920_3331);
    /// # Ok::<(), eventstream::Error>(())
    /// ```
    pub fn from_traceparent(header: &str) -> Result<Self, Error> {
        let malformed = || {
            refuse(
                "traceparent",
                header,
                "version-trace-span-flags in lower-case hex, ids not 0",
            )
        };
        let lower = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-');
        let parts = header.as_bytes();
        // A later version may append fields after another hyphen; version ff is forbidden.
        let version = header.get(..2).ok_or_else(malformed)?;
        let known = header.get(..55).ok_or_else(malformed)?;
        let tail_ok = match parts.get(55) {
            None => true,
            Some(b'-') => version != "00",
            Some(_) => false,
        };
        let hyphens = [2, 35, 52].iter().all(|&at| parts[at] == b'-');
        if version == "ff" || !tail_ok || !hyphens || !known.bytes().all(lower) {
            return Err(malformed());
        }
        let hex = |range| known.get(range).filter(|part| is_hex(part, 32));
        hex(0..2).ok_or_else(malformed)?;
        let trace = hex(3..35).ok_or_else(malformed)?;
        let span = hex(36..52).ok_or_else(malformed)?;
        let flags = hex(53..55).ok_or_else(malformed)?;
        let context = Self {
            trace_id: u128::from_str_radix(trace, 16).map_err(|_| malformed())?,
            span_id: u64::from_str_radix(span, 16).map_err(|_| malformed())?,
            parent_id: 0,
            flags: u8::from_str_radix(flags, 16).map_err(|_| malformed())? & SAMPLED,
        };
        if context.is_valid() {
            Ok(context)
        } else {
            Err(malformed())
        }
    }
}

/// Parses `{trace}:{span}:{parent}:{flags}`: 1 to 32, 1 to 16, 1 to 16 and 1 to 2 hex digits. Ids of 0 are accepted;
/// see [`SpanContext::is_valid`].
impl FromStr for SpanContext {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        read(text).ok_or_else(|| {
            refuse(
                "span_context",
                text,
                "{trace}:{span}:{parent}:{flags} in hex",
            )
        })
    }
}

fn read(text: &str) -> Option<SpanContext> {
    let text = text.as_bytes();
    // Nearly all are padded; reading the others takes several times as long.
    padded(text).or_else(|| unpadded(text))
}

/// Reads ids of 16 digits each, or 32 of a trace. `None` also for texts that are valid otherwise.
fn padded(mut text: &[u8]) -> Option<SpanContext> {
    let text = &mut text;
    let first = sixteen(text)?;
    let trace_id = match text.first()? {
        b':' => u128::from(first),
        _ => u128::from(first) << 64 | u128::from(sixteen(text)?),
    };
    colon(text)?;
    let span_id = sixteen(text)?;
    colon(text)?;
    let parent_id = sixteen(text)?;
    colon(text)?;
    Some(SpanContext {
        trace_id,
        span_id,
        parent_id,
        flags: field(text, 2, false)? as u8,
    })
}

fn unpadded(mut text: &[u8]) -> Option<SpanContext> {
    let text = &mut text;
    let (trace_id, span_id) = (field(text, 32, true)?, field(text, 16, true)?);
    let (parent_id, flags) = (field(text, 16, true)?, field(text, 2, false)?);
    // No field is longer than its type.
    Some(SpanContext {
        trace_id,
        span_id: span_id as u64,
        parent_id: parent_id as u64,
        flags: flags as u8,
    })
}

/// What a byte is worth as a hex digit; [`NO_DIGIT`] for any other. A branch for each digit would be
/// guessed wrong for every other one.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        let digit = digit(value);
        values[digit as usize] = value;
        values[digit.to_ascii_uppercase() as usize] = value;
        value += 1;
    }
    values
};

const NO_DIGIT: u8 = u8::MAX;

/// Takes 16 hex digits. The loop has no branch, no table and a fixed length, so that it becomes a few
/// instructions for all of them at once.
fn sixteen(text: &mut &[u8]) -> Option<u64> {
    let (digits, rest) = text.split_first_chunk::<16>()?;
    *text = rest;
    let mut values = [0; 16];
    let mut is_bad = false;
    for (value, byte) in values.iter_mut().zip(digits) {
        let decimal = byte.wrapping_sub(b'0');
        let letter = (byte | 0x20).wrapping_sub(b'a');
        *value = if decimal < 10 {
            decimal
        } else {
            letter.wrapping_add(10)
        };
        is_bad |= (decimal >= 10) & (letter >= 6);
    }
    (!is_bad).then(|| joined(u128::from_be_bytes(values)))
}

/// Joins numbers below 16, one in each byte, into one number.
fn joined(mut values: u128) -> u64 {
    values = (values | values >> 4) & 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff;
    values = (values | values >> 8) & 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff;
    values = (values | values >> 16) & 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff;
    (values | values >> 32) as u64
}

fn colon(text: &mut &[u8]) -> Option<()> {
    *text = text.strip_prefix(b":")?;
    Some(())
}

/// Takes a number of 1 to `most` hex digits, and the colon after it if `more` follows.
fn field(text: &mut &[u8], most: usize, more: bool) -> Option<u128> {
    let mut value = 0;
    let mut digits = 0;
    while let Some((byte, rest)) = text.split_first() {
        *text = rest;
        let digit = VALUES[usize::from(*byte)];
        if digit == NO_DIGIT {
            let ends = *byte == b':' && more && digits > 0;
            return ends.then_some(value);
        }
        digits += 1;
        if digits > most {
            return None;
        }
        value = value << 4 | u128::from(digit);
    }
    (!more && digits > 0).then_some(value)
}

/// `from_str_radix` alone would accept a sign.
fn is_hex(part: &str, max: usize) -> bool {
    (1..=max).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cold]
fn refuse(field: &str, value: &str, allowed: &str) -> Error {
    let shown: String = value.chars().take(100).collect();
    Error::from_faults(
        ErrorKind::Validation,
        "invalid span context",
        vec![Fault::new(field, shown, allowed)],
    )
}

/// As Jaeger's client writes it: a 64-bit trace id has 16 digits, any other 32; flags have no padding.
impl fmt::Display for SpanContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(LONGEST);
        self.write(&mut text);
        f.write_str(&text_of(text))
    }
}

/// The longest text, in bytes: 32, 16, 16 and 2 digits, and 3 colons.
const LONGEST: usize = 69;

fn text_of(ascii: Vec<u8>) -> String {
    String::from_utf8(ascii).unwrap_or_default()
}

/// The hex digit of a number below 16.
const fn digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'a' - 10 + value,
    }
}

/// Both hex digits of each byte. Made by arithmetic, a digit at a time or all at once, they take
/// longer.
const PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digit(byte as u8 >> 4), digit(byte as u8 & 0xf)];
        byte += 1;
    }
    pairs
};

/// A number as 16 hex digits.
fn digits(value: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(value.to_be_bytes()) {
        pair.copy_from_slice(&PAIRS[usize::from(byte)]);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_jaeger_writes() {
        let context: SpanContext = "1:A:0:b".parse().unwrap();
        assert_eq!((context.trace_id, context.span_id), (1, 10));
        assert_eq!((context.parent_id, context.flags), (0, 11));
        let long: SpanContext = "0af7651916cd43dd8448eb211c80319c:2:1:10".parse().unwrap();
        assert_eq!(long.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(long.flags, 16);
    }

    #[test]
    fn refuses_what_jaeger_refuses() {
        let too_long = "1".repeat(33) + ":1:1:1";
        for bad in [
            "",
            "string",
            "1:2:3",
            "1:2:3:4:5",
            ":2:3:1",
            "1::3:1",
            "1:2::1",
            "1:2:3:",
            "0x1:2:3:1",
            "+1:2:3:1",
            "1:-2:3:1",
            "1_0:2:3:1",
            "g:2:3:1",
            "1:2:3:123",
            &too_long,
            "1:11111111111111111:3:1",
            "é:2:3:1",
            " 1:2:3:1",
        ] {
            assert!(bad.parse::<SpanContext>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn refuses_a_malformed_traceparent() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let good = format!("00-{trace}-b7ad6b7169203331-01");
        assert!(SpanContext::from_traceparent(&good).is_ok());
        let later = format!("01-{trace}-b7ad6b7169203331-01-more");
        assert!(SpanContext::from_traceparent(&later).is_ok());
        for bad in [
            String::new(),
            good.to_uppercase(),
            good.clone() + "-x",
            good.clone() + "0",
            good.replacen("00", "ff", 1),
            good.replace(trace, &"0".repeat(32)),
            good.replace("b7ad6b7169203331", &"0".repeat(16)),
            good.replace('b', "é"),
            good.replacen('-', "0", 1),
            good.replacen("00-", "---", 1),
        ] {
            assert!(SpanContext::from_traceparent(&bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn reads_padded_texts_as_any_other(
            text in "([0-9a-fA-F]{15,17}|[0-9a-f]{31,33}):[0-9a-fg]{16}:[0-9a-f]{15,17}:?[0-9a-f]{0,3}",
        ) {
            prop_assert_eq!(read(&text), unpadded(text.as_bytes()));
        }

        #[test]
        fn round_trips(trace_id: u128, span_id: u64, parent_id: u64, flags: u8) {
            let context = SpanContext { trace_id, span_id, parent_id, flags };
            prop_assert_eq!(context.to_string().parse::<SpanContext>().unwrap(), context);
            if context.is_valid() {
                let w3c = SpanContext::from_traceparent(&context.to_traceparent()).unwrap();
                prop_assert_eq!((w3c.trace_id, w3c.span_id), (trace_id, span_id));
                prop_assert_eq!(w3c.is_sampled(), context.is_sampled());
            }
        }

        #[test]
        fn never_panics(text in "\\PC*", hexish in "[0-9a-f:-]{0,70}") {
            for text in [text, hexish] {
                let _ = text.parse::<SpanContext>();
                let _ = SpanContext::from_traceparent(&text);
            }
        }
    }
}
