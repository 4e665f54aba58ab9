use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::denied::{Operation, Resource, denied};
use super::diagnosis::{Facts, Verdict, diagnose, is_unverified, split, stem};
use super::error::classify;
use super::trial::Handshake;
use super::verify::UNVERIFIED;
use crate::config::{BrokerConfig, LogMode, Principal};
use crate::error::{Error, ErrorKind};
use crate::guard::tracing;
use crate::observe::cadence::Cadence;
use crate::observe::health::Problem;

/// A broker that hangs up as one of another protocol does is taken for one after so long: that
/// outlasts a broker that comes up, and is well below the publish timeout.
const SURE: Duration = Duration::from_secs(10);

/// librdkafka repeats itself many times a second while no broker can be reached; here each error
/// is told this often.
const REPEAT: Duration = Duration::from_secs(30);

/// librdkafka's words when a group's coordinator is too old for the protocol; it asks for ever.
const NO_KIP_848: &str = "ConsumerGroupHeartbeatRequest not supported by broker";

/// What every librdkafka client of one [`Client`](crate::Client) shares: where its log goes, and
/// what it last heard of the brokers.
#[derive(Debug)]
pub(crate) struct Reporter {
    client: Arc<str>,
    log_mode: LogMode,
    facts: Facts,
    /// The brokers to be asked first.
    brokers: String,
    principal: Principal,
    handshake: OnceLock<Handshake>,
    state: Mutex<Connection>,
    /// Since when a client of this one looks for a broker.
    asked: OnceLock<Instant>,
    /// There is something that an answer would clear.
    troubled: AtomicBool,
    /// A broker has answered.
    accepted: AtomicBool,
    /// Some broker may not let this client in. Read for each batch of delivery reports.
    in_doubt: AtomicBool,
}

#[derive(Debug, Default)]
struct Connection {
    last_error: Option<Error>,
    /// When the first error came after the last answer.
    troubled_since: Option<SystemTime>,
    /// What the brokers said that were tried; emptied by an answer.
    tried: HashMap<String, Tried>,
    /// All of them were tried.
    all_down: bool,
    /// Why a broker's certificate was not accepted.
    unverified: Option<String>,
    repeats: Repeats,
    outage: Outage,
}

/// When it is logged that Kafka cannot be reached, where librdkafka's own log is off.
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

