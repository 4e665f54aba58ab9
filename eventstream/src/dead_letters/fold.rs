//! Replaces the parts of errors that vary between records, so that errors with the same cause are
//! equal.

/// Longer text between quotes does not count as a quoted value.
const QUOTED: usize = 256;
/// A word of letters and digits of at least this length that alternates between them often enough is an id.
const ID_LENGTH: usize = 10;
const ID_CHANGES: usize = 3;

/// The text with `<id>` for UUIDs, hexadecimal and random tokens, `<n>` for numbers, `<addr>` for IP addresses and
/// `host:port`, `<time>` for times, and `…` for text between quotes.
pub(super) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(c) = rest.chars().next() {
        let taken = if c.is_ascii_alphanumeric() {
            let word = word(rest);
            push_word(word, &mut folded);
            word.len()
        } else if let Some(length) = bracketed(rest) {
            folded.push_str("<addr>");
            length
        } else if let Some(length) = quoted(rest, c, before) {
            folded.push(c);
            folded.push('…');
            folded.push(c);
            length
        } else {
            folded.push(c);
            c.len_utf8()
        };
        before = rest[..taken].chars().next_back();
        rest = &rest[taken..];
    }
    folded
}

/// The length of the bracketed IPv6 address, with an optional port, at the start of the text.
fn bracketed(text: &str) -> Option<usize> {
    let (host, rest) = text.strip_prefix('[')?.split_once(']')?;
    host.parse::<std::net::Ipv6Addr>().ok()?;
    let port = rest.strip_prefix(':').map_or(0, |port| {
        let digits = port.len() - port.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits > 0 { 1 + digits } else { 0 }
    });
    Some(host.len() + "[]".len() + port)
}

/// The length of the quoted value, including its quotes, at the start of the text.
fn quoted(text: &str, quote: char, before: Option<char>) -> Option<usize> {
    if !matches!(quote, '"' | '\'' | '`') || before.is_some_and(char::is_alphanumeric) {
        return None;
    }
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == '\n' || at > QUOTED {
            return None;
        }
        if c == quote && !escaped {
            let after = text[at + 1..].chars().next();
            // An apostrophe inside a word does not end the value.
            if !after.is_some_and(char::is_alphanumeric) {
                return Some(at + 1);
            }
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

/// The letters and digits at the start of the text, including characters that join names, numbers and addresses.
fn word(text: &str) -> &str {
    let bytes = text.as_bytes();
    let mut end = 0;
    while let Some(byte) = bytes.get(end) {
        let joins = matches!(byte, b'-' | b'_' | b'.' | b':')
            && bytes.get(end + 1).is_some_and(u8::is_ascii_alphanumeric);
        if !byte.is_ascii_alphanumeric() && !joins {
            break;
        }
        end += 1;
    }
    &text[..end]
}

fn push_word(word: &str, out: &mut String) {
    if word.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        out.push_str(word);
    } else if is_time(word) {
        out.push_str("<time>");
    } else if is_address(word) {
        out.push_str("<addr>");
    } else if is_decimal(word) {
        out.push_str("<n>");
    } else if let Some(before) = before_uuid(word) {
        push_word_parts(before, out);
        out.push_str("<id>");
    } else {
        push_word_parts(word, out);
    }
}

fn push_word_parts(word: &str, out: &mut String) {
    for part in word.split_inclusive(['-', '_', '.', ':']) {
        let joint = part.ends_with(['-', '_', '.', ':']);
        let (part, joint) = part.split_at(part.len() - usize::from(joint));
        push_part(part, out);
        out.push_str(joint);
    }
}

/// A part that has only letters and digits.
fn push_part(part: &str, out: &mut String) {
    if is_hex(part) || is_random(part) {
        out.push_str("<id>");
        return;
    }
    let mut rest = part;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        // A single digit after letters is part of a name, as in `utf8`.
        let belongs = digits == 1 && rest.len() < part.len();
        if digits > 0 && !belongs {
            out.push_str("<n>");
        } else {
            out.push_str(&rest[..digits]);
        }
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        out.push_str(&rest[..letters]);
        rest = &rest[letters..];
    }
}

fn is_hex(part: &str) -> bool {
    let (marked, digits) = match part.strip_prefix("0x") {
        Some(digits) => (true, digits),
        None => (false, part),
    };
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let has = |test: fn(&u8) -> bool| digits.as_bytes().iter().any(test);
    all && (marked
        || (digits.len() >= 8 && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)))
}

fn is_random(part: &str) -> bool {
    let bytes = part.as_bytes();
    let changes = bytes.windows(2).filter(|pair| {
        let [a, b] = [pair[0], pair[1]].map(|byte| byte.is_ascii_digit());
        a != b
    });
    part.len() >= ID_LENGTH && changes.count() >= ID_CHANGES
}

