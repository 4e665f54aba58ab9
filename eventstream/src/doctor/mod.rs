//! Checks of a deployment: facts are gathered once ([`facts`]), each group of checks is a function over them
//! ([`checks`]).

mod checks;
pub(crate) mod facts;
mod probe;
mod report;

use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use self::facts::{Facts, Listener, Role, Setup, TopicRole};
use self::probe::Manner;
pub use self::report::{CheckStatus, Finding, Report};
use crate::backend::Backend;
use crate::client::{Client, ClientBuilder, Parts};
use crate::config::BrokerConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::{EmbeddedBroker, Examination, Examiner, round_trip, wire_group};
use crate::name::{GroupId, Topic, prefixed};
use crate::oauth::{Provider, Token};
use crate::publish::receipt::block_on;

/// The time limit of a run: sockets, login, requests, and canaries beside them.
const ALL: Duration = Duration::from_millis(9000);
const SOCKETS: Duration = Duration::from_millis(4500);
const LOGIN: Duration = Duration::from_millis(4000);
/// As much of the login's time as the token provider may take.
const TOKEN: Duration = Duration::from_millis(3000);
const ADVERTISED: Duration = Duration::from_secs(4);

/// Checks a deployment from where it runs: addresses, protocol, certificates, credentials, permissions, topics, dead
/// letters, a group, this client's configuration, clocks, and on request a round trip. It changes nothing except
/// through [`publish_to`](Self::publish_to).
///
/// The check ids, with what each looks at and what to do, are in `docs/guide/src/doctor.md`.
///
/// ```
/// use eventstream::{CheckStatus, Client, Doctor, EmbeddedBroker};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), eventstream::Error> {
/// let broker = EmbeddedBroker::start()?;
/// let report = Doctor::new(Client::embedded().embedded_broker(&broker)).run().await?;
/// assert_eq!(report.status(), CheckStatus::Ok);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a doctor checks nothing until `run` is called"]
pub struct Doctor {
    client: ClientBuilder,
    topics: Vec<String>,
    group: Option<String>,
    canary: Option<String>,
    handler_timeout: Option<Duration>,
    drain_timeout: Duration,
    starts_at_tail: bool,
}

impl Doctor {
    /// The ids of all checks, in the order of the findings.
    pub const CHECKS: &'static [&'static str] = checks::IDS;

    /// For a client built this way. Anything wrong with its configuration is a finding.
    pub fn new(client: ClientBuilder) -> Self {
        Self {
            client,
            topics: Vec::new(),
            group: None,
            canary: None,
            handler_timeout: None,
            drain_timeout: Duration::from_secs(20),
            starts_at_tail: true,
        }
    }

    /// Also checks this topic, given without the client's prefix: as its publisher, or with a [`group`](Self::group)
    /// as its consumer.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// Checks this group, given without the client's prefix, in the named topics, and their dead-letter topics.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Publishes eleven events named `doctorCanary` to this topic, given without the client's prefix, and reads them
    /// back. The topic is not created.
    pub fn publish_to(mut self, topic: impl Into<String>) -> Self {
        self.canary = Some(topic.into());
        self
    }

    /// The time limit of the group's handlers. Default: unknown.
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.handler_timeout = Some(timeout);
        self
    }

    /// The drain timeout of the group's subscriptions. Default: 20 s, as theirs.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Whether a new group starts at the tail of its topics. Default: true, as for subscriptions.
    pub fn starts_at_tail(mut self, tail: bool) -> Self {
        self.starts_at_tail = tail;
        self
    }

    /// Runs all checks, in less than 10 s. Whatever cannot be reached or queried is a finding.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`] for a topic or a group that Kafka does not allow, [`ErrorKind::Unsupported`] for a
    /// backend without brokers.
    ///
    /// # Cancellation
    ///
    /// If dropped, the checks end in the background.
    pub async fn run(self) -> Result<Report> {
        for topic in self.topics.iter().chain(&self.canary) {
            Topic::new(topic)?;
        }
        self.group.as_deref().map(GroupId::new).transpose()?;
        tokio::task::spawn_blocking(move || self.examine())
            .await
            .map_err(|e| {
                let text = "doctor: the runtime is shutting down";
                Error::new(ErrorKind::Closed, text).with_source(e)
            })?
    }

    fn examine(self) -> Result<Report> {
        let mut parts = self.client.parts();
        if !matches!(parts.backend, Backend::Kafka | Backend::Embedded) {
            let text = "doctor: this backend has no brokers; use kafka or embedded";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let mut embedded = parts.embedded.take();
        if parts.backend == Backend::Embedded && embedded.is_none() && parts.brokers.is_empty() {
            embedded = Some(EmbeddedBroker::start()?);
        }
        if let Some(broker) = &embedded {
            parts.brokers = broker.address().split(',').map(str::to_owned).collect();
        }
        let mut setup = setup(&parts);
        setup.handler_timeout = self.handler_timeout;
        setup.drain_timeout = self.drain_timeout;
        setup.starts_at_tail = self.starts_at_tail;
        let mut topics = Vec::new();
        for topic in &self.topics {
            let topic = prefixed(&parts.prefix, topic);
            let letters = format!("{topic}{}", parts.config.dead_letter_suffix);
            topics.push((TopicRole::Source, topic));
            if self.group.is_some() {
                topics.push((TopicRole::DeadLetters, letters));
            }
        }
        let canary = self.canary.map(|topic| Canary {
            on_broker: prefixed(&parts.prefix, &topic),
            topic,
        });
        if let Some(canary) = &canary
            && topics.iter().all(|(_, name)| *name != canary.on_broker)
        {
            topics.push((TopicRole::Canary, canary.on_broker.clone()));
        }
        let what = Examination {
            config: parts.config.clone().allow_auto_create_topics(false),
            brokers: parts.brokers.clone(),
            is_embedded: parts.backend == Backend::Embedded,
            topics,
            group: self.group.map(|group| wire_group(&parts.prefix, &group)),
        };
        Ok(checks::judge(&gather(setup, what, &parts, canary.as_ref())))
    }
}

