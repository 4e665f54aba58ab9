//! Reformats JSON as text: numbers keep every digit, strings every escape. The input must be valid
//! JSON.

use crate::escape::push_json;

/// As one line: whitespace between tokens is dropped if it contains a line break.
pub(crate) fn push_line(json: &str, out: &mut Vec<u8>) {
    let json = json.trim_matches([' ', '\t', '\r', '\n']);
    if !json.contains(['\n', '\r']) {
        out.extend_from_slice(json.as_bytes());
        return;
    }
    tokens(json, |token| out.extend_from_slice(token.as_bytes()));
}

/// Indented, `depth` levels more than its own, with control characters escaped.
pub(crate) fn push_pretty(json: &str, depth: usize, out: &mut Vec<u8>) {
    let mut depth = depth;
    let mut opened = false;
    tokens(json, |token| {
        let closes = matches!(token, "}" | "]");
        if closes {
            depth = depth.saturating_sub(1);
        }
        // An empty object stays on one line.
        if (opened && !closes) || (closes && !opened) {
            line_break(depth, out);
        }
        opened = matches!(token, "{" | "[");
        push_json(token, out);
        match token {
            "{" | "[" => depth += 1,
            "," => line_break(depth, out),
            ":" => out.push(b' '),
            _ => {}
        }
    });
}

fn line_break(depth: usize, out: &mut Vec<u8>) {
    out.push(b'\n');
    out.resize(out.len() + 2 * depth, b' ');
}

/// Each brace, bracket, comma, colon, string and literal in turn.
fn tokens<'a>(json: &'a str, mut token: impl FnMut(&'a str)) {
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'{' | b'}' | b'[' | b']' | b',' | b':' => {}
            b'"' => {
                while let Some(&byte) = bytes.get(at) {
                    at += if byte == b'\\' { 2 } else { 1 };
                    if byte == b'"' {
                        break;
                    }
                }
            }
            _ => {
                while bytes
                    .get(at)
                    .is_some_and(|byte| !b" \t\r\n{}[],:\"".contains(byte))
                {
                    at += 1;
                }
            }
        }
        // Cut at ASCII, so always between characters; a lone backslash may overshoot the end.
        token(json.get(start..at.min(bytes.len())).unwrap_or_default());
    }
}

/// `text` as a JSON string.
pub(crate) fn push_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, text).expect("a string can be written to a vector");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: &str) -> String {
        let mut out = Vec::new();
        push_line(json, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn pretty(json: &str) -> String {
        let mut out = Vec::new();
        push_pretty(json, 0, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_line_is_left_alone() {
        assert_eq!(
            line(r#" {"a": 1.50,  "b":"x\ny"} "#),
            r#"{"a": 1.50,  "b":"x\ny"}"#
        );
    }

    #[test]
    fn several_lines_become_one() {
        let json = "{\n  \"a\" : [ 1 ,\r\n 12345678901234567890 ],\n \"b\\\"\": \"{ \\\\\" }";
        assert_eq!(line(json), r#"{"a":[1,12345678901234567890],"b\"":"{ \\"}"#);
    }

    #[test]
    fn indents_and_keeps_digits() {
        assert_eq!(
            pretty(r#"{"a":[1,{"é":1e400}],"b":{},"c":[]}"#),
            "{\n  \"a\": [\n    1,\n    {\n      \"é\": 1e400\n    }\n  ],\n  \"b\": {},\n  \"c\": []\n}"
        );
    }
}
