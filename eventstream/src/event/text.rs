//! The values of JSON strings: escapes, half surrogate pairs, bytes that are not UTF-8.

use super::scan::plain_len;

/// Appends the value of a string's content, whose grammar the scanner has checked.
///
/// Half of a surrogate pair becomes U+FFFD, as in Go.
pub(super) fn unescape(content: &str, out: &mut String) {
    let mut rest = content;
    while let Some(backslash) = rest.find('\\') {
        out.push_str(&rest[..backslash]);
        let escape = &rest[backslash..];
        let (c, len) = read_escape(escape);
        out.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = escape.get(len..).unwrap_or("");
    }
    out.push_str(rest);
}

/// The same JSON text with every escape of half a surrogate pair replaced by `\ufffd`; `None` if there is none.
///
/// `serde_json` rejects such halves, Go accepts them.
pub(super) fn mend_surrogates(json: &str) -> Option<String> {
    let mut mended = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| rest.find('\\')) {
        let start = at + found;
        let (c, len) = read_escape(&json[start..]);
        at = start + len;
        if c.is_none() {
            mended.push_str(&json[copied..start]);
            mended.push_str("\\ufffd");
            copied = at;
        }
    }
    if copied == 0 {
        return None;
    }
    mended.push_str(json.get(copied..).unwrap_or(""));
    Some(mended)
}

/// The character of the escape at the start, and the escape's length in bytes. `None` for half a surrogate pair.
fn read_escape(text: &str) -> (Option<char>, usize) {
    let simple = match text.as_bytes().get(1) {
        Some(b'u') => {
            let first = hex4(text, 2);
            if let Some(c) = char::from_u32(first) {
                return (Some(c), 6);
            }
            let second = match text.get(6..8) {
                Some("\\u") => hex4(text, 8),
                _ => 0,
            };
            let pair = char::decode_utf16([first as u16, second as u16]).next();
            return match pair {
                Some(Ok(c)) => (Some(c), 12),
                _ => (None, 6),
            };
        }
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(&itself) => char::from(itself),
        None => '\\',
    };
    (Some(simple), 2)
}

fn hex4(text: &str, at: usize) -> u32 {
    let digits = text.get(at..at + 4).unwrap_or("");
    u32::from_str_radix(digits, 16).unwrap_or(0)
}

/// The text with each byte that is not UTF-8 replaced by U+FFFD, as in Go; a standard lossy conversion has one for
/// each truncated sequence.
pub(super) fn lossy(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        for _ in chunk.invalid() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Whether a key matches a wire name ignoring case, as Go compares: ASCII, and the two other letters that fold to
/// ASCII.
pub(super) fn eq_fold(key: &str, name: &[u8]) -> bool {
    // Keys of different length can only match through those two letters, of two and three bytes.
    if key.len() < name.len() || key.len() > 3 * name.len() {
        return false;
    }
    let folded = key.chars().map(|c| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    });
    folded.eq(name.iter().map(|b| char::from(b.to_ascii_lowercase())))
}

/// Appends `value` as a JSON string without quotes, escaped as `serde_json` and Go 1.22 do.
pub(super) fn escape(value: &str, out: &mut Vec<u8>) {
    let mut rest = value.as_bytes();
    loop {
        let plain = plain_len(rest);
        out.extend_from_slice(&rest[..plain]);
        let Some(&b) = rest.get(plain) else {
            return;
        };
        let short = match b {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            _ => 0,
        };
        if short != 0 {
            out.extend_from_slice(&[b'\\', short]);
        } else {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let high = HEX[usize::from(b >> 4)];
            let low = HEX[usize::from(b & 15)];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
        rest = &rest[plain + 1..];
    }
}

/// Appends JSON text with `<`, `>`, `&`, U+2028 and U+2029 escaped, as Go writes them.
///
/// They only occur inside strings, so the text need not be parsed.
pub(super) fn go_escape(json: &str, out: &mut Vec<u8>) {
    let mut rest = json;
    while let Some((at, c)) = rest
        .char_indices()
        .find(|(_, c)| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}'))
    {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        out.extend_from_slice(match c {
            '<' => b"\\u003c",
            '>' => b"\\u003e",
            '&' => b"\\u0026",
            '\u{2028}' => b"\\u2028",
            _ => b"\\u2029",
        });
        rest = &rest[at + c.len_utf8()..];
    }
    out.extend_from_slice(rest.as_bytes());
}