/// What librdkafka or OpenSSL said, beneath what it means.
#[derive(Debug)]
struct Said(String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Said {}

/// The state of a broker that does not answer.
#[derive(Debug)]
struct Tried {
    verdict: Verdict,
    since: Instant,
    error: Error,
}

impl Reporter {
    pub(crate) fn new(client: Arc<str>, config: &BrokerConfig) -> Self {
        Self {
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

    /// With the names of the brokers to be asked first.
    pub(crate) fn of_brokers(mut self, brokers: &[String]) -> Self {
        self.brokers = brokers.join(", ");
        self
    }

    /// What to ask a broker with why its certificate is not accepted.
    pub(crate) fn asks_with(&self, properties: &ClientConfig) {
        self.handshake.get_or_init(|| Handshake::new(properties));
    }

    /// A librdkafka client was made, and looks for a broker from now on.
    pub(crate) fn asked(&self) {
        self.asked.get_or_init(Instant::now);
    }

    /// The client's name.
    pub(crate) fn client(&self) -> Arc<str> {
        Arc::clone(&self.client)
    }

    /// A line of librdkafka's log, as a `tracing` event of this client. Where it says what is wrong
    /// with a connection and no error follows that would say it, it gives that error: librdkafka
    /// only logs that a broker hung up.
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
                // As an error names it: without librdkafka's thread.
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

    /// An error of the client as a whole: a broker that cannot be reached, a refused credential.
    pub(crate) fn error(&self, error: &KafkaError, reason: &str) -> Error {
        self.hear(error.rdkafka_error_code().unwrap_or(Code::Unknown), reason)
    }

    fn hear(&self, code: Code, reason: &str) -> Error {
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
            // It speaks this client's protocol: the connection is lost, for whatever reason.
            verdict = Verdict::Away;
        }
        let error = if matches!(verdict, Verdict::Refused | Verdict::Suspect) {
            let at = address.map_or(String::new(), |address| format!("{address}: "));
            Error::new(ErrorKind::Authentication, format!("kafka: {at}{remedy}"))
                .with_retriable(false)
                .with_remedy(remedy)
                .with_source(Said(text.to_owned()))
        } else if code == Code::AllBrokersDown {
            // librdkafka counts connections: a broker by its address of the configuration, again by
            // what the cluster calls it, and as a coordinator.
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

    /// The error of a right that this client lacks, as a broker said with `code`. Names are those on the broker.
    pub(crate) fn denied(
        &self,
        doing: &str,
        operation: Operation,
        on: Resource<'_>,
        code: Code,
    ) -> Error {
        denied(&self.principal, doing, operation, on, code)
    }

    /// A broker answered a request: the credential is good, the network was up.
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

    /// Records came, or a commit was confirmed: called often, it costs nothing while all is well.
    pub(crate) fn heard(&self) {
        if self.troubled.load(Atomic::Relaxed) {
            self.accepted();
        }
    }

    /// Whether a broker has answered, and not all of them have been out of reach since.
    pub(crate) fn is_connected(&self) -> bool {
        self.was_accepted() && !self.is_cut_off()
    }

    /// Whether all brokers were out of reach when last heard of.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.state.lock().all_down
    }

    /// For `health`: why no broker can be worked with. One of several that is away is none of it.
    pub(crate) fn problem(&self) -> Option<Problem> {
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

    /// Whether a broker ever answered.
    pub(crate) fn was_accepted(&self) -> bool {
        self.accepted.load(Atomic::Relaxed)
    }

    /// Whether a broker that was tried may not let this client in.
    pub(crate) fn in_doubt(&self) -> bool {
        self.in_doubt.load(Atomic::Relaxed)
    }

    /// Why the brokers do not let this client in: each of them was tried, said so, or has behaved so
    /// for [`SURE`], and none ever answered. As long as one is only away, events wait for it.
    pub(crate) fn refused(&self) -> Option<Error> {
        self.in_doubt()
            .then(|| self.state.lock().refused(SURE))
            .flatten()
    }

    /// As [`refused`](Self::refused), at once: for a question, where an early answer is worth more
    /// than a certain one.
    pub(crate) fn suspected(&self) -> Option<Error> {
        self.state.lock().refused(Duration::ZERO)
    }

    /// The last error since a broker answered.
    pub(crate) fn last_error(&self) -> Option<Error> {
        self.state.lock().last_error.clone()
    }
}

impl Connection {
    fn remember(&mut self, code: Code, error: &Error) {
        self.all_down |= code == Code::AllBrokersDown;
        self.troubled_since.get_or_insert_with(SystemTime::now);
        // It names no cause, and comes after the errors that do.
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
        // What is certain says more.
        let certain = |tried: &&Tried| tried.verdict == Verdict::Refused;
        let first = self.tried.values().find(certain);
        first
            .or_else(|| self.tried.values().next())
            .map(|tried| tried.error.clone())
    }
}

/// From librdkafka's line about a certificate: why it is not accepted, and which one it is.
fn unverified(message: &str) -> Option<String> {
    let (certificate, why) = message.split_once(UNVERIFIED)?;
    let name = certificate.rsplit_once('(').map(|(_, name)| name.trim());
    Some(format!("{why} ({}", name.unwrap_or(")")))
}

/// Which errors were told lately.
#[derive(Debug, Default)]
pub(crate) struct Repeats(HashMap<(i32, String), Instant>);

impl Repeats {
    /// Whether this error was not told within [`REPEAT`]; it counts as told then.
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

    /// Lets the time pass after which a suspicion counts.
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
