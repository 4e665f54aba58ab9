//! When a certificate expires, which librdkafka does not report and a broker only when it refuses one, and its
//! subject.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::broker::BrokerConfig;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `UTF8String`, `PrintableString`, `IA5String`.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];
/// The types with a short name in RFC 2253.
const ATTRIBUTES: [(&[u8], &str); 9] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 9], "STREET"),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
        "DC",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1],
        "UID",
    ),
];

impl BrokerConfig {
    /// Whether the client has a certificate to present.
    pub(crate) fn has_client_certificate(&self) -> bool {
        let security = &self.security;
        !security.cert_pem.is_empty()
            || !security.cert_file.as_os_str().is_empty()
            || [
                "ssl.certificate.location",
                "ssl.certificate.pem",
                "ssl.keystore.location",
            ]
            .iter()
            .any(|name| self.base_config.get(name).is_some())
    }

    /// When the client's certificate expires, if it can be read.
    pub(crate) fn client_certificate_end(&self) -> Option<Timestamp> {
        not_after(&self.client_certificate()?)
    }

    /// The subject of the client's certificate in Java's format, if it can be read.
    pub(crate) fn client_certificate_subject(&self) -> Option<String> {
        subject(&self.client_certificate()?)
    }

    /// The client's certificate as PEM.
    fn client_certificate(&self) -> Option<String> {
        let security = &self.security;
        if !security.cert_pem.is_empty() {
            return Some(security.cert_pem.clone());
        }
        if !security.cert_file.as_os_str().is_empty() {
            return std::fs::read_to_string(&security.cert_file).ok();
        }
        match self.base_config.get("ssl.certificate.pem") {
            Some(pem) => Some(pem.to_owned()),
            None => {
                let path = self.base_config.get("ssl.certificate.location")?;
                std::fs::read_to_string(path).ok()
            }
        }
    }
}

/// The expiry of the first certificate in a PEM text.
fn not_after(pem: &str) -> Option<Timestamp> {
    let der = first_certificate(pem)?;
    let (validity, _) = sequence(from_validity(&der)?)?;
    let (tag, until, _) = element(element(validity)?.2)?;
    time(tag, std::str::from_utf8(until).ok()?)
}

/// The subject of the first certificate in a PEM text, in the format of RFC 2253: the last part first. `None` if a
/// part has a type without a short name.
fn subject(pem: &str) -> Option<String> {
    let der = first_certificate(pem)?;
    let (mut rest, _) = sequence(element(from_validity(&der)?)?.2)?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (_, mut set, after) = element(rest)?;
        let mut values = Vec::new();
        while !set.is_empty() {
            let (attribute, others) = sequence(set)?;
            let (_, oid, value) = element(attribute)?;
            let (tag, text, _) = element(value)?;
            let name = ATTRIBUTES.iter().find(|(known, _)| *known == oid)?.1;
            let text = TEXTS.contains(&tag).then_some(text)?;
            values.push(format!(
                "{name}={}",
                escaped(std::str::from_utf8(text).ok()?)
            ));
            set = others;
        }
        parts.push(values.join("+"));
        rest = after;
    }
    parts.reverse();
    Some(parts.join(","))
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for (at, c) in text.char_indices() {
        let at_end = at == 0 || at + 1 == text.len();
        if ",+\"\\<>;".contains(c) || (c == ' ' && at_end) || (c == '#' && at == 0) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn first_certificate(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    base64(body)
}

/// A certificate's contents from its validity on: Certificate { tbs { [0] version?, serial, algorithm, issuer,
/// validity { from, until }, subject, .. } .. }
fn from_validity(der: &[u8]) -> Option<&[u8]> {
    let tbs = sequence(sequence(der)?.0)?.0;
    let mut rest = tbs;
    let before_validity = if tbs.first() == Some(&VERSION) { 4 } else { 3 };
    for _ in 0..before_validity {
        rest = element(rest)?.2;
    }
    Some(rest)
}

/// The contents of a sequence, and what follows it.
fn sequence(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(der)?;
    (tag == SEQUENCE).then_some((content, rest))
}

/// The first element of a DER text: its tag, its content, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let value = |sum: usize, byte: &u8| Some(sum.checked_mul(256)? + usize::from(*byte));
        (bytes.iter().try_fold(0, value)?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDhhmmssZ` with the years 1950 to 2049, or `YYYYMMDDhhmmssZ`.
fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let text = match tag {
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Offset::UTC.to_timestamp(time).ok()
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held & 0xff) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From an authority made for this test, valid from 2025-01-02 to 2026-03-04, 05:06:07 UTC.
    const UTC: &str = include_str!("tests/utc_time.pem");
    /// The same until 2055-03-04, which uses the other time format.
    const GENERALIZED: &str = include_str!("tests/generalized_time.pem");

    #[test]
    fn the_end_is_read_in_both_forms() {
        let end = |pem| not_after(pem).expect("a time").to_string();
        assert_eq!(end(UTC), "2026-03-04T05:06:07Z");
        assert_eq!(end(GENERALIZED), "2055-03-04T05:06:07Z");
        let config = BrokerConfig::new().base_config("ssl.certificate.pem", UTC);
        assert!(config.has_client_certificate());
        assert_eq!(config.client_certificate_end(), not_after(UTC));
    }

    #[test]
    fn the_subject_is_written_as_java_does() {
        assert_eq!(subject(UTC).as_deref(), Some("CN=test"));
        let long = include_str!("tests/subject.pem");
        let expected = r"CN=sérvice,OU=dev+OU=ops,O=Acme\, Inc.,C=DE";
        assert_eq!(subject(long).as_deref(), Some(expected));
        assert_eq!(subject("x"), None);
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let cut = UTC.replace("-----END CERTIFICATE-----", "");
        let shorter: String = UTC
            .lines()
            .filter(|line| line.contains("-----"))
            .collect::<Vec<_>>()
            .join("\n");
        let other = UTC.replace("MII", "AII");
        for pem in [
            "",
            "x",
            &cut,
            &shorter,
            &other,
            "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----",
        ] {
            assert_eq!(not_after(pem), None, "{pem}");
        }
        assert!(!BrokerConfig::new().has_client_certificate());
    }
}
