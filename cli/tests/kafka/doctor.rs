//! The doctor at broken deployments, each with another fault, and at some healthy ones. One Kafka node has all of
//! them: its plain listener authenticates nobody, the others do, and one advertises a port that nobody listens on.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::{
    Admin, Kafka, Operation, Resource, Secured, TokenServer, User, eventually, unique_topic,
};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

/// What the doctor promises.
const WITHIN: Duration = Duration::from_secs(10);

fn server() -> &'static TokenServer {
    static SERVER: OnceLock<TokenServer> = OnceLock::new();
    SERVER.get_or_init(|| TokenServer::start().unwrap())
}

fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| {
        let kafka = Kafka::builder().authorizing().oauth_signed_by(server());
        let kafka = kafka.auto_create_topics(false);
        kafka.user("exact").user("bare").proxied().start().unwrap()
    })
}

fn secured() -> &'static Secured {
    kafka().secured().unwrap()
}

fn admin() -> &'static Admin {
    kafka().admin().unwrap()
}

/// A deployment: the options that describe it.
struct Deployment {
    name: &'static str,
    args: Vec<String>,
    password: Option<String>,
}

impl Deployment {
    fn at(name: &'static str, brokers: impl Into<String>) -> Self {
        Self {
            name,
            args: vec!["--brokers".to_owned(), brokers.into()],
            password: None,
        }
    }

    fn plain(name: &'static str) -> Self {
        Self::at(name, kafka().bootstrap())
    }

    fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    fn file(self, option: &str, path: &Path) -> Self {
        let path = path.display().to_string();
        self.with(&[option, &path])
    }

    fn ca(self) -> Self {
        self.file("--ca-file", &secured().certificates.ca)
    }

    fn user(mut self, mechanism: &str, user: &User) -> Self {
        self.password = Some(user.password.clone());
        self.with(&["--sasl-mechanism", mechanism, "--sasl-username", &user.name])
    }

    fn tokens(self, secret: &str) -> Self {
        let url = server().token_url();
        self.with(&["--oauth-token-endpoint", &url])
            .with(&["--oauth-client-id", TokenServer::CLIENT])
            .with(&["--oauth-client-secret", secret])
    }

    fn run(&self, output: &str) -> Seen {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eventstream"));
        command
            .args(["doctor", "--output", output])
            .args(&self.args);
        if let Some(password) = &self.password {
            command.env("EVENTSTREAM_SASL_PASSWORD", password);
        }
        let begin = Instant::now();
        let output = command.output().unwrap();
        let took = begin.elapsed();
        let out = String::from_utf8(output.stdout).unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(took < WITHIN, "{}: {took:?}", self.name);
        if let Some(password) = &self.password {
            assert!(!format!("{out}{err}").contains(password), "{}", self.name);
        }
        println!("{}: {took:?}", self.name);
        Seen {
            code: output.status.code(),
            out,
            err,
        }
    }

    /// A deployment whose fault is found by this check, with this finding and remedy.
    #[track_caller]
    fn is_broken(&self, check: &str, status: &str, found: &str, remedy: &str) {
        let seen = self.run("json");
        let name = self.name;
        let finding = seen.finding(check);
        let text = |field: &str| finding[field].as_str().unwrap();
        assert_eq!(text("status"), status, "{name}: {seen}");
        assert!(text("found").contains(found), "{name}: {finding}");
        assert!(text("remedy").contains(remedy), "{name}: {finding}");
        let expected = if seen.out.contains("\"failure\"") {
            2
        } else {
            1
        };
        assert_eq!(seen.code, Some(expected), "{name}: {seen}");
        if status == "warning" {
            assert_eq!(expected, 1, "{name} has another fault, too: {seen}");
        }
    }

    #[track_caller]
    fn is_sound(&self, did_not_run: &[&str]) {
        let seen = self.run("json");
        assert_eq!(seen.code, Some(0), "{}: {seen}", self.name);
        for finding in seen.findings() {
            let check = finding["check"].as_str().unwrap();
            let skipped = did_not_run.iter().any(|begin| check.starts_with(begin));
            let expected = if skipped { "not_run" } else { "ok" };
            assert_eq!(finding["status"], expected, "{}: {finding}", self.name);
        }
    }
}

