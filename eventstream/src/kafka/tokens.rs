//! The token that all librdkafka clients of one [`Client`](crate::Client) log in with.
//!
//! librdkafka asks for a token by an event on the queue of each client, so as many times as there are clients, and only
//! where somebody polls. Its call that sets a token may come from any thread at any time. So one thread asks the
//! provider for all, ahead of time, and hands each token to every client there is.

use std::ffi::{CString, c_char};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka_sys as sys;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::native::text;
use crate::error::{Error, ErrorKind};
use crate::guard::tracing;
use crate::oauth::{Provider, Token};
use crate::observe::cadence::Cadence;
use crate::observe::health::Problem;

/// What librdkafka says of a failure that it was told of.
const FAILED: &str = "Failed to acquire SASL OAUTHBEARER token";

/// A provider that fails is asked again after so long, which doubles.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// After an answer it is asked no sooner, however short the token holds or often a broker refuses it.
const AT_LEAST: Duration = Duration::from_secs(1);
const REFUSED: Duration = Duration::from_secs(10);
/// The wall clock is looked at this often: it may be set, and the other clock stands still while a machine sleeps.
const LOOK: Duration = Duration::from_secs(30);
/// librdkafka counts in microseconds, and adds to them.
const FURTHEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Asks the provider, and sets what it gives. The last handle ends that.
#[derive(Debug)]
pub(super) struct Tokens(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: Arc<str>,
    provider: Provider,
    state: Mutex<State>,
    /// A broker has refused the token.
    refused: Notify,
    ended: CancellationToken,
}

#[derive(Debug)]
struct State {
    token: Option<Token>,
    failure: Option<Failure>,
    /// When the provider was last asked.
    asked: Option<Instant>,
    clients: Vec<Attached>,
    started: bool,
    cadence: Cadence,
    told: bool,
}

#[derive(Clone, Debug)]
struct Failure {
    error: Error,
    since: SystemTime,
}

/// A librdkafka client that is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attached(*mut sys::rd_kafka_t);

// SAFETY: librdkafka's clients may be used from any thread; they are in the list only while they are alive.
unsafe impl Send for Attached {}

/// Keeps a client supplied. Must be dropped before the client.
#[must_use]
pub(super) struct Supply(Arc<Shared>, Attached);

// SAFETY: as for `Attached`; here it is only compared.
unsafe impl Sync for Supply {}

impl Drop for Supply {
    fn drop(&mut self) {
        // Under the lock: afterwards nobody uses the client any more.
        self.0.state.lock().clients.retain(|it| *it != self.1);
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.0.ended.cancel();
    }
}

impl Tokens {
    pub(super) fn new(client: Arc<str>, provider: Provider) -> Self {
        Self(Arc::new(Shared {
            client,
            provider,
            state: Mutex::new(State {
                token: None,
                failure: None,
                asked: None,
                clients: Vec::new(),
                started: false,
                cadence: Cadence::new(LOOK, Duration::from_secs(600)),
                told: false,
            }),
            refused: Notify::new(),
            ended: CancellationToken::new(),
        }))
    }

    /// Supplies this client from now on.
    pub(super) fn supply<C: ClientContext>(&self, client: &Client<C>) -> Supply {
        let attached = Attached(client.native_ptr());
        let mut state = self.0.state.lock();
        state.clients.push(attached);
        if let Some(token) = state.valid() {
            attached.set(&token);
        }
        if !state.started {
            state.started = self.start();
        }
        drop(state);
        Supply(Arc::clone(&self.0), attached)
    }

