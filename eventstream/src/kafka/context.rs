use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::denied::{Operation, Resource, denied};
use super::diagnosis::{Facts, Verdict, diagnose, is_too_soon, is_unverified, split, stem};
use super::error::classify;
use super::tokens::{Supply, Tokens};
use super::trial::Handshake;
use super::verify::UNVERIFIED;
use crate::config::{BrokerConfig, LogMode, Principal};
use crate::error::{Error, ErrorKind};
use crate::guard::tracing;
use crate::observe::cadence::Cadence;
use crate::observe::health::Problem;

/// How long a broker must have closed connections as one of another protocol does before it counts
/// as such: longer than a broker takes to start, and well below the publish timeout.
const SURE: Duration = Duration::from_secs(10);

/// librdkafka repeats an error many times a second while brokers are unreachable; here each is
/// logged at this interval.
const REPEAT: Duration = Duration::from_secs(30);

/// librdkafka's text if a group's coordinator is too old for the protocol; it retries forever.
const NO_KIP_848: &str = "ConsumerGroupHeartbeatRequest not supported by broker";

/// Shared by all librdkafka clients of one [`Client`](crate::Client): where its log goes, and the
/// latest news of the brokers.
#[derive(Debug)]
pub(crate) struct Reporter {
    client: Arc<str>,
    log_mode: LogMode,
    facts: Facts,
    /// The bootstrap brokers.
    brokers: String,
    principal: Principal,
    /// With OAUTHBEARER: what its clients log in with.
    tokens: Option<Tokens>,
    handshake: OnceLock<Handshake>,
    state: Mutex<Connection>,
    /// When a client of this one first looked for a broker.
    asked: OnceLock<Instant>,
    /// There is trouble that an answer would clear.
    troubled: AtomicBool,
    /// A broker has answered.
    accepted: AtomicBool,
    /// A broker may be refusing this client. Read for each batch of delivery reports.
    in_doubt: AtomicBool,
}

#[derive(Debug, Default)]
struct Connection {
    last_error: Option<Error>,
    /// When the first error since the last answer occurred.
    troubled_since: Option<SystemTime>,
    /// The results of brokers that were tried; cleared by an answer.
    tried: HashMap<String, Tried>,
    /// All of them were tried.
    all_down: bool,
    /// Why a broker's certificate was not accepted.
    unverified: Option<String>,
    repeats: Repeats,
    outage: Outage,
}

/// When to log that Kafka is unreachable, if librdkafka's own log is off.
#[derive(Debug)]
struct Outage {
    cadence: Cadence,
    told: bool,
}

impl Default for Outage {
    fn default() -> Self {
        Self {
            cadence: Cadence::new(REPEAT, Duration::from_secs(600)),
            told: false,
        }
    }
}