struct Seen {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Seen {
    fn findings(&self) -> Vec<Value> {
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[track_caller]
    fn finding(&self, check: &str) -> Value {
        let found = self.findings().into_iter().find(|f| f["check"] == check);
        found.unwrap_or_else(|| panic!("no {check}: {self}"))
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}\n{}{}", self.code, self.out, self.err)
    }
}

fn create(name: &str, config: &[(&str, &str)]) -> String {
    let topic = unique_topic(name);
    admin().create_topic(&topic, 1, 1, config).unwrap();
    topic
}

/// A topic and a suitable dead-letter topic.
fn create_with_letters(name: &str, config: &[(&str, &str)]) -> String {
    let topic = create(name, config);
    create_letters(
        &topic,
        &[("retention.ms", "-1"), ("max.message.bytes", "2000000")],
    );
    topic
}

fn create_letters(topic: &str, config: &[(&str, &str)]) {
    admin()
        .create_topic(&format!("{topic}-dlq"), 1, 1, config)
        .unwrap();
}

/// Stores this many records of this age; a negative age is in the future.
fn store(topic: &str, count: i64, age_seconds: i64) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka().bootstrap())
        .create()
        .unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_millis()).unwrap();
    for _ in 0..count {
        let record = BaseRecord::<(), _>::to(topic).payload("{}");
        let record = record.timestamp(now - age_seconds * 1000);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

fn consumer(group: &str, properties: &[(&str, &str)]) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka().bootstrap());
    // As a client without a prefix names it.
    config.set("group.id", format!(".{group}"));
    config.set("enable.auto.commit", "false");
    for (name, value) in properties {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

fn commit(group: &str, topic: &str, offset: i64) {
    let mut place = TopicPartitionList::new();
    place
        .add_partition_offset(topic, 0, Offset::Offset(offset))
        .unwrap();
    consumer(group, &[])
        .commit(&place, CommitMode::Sync)
        .unwrap();
}

/// Answers each connection with these bytes, or closes it, once it has received something.
fn answering(answer: impl Fn(&[u8]) -> Option<&'static [u8]> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 1024];
            let read = stream.read(&mut asked).unwrap_or(0);
            if let Some(answer) = answer(&asked[..read]) {
                // The client may be gone.
                let _ = stream.write_all(answer);
            }
        }
    });
    address
}

#[test]
fn addresses_that_lead_nowhere() {
    Deployment::at("a name that nobody knows", "no-such-host.invalid:9092").is_broken(
        "names.resolve",
        "failure",
        "no-such-host.invalid:9092 does not resolve",
        "correct `brokers`",
    );
    Deployment::at("a closed port", "127.0.0.1:1").is_broken(
        "listeners.connect",
        "failure",
        "refused",
        "a broker runs there",
    );
    Deployment::at(
        "an advertised port that is closed",
        kafka().past_the_proxy(),
    )
    .is_broken(
        "listeners.advertised",
        "failure",
        "broker 1 at 127.0.0.1:",
        "advertised.listeners",
    );
}