/// The text before the UUID that the word ends with.
fn before_uuid(word: &str) -> Option<&str> {
    let (before, uuid) = word.split_at_checked(word.len().checked_sub(36)?)?;
    let groups = [8, 4, 4, 4, 12];
    let mut parts = uuid.split('-');
    let fits = groups.iter().all(|length| {
        parts.next().is_some_and(|part| {
            part.len() == *length && part.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    });
    (fits && parts.next().is_none() && !before.ends_with(|c: char| c.is_ascii_alphanumeric()))
        .then_some(before)
}

fn is_time(word: &str) -> bool {
    let form = "dddd-dd-dd";
    word.len() >= form.len()
        && word
            .bytes()
            .zip(form.bytes())
            .all(|(byte, form)| match form {
                b'd' => byte.is_ascii_digit(),
                joint => byte == joint,
            })
        && word[form.len()..]
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'T' | b'Z' | b':' | b'.' | b'-'))
}

fn is_decimal(word: &str) -> bool {
    let mut parts = word.split('.');
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let whole = parts.next().is_some_and(is_number);
    whole && parts.next().is_none_or(is_number) && parts.next().is_none()
}

fn is_address(word: &str) -> bool {
    let is_ip = |host: &str| host.parse::<std::net::Ipv4Addr>().is_ok();
    if is_ip(word) {
        return true;
    }
    let Some((host, port)) = word.rsplit_once(':') else {
        return false;
    };
    if port.parse::<u16>().is_err() || host.contains(':') {
        return false;
    }
    // A position in a source file has a colon before a number too, but the number has fewer digits
    // than a port.
    let has_letter = host.bytes().any(|byte| byte.is_ascii_alphabetic());
    is_ip(host) || (has_letter && (port.len() >= 4 || host == "localhost"))
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn what_differs_from_record_to_record_is_folded() {
        for (text, folded) in [
            (
                "player 550e8400-e29b-41d4-a716-446655440000 is unknown",
                "player <id> is unknown",
            ),
            ("player-550e8400-e29b-41d4-a716-446655440000", "player-<id>"),
            ("trace 4bf92f3577b34da6a3ce929d0e0e4736", "trace <id>"),
            ("at 0xdeadbeef", "at <id>"),
            ("session 5f3KQ9xL2aPz expired", "session <id> expired"),
            ("ulid 01ARZ3NDEKTSV4RRFFQ69G5FAV", "ulid <id>"),
            ("line 12, column 3", "line <n>, column <n>"),
            ("took 12.5 s, limit 300ms", "took <n> s, limit <n>ms"),
            ("player-7 and user_42", "player-<n> and user_<n>"),
            ("player1234", "player<n>"),
            (
                "connect 10.0.0.7:5432: connection refused",
                "connect <addr>: connection refused",
            ),
            ("connect to kafka-1:9092 failed", "connect to <addr> failed"),
            ("db.internal.example:5432", "<addr>"),
            ("host 192.168.0.1 is down", "host <addr> is down"),
            ("to [fe80::1]:80 from [::1]", "to <addr> from <addr>"),
            ("no field \"level\" in 'player'", "no field \"…\" in '…'"),
            ("before 2026-01-31T08:00:00.5Z", "before <time>"),
            ("`a \\` b`: 3", "`…`: <n>"),
        ] {
            assert_eq!(fold(text), folded);
        }
    }

    #[test]
    fn what_tells_causes_apart_stays() {
        for text in [
            "the player can't be found: it isn't there",
            "invalid utf8 in InvalidUtf8Sequence",
            "deadbeef is a word, and so is facade",
            "unmatched \" quote",
            "grün 世界: ошибка",
            "",
            "Database::ConnectionPool timed out",
        ] {
            assert_eq!(fold(text), text);
        }
        assert_ne!(fold("no such player: 7"), fold("no such guild: 7"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_folded_and_folded_again_stays(text in "\\PC{0,80}") {
            let folded = fold(&text);
            let mut numbers = folded.bytes().collect::<Vec<_>>();
            numbers.retain(u8::is_ascii_digit);
            proptest::prop_assert!(numbers.len() <= text.bytes().filter(u8::is_ascii_digit).count());
        }

        #[test]
        fn ids_and_numbers_never_make_two_causes(a: u64, b: u64) {
            let text = |n: u64| format!("player {n} has no item {n:032x}a1b2c3 at 10.1.2.{}:{}", n % 256, 1024 + n % 9000);
            proptest::prop_assert_eq!(fold(&text(a)), fold(&text(b)));
        }
    }
}
