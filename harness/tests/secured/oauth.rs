//! OAUTHBEARER on a Kafka that ends connections with their tokens.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use eventstream::{Client, Error, ErrorKind, Oidc, Publish, Security, Subscription, Token};
use eventstream_harness::{Answer, Kafka, TokenServer, unique_topic, unsecured_token};

use super::support::{builder, event, ids, plain, secured, until};

const END: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn server() -> &'static TokenServer {
    static SERVER: OnceLock<TokenServer> = OnceLock::new();
    SERVER.get_or_init(|| TokenServer::start().expect("a token server"))
}

/// Any token without TLS, those of the server with TLS.
fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| {
        let builder = Kafka::builder().oauth_signed_by(server());
        let builder = builder.property("connections.max.reauth.ms", "3600000");
        builder.start().expect("Kafka")
    })
}

fn topic(name: &str) -> String {
    let topic = unique_topic(name);
    let admin = kafka().admin().expect("an admin");
    admin.create_topic(&topic, 2, 1, &[]).expect("a topic");
    topic
}

fn unsecured(lifetime: Duration) -> Token {
    Token::jwt(unsecured_token("service", lifetime)).expect("a token")
}

/// What a provider does, and how often it was asked.
#[derive(Default)]
struct Moods {
    asked: AtomicUsize,
    fails: AtomicBool,
    hangs: AtomicBool,
}