#[test]
fn ports_of_another_protocol() {
    Deployment::plain("TLS to a plain port").ca().is_broken(
        "protocol.match",
        "failure",
        "speaks Kafka without TLS",
        "turn TLS off",
    );
    Deployment::at("plain text to a TLS port", &secured().ssl).is_broken(
        "protocol.match",
        "failure",
        "speaks TLS, but this client is configured without it",
        "set `tls`",
    );
    let http = answering(|_| Some(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    Deployment::at("a web server", http).is_broken(
        "protocol.match",
        "failure",
        "speaks HTTP",
        "use a broker's port",
    );
    // Number 1, no error, one request type: produce, up to version 2.
    const KINDS: &[u8] = &[0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2];
    // It supports only the first version of the request.
    let old = answering(|asked| (asked.get(6..8) == Some(&[0, 0])).then_some(KINDS));
    Deployment::at("Kafka 0.10", old).is_broken(
        "protocol.version",
        "failure",
        "older than Kafka 0.11",
        "upgrade",
    );
}

#[test]
fn certificates_that_do_not_fit() {
    let to = secured();
    let certificates = &to.certificates;
    let login = |name, brokers: &str| Deployment::at(name, brokers).user("plain", &to.plain);
    login("an unknown CA", &to.sasl_ssl)
        .file("--ca-file", &certificates.unknown_ca)
        .is_broken("tls.chain", "failure", "is not accepted", "`ca_file`");
    login("a CA file that is not there", &to.sasl_ssl)
        .with(&["--ca-file", "/no/such/file.pem"])
        .is_broken(
            "tls.files",
            "failure",
            "/no/such/file.pem",
            "correct `ca_file`",
        );
    let port = to.sasl_ssl.rsplit_once(':').unwrap().1;
    login(
        "another host's certificate",
        &format!("[::ffff:127.0.0.1]:{port}"),
    )
    .ca()
    .is_broken(
        "tls.host_name",
        "failure",
        "localhost",
        "by a name that it is valid for",
    );
    Deployment::at("no client certificate", &to.ssl)
        .ca()
        .is_broken(
            "tls.client_certificate",
            "failure",
            "requires a client certificate",
            "`cert_file`",
        );
    Deployment::at("a certificate that ends soon", &to.ssl)
        .ca()
        .file("--cert-file", &certificates.ending_client.certificate)
        .file("--key-file", &certificates.ending_client.key)
        .is_broken(
            "tls.expiry",
            "warning",
            "this client: the certificate expires in",
            "renew it",
        );
}

#[test]
fn credentials_that_are_refused() {
    let to = secured();
    let wrong = User {
        password: "not-the-password".to_owned(),
        ..to.scram.clone()
    };
    Deployment::at("a wrong password", &to.sasl_ssl)
        .user("scram-sha-512", &wrong)
        .ca()
        .is_broken(
            "sasl.credentials",
            "failure",
            "does not accept the user name or password",
            "check `sasl_username`",
        );
    Deployment::at("a client that gets no token", &to.sasl_ssl)
        .tokens("not-the-secret")
        .ca()
        .is_broken(
            "sasl.token",
            "failure",
            "invalid_client",
            "check `oauth_client_id`",
        );
    let let_in = Deployment::at("a token", &to.sasl_ssl);
    let seen = let_in.tokens(TokenServer::SECRET).ca().run("json");
    for (check, found) in [
        ("sasl.mechanism", "offers OAUTHBEARER"),
        ("sasl.token", "the token of service holds for"),
        ("sasl.credentials", "the brokers accept"),
    ] {
        let finding = seen.finding(check);
        assert_eq!(finding["status"], "ok", "{finding}");
        assert!(
            finding["found"].as_str().unwrap().contains(found),
            "{finding}"
        );
    }
    Deployment::at("nobody at a SASL port", &to.sasl_plaintext).is_broken(
        "sasl.mechanism",
        "failure",
        "require SASL",
        "set `sasl_mechanism`",
    );
    Deployment::plain("SASL at a port without")
        .user("plain", &to.plain)
        .with(&["--sasl-without-tls"])
        .is_broken(
            "sasl.mechanism",
            "failure",
            "does not support SASL",
            "SASL port",
        );
}

#[test]
fn rights_that_are_missing() {
    let to = secured();
    let topic = create("doctor_rights", &[]);
    admin()
        .allow("bare", Operation::Describe, Resource::Topic(&topic))
        .unwrap();
    let bare = |name| {
        Deployment::at(name, &to.sasl_plaintext)
            .user("plain", to.user("bare").unwrap())
            .with(&["--sasl-without-tls", "--topic", &topic])
    };
    bare("describe without write").is_broken(
        "rights.write",
        "failure",
        "User:bare may describe topic",
        "--operation Write --topic",
    );
    let reader = bare("describe without read").with(&["--group", "g"]);
    reader.is_broken(
        "rights.read",
        "failure",
        "no right to Read",
        "--operation Read --topic",
    );
    let seen = reader.run("json");
    let group = seen.finding("rights.group");
    assert_eq!(group["status"], "failure", "{seen}");
    assert!(
        group["remedy"].as_str().unwrap().contains("--group .g"),
        "{seen}"
    );
    let letters = seen.finding("dead_letters.exists");
    assert_eq!(letters["status"], "not_run", "{seen}");
}

#[test]
fn topics_and_dead_letters_that_do_not_fit() {
    let named = |name, topic: &str| Deployment::plain(name).with(&["--topic", topic]);
    named("no topic", "doctor-no-such-topic").is_broken(
        "topic.exists",
        "failure",
        "does not exist",
        "create it",
    );
    let topic = create("doctor_min_in_sync", &[("min.insync.replicas", "2")]);
    named("more in sync than there are", &topic).is_broken(
        "topic.min_in_sync",
        "warning",
        "reject every event",
        "lower min.insync.replicas",
    );
    let topic = create("doctor_small", &[("max.message.bytes", "5000")]);
    named("a topic for small events", &topic).is_broken(
        "topic.message_size",
        "warning",
        "accepts 5000 bytes",
        "max.message.bytes",
    );
    let topic = create_with_letters("doctor_late", &[("retention.ms", "3600000")]);
    store(&topic, 3, 3000);
    commit("late", &topic, 1);
    named("a group slower than retention", &topic)
        .with(&["--group", "late"])
        .is_broken(
            "topic.retention",
            "failure",
            "about to be deleted; they are kept for 1 h",
            "raise retention.ms",
        );
    let topic = create("doctor_no_letters", &[]);
    let of_group = |name, topic: &str| named(name, topic).with(&["--group", "g"]);
    of_group("no dead-letter topic", &topic).is_broken(
        "dead_letters.exists",
        "warning",
        "-dlq does not exist",
        "create it",
    );
    create_letters(
        &topic,
        &[("retention.ms", "1000"), ("max.message.bytes", "1000")],
    );
    let short = of_group("dead letters that go first", &topic);
    short.is_broken(
        "dead_letters.retention",
        "warning",
        "keeps dead letters for 1 s",
        "raise retention.ms",
    );
    short.is_broken(
        "dead_letters.message_size",
        "warning",
        "accepts 1000 bytes",
        "max.message.bytes",
    );
}

#[test]
fn groups_that_are_not_well() {
    let topic = create_with_letters("doctor_offsets", &[]);
    store(&topic, 5, 0);
    let named = |name, topic: &str, group: &str| {
        Deployment::plain(name).with(&["--topic", topic, "--group", group])
    };
    named("a new group behind the tail", &topic, "new").is_broken(
        "group.start",
        "warning",
        "after the 5 existing records",
        "StartOffset::Head",
    );
    commit("ahead", &topic, 9);
    named("offsets beyond the end", &topic, "ahead").is_broken(
        "group.offsets",
        "failure",
        "beyond the end",
        "resumes at its head",
    );
    commit("behind", &topic, 1);
    admin().delete_records(&topic, 0, 3).unwrap();
    named("offsets below the head", &topic, "behind").is_broken(
        "group.offsets",
        "failure",
        "were deleted",
        "raise retention.ms",
    );
}

#[test]
fn members_that_keep_a_group_from_its_work() {
    let topic = create_with_letters("doctor_stuck", &[]);
    store(&topic, 3, 120);
    commit("stuck", &topic, 1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A panic in between would leave the member, and so the test, running.
        let _end = OnDrop(&done);
        let sticky = [("partition.assignment.strategy", "cooperative-sticky")];
        let member = consumer("stuck", &sticky);
        member.subscribe(&[&topic]).unwrap();
        scope.spawn({
            let done = &done;
            move || {
                while !done.load(Ordering::Relaxed) {
                    let _ = member.poll(Duration::from_millis(100));
                }
            }
        });
        eventually("the member to be in", Duration::from_secs(60), || {
            Ok((admin().members(".stuck")? == 1).then_some(()))
        })
        .unwrap();
        let of_group = |name: &'static str| {
            Deployment::plain(name).with(&["--topic", &topic, "--group", "stuck"])
        };
        of_group("a partition that stands still")
            .with(&["--assignment", "cooperative-sticky"])
            .is_broken(
                "group.stuck",
                "warning",
                "nothing is committed",
                "health of the member",
            );
        of_group("a foreign assignor").is_broken(
            "group.assignor",
            "failure",
            "cooperative-sticky, so this client would not be admitted",
            "set `assignment` to cooperative-sticky",
        );
        let other = create_with_letters("doctor_other", &[]);
        Deployment::plain("members of another topic")
            .with(&["--topic", &other, "--group", "stuck"])
            .with(&["--assignment", "cooperative-sticky"])
            .is_broken(
                "group.topics",
                "warning",
                "no member reads",
                "its own group",
            );
    });
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn configurations_that_undo_what_is_promised() {
    Deployment::plain("a session longer than the brokers allow")
        .with(&[
            "-X",
            "session.timeout.ms=2000000",
            "-X",
            "max.poll.interval.ms=3000000",
        ])
        .is_broken(
            "config.session_timeout",
            "failure",
            "no member can join",
            "`session_timeout`",
        );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "acks = \"leader\"\n").unwrap();
    Deployment::plain("one acknowledgement")
        .file("--config", file.path())
        .is_broken("config.promises", "warning", "acks is 1", "remove acks");
    Deployment::plain("a publish timeout below a request's")
        .with(&["--publish-timeout", "5"])
        .is_broken(
            "config.publish_timeout",
            "warning",
            "stored twice",
            "raise `publish_timeout`",
        );
    Deployment::plain("a drain longer than the poll interval")
        .with(&["--drain-timeout", "90"])
        .is_broken(
            "config.poll_interval",
            "failure",
            "expelled",
            "lower `drain_timeout`",
        );
}