/// The topic of a round trip, without and with the prefix.
struct Canary {
    topic: String,
    on_broker: String,
}

fn setup(parts: &Parts) -> Setup {
    let settings = parts.config.settings(&parts.brokers);
    Setup {
        faults: parts.faults.clone(),
        producer: settings.producer.into_iter().collect(),
        consumer: settings.consumer.into_iter().collect(),
        principal: parts.config.principal(),
        config: parts.config.clone(),
        handler_timeout: None,
        drain_timeout: Duration::ZERO,
        starts_at_tail: true,
    }
}

fn gather(setup: Setup, mut what: Examination, parts: &Parts, canary: Option<&Canary>) -> Facts {
    let deadline = Instant::now() + ALL;
    let mut facts = Facts {
        setup,
        listeners: Vec::new(),
        token: None,
        cluster: None,
        now: Timestamp::now(),
    };
    if !facts.setup.faults.is_empty() {
        return facts;
    }
    let manner = Arc::new(manner(&parts.config, &parts.brokers));
    let brokers = parts.brokers.iter();
    let bootstrap: Vec<_> = brokers.map(|b| (Role::Bootstrap, b.clone())).collect();
    let login = std::thread::scope(|scope| {
        let login = scope.spawn(|| {
            let deadline = Instant::now() + LOGIN;
            facts.token = get_token(&mut what.config);
            match &facts.token {
                Some(Err(error)) => Err(error.clone()),
                _ => Examiner::start(what.clone(), deadline),
            }
        });
        facts.listeners = probe::look(&bootstrap, &manner, Instant::now() + SOCKETS);
        login.join()
    });
    let examiner = match login {
        Ok(Ok(examiner)) => examiner,
        Ok(Err(error)) => {
            facts.setup.faults.extend_from_slice(error.faults());
            facts.cluster = Some(Err(error));
            return facts;
        }
        Err(panic) => std::panic::resume_unwind(panic),
    };
    std::thread::scope(|scope| {
        let advertised = scope.spawn({
            let (brokers, manner) = (examiner.brokers().to_vec(), &manner);
            move || look_at_advertised(&brokers, manner)
        });
        let canary = canary.map(|canary| {
            let what = &what;
            scope.spawn(move || send_canary(parts, what, canary, deadline))
        });
        let mut cluster = examiner.examine(deadline);
        cluster.round_trip = canary.and_then(|canary| canary.join().ok());
        facts
            .listeners
            .extend(advertised.join().unwrap_or_default());
        facts.cluster = Some(Ok(cluster));
    });
    facts
}

/// Asks the token provider, if there is one. What it gives is then for everything that the doctor does.
fn get_token(config: &mut BrokerConfig) -> Option<Result<Token>> {
    let provider = config.security.token_provider()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let token = match runtime {
        Ok(runtime) => runtime.block_on(provider.ask_within(TOKEN)),
        Err(error) => {
            let text = format!("kafka: no token: no thread to ask for it on: {error}");
            Err(Error::new(ErrorKind::Token, text))
        }
    };
    if let Ok(token) = &token {
        let token = token.clone();
        let provider = move || ready(Ok::<_, Error>(token.clone()));
        config.security.provider = Some(Provider::new(provider));
    }
    Some(token)
}

fn look_at_advertised(brokers: &[(i32, String)], manner: &Arc<Manner>) -> Vec<Listener> {
    let addresses: Vec<_> = brokers
        .iter()
        .map(|(id, address)| (Role::Advertised(*id), address.clone()))
        .collect();
    probe::look(&addresses, manner, Instant::now() + ADVERTISED)
}

fn send_canary(
    parts: &Parts,
    what: &Examination,
    canary: &Canary,
    deadline: Instant,
) -> Result<facts::RoundTrip> {
    let client: Client = Client::builder(parts.backend)
        .brokers(parts.brokers.clone())
        .prefix(&*parts.prefix)
        .config(what.config.clone())
        .name("doctor")
        .build()?;
    let result = round_trip(&client, what, &canary.topic, &canary.on_broker, deadline);
    block_on(client.shutdown(Duration::ZERO));
    result
}

fn manner(config: &BrokerConfig, brokers: &[String]) -> Manner {
    let protocol = config.protocol();
    let properties: facts::Configs = config.settings(brokers).admin.into_iter().collect();
    let mechanism = ["sasl.mechanism", "sasl.mechanisms"]
        .iter()
        .find_map(|name| properties.get(*name).cloned());
    Manner {
        tls: protocol.tls(),
        mechanism: mechanism.filter(|_| protocol.sasl()),
        properties,
    }
}