impl Moods {
    fn set(flag: &AtomicBool, value: bool) {
        flag.store(value, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Gives tokens of this lifetime, as its mood is.
    fn security(self: &Arc<Self>, lifetime: Duration) -> Security {
        let moods = Arc::clone(self);
        let provider = move || {
            let moods = Arc::clone(&moods);
            async move {
                moods.asked.fetch_add(1, Ordering::SeqCst);
                if moods.hangs.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                if moods.fails.load(Ordering::SeqCst) {
                    return Err(io::Error::other("the vault is sealed"));
                }
                Ok(unsecured(lifetime))
            }
        };
        Security::oauth(provider).sasl_without_tls(true)
    }
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeSet<String>>>);

impl Seen {
    fn all(&self, of: &BTreeSet<String>) -> bool {
        self.0.lock().expect("a lock").is_superset(of)
    }
}

async fn follow(client: &Client, topic: &str) -> (Seen, Arc<Mutex<Vec<Error>>>, Subscription) {
    let (seen, told) = (Seen::default(), Arc::<Mutex<Vec<Error>>>::default());
    let (into, heard) = (seen.clone(), Arc::clone(&told));
    let subscribe = ids(topic, move |id| {
        into.0.lock().expect("a lock").insert(id);
    });
    let subscribe = subscribe.on_error(move |error| heard.lock().expect("a lock").push(error));
    let subscription = client.register(subscribe).await.expect("registered");
    (seen, told, subscription)
}

async fn publish(client: &Client, topic: &str, n: usize) -> String {
    let receipt = client.publish(event(topic, n)).await.expect("accepted");
    let id = receipt.id().to_owned();
    receipt.await.expect("stored");
    id
}

/// 20 events there and back, and the calls that have clients of their own.
async fn there_and_back(client: &Client, topic: &str) {
    let (seen, _, subscription) = follow(client, topic).await;
    let mut published = BTreeSet::new();
    for n in 0..20 {
        published.insert(publish(client, topic, n).await);
    }
    until("all events", END, || seen.all(&published)).await;
    let metadata = client.metadata(Some(topic), END).await.expect("metadata");
    assert_eq!(metadata.topics[0].partitions.len(), 2);
    let other = unique_topic("made_with_a_token");
    assert!(client.create_topic(&other, 1, 1, END).await.expect("made"));
    let groups = client.groups().list().await.expect("groups");
    assert!(!groups.is_empty());
    assert!(subscription.health().is_ready() && client.health().is_ready());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_is_for_all_that_a_client_does() {
    let moods = Arc::<Moods>::default();
    let security = moods.security(HOUR);
    let client = builder(&secured(kafka()).sasl_plaintext, security)
        .build()
        .expect("a client");
    assert_eq!(moods.asked(), 0, "nothing is connected");
    there_and_back(&client, &topic("one_token")).await;
    assert_eq!(moods.asked(), 1);
    assert!(client.shutdown(END).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_tokens_are_let_in_over_tls() {
    let to = secured(kafka());
    let provider = || async { Token::jwt(server().token("service", HOUR).expect("a token")) };
    let security = Security::oauth(provider).ca_file(&to.certificates.ca);
    let client = builder(&to.sasl_ssl, security).build().expect("a client");
    there_and_back(&client, &topic("signed")).await;
    assert!(client.shutdown(END).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_broker_does_not_accept_is_told_with_cause_and_remedy() {
    let to = secured(kafka());
    let other = TokenServer::start().expect("a server that the broker does not know");
    let asked = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&asked);
    let provider = move || {
        count.fetch_add(1, Ordering::SeqCst);
        let token = other.token("service", HOUR).expect("a token");
        async move { Token::jwt(token) }
    };
    let security = Security::oauth(provider).ca_file(&to.certificates.ca);
    let client = builder(&to.sasl_ssl, security).build().expect("a client");
    let begin = Instant::now();
    let topic = topic("not_accepted");
    let published = client.publish_sync(event(&topic, 0)).await;
    let asked_for = client.metadata(None, END).await.map(drop);
    let problem = client
        .health()
        .problems
        .into_iter()
        .next()
        .expect("a problem");
    for error in [
        published.map(drop).expect_err("refused"),
        asked_for.expect_err("refused"),
        problem.into_error(),
    ] {
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{text}");
        for words in ["does not accept the token", "audience"] {
            assert!(text.contains(words), "{text}");
        }
    }
    println!("told after {:?}", begin.elapsed());
    let calls = asked.load(Ordering::SeqCst);
    assert!(
        calls <= 1 + begin.elapsed().as_secs() as usize / 10,
        "{calls} calls"
    );
    client.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_is_told_and_work_goes_on_once_it_gives_a_token() {
    let moods = Arc::<Moods>::default();
    let security = moods.security(Duration::from_secs(8));
    let client = builder(&secured(kafka()).sasl_plaintext, security)
        .build()
        .expect("a client");
    let topic = topic("fails_and_recovers");
    let (seen, told, subscription) = follow(&client, &topic).await;
    let mut published = BTreeSet::from([publish(&client, &topic, 0).await]);

    Moods::set(&moods.fails, true);
    let noticed = || client.health().notices.into_iter().next();
    until("a notice", END, || noticed().is_some()).await;
    if let Some(notice) = noticed() {
        let text = notice.to_string();
        assert!(
            text.contains("the vault is sealed; the last token holds for"),
            "{text}"
        );
    }
    // With the old token, unless the machine was slow.
    if client.health().is_healthy() {
        published.insert(publish(&client, &topic, 1).await);
    }

    let unhealthy = || !client.health().is_healthy() && !subscription.health().is_healthy();
    until("a problem", END, unhealthy).await;
    for health in [client.health(), subscription.health()] {
        let problem = &health.problems[0];
        assert_eq!(problem.error().kind(), ErrorKind::Token, "{problem}");
        assert!(
            problem.to_string().contains("the vault is sealed"),
            "{problem}"
        );
        assert!(problem.remedy().contains("token provider"), "{problem}");
    }
    let is_token = |error: &Error| error.kind() == ErrorKind::Token;
    until("told", END, || {
        told.lock().expect("a lock").iter().any(is_token)
    })
    .await;
    let waits = client
        .publish(event(&topic, 2).timeout(Duration::from_millis(1500)))
        .await;
    let error = waits
        .expect("accepted")
        .await
        .expect_err("no token")
        .to_string();
    assert!(error.contains("the vault is sealed"), "{error}");
    // A question of its own client cannot log in.
    let error = client.metadata(Some(&topic), Duration::from_secs(2)).await;
    let error = error.expect_err("no token").to_string();
    assert!(error.contains("the vault is sealed"), "{error}");
    let waiting = client.publish(event(&topic, 3)).await.expect("accepted");

    Moods::set(&moods.fails, false);
    published.insert(waiting.id().to_owned());
    waiting.await.expect("stored");
    until("all events", END, || seen.all(&published)).await;
    let ready = || client.health().is_ready() && subscription.health().is_ready();
    until("ready", END, ready).await;
    assert!(client.health().notices.is_empty());
    assert!(client.shutdown(END).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_is_given_up_and_asked_again() {
    let moods = Arc::<Moods>::default();
    Moods::set(&moods.hangs, true);
    let client = builder(&secured(kafka()).sasl_plaintext, moods.security(HOUR))
        .build()
        .expect("a client");
    let topic = topic("hangs");
    let (seen, _, _subscription) = follow(&client, &topic).await;
    let waiting = client.publish(event(&topic, 0)).await.expect("accepted");
    let error = client.metadata(Some(&topic), Duration::from_secs(1)).await;
    let error = error.expect_err("no token").to_string();
    assert!(error.contains("the token provider was asked"), "{error}");
    let problem = || client.health().problems.into_iter().next();
    until("a problem", END, || problem().is_some()).await;
    let told = problem().expect("a problem").to_string();
    assert!(
        told.contains("the token provider has not answered within 10s"),
        "{told}"
    );
    Moods::set(&moods.hangs, false);
    let published = BTreeSet::from([waiting.id().to_owned()]);
    waiting.await.expect("stored");
    until("the event", END, || seen.all(&published)).await;
    assert!(client.shutdown(END).await.is_empty());
}

fn by_options(server: &TokenServer) -> Security {
    Security::none()
        .ca_file(&secured(kafka()).certificates.ca)
        .oauth_token_endpoint(server.token_url())
        .oauth_client_id(TokenServer::CLIENT)
        .oauth_client_secret(TokenServer::SECRET)
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_come_from_an_endpoint_by_client_credentials() {
    let to = secured(kafka());
    let security = by_options(server())
        .oauth_scope("kafka")
        .oauth_parameters([("audience", "k&fka")]);
    let client = builder(&to.sasl_ssl, security).build().expect("a client");
    there_and_back(&client, &topic("by_options")).await;
    assert!(client.shutdown(END).await.is_empty());
    let asked = server().asked();
    let form = "grant_type=client_credentials&scope=kafka&audience=k%26fka";
    let own = |(_, body): &&(String, String)| body == form;
    assert_eq!(asked.iter().filter(own).count(), 1, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_is_trusted_by_its_certificate() {
    let to = secured(kafka());
    let certificates = &to.certificates;
    let over_tls = TokenServer::start_over_tls(&certificates.server).expect("a server");
    over_tls.answer(Answer::Unsecured(HOUR));
    let oidc = || {
        Oidc::new(
            over_tls.token_url(),
            TokenServer::CLIENT,
            TokenServer::SECRET,
        )
        .credentials_in_body(true)
    };
    let build = |oidc: Oidc| {
        let security = Security::oauth(oidc).sasl_without_tls(true);
        builder(&to.sasl_plaintext, security)
            .build()
            .expect("a client")
    };
    let client = build(oidc().ca_file(&certificates.ca));
    client.metadata(None, END).await.expect("let in");
    let (authorization, body) = over_tls.asked().pop().expect("asked");
    assert!(
        authorization.is_empty()
            && body.contains("client_id=service&client_secret=opens-the-vault")
    );
    client.shutdown(END).await;
    for oidc in [oidc(), oidc().ca_file(&certificates.unknown_ca)] {
        let client = build(oidc);
        let error = client.metadata(None, Duration::from_secs(5)).await;
        let text = error.expect_err("not trusted").to_string();
        assert!(text.contains("its certificate is not accepted"), "{text}");
        client.shutdown(Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_is_told_at_once() {
    let to = secured(kafka());
    let security = by_options(server()).oauth_client_secret("hunter2");
    let client = builder(&to.sasl_ssl, security).build().expect("a client");
    let topic = topic("refused_client");
    let begin = Instant::now();
    let published = client.publish_sync(event(&topic, 0)).await;
    let asked = client.metadata(None, END).await.map(drop);
    for error in [published.map(drop), asked] {
        let error = error.expect_err("refused");
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{text}");
        assert!(text.contains("invalid_client: unknown client"), "{text}");
        assert!(
            error.remedy().contains("`oauth_client_secret`"),
            "{}",
            error.remedy()
        );
        assert!(!format!("{text} {error:?}").contains("hunter2"), "{text}");
    }
    println!("told after {:?}", begin.elapsed());
    client.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_in_trouble_is_asked_until_it_recovers() {
    let to = secured(kafka());
    let own = TokenServer::start().expect("a server");
    own.answer(Answer::Status(503, "busy".to_owned()));
    let security = by_options(&own)
        .tls(false)
        .ca_file("")
        .sasl_without_tls(true);
    let client = builder(&to.sasl_plaintext, security)
        .build()
        .expect("a client");
    let topic = topic("in_trouble");
    let waiting = client.publish(event(&topic, 0)).await.expect("accepted");
    let problem = || client.health().problems.into_iter().next();
    until("a problem", END, || problem().is_some()).await;
    let problem = problem().expect("a problem");
    assert_eq!(problem.error().kind(), ErrorKind::Token, "{problem}");
    assert!(problem.to_string().contains("answers 503"), "{problem}");
    // It hangs, too, and then answers.
    own.answer(Answer::Silence);
    let asked = own.asked().len();
    until("asked again", END, || own.asked().len() > asked).await;
    own.answer(Answer::Unsecured(HOUR));
    waiting.await.expect("stored");
    until("healthy", END, || client.health().is_healthy()).await;
    assert!(client.shutdown(END).await.is_empty());
}

/// The longest time between two events that arrived, and how many there were.
async fn longest_pause(client: Client, topic: String, until: Instant) -> (Duration, usize) {
    let last = Arc::new(Mutex::new((None::<Instant>, Duration::ZERO)));
    let seen = Seen::default();
    let (into, at) = (seen.clone(), Arc::clone(&last));
    let subscribe = ids(&topic, move |id| {
        into.0.lock().expect("a lock").insert(id);
        let mut last = at.lock().expect("a lock");
        let pause = last.0.map_or(Duration::ZERO, |at| at.elapsed());
        last.1 = last.1.max(pause);
        last.0 = Some(Instant::now());
    });
    let subscription = client.register(subscribe).await.expect("registered");
    subscription.ready().await.expect("ready");
    let mut receipts = Vec::new();
    let mut published = BTreeSet::new();
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while Instant::now() < until {
        tick.tick().await;
        let accepted = client.publish(Publish::new(&topic, "tested")).await;
        receipts.push(accepted.expect("accepted"));
    }
    for receipt in receipts {
        published.insert(receipt.id().to_owned());
        receipt.await.expect("stored");
    }
    super::support::until("all events", END, || seen.all(&published)).await;
    assert!(client.shutdown(END).await.is_empty());
    let pause = last.lock().expect("a lock").1;
    (pause, published.len())
}

/// Tokens expire under load. A client with a password beside it shows how long the machine itself makes clients wait.
async fn expires_under_load(lifetime: Duration, time: Duration) {
    let to = secured(kafka());
    let moods = Arc::<Moods>::default();
    let with_tokens = builder(&to.sasl_plaintext, moods.security(lifetime)).build();
    let with_password = builder(&to.sasl_plaintext, plain(to).sasl_without_tls(true)).build();
    let until = Instant::now() + time;
    let run = |client: Result<Client, Error>, name: &str| {
        longest_pause(client.expect("a client"), topic(name), until)
    };
    let (tokens, password) = tokio::join!(
        run(with_tokens, "expiring"),
        run(with_password, "not_expiring")
    );
    let asked = moods.asked();
    println!(
        "{asked} tokens; longest pause {:?} in {} events; with a password {:?} in {}",
        tokens.0, tokens.1, password.0, password.1
    );
    let half = lifetime.as_secs() / 2;
    let expected = usize::try_from(time.as_secs() / half).expect("a number") + 1;
    assert!(asked <= expected + 1, "{asked} calls, expected {expected}");
    assert!(asked > 2, "no token has expired");
    assert!(
        tokens.0 < Duration::from_secs(1) + password.0 * 2,
        "{tokens:?} {password:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_expire_under_load_lose_nothing_and_cost_no_pause() {
    expires_under_load(Duration::from_secs(10), Duration::from_secs(35)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes"]
async fn ten_minutes_of_tokens_of_half_a_minute() {
    expires_under_load(Duration::from_secs(30), Duration::from_secs(600)).await;
}

#[test]
fn neither_token_nor_provider_is_shown() {
    let secret = unsecured_token("service", HOUR);
    let token = Token::jwt(&*secret).expect("a token");
    let expires = token.expires().duration_since(SystemTime::now());
    assert!(expires.expect("not yet") > HOUR / 2);
    let shown = format!("{token:?}");
    assert!(
        !shown.contains(&secret) && shown.contains("service"),
        "{shown}"
    );
}
