//! The two requests of Kafka's protocol that a broker answers before a login.

use std::io::{Read, Write};

use crate::doctor::facts::Versions;

const API_VERSIONS: i16 = 18;
const SASL_HANDSHAKE: i16 = 17;
/// No response to these requests is nearly as long.
const LONGEST: usize = 64 * 1024;

/// What was received instead of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    Http,
    Other(String),
}

/// Requests the supported versions.
pub(super) fn versions(stream: &mut (impl Read + Write)) -> Result<Versions, NoAnswer> {
    let answer = exchange(stream, API_VERSIONS, 0, &[])?;
    parse_versions(&answer).ok_or_else(strange)
}

fn parse_versions(answer: &[u8]) -> Option<Versions> {
    let mut rest = answer;
    (i16_of(&mut rest)? == 0).then_some(())?;
    let count = i32_of(&mut rest)?;
    let mut found = Versions::default();
    for _ in 0..count {
        let (kind, _, greatest) = (i16_of(&mut rest)?, i16_of(&mut rest)?, i16_of(&mut rest)?);
        found.0.insert(kind, greatest);
    }
    Some(found)
}

/// Requests the SASL mechanisms; empty if the listener has no SASL.
pub(super) fn mechanisms(
    stream: &mut (impl Read + Write),
    mechanism: &str,
) -> Result<Vec<String>, NoAnswer> {
    let mut body = Vec::new();
    push_text(mechanism, &mut body);
    let answer = exchange(stream, SASL_HANDSHAKE, 1, &body)?;
    parse_mechanisms(&answer).ok_or_else(strange)
}

fn parse_mechanisms(answer: &[u8]) -> Option<Vec<String>> {
    let mut rest = answer;
    // The error is about the mechanism or the listener; the list shows which.
    i16_of(&mut rest)?;
    let count = i32_of(&mut rest)?;
    (0..count).map(|_| text_of(&mut rest)).collect()
}

fn strange() -> NoAnswer {
    NoAnswer::Other("it answers with what is no answer of Kafka's".to_owned())
}

/// Sends a request and returns the body of its response.
fn exchange(
    stream: &mut (impl Read + Write),
    kind: i16,
    version: i16,
    body: &[u8],
) -> Result<Vec<u8>, NoAnswer> {
    let number: i32 = 1;
    let mut request = Vec::new();
    request.extend(kind.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(number.to_be_bytes());
    push_text("eventstream-doctor", &mut request);
    request.extend(body);
    let length = u32::try_from(request.len()).unwrap_or(0);
    let sent = [&length.to_be_bytes()[..], &request].concat();
    let other = |error: std::io::Error| NoAnswer::Other(error.to_string());
    stream.write_all(&sent).map_err(other)?;
    stream.flush().map_err(other)?;
    let mut head = [0; 8];
    stream.read_exact(&mut head).map_err(other)?;
    if head.starts_with(b"HTTP/") {
        return Err(NoAnswer::Http);
    }
    let (length, answered) = head.split_at(4);
    let length = length
        .iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    if answered != number.to_be_bytes() || !(4..LONGEST).contains(&length) {
        return Err(strange());
    }
    let mut answer = vec![0; length - 4];
    stream.read_exact(&mut answer).map_err(other)?;
    Ok(answer)
}

fn push_text(text: &str, out: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).unwrap_or(0);
    out.extend(length.to_be_bytes());
    out.extend(text.as_bytes());
}

fn i16_of(rest: &mut &[u8]) -> Option<i16> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(i16::from_be_bytes(*bytes))
}

fn i32_of(rest: &mut &[u8]) -> Option<i32> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(i32::from_be_bytes(*bytes))
}

fn text_of(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(i16_of(rest)?).ok()?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_what_is_cut_off_is_none() {
        let versions = [0, 0, 0, 0, 0, 1, 0, 22, 0, 0, 0, 5];
        let found = parse_versions(&versions).expect("an answer");
        assert_eq!(found.0.get(&22), Some(&5));
        assert_eq!(parse_versions(&versions[..11]), None);
        let offered = [0, 33, 0, 0, 0, 1, 0, 5, b'P', b'L', b'A', b'I', b'N'];
        assert_eq!(parse_mechanisms(&offered), Some(vec!["PLAIN".to_owned()]));
        assert_eq!(parse_mechanisms(&offered[..9]), None);
    }
}
