//! The meaning of librdkafka's texts about connections: the cause, and the remedy.
//!
//! librdkafka uses the same few codes for most of them, so its wording is all there is. The tests
//! here have the texts of librdkafka 2.12.1 with Apache Kafka 4.3; `harness/tests/security.rs` has
//! the real thing.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::config::BrokerConfig;

/// What an error says about whether the brokers accept this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The broker refused this client, or the client does not trust the broker.
    Refused,
    /// It behaved like a broker that speaks another protocol; so does one that is starting, or a
    /// load balancer without a backend.
    Suspect,
    /// It was unreachable.
    Away,
    /// Unrelated to that.
    Other,
}

/// How this client connects, as far as the remedy depends on it.
#[derive(Debug)]
pub(super) struct Facts {
    tls: bool,
    sasl: bool,
    tokens: bool,
    client_certificate: bool,
    /// When the client's own certificate expires.
    certificate_end: Option<Timestamp>,
}

impl Facts {
    pub(super) fn new(config: &BrokerConfig) -> Self {
        let protocol = config.protocol();
        Self {
            tls: protocol.tls(),
            sasl: protocol.sasl(),
            tokens: config.security.token_provider().is_some(),
            client_certificate: config.has_client_certificate(),
            certificate_end: config.client_certificate_end(),
        }
    }
}

/// An error's broker, as librdkafka names it (`sasl_ssl://host:port/bootstrap`), and its text
/// without leading names.
pub(super) fn split(reason: &str) -> (&str, &str) {
    let (mut broker, mut text) = ("", reason.trim());
    while let Some((name, rest)) = text.split_once(": ") {
        let is_name = name.contains(':') || name.ends_with("Coordinator");
        if name.contains(' ') || !is_name {
            break;
        }
        (broker, text) = (name, rest.trim_start());
    }
    (broker, text)
}

/// The text without the part that varies between repetitions.
pub(super) fn stem(text: &str) -> &str {
    text.split(" (after ").next().unwrap_or(text)
}

/// Whether it reports a broker's certificate that is not accepted.
pub(super) fn is_unverified(text: &str) -> bool {
    text.contains("certificate verify failed")
        || text.to_lowercase().contains("failed to verify broker cert")
}

/// Whether a login was renewed sooner than a second after the one before, which brokers do not allow. librdkafka does so
/// when a token has less than that left, since it renews a login after nine tenths of its time.
pub(super) fn is_too_soon(text: &str) -> bool {
    text.contains("not valid in current SASL state")
}

/// The verdict on a text without its broker, and the remedy. `unverified` is why the broker's
/// certificate was not accepted, if known.
pub(super) fn diagnose(
    text: &str,
    facts: &Facts,
    unverified: Option<&str>,
) -> (Verdict, Cow<'static, str>) {
    use Verdict::{Away, Other, Refused, Suspect};
    let text = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let in_state = |state: &str| text.contains(&format!("in state {state}"));
    let closed = has(&["disconnected", "connection reset", "broken pipe"]);

    if is_unverified(&text) {
        let remedy = unverified.map_or(
            "the broker's certificate is not accepted: its CA is not among the trusted ones \
             (`ca_file`, `ca_pem`), it has expired, or it is not for this host name"
                .into(),
            |why| format!("the broker's certificate is not accepted: {why}").into(),
        );
        (Refused, remedy)
    } else if text.contains("mechanism handshake failed") {
        (Refused, mechanism(&text).into())
    } else if has(&["sasl authentication", "authentication failed"]) {
        let remedy = if facts.tokens {
            "the broker does not accept the token: check that its issuer, its audience and its signing key are those \
             that the broker expects, and the clocks of both"
        } else {
            "the broker does not accept the user name or password: check `sasl_username`, `sasl_password` and \
             `sasl_mechanism`"
        };
        (Refused, remedy.into())
    } else if has(&["wrong version number", "packet length too long"])
        || (closed && in_state("ssl_handshake"))
        || text.contains("ssl handshake failed: disconnected")
    {
        let remedy = "this port does not seem to speak TLS: use the broker's TLS port, or turn TLS off \
                      (with SASL: `sasl_without_tls`)";
        (Suspect, remedy.into())
    } else if has(&[
        "alert",
        "certificate required",
        "handshake failure",
        "unexpected message",
    ]) {
        (Refused, client_certificate(&text, facts))
    } else if text.contains("invalid response size") || (closed && in_state("apiversion_query")) {
        (Suspect, unanswered(facts).into())
    } else if closed && in_state("up") && !facts.sasl {
        let remedy = "this port seems to require SASL: set `sasl_mechanism`, `sasl_username` and \
                      `sasl_password`, or use a port without SASL";
        (Suspect, remedy.into())
    } else if has(&["connect to", "failed to resolve", "timed out"]) {
        (Away, "".into())
    } else {
        (Other, "".into())
    }
}