    fn start(&self) -> bool {
        let shared = Arc::clone(&self.0);
        let run = move || match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime.block_on(shared.keep()),
            Err(error) => shared.failed(cannot_start(&error)),
        };
        let spawned = std::thread::Builder::new()
            .name("eventstream-token".to_owned())
            .spawn(run);
        if let Err(error) = &spawned {
            let shared = Arc::clone(&self.0);
            let error = cannot_start(error);
            tracing::error!(client = &*shared.client, %error, "no token can be asked for");
        }
        spawned.is_ok()
    }

    /// A broker did not accept the token: perhaps it accepts a new one.
    pub(super) fn refuse(&self) {
        let state = self.0.state.lock();
        if state.asked.is_some_and(|asked| asked.elapsed() >= REFUSED) {
            self.0.refused.notify_one();
        }
    }

    /// What librdkafka says of a failure, in the provider's words.
    pub(super) fn of(&self, reason: &str) -> Option<Error> {
        if !reason.contains(FAILED) {
            return None;
        }
        let error = || Error::new(ErrorKind::Token, format!("kafka: {reason}"));
        Some(self.failure().unwrap_or_else(error))
    }

    /// Why the provider gave no token when it was last asked.
    pub(super) fn failure(&self) -> Option<Error> {
        let state = self.0.state.lock();
        state.failure.as_ref().map(|failure| failure.error.clone())
    }

    /// Why there is no token that holds, if there is none though one is wanted.
    pub(super) fn problem(&self) -> Option<Problem> {
        let state = self.0.state.lock();
        if state.valid().is_some() {
            return None;
        }
        let failure = state.failure.as_ref()?;
        Some(Problem::at(failure.error.clone(), failure.since))
    }

    /// Why a question was not answered in time, where it lacked a token.
    pub(super) fn missing(&self) -> Option<Error> {
        let state = self.0.state.lock();
        if state.valid().is_some() {
            return None;
        }
        let failure = state.failure.as_ref().map(|failure| failure.error.clone());
        let waiting = || {
            let since = state.asked?.elapsed().as_secs_f64();
            let text =
                format!("kafka: no token yet: the token provider was asked {since:.1} s ago");
            Some(Error::new(ErrorKind::Token, text))
        };
        failure.or_else(waiting)
    }

    /// The provider fails while its last token still holds.
    pub(super) fn notice(&self) -> Option<Error> {
        let state = self.0.state.lock();
        let left = state.valid()?.left();
        let error = state.failure.as_ref()?.error.clone();
        let (kind, seconds) = (error.kind(), left.as_secs());
        let text = format!("{error}; the last token holds for {seconds} s more");
        Some(
            Error::new(kind, text)
                .with_retriable(error.is_retriable())
                .with_remedy(error.remedy()),
        )
    }

    /// Why no token will come as things are: the provider is itself turned away, and no token holds.
    pub(super) fn turned_away(&self) -> Option<Error> {
        let problem = self.problem()?;
        (problem.error().kind() == ErrorKind::Authentication).then(|| problem.into_error())
    }
}

impl State {
    /// The token, if it still holds.
    fn valid(&self) -> Option<Token> {
        self.token
            .as_ref()
            .filter(|token| !token.left().is_zero())
            .cloned()
    }
}

impl Shared {
    async fn keep(&self) {
        let mut failures = 0;
        loop {
            self.state.lock().asked = Some(Instant::now());
            let answer = tokio::select! {
                answer = self.provider.ask() => answer,
                () = self.ended.cancelled() => return,
            };
            let next = match answer {
                Ok(token) => {
                    failures = 0;
                    let next = SystemTime::now() + (token.left() / 2).max(AT_LEAST);
                    self.took(token);
                    next
                }
                Err(error) => {
                    failures += 1;
                    self.failed(error);
                    SystemTime::now() + pause(failures)
                }
            };
            loop {
                let left = next.duration_since(SystemTime::now()).unwrap_or_default();
                if left.is_zero() {
                    break;
                }
                tokio::select! {
                    () = sleep(left.min(LOOK)) => {}
                    () = self.refused.notified() => break,
                    () = self.ended.cancelled() => return,
                }
            }
        }
    }

    fn took(&self, token: Token) {
        let mut state = self.state.lock();
        for client in &state.clients {
            client.set(&token);
        }
        let left = token.left();
        state.token = Some(token);
        state.failure = None;
        let was_told = std::mem::take(&mut state.told);
        drop(state);
        let client = &*self.client;
        if was_told {
            tracing::info!(client, holds = ?left, "the token provider gives tokens again");
        } else {
            tracing::debug!(client, holds = ?left, "a new token");
        }
    }

    fn failed(&self, error: Error) {
        let mut state = self.state.lock();
        for client in &state.clients {
            client.fail(&error.to_string());
        }
        let since = state.failure.as_ref().map(|failure| failure.since);
        let since = since.unwrap_or_else(SystemTime::now);
        let left = state.valid().map(|token| token.left());
        state.failure = Some(Failure {
            error: error.clone(),
            since,
        });
        let untold = state.cadence.due(Instant::now());
        state.told |= untold.is_some();
        drop(state);
        if let Some(untold) = untold {
            let client = &*self.client;
            tracing::warn!(client, %error, untold, last_token_holds = ?left, "the token provider fails; asking it again");
        }
    }
}

/// Before it is asked for the `n`th time in a row, from 1; many processes are spread by it.
fn pause(n: u32) -> Duration {
    let doubled = AGAIN.0.saturating_mul(1 << (n - 1).min(8)).min(AGAIN.1);
    let percent = 80 + uuid::Uuid::new_v4().as_bytes()[0] % 21;
    doubled * u32::from(percent) / 100
}

fn cannot_start(error: &std::io::Error) -> Error {
    let text = format!("kafka: no token: the thread that asks for tokens cannot start: {error}");
    Error::new(ErrorKind::Token, text)
}

