//! When a certificate ends. librdkafka does not say it, and a broker only that it refuses one.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::broker::BrokerConfig;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

impl BrokerConfig {
    /// Whether the client has a certificate to show.
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

    /// When the client's certificate ends, where it can be read.
    pub(crate) fn client_certificate_end(&self) -> Option<Timestamp> {
        let security = &self.security;
        if !security.cert_pem.is_empty() {
            return not_after(&security.cert_pem);
        }
        if !security.cert_file.as_os_str().is_empty() {
            return not_after(&std::fs::read_to_string(&security.cert_file).ok()?);
        }
        match self.base_config.get("ssl.certificate.pem") {
            Some(pem) => not_after(pem),
            None => {
                let path = self.base_config.get("ssl.certificate.location")?;
                not_after(&std::fs::read_to_string(path).ok()?)
            }
        }
    }
}

/// The end of the first certificate in a PEM text.
fn not_after(pem: &str) -> Option<Timestamp> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let der = base64(body)?;
    // Certificate { tbs { [0] version?, serial, algorithm, issuer, validity { from, until }, .. } .. }
    let tbs = sequence(sequence(&der)?.0)?.0;
    let mut rest = tbs;
    let before_validity = if tbs.first() == Some(&VERSION) { 4 } else { 3 };
    for _ in 0..before_validity {
        rest = element(rest)?.2;
    }
    let (validity, _) = sequence(rest)?;
    let (tag, until, _) = element(element(validity)?.2)?;
    time(tag, std::str::from_utf8(until).ok()?)
}

/// The content of a sequence, and what follows it.
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

    /// Of an authority made for this test, valid from 2025-01-02 to 2026-03-04, 05:06:07 UTC.
    const UTC: &str = include_str!("tests/utc_time.pem");
    /// The same until 2055-03-04, which takes the other form of time.
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