/// The port has no SASL, or not this mechanism; the text lists those it has.
fn mechanism(text: &str) -> &'static str {
    let offered = text
        .split("supported mechanisms:")
        .nth(1)
        .map(|rest| stem(rest).trim());
    if offered.is_some_and(str::is_empty) {
        "this port does not support SASL: use the broker's SASL port, or remove the SASL options"
    } else {
        "the broker does not offer this SASL mechanism: set `sasl_mechanism` to one that it supports"
    }
}

/// TLS alerts after the client has accepted the broker: they are about the client's certificate.
fn client_certificate(text: &str, facts: &Facts) -> Cow<'static, str> {
    if !facts.client_certificate {
        return "the broker requires a client certificate: set `cert_file` and `key_file`".into();
    }
    match facts.certificate_end {
        Some(end) if end < Timestamp::now() => {
            format!("the client's certificate expired on {end}: renew it (`cert_file`)").into()
        }
        _ if text.contains("expired") => {
            "the client's certificate has expired: renew it (`cert_file`)".into()
        }
        _ => {
            "the broker does not accept the client's certificate (`cert_file`): it must be signed \
              by a CA that the broker trusts"
                .into()
        }
    }
}

/// The first request got a closed connection or an invalid response.
fn unanswered(facts: &Facts) -> &'static str {
    if facts.tls {
        "the broker closes the connection without an answer: if it requires a client certificate, set \
         `cert_file` and `key_file`"
    } else if facts.sasl {
        "this port seems to require TLS: remove `sasl_without_tls`, or use the broker's SASL port \
         without TLS"
    } else {
        "this port seems to require TLS: set `tls` and the CA (`ca_file`), or use the broker's \
         plain-text port"
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Away, Other, Refused, Suspect};
    use super::*;
    use crate::config::{SaslMechanism, Security};

    fn facts(security: Security) -> Facts {
        Facts::new(&BrokerConfig::new().security(security))
    }

    fn plain() -> Facts {
        facts(Security::none())
    }

    fn tls() -> Facts {
        facts(Security::none().tls(true))
    }

    fn mutual() -> Facts {
        facts(Security::none().cert_pem("x").key_pem("y"))
    }

    fn sasl() -> Facts {
        facts(Security::sasl(SaslMechanism::Plain, "a", "b").sasl_without_tls(true))
    }

    fn tokens() -> Facts {
        facts(Security::oauth(|| async { crate::Token::jwt("x") }))
    }

    /// Texts of librdkafka, each with the verdict and part of the remedy.
    #[rustfmt::skip]
    #[test]
    fn texts_and_what_they_mean() {
        for (reason, facts, verdict, remedy) in [
            ("sasl_ssl://127.0.0.1:24694/bootstrap: SASL authentication error: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512 (after 323ms in state AUTH_REQ)", sasl(), Refused, "check `sasl_username`"),
            ("sasl_ssl://127.0.0.1:24694/bootstrap: SASL authentication error: Authentication failed: Invalid username or password (after 302ms in state AUTH_REQ)", sasl(), Refused, "check `sasl_username`"),
            ("sasl_ssl://h:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified, verify that ssl.ca.location is correctly configured or root CA certificates are installed (install ca-certificates package) (after 6ms in state SSL_HANDSHAKE)", tls(), Refused, "(`ca_file`, `ca_pem`), it has expired, or"),
            ("sasl_ssl://127.0.0.1:19274/bootstrap: SASL OAUTHBEARER authentication failed (principal=service): {\"status\":\"invalid_token\"} (after 31ms in state AUTH_REQ)", tokens(), Refused, "does not accept the token"),
            ("sasl_ssl://h:1/bootstrap: error:0A000086:SSL routines::certificate verify failed (after 2ms in state SSL_HANDSHAKE)", tls(), Refused, "(`ca_file`"),
            ("ssl://h:1/bootstrap: Receive failed: error:0A000416:SSL routines::ssl/tls alert certificate unknown: SSL alert number 46 (after 10ms in state APIVERSION_QUERY)", mutual(), Refused, "does not accept the client's certificate"),
            ("ssl://h:1/bootstrap: Receive failed: error:0A000415:SSL routines::ssl/tls alert certificate expired: SSL alert number 45 (after 10ms in state APIVERSION_QUERY)", mutual(), Refused, "has expired: renew it"),
            ("ssl://h:1/bootstrap: Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42 (after 0ms in state APIVERSION_QUERY)", tls(), Refused, "requires a client certificate: set `cert_file`"),
            ("ssl://h:1/bootstrap: SSL handshake failed: Disconnected: SSL connection closed by peer: connecting to a PLAINTEXT broker listener? (after 8ms in state SSL_HANDSHAKE)", tls(), Suspect, "not seem to speak TLS"),
            ("ssl://h:1/bootstrap: Disconnected: SSL connection closed by peer (after 0ms in state SSL_HANDSHAKE)", tls(), Suspect, "not seem to speak TLS"),
            ("[thrd:127.0.0.1:24696/bootstrap]: 127.0.0.1:24696/bootstrap: Disconnected: connection closed by peer: receive 0 after POLLIN (after 1ms in state APIVERSION_QUERY)", plain(), Suspect, "require TLS: set `tls`"),
            ("127.0.0.1:24696/bootstrap: Receive failed: Invalid response size 352518912 (0..100000000): increase receive.message.max.bytes (after 1ms in state APIVERSION_QUERY)", plain(), Suspect, "require TLS: set `tls`"),
            ("sasl_plaintext://h:1/bootstrap: Disconnected: connection closed by peer: receive 0 after POLLIN (after 1ms in state APIVERSION_QUERY)", sasl(), Suspect, "require TLS: remove `sasl_without_tls`"),
            ("127.0.0.1:24695/bootstrap: Disconnected: connection closed by peer: receive 0 after POLLIN (after 1ms in state UP)", plain(), Suspect, "require SASL"),
            ("ssl://h:1/bootstrap: Send failed: error:80000020:system library::Broken pipe: tls_retry_write_records failure (after 0ms in state UP)", tls(), Suspect, "require SASL"),
            ("sasl_plaintext://h:1/1: Disconnected: connection closed by peer: receive 0 after POLLIN (after 9ms in state UP)", sasl(), Other, ""),
            ("sasl_plaintext://h:1/bootstrap: SASL SCRAM-SHA-512 mechanism handshake failed: Broker: Request not valid in current SASL state: broker's supported mechanisms:  (after 1ms in state AUTH_HANDSHAKE)", sasl(), Refused, "does not support SASL"),
            ("sasl_ssl://h:1/bootstrap: SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: SCRAM-SHA-512 (after 1ms in state AUTH_HANDSHAKE)", sasl(), Refused, "does not offer this SASL mechanism"),
            ("sasl_plaintext://h:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)", sasl(), Away, ""),
            ("sasl_plaintext://h:1/bootstrap: Failed to resolve 'h:1': Name or service not known (after 0ms in state CONNECT)", sasl(), Away, ""),
            ("ssl://h:1/bootstrap: Connection setup timed out in state SSL_HANDSHAKE (after 10005ms in state SSL_HANDSHAKE)", tls(), Away, ""),
            ("1/1 brokers are down", plain(), Other, ""),
        ] {
            let (_, text) = split(reason);
            let (found, said) = diagnose(text, &facts, None);
            assert_eq!(found, verdict, "{reason}");
            assert!(said.contains(remedy), "{reason}: {said}");
            assert_eq!(said.is_empty(), remedy.is_empty(), "{reason}: {said}");
        }
    }

    #[test]
    fn what_openssl_found_is_said() {
        let text = "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed";
        let (_, said) = diagnose(text, &tls(), Some("it has expired"));
        assert!(said.ends_with("not accepted: it has expired"), "{said}");
    }

    #[test]
    fn brokers_are_told_from_texts() {
        for (reason, expected) in [
            ("[thrd:a:1/2]: a:1/2: Gone: far", ("a:1/2", "Gone: far")),
            ("GroupCoordinator: a:1: Gone", ("a:1", "Gone")),
            (
                "error:0A000086:SSL routines::x: y",
                ("", "error:0A000086:SSL routines::x: y"),
            ),
            ("1/1 brokers are down", ("", "1/1 brokers are down")),
        ] {
            assert_eq!(split(reason), expected);
        }
    }
}