#[test]
fn clocks_and_canaries() {
    let topic = create("doctor_clock", &[]);
    store(&topic, 1, -900);
    Deployment::plain("records from the future")
        .with(&["--topic", &topic])
        .is_broken("clock.records", "warning", "more than 10 min ahead", "NTP");
    Deployment::plain("a canary without a topic")
        .with(&["--publish-to", "doctor-no-such-canary"])
        .is_broken(
            "round_trip.canary",
            "failure",
            "doctor-no-such-canary",
            "create",
        );
}

#[test]
fn sound_deployments() {
    let to = secured();
    let topic = create_with_letters("doctor_sound", &[]);
    store(&topic, 3, 0);
    commit("sound", &topic, 3);
    let of_group = ["--topic", &*topic, "--group", "sound"];
    let canary = ["--publish-to", &*topic];
    Deployment::plain("plain, sound")
        .with(&of_group)
        .with(&canary)
        .is_sound(&["tls.", "sasl."]);
    let letters = format!("{topic}-dlq");
    for (operation, on) in [
        (Operation::Read, Resource::Topic(&topic)),
        (Operation::Write, Resource::Topic(&topic)),
        (Operation::Write, Resource::Topic(&letters)),
        (Operation::Read, Resource::Group(".sound")),
    ] {
        admin().allow("exact", operation, on).unwrap();
    }
    commit("sound", &topic, 3);
    let exact = Deployment::at("the exact rights, sound", &to.sasl_plaintext)
        .user("plain", to.user("exact").unwrap())
        .with(&["--sasl-without-tls"])
        .with(&of_group);
    // The right to read properties of topics and brokers is not required.
    exact.is_sound(&[
        "tls.",
        "sasl.token",
        "topic.min_in_sync",
        "topic.retention",
        "topic.message_size",
        "dead_letters.retention",
        "dead_letters.message_size",
        "group.expiry",
        "config.session_timeout",
        "round_trip",
    ]);
    for (operation, on) in [
        (Operation::All, Resource::Topic(&topic)),
        (Operation::All, Resource::Topic(&letters)),
        (Operation::All, Resource::Group(".sound")),
        (Operation::All, Resource::Cluster),
    ] {
        admin().allow("alice", operation, on).unwrap();
    }
    Deployment::at("SASL_SSL, sound", &to.sasl_ssl)
        .user("scram-sha-512", &to.scram)
        .ca()
        .with(&of_group)
        .with(&canary)
        .is_sound(&["sasl.token"]);
    forms_of_output(&Deployment::plain("forms of output").with(&of_group));
}

fn forms_of_output(deployment: &Deployment) {
    let text = deployment.run("text");
    let json = deployment.run("json");
    let findings = json.findings();
    assert_eq!(text.out.lines().count(), findings.len());
    assert!(!text.out.contains('\x1b'), "{text}");
    let prometheus = deployment.run("prometheus");
    let mut expected = String::new();
    for finding in findings {
        let value = match finding["status"].as_str().unwrap() {
            "ok" => 0,
            "not_run" => 3,
            other => panic!("{other}: {finding}"),
        };
        let check = finding["check"].as_str().unwrap();
        writeln!(
            expected,
            "eventstream_doctor_status{{check=\"{check}\"}} {value}"
        )
        .unwrap();
    }
    assert!(prometheus.out.ends_with(&expected), "{prometheus}");
}
