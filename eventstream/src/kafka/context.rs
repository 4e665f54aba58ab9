use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::config::LogMode;
use crate::error::{Error, ErrorKind};

/// What every librdkafka client of one [`Client`](crate::Client) shares: where its log goes, and
/// what it last said of the brokers.
#[derive(Debug)]
pub(crate) struct Reporter {
    client: Arc<str>,
    log_mode: LogMode,
    state: Mutex<Connection>,
}

#[derive(Debug, Default)]
struct Connection {
    last_error: Option<Error>,
    /// The brokers said that they do not let this client in.
    refused: Option<Error>,
    /// They behaved as brokers do that speak another protocol; so does a broker that comes up or a
    /// balancer with nothing behind it.
    suspected: Option<Error>,
    accepted: bool,
}

impl Reporter {
    pub(crate) fn new(client: Arc<str>, log_mode: LogMode) -> Self {
        Self {
            client,
            log_mode,
            state: Mutex::default(),
        }
    }

    /// The client's name.
    pub(crate) fn client(&self) -> Arc<str> {
        Arc::clone(&self.client)
    }

    /// A line of librdkafka's log, as a `tracing` event of this client.
    pub(crate) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        use RDKafkaLogLevel as L;
        let client = &*self.client;
        let wanted = match level {
            L::Emerg | L::Alert | L::Critical | L::Error => LogMode::Error,
            L::Warning | L::Notice => LogMode::Warn,
            L::Info => LogMode::Info,
            L::Debug => LogMode::Debug,
        };
        if self.log_mode.syslog() < wanted.syslog() {
            return;
        }
        match wanted {
            LogMode::Error => tracing::error!(client, facility, "{message}"),
            LogMode::Warn => tracing::warn!(client, facility, "{message}"),
            LogMode::Info => tracing::info!(client, facility, "{message}"),
            _ => tracing::debug!(client, facility, "{message}"),
        }
    }

    /// An error of the client as a whole: a broker that cannot be reached, a refused credential.
    pub(crate) fn error(&self, error: &KafkaError, reason: &str) -> Error {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let (error, verdict) = describe(code, reason);
        let mut state = self.state.lock();
        if !state.accepted {
            match verdict {
                Verdict::Refused => state.refused = Some(error.clone()),
                Verdict::Suspect => state.suspected = Some(error.clone()),
                Verdict::Other => {}
            }
        }
        state.last_error = Some(error.clone());
        drop(state);
        if self.log_mode.syslog() >= LogMode::Warn.syslog() {
            tracing::warn!(client = &*self.client, "{error}");
        }
        error
    }

    /// A broker answered a request: the credential is good, the network was up.
    pub(crate) fn accepted(&self) {
        let mut state = self.state.lock();
        state.accepted = true;
        state.last_error = None;
        state.refused = None;
        state.suspected = None;
    }

    /// Why the brokers do not let this client in, where they said so and never did.
    pub(crate) fn refused(&self) -> Option<Error> {
        self.state.lock().refused.clone()
    }

    /// As [`refused`](Self::refused), or what looks like it: for a question, where an early answer
    /// is worth more than a certain one. Not for events: those wait until their timeout.
    pub(crate) fn suspected(&self) -> Option<Error> {
        let state = self.state.lock();
        state.refused.clone().or_else(|| state.suspected.clone())
    }

    /// The last error since a broker answered.
    pub(crate) fn last_error(&self) -> Option<Error> {
        self.state.lock().last_error.clone()
    }
}

/// What an error says of this client's right to be there.
enum Verdict {
    Refused,
    Suspect,
    Other,
}

/// Names the cause and the remedy where librdkafka's text is known to hide them.
fn describe(code: Code, reason: &str) -> (Error, Verdict) {
    use Verdict::{Refused, Suspect};
    let lower = reason.to_lowercase();
    let remedy = |needles: &[&str]| needles.iter().any(|n| lower.contains(n));
    let (verdict, hint) = if remedy(&[
        "sasl authentication error",
        "invalid credentials",
        "authentication failed",
    ]) {
        (Refused, "check the SASL mechanism, user name and password")
    } else if remedy(&[
        "certificate verify failed",
        "unable to get local issuer",
        "self-signed",
        "self signed",
    ]) {
        (
            Refused,
            "the broker's certificate is not signed by a trusted authority: name its CA (`ca_file`)",
        )
    } else if remedy(&[
        "certificate_expired",
        "certificate expired",
        "certificate has expired",
    ]) {
        (Refused, "a certificate has expired: renew it")
    } else if remedy(&[
        "certificate_required",
        "bad certificate",
        "bad_certificate",
        "certificate required",
        "certificate_unknown",
        "handshake failure",
    ]) {
        (
            Refused,
            "the broker wants a client certificate that it trusts: set `cert_file` and `key_file`",
        )
    } else if remedy(&[
        "wrong version number",
        "plaintext",
        "ssl handshake failed: disconnected",
        "connecting to a plaintext",
    ]) {
        (
            Suspect,
            "this port does not speak TLS: use the TLS port, or switch TLS off",
        )
    } else if remedy(&[
        "disconnected while requesting apiversion",
        "might be caused by incorrect security.protocol",
        "connection closed: tls",
    ]) {
        (
            Suspect,
            "this port seems to want TLS or SASL: check `security.protocol`",
        )
    } else {
        let (kind, retriable) = super::error::classify(code);
        let error = Error::new(kind, format!("kafka: {}", reason.trim()));
        return (error.with_retriable(retriable), Verdict::Other);
    };
    let text = format!("kafka: {}; {hint}", reason.trim());
    let error = Error::new(ErrorKind::Authentication, text).with_retriable(false);
    (error, verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(reporter: &Reporter, reason: &str) {
        reporter.error(&KafkaError::Global(Code::BrokerTransportFailure), reason);
    }

    #[test]
    fn a_refusal_is_certain_only_where_the_broker_says_so() {
        let reporter = Reporter::new("test".into(), LogMode::Off);
        hear(
            &reporter,
            "Disconnected while requesting ApiVersion: might be caused by incorrect \
             security.protocol configuration",
        );
        assert!(
            reporter.refused().is_none(),
            "a broker that comes up does that too"
        );
        assert!(reporter.suspected().is_some());
        hear(
            &reporter,
            "SASL authentication error: Authentication failed",
        );
        let refused = reporter.refused().expect("refused");
        assert_eq!(refused.kind(), ErrorKind::Authentication);
        assert!(!refused.is_retriable());
    }

    #[test]
    fn an_answer_clears_what_was_wrong() {
        let reporter = Reporter::new("test".into(), LogMode::Off);
        hear(
            &reporter,
            "SASL authentication error: Authentication failed",
        );
        assert!(reporter.last_error().is_some());
        reporter.accepted();
        assert!(reporter.last_error().is_none() && reporter.refused().is_none());
        hear(
            &reporter,
            "SASL authentication error: Authentication failed",
        );
        assert!(reporter.refused().is_none(), "it was let in before");
        reporter.accepted();
        assert!(reporter.last_error().is_none());
    }
}