impl Attached {
    /// The token has been checked, so librdkafka accepts it.
    fn set(self, token: &Token) {
        let string = |text: &str| CString::new(text).unwrap_or_default();
        let expires = token.expires.duration_since(SystemTime::UNIX_EPOCH);
        let millis = expires.unwrap_or_default().min(FURTHEST).as_millis();
        let (value, principal) = (string(token.text.expose()), string(&token.principal));
        let extensions = token
            .extensions
            .iter()
            .flat_map(|(name, value)| [name, value]);
        let extensions: Vec<CString> = extensions.map(|text| string(text)).collect();
        let mut pointers: Vec<*const c_char> = extensions.iter().map(|it| it.as_ptr()).collect();
        let mut error = [0; 512];
        // SAFETY: by the list's lock the client is alive; librdkafka copies all strings, and terminates its error.
        let failed = unsafe {
            let code = sys::rd_kafka_oauthbearer_set_token(
                self.0,
                value.as_ptr(),
                i64::try_from(millis).unwrap_or(i64::MAX / 1000),
                principal.as_ptr(),
                pointers.as_mut_ptr(),
                pointers.len(),
                error.as_mut_ptr(),
                error.len(),
            );
            (code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR)
                .then(|| text(error.as_ptr()))
        };
        if let Some(reason) = failed {
            tracing::error!(%reason, "librdkafka does not take a token");
        }
    }

    /// It comes back as an error of the client, once for each text.
    fn fail(self, reason: &str) {
        let reason = CString::new(reason.replace('\0', " ")).unwrap_or_default();
        // SAFETY: as for `set`.
        unsafe { sys::rd_kafka_oauthbearer_set_token_failure(self.0, reason.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use rdkafka::client::DefaultClientContext;
    use rdkafka::config::ClientConfig;
    use rdkafka_sys::rd_kafka_type_t as Type;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(60);

    fn client() -> Client<DefaultClientContext> {
        let mut config = ClientConfig::new();
        config.set("security.protocol", "sasl_plaintext");
        config.set("sasl.mechanism", "OAUTHBEARER");
        let native = config.create_native_config().expect("a configuration");
        let kind = Type::RD_KAFKA_PRODUCER;
        Client::new(&config, native, kind, DefaultClientContext).expect("a client")
    }

    fn until(what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + WITHIN;
        while !condition() {
            assert!(Instant::now() < deadline, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn one_call_is_for_all_clients_and_the_thread_ends_with_the_last_handle() {
        let calls = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&calls);
        let provider = move || {
            count.fetch_add(1, Ordering::SeqCst);
            let expires = SystemTime::now() + Duration::from_secs(3600);
            async move { Ok::<_, io::Error>(Token::new("t", expires)) }
        };
        let tokens = Tokens::new("test".into(), Provider::new(provider));
        assert!(tokens.missing().is_none(), "nobody wants one");
        let (first, second) = (client(), client());
        let supplies = (tokens.supply(&first), tokens.supply(&second));
        until("a token", || tokens.0.state.lock().token.is_some());
        let third = client();
        let supply = tokens.supply(&third);
        assert_eq!(tokens.0.state.lock().clients.len(), 3);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        drop((supplies, supply));
        assert!(tokens.0.state.lock().clients.is_empty());
        drop(tokens);
        // The thread held the provider.
        until("the end", || Arc::strong_count(&calls) == 1);
    }

    #[test]
    fn a_failure_is_known_until_there_is_a_token() {
        let fails = Arc::new(AtomicBool::new(true));
        let mood = Arc::clone(&fails);
        let provider = move || {
            let fails = mood.load(Ordering::SeqCst);
            let expires = SystemTime::now() + Duration::from_secs(3600);
            async move {
                let sealed = || io::Error::other("the vault is sealed");
                (!fails)
                    .then(|| Token::new("t", expires))
                    .ok_or_else(sealed)
            }
        };
        let tokens = Tokens::new("test".into(), Provider::new(provider));
        let client = client();
        let _supply = tokens.supply(&client);
        until("a failure", || tokens.problem().is_some());
        let expected = "kafka: no token: the vault is sealed";
        let told = tokens.of(&format!("{FAILED}: {expected}"));
        for error in [tokens.missing(), tokens.failure(), told] {
            assert_eq!(error.expect("an error").to_string(), expected);
        }
        assert!(tokens.notice().is_none() && tokens.turned_away().is_none());
        assert!(tokens.of("Connection refused").is_none());
        fails.store(false, Ordering::SeqCst);
        until("a token", || tokens.problem().is_none());
        assert!(tokens.missing().is_none() && tokens.failure().is_none());
    }

    #[test]
    fn a_provider_that_fails_is_asked_ever_more_rarely() {
        for (n, seconds) in [(1, 1), (2, 2), (4, 8), (5, 10), (u32::MAX, 10)] {
            let longest = Duration::from_secs(seconds);
            let pause = pause(n);
            assert!(
                pause <= longest && pause >= longest * 4 / 5,
                "{n}: {pause:?}"
            );
        }
    }
}
