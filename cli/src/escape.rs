//! Text of records for a terminal: characters that move the cursor, change colours or reverse the
//! direction of text are escaped.

/// Text with everything escaped that a terminal could interpret or that could mislead a reader.
pub(crate) fn push_text(text: &str, out: &mut Vec<u8>) {
    let mut buffer = [0; 4];
    for c in text.chars() {
        match c {
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if is_hidden(c) => {
                out.extend_from_slice(format!("\\u{{{:x}}}", u32::from(c)).as_bytes());
            }
            c => out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes()),
        }
    }
}

/// Like [`push_text`], for bytes that need not be UTF-8: others are shown as numbers.
pub(crate) fn push_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return push_text(text, out);
    }
    for &byte in bytes {
        match byte {
            b' '..=b'~' => out.push(byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
}

/// Like [`push_text`], for a JSON token: the result is JSON with the same value.
pub(crate) fn push_json(token: &str, out: &mut Vec<u8>) {
    let mut buffer = [0; 4];
    for c in token.chars() {
        if is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        } else {
            out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
        }
    }
}

/// Control characters, and those that change the direction or look of the text around them.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{61c}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> String {
        let mut out = Vec::new();
        push_text(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_left_alone() {
        let plain = "Grüße, 世界 \\ \"x\" 👍";
        assert_eq!(text(plain), plain);
    }

    #[test]
    fn what_a_terminal_would_do_is_shown() {
        assert_eq!(
            text("\u{1b}[2J\u{7}\n\r\t\0"),
            "\\u{1b}[2J\\u{7}\\n\\r\\t\\u{0}"
        );
        assert_eq!(text("\u{9b}31m\u{7f}"), "\\u{9b}31m\\u{7f}");
        assert_eq!(
            text("a\u{202e}b\u{2066}c\u{feff}"),
            "a\\u{202e}b\\u{2066}c\\u{feff}"
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_by_number() {
        let mut out = Vec::new();
        push_bytes(b"a\xff\x1b", &mut out);
        assert_eq!(out, b"a\\xff\\x1b");
    }

    #[test]
    fn json_stays_json() {
        let json = "\"\u{9b}\u{202e}\u{e0001}é\"";
        let mut out = Vec::new();
        push_json(json, &mut out);
        let shown = String::from_utf8(out).unwrap();
        assert_eq!(shown, "\"\\u009b\\u202e\\udb40\\udc01é\"");
        let read = |json: &str| serde_json::from_str::<String>(json).unwrap();
        assert_eq!(read(&shown), read(json));
    }
}