/// The text of librdkafka or OpenSSL, as the source of our interpretation.
#[derive(Debug)]
struct Said(String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Said {}

/// The result of trying a broker that does not answer.
#[derive(Debug)]
struct Tried {
    verdict: Verdict,
    since: Instant,
    error: Error,
}

impl Reporter {
    pub(crate) fn new(client: Arc<str>, config: &BrokerConfig) -> Self {
        let provider = config.security.token_provider();
        Self {
            tokens: provider.map(|provider| Tokens::new(Arc::clone(&client), provider)),
            client,
            log_mode: config.log_mode,
            facts: Facts::new(config),
            brokers: String::new(),
            principal: config.principal(),
            handshake: OnceLock::new(),
            state: Mutex::default(),
            asked: OnceLock::new(),
            troubled: AtomicBool::new(true),
            accepted: AtomicBool::new(false),
            in_doubt: AtomicBool::new(false),
        }
    }

    /// With the names of the bootstrap brokers.
    pub(crate) fn of_brokers(mut self, brokers: &[String]) -> Self {
        self.brokers = brokers.join(", ");
        self
    }

    /// The properties for asking a broker why its certificate is not accepted.
    pub(crate) fn asks_with(&self, properties: &ClientConfig) {
        self.handshake.get_or_init(|| Handshake::new(properties));
    }

    /// A librdkafka client was created and starts looking for a broker.
    pub(crate) fn asked(&self) {
        self.asked.get_or_init(Instant::now);
    }

    /// Supplies a librdkafka client with what it logs in with, where that is a token. The supply must be dropped before
    /// the client.
    pub(super) fn supply<C: ClientContext>(&self, client: &Client<C>) -> Option<Supply> {
        self.tokens.as_ref().map(|tokens| tokens.supply(client))
    }

    /// The client's name.
    pub(crate) fn client(&self) -> Arc<str> {
        Arc::clone(&self.client)
    }

    /// A line of librdkafka's log, as a `tracing` event of this client. Returns an error if the
    /// line reports a connection problem that no error will: librdkafka only logs that a broker
    /// closed the connection.
    pub(crate) fn log(
        &self,
        level: RDKafkaLogLevel,
        facility: &str,
        message: &str,
    ) -> Option<Error> {
        use RDKafkaLogLevel as L;
        let wanted = match level {
            L::Emerg | L::Alert | L::Critical | L::Error => LogMode::Error,
            L::Warning | L::Notice => LogMode::Warn,
            L::Info => LogMode::Info,
            L::Debug => LogMode::Debug,
        };
        self.pass_on(wanted, facility, message);
        match facility {
            "SSLCERTVRFY" => {
                self.state.lock().unverified = unverified(message);
                None
            }
            "FAIL" if matches!(wanted, LogMode::Warn | LogMode::Info) => {
                // As an error has it, without librdkafka's thread.
                let reason = message.split_once("]: ").map_or(message, |(_, rest)| rest);
                let verdict = diagnose(split(reason).1, &self.facts, None).0;
                (verdict == Verdict::Suspect && !self.was_accepted())
                    .then(|| self.hear(Code::BrokerTransportFailure, reason))
            }
            "CGRPQUERY" if message.contains(NO_KIP_848) => {
                let text = "kafka: these brokers do not support the KIP-848 group protocol (Apache Kafka 4.0 \
                            and later): set `assignment` to eager or cooperative-sticky";
                Some(Error::new(ErrorKind::Unsupported, text))
            }
            _ => None,
        }
    }

    fn pass_on(&self, wanted: LogMode, facility: &str, message: &str) {
        let client = &*self.client;
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

    /// An error of the client as a whole: an unreachable broker, rejected credentials.
    pub(crate) fn error(&self, error: &KafkaError, reason: &str) -> Error {
        self.hear(error.rdkafka_error_code().unwrap_or(Code::Unknown), reason)
    }

    fn hear(&self, code: Code, reason: &str) -> Error {
        if let Some(error) = self.no_token(reason) {
            return error;
        }
        let (broker, text) = split(reason);
        let address = broker
            .rsplit("//")
            .next()
            .and_then(|name| name.split('/').next());
        let address = address.filter(|address| !address.is_empty());
        if is_unverified(text) && self.state.lock().unverified.is_none() {
            let handshake = self.handshake.get();
            let line = handshake.and_then(|handshake| handshake.line(address?, REPEAT));
            if let Some(line) = line {
                self.state.lock().unverified = unverified(&line);
            }
        }
        let mut state = self.state.lock();
        let (mut verdict, remedy) = diagnose(text, &self.facts, state.unverified.as_deref());
        let accepted = self.was_accepted();
        if accepted && verdict == Verdict::Suspect {
            // It speaks this client's protocol: the connection was lost for another reason.
            verdict = Verdict::Away;
        }
        let of_token = (verdict == Verdict::Refused)
            .then(|| self.without_token_that_holds(text, accepted))
            .flatten();
        let error = if let Some(error) = of_token {
            verdict = Verdict::Away;
            error
        } else if matches!(verdict, Verdict::Refused | Verdict::Suspect) {
            let at = address.map_or(String::new(), |address| format!("{address}: "));
            Error::new(ErrorKind::Authentication, format!("kafka: {at}{remedy}"))
                .with_retriable(false)
                .with_remedy(remedy)
                .with_source(Said(text.to_owned()))
        } else if code == Code::AllBrokersDown {
            // librdkafka counts connections: a broker counts by its configured address, by its
            // advertised one, and as a coordinator.
            let text = format!(
                "kafka: none of the brokers can be reached ({})",
                self.brokers
            );
            Error::new(ErrorKind::Unreachable, text).with_retriable(true)
        } else {
            let (kind, retriable) = classify(code);
            let text = format!("kafka: {}", reason.trim());
            Error::new(kind, text).with_retriable(retriable)
        };
        state.remember(code, &error);
        if !accepted && verdict != Verdict::Other {
            state.note(broker, verdict, &error);
        }
        self.in_doubt.store(state.is_in_doubt(), Atomic::Relaxed);
        self.troubled.store(true, Atomic::Relaxed);
        let now = Instant::now();
        let is_new = state.repeats.is_new(code, text, now);
        let logs = self.log_mode.syslog() >= LogMode::Warn.syslog();
        let away = state.all_down || error.kind() == ErrorKind::Authentication;
        let outage = if away && !logs {
            let untold = state.outage.cadence.due(now);
            state.outage.told |= untold.is_some();
            untold.zip(state.last_error.clone())
        } else {
            None
        };
        drop(state);
        let client = &*self.client;
        if is_new && logs {
            tracing::warn!(client, "{error}");
        }
        if let Some((untold, error)) = outage {
            tracing::warn!(client, %error, untold, "Kafka is unreachable; retrying");
        }
        error
    }

    /// The token provider's error, where this is what librdkafka says of it.
    pub(crate) fn no_token(&self, reason: &str) -> Option<Error> {
        self.tokens.as_ref()?.of(reason)
    }

    /// A refusal that says nothing of this client's right to be there. One that does has the token renewed.
    fn without_token_that_holds(&self, text: &str, accepted: bool) -> Option<Error> {
        let tokens = self.tokens.as_ref()?;
        if accepted && is_too_soon(text) {
            let text = "kafka: the broker has ended a connection whose token is about to expire";
            let error = || Error::new(ErrorKind::Unreachable, text);
            return Some(tokens.failure().unwrap_or_else(error));
        }
        let missing = tokens.missing();
        if missing.is_none() {
            tokens.refuse();
        }
        missing
    }

    /// The error for a right that this client lacks, as a broker reported with `code`. Names are those on the broker.
    pub(crate) fn denied(
        &self,
        doing: &str,
        operation: Operation,
        on: Resource<'_>,
        code: Code,
    ) -> Error {
        denied(&self.principal, doing, operation, on, code)
    }

    /// A broker answered a request, so the credentials are good and the network was up.
    pub(crate) fn accepted(&self) {
        self.accepted.store(true, Atomic::Relaxed);
        let mut state = self.state.lock();
        state.last_error = None;
        state.troubled_since = None;
        state.tried.clear();
        state.all_down = false;
        let was_told = std::mem::take(&mut state.outage).told;
        self.in_doubt.store(false, Atomic::Relaxed);
        self.troubled.store(false, Atomic::Relaxed);
        drop(state);
        if was_told {
            tracing::info!(client = &*self.client, "Kafka is reachable again");
        }
    }

    /// Records arrived, or a commit was confirmed. Called often; free while there is no trouble.
    pub(crate) fn heard(&self) {
        if self.troubled.load(Atomic::Relaxed) {
            self.accepted();
        }
    }

    /// Whether a broker has answered, and not all of them have been unreachable since.
    pub(crate) fn is_connected(&self) -> bool {
        self.was_accepted() && !self.is_cut_off()
    }

    /// Whether all brokers were unreachable when last heard of.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.state.lock().all_down
    }

    /// For `health`: why no broker can be used. A single unreachable broker of several is not a
    /// problem.
    pub(crate) fn problem(&self) -> Option<Problem> {
        // Without a token nothing else is known of the brokers.
        if let Some(problem) = self.tokens.as_ref().and_then(Tokens::problem) {
            return Some(problem);
        }
        let accepted = self.was_accepted();
        let state = self.state.lock();
        if let Some(error) = &state.last_error {
            let passing = error.kind() == ErrorKind::Unreachable && accepted && !state.all_down;
            let since = state.troubled_since.unwrap_or_else(SystemTime::now);
            return (!passing).then(|| Problem::at(error.clone(), since));
        }
        drop(state);
        let asked = *self.asked.get()?;
        let waiting = asked.elapsed();
        (!accepted && waiting >= SURE).then(|| {
            let (seconds, brokers) = (waiting.as_secs(), &self.brokers);
            let text = format!("kafka: no broker has answered for {seconds} s ({brokers})");
            Problem::since_instant(Error::new(ErrorKind::Unreachable, text), asked)
        })
    }

    /// For `health`: the token provider fails, while its last token still holds.
    pub(crate) fn notice(&self) -> Option<Error> {
        self.tokens.as_ref()?.notice()
    }

    /// Whether a broker has ever answered.
    pub(crate) fn was_accepted(&self) -> bool {
        self.accepted.load(Atomic::Relaxed)
    }

    /// Whether a broker that was tried may be refusing this client.
    pub(crate) fn in_doubt(&self) -> bool {
        self.in_doubt.load(Atomic::Relaxed)
    }

    /// Why the brokers refuse this client: each was tried and said so, or has behaved so for [`SURE`], and none ever
    /// answered. While one is merely unreachable, events wait for it.
    pub(crate) fn refused(&self) -> Option<Error> {
        let refused = self.in_doubt().then(|| self.state.lock().refused(SURE));
        refused.flatten().or_else(|| self.without_token())
    }

    /// Like [`refused`](Self::refused), but at once: for requests, where an early answer matters
    /// more than a certain one.
    pub(crate) fn suspected(&self) -> Option<Error> {
        let refused = self.state.lock().refused(Duration::ZERO);
        refused.or_else(|| self.without_token())
    }

    /// Nothing lets this client in: the token provider is turned away by whom it asks.
    fn without_token(&self) -> Option<Error> {
        let tokens = self.tokens.as_ref().filter(|_| !self.was_accepted())?;
        tokens.turned_away()
    }

    /// Why no token is there; otherwise the last error since a broker answered.
    pub(crate) fn last_error(&self) -> Option<Error> {
        let missing = self.tokens.as_ref().and_then(Tokens::missing);
        missing.or_else(|| self.state.lock().last_error.clone())
    }
}

impl Connection {
    fn remember(&mut self, code: Code, error: &Error) {
        self.all_down |= code == Code::AllBrokersDown;
        self.troubled_since.get_or_insert_with(SystemTime::now);
        // It names no cause, and follows the errors that do.
        if code != Code::AllBrokersDown || self.last_error.is_none() {
            self.last_error = Some(error.clone());
        }
    }

    fn note(&mut self, broker: &str, verdict: Verdict, error: &Error) {
        let before = self.tried.get(broker);
        let since = before
            .filter(|tried| tried.verdict == verdict)
            .map_or_else(Instant::now, |tried| tried.since);
        let tried = Tried {
            verdict,
            since,
            error: error.clone(),
        };
        self.tried.insert(broker.to_owned(), tried);
    }

    fn is_in_doubt(&self) -> bool {
        let mut verdicts = self.tried.values().map(|tried| tried.verdict);
        verdicts.any(|verdict| verdict != Verdict::Away)
    }

    fn refused(&self, sure: Duration) -> Option<Error> {
        let turned_away = |tried: &Tried| match tried.verdict {
            Verdict::Refused => true,
            Verdict::Suspect => tried.since.elapsed() >= sure,
            Verdict::Away | Verdict::Other => false,
        };
        if !self.all_down || !self.tried.values().all(turned_away) {
            return None;
        }
        // A certain verdict is more useful.
        let certain = |tried: &&Tried| tried.verdict == Verdict::Refused;
        let first = self.tried.values().find(certain);
        first
            .or_else(|| self.tried.values().next())
            .map(|tried| tried.error.clone())
    }
}

/// From librdkafka's log line about a certificate: why it is not accepted, and which one it is.
fn unverified(message: &str) -> Option<String> {
    let (certificate, why) = message.split_once(UNVERIFIED)?;
    let name = certificate.rsplit_once('(').map(|(_, name)| name.trim());
    Some(format!("{why} ({}", name.unwrap_or(")")))
}

/// Which errors were reported recently.
#[derive(Debug, Default)]
pub(crate) struct Repeats(HashMap<(i32, String), Instant>);

impl Repeats {
    /// Whether this error was not reported within [`REPEAT`]; marks it as reported.
    pub(crate) fn is_new(&mut self, code: Code, text: &str, now: Instant) -> bool {
        self.0.retain(|_, told| now < *told + REPEAT);
        let key = (code as i32, stem(text).to_owned());
        if self.0.contains_key(&key) {
            return false;
        }
        self.0.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUNG_UP: &str = "a:1/bootstrap: Disconnected: connection closed by peer: receive 0 after \
                           POLLIN (after 1ms in state APIVERSION_QUERY)";
    const REFUSED: &str = "a:1/bootstrap: SASL authentication error: Authentication failed";
    const AWAY: &str = "a:1/bootstrap: Connect to ipv4#1.2.3.4:1 failed: Connection refused";

    fn reporter() -> Reporter {
        Reporter::new("test".into(), &BrokerConfig::new())
    }

    fn hear(reporter: &Reporter, reason: &str) -> Error {
        reporter.error(&KafkaError::Global(Code::BrokerTransportFailure), reason)
    }

    fn all_down(reporter: &Reporter) {
        reporter.error(
            &KafkaError::Global(Code::AllBrokersDown),
            "1/1 brokers are down",
        );
    }

    /// Advances the time until a suspicion counts.
    fn wait(reporter: &Reporter) {
        for tried in reporter.state.lock().tried.values_mut() {
            tried.since -= SURE;
        }
    }

    #[test]
    fn a_suspicion_counts_for_a_question_at_once_and_for_events_later() {
        let reporter = reporter();
        hear(&reporter, HUNG_UP);
        assert!(reporter.suspected().is_none(), "not all were tried");
        all_down(&reporter);
        assert!(reporter.suspected().is_some());
        assert!(reporter.refused().is_none(), "it may be coming up");
        wait(&reporter);
        hear(&reporter, HUNG_UP);
        assert!(reporter.refused().is_some());
    }

    #[test]
    fn a_refusal_counts_at_once() {
        let reporter = reporter();
        hear(&reporter, REFUSED);
        all_down(&reporter);
        let refused = reporter.refused().expect("refused");
        assert_eq!(refused.kind(), ErrorKind::Authentication);
        assert!(!refused.is_retriable());
    }

    #[test]
    fn a_broker_that_went_away_is_suspected_no_more() {
        let reporter = reporter();
        hear(&reporter, HUNG_UP);
        all_down(&reporter);
        wait(&reporter);
        hear(&reporter, AWAY);
        assert!(reporter.refused().is_none() && reporter.suspected().is_none());
        assert!(!reporter.in_doubt());
        hear(&reporter, HUNG_UP);
        assert!(reporter.refused().is_none(), "the time begins anew");
    }

    #[test]
    fn one_broker_that_is_only_away_gives_hope() {
        let reporter = reporter();
        hear(&reporter, REFUSED);
        hear(&reporter, &AWAY.replace("a:1", "b:1"));
        all_down(&reporter);
        assert!(reporter.refused().is_none());
        hear(&reporter, &HUNG_UP.replace("a:1", "b:1"));
        wait(&reporter);
        let refused = reporter.refused().expect("refused");
        let text = refused.to_string();
        let expected = "kafka: a:1: the broker does not accept the user name";
        assert!(text.starts_with(expected), "{text}");
        let said = std::error::Error::source(&refused)
            .expect("a source")
            .to_string();
        assert!(said.starts_with("SASL authentication error"), "{said}");
    }

    #[test]
    fn an_answer_clears_what_was_wrong() {
        let reporter = reporter();
        hear(&reporter, REFUSED);
        all_down(&reporter);
        reporter.accepted();
        assert!(reporter.last_error().is_none() && reporter.refused().is_none());
        hear(&reporter, REFUSED);
        all_down(&reporter);
        assert!(reporter.refused().is_none(), "it was let in before");
        assert!(reporter.last_error().is_some());
    }

    #[test]
    fn that_all_are_down_hides_no_cause() {
        let reporter = reporter();
        all_down(&reporter);
        assert!(reporter.last_error().expect("an error").is_retriable());
        hear(&reporter, AWAY);
        all_down(&reporter);
        let last = reporter.last_error().expect("an error").to_string();
        assert!(last.contains("Connection refused"), "{last}");
    }

    #[test]
    fn health_knows_no_contact_all_away_and_not_one_of_several() {
        let reporter = reporter().of_brokers(&["a:1".to_owned(), "b:1".to_owned()]);
        assert!(!reporter.is_connected() && reporter.problem().is_none());
        reporter.asked();
        assert!(reporter.problem().is_none(), "it has just been asked");
        let mut late = Reporter::new("test".into(), &BrokerConfig::new());
        late.asked = OnceLock::from(Instant::now() - SURE);
        let silent = late.problem().expect("a problem");
        let since = silent.since().elapsed().expect("in the past");
        assert!(since >= SURE && since < SURE * 2, "{since:?}");
        let silent = silent.to_string();
        assert!(silent.contains("has answered for 10 s"), "{silent}");
        reporter.heard();
        assert!(reporter.is_connected() && reporter.problem().is_none());
        hear(&reporter, AWAY);
        assert!(reporter.is_connected() && reporter.problem().is_none());
        all_down(&reporter);
        assert!(!reporter.is_connected() && reporter.problem().is_some());
        reporter.heard();
        assert!(reporter.is_connected() && reporter.problem().is_none());
        let error = reporter.error(
            &KafkaError::Global(Code::AllBrokersDown),
            "5/5 brokers are down",
        );
        let text = "kafka: none of the brokers can be reached (a:1, b:1)";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_log_line_is_heard_where_no_error_follows() {
        let reporter = reporter();
        let line = |level, facility, text: &str| {
            let message = format!("[thrd:a:1/bootstrap]: {text}");
            reporter.log(level, facility, &message)
        };
        let told = line(RDKafkaLogLevel::Info, "FAIL", HUNG_UP).expect("an error");
        assert!(told.to_string().contains("require TLS"), "{told}");
        assert!(line(RDKafkaLogLevel::Error, "FAIL", HUNG_UP).is_none());
        assert!(line(RDKafkaLogLevel::Info, "FAIL", AWAY).is_none());
        assert!(line(RDKafkaLogLevel::Info, "OTHER", HUNG_UP).is_none());
    }

    #[test]
    fn a_group_protocol_that_the_brokers_do_not_know_is_told() {
        let message = format!("[thrd:main]: a:1/1: Group \"g\": querying: {NO_KIP_848}");
        let told = reporter().log(RDKafkaLogLevel::Debug, "CGRPQUERY", &message);
        let told = told.expect("an error");
        assert_eq!(told.kind(), ErrorKind::Unsupported);
        assert!(told.to_string().contains("assignment"), "{told}");
    }

    #[test]
    fn why_a_certificate_is_not_accepted_is_kept() {
        let reporter = reporter();
        let message = format!(
            "[thrd:a:1/bootstrap]: a:1/bootstrap: Certificate (subject=/CN=a, issuer=/CN=b) \
             {UNVERIFIED}it is old"
        );
        assert!(
            reporter
                .log(RDKafkaLogLevel::Error, "SSLCERTVRFY", &message)
                .is_none()
        );
        let told = hear(&reporter, "a:1/bootstrap: certificate verify failed");
        let expected = "not accepted: it is old (subject=/CN=a, issuer=/CN=b)";
        assert!(told.to_string().ends_with(expected), "{told}");
    }

    #[test]
    fn an_error_is_told_again_after_a_while() {
        let mut repeats = Repeats::default();
        let now = Instant::now();
        let mut is_new = |text: &str, at| repeats.is_new(Code::Resolve, text, now + at);
        assert!(is_new("x (after 1ms)", Duration::ZERO));
        assert!(!is_new("x (after 2ms)", REPEAT / 2));
        assert!(is_new("y (after 2ms)", REPEAT / 2));
        assert!(is_new("x (after 3ms)", REPEAT));
    }
}
