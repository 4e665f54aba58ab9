//! The tool with a secured Kafka: it connects with its options, and says why if it cannot.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use harness::{Identity, Kafka, Secured, TokenServer, User, unique_topic};
use serde_json::Value;

use super::support::fed;

const WRONG: &str = "not-the-password";

fn server() -> &'static TokenServer {
    static SERVER: OnceLock<TokenServer> = OnceLock::new();
    SERVER.get_or_init(|| TokenServer::start().unwrap())
}

fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| Kafka::builder().oauth_signed_by(server()).start().unwrap())
}

fn secured() -> &'static Secured {
    kafka().secured().unwrap()
}

/// Options of the connection, and the password for the variable.
#[derive(Clone, Default)]
struct Way {
    name: &'static str,
    options: Vec<String>,
    password: Option<String>,
    client_secret: Option<String>,
}

impl Way {
    fn new(name: &'static str, brokers: &str) -> Self {
        Self {
            name,
            ..Self::default()
        }
        .with("--brokers", brokers)
    }

    fn with(mut self, option: &str, value: impl Into<String>) -> Self {
        self.options.extend([option.to_owned(), value.into()]);
        self
    }

    fn file(self, option: &str, path: &Path) -> Self {
        let path = path.display().to_string();
        self.with(option, path)
    }

    fn flag(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    fn ca(self) -> Self {
        self.file("--ca-file", &secured().certificates.ca)
    }

    fn sasl(mut self, mechanism: &str, user: &User) -> Self {
        self.password = Some(user.password.clone());
        self.with("--sasl-mechanism", mechanism)
            .with("--sasl-username", &user.name)
    }

    fn tokens(mut self) -> Self {
        self.client_secret = Some(TokenServer::SECRET.to_owned());
        self.with("--oauth-token-endpoint", server().token_url())
            .with("--oauth-client-id", TokenServer::CLIENT)
            .with("--oauth-scope", "kafka")
            .with("--oauth-parameters", "audience=kafka,resource=r")
    }

    fn identity(self, identity: &Identity) -> Self {
        self.file("--cert-file", &identity.certificate)
            .file("--key-file", &identity.key)
    }

    fn wrong(mut self) -> Self {
        let given = [&mut self.password, &mut self.client_secret];
        given
            .into_iter()
            .flatten()
            .for_each(|it| WRONG.clone_into(it));
        self
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eventstream"));
        command.args(arguments).args(&self.options);
        if let Some(password) = &self.password {
            command.env("EVENTSTREAM_SASL_PASSWORD", password);
        }
        if let Some(secret) = &self.client_secret {
            command.env("EVENTSTREAM_OAUTH_CLIENT_SECRET", secret);
        }
        fed(&mut command, input)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn done(name: &str, output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{name}: {}", text(&output.stderr));
    let out = text(&output.stdout);
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn ids<'a>(lines: impl Iterator<Item = &'a Value>) -> BTreeSet<String> {
    lines.map(|id| id.as_str().unwrap().to_owned()).collect()
}

fn there_and_back(way: &Way) {
    let topic = unique_topic(way.name);
    kafka()
        .admin()
        .unwrap()
        .create_topic(&topic, 2, 1, &[])
        .unwrap();
    let input: String = (0..100)
        .map(|n| format!("{{\"name\":\"e\",\"payload\":{{\"n\":{n}}}}}\n"))
        .collect();
    let published = way.run(&["publish", "--topic", &topic, "--receipts"], &input);
    let sent = done(way.name, &published);
    let sent = ids(sent.iter().map(|line| &line["id"]));
    assert_eq!(sent.len(), 100, "{}", way.name);
    let read = [
        "subscribe",
        "--topic",
        &topic,
        "--from",
        "head",
        "--count",
        "100",
        "--output",
        "json",
    ];
    let read = way.run(&read, "");
    let came = done(way.name, &read);
    let came = ids(came.iter().map(|line| &line["event"]["id"]));
    assert_eq!(came, sent, "{}", way.name);
    let asked = way.run(&["metadata", "--topic", &topic, "--json"], "");
    assert_eq!(done(way.name, &asked).len(), 1);
    for output in [published, read, asked] {
        has_no_secret(way, &output);
    }
}

fn has_no_secret(way: &Way, output: &Output) {
    let all = text(&output.stdout) + &text(&output.stderr);
    // How every token begins: a JSON object in base64.
    const TOKEN: &str = "eyJ";
    let users = [&secured().scram, &secured().plain];
    let passwords = users.map(|user| &*user.password);
    for secret in [WRONG, TokenServer::SECRET, TOKEN]
        .into_iter()
        .chain(passwords)
    {
        assert!(!all.contains(secret), "{}: {all}", way.name);
    }
}

#[test]
fn events_go_there_and_back_by_every_way() {
    let to = secured();
    let mut from_file = Way::new("password from a file", &to.sasl_ssl)
        .sasl("scram-sha-512", &to.scram)
        .ca();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, format!("{}\n", to.scram.password)).unwrap();
    from_file.password = None;
    let mut by_option = Way::new("password by option", &to.sasl_ssl)
        .sasl("plain", &to.plain)
        .ca();
    let password = by_option.password.take().unwrap();
    let ways = [
        Way::new("scram-sha-512", &to.sasl_ssl)
            .sasl("scram-sha-512", &to.scram)
            .ca(),
        Way::new("scram-sha-256", &to.sasl_ssl)
            .sasl("scram-sha-256", &to.scram)
            .ca(),
        Way::new("plain", &to.sasl_ssl)
            .sasl("plain", &to.plain)
            .ca(),
        Way::new("mutual", &to.ssl)
            .identity(&to.certificates.client)
            .ca(),
        Way::new("without tls", &to.sasl_plaintext)
            .sasl("scram-sha-512", &to.scram)
            .flag("--sasl-without-tls"),
        Way::new("without tls by property", &to.sasl_plaintext)
            .sasl("plain", &to.plain)
            .with("-X", "security.protocol=SASL_PLAINTEXT"),
        Way::new("tokens", &to.sasl_ssl).tokens().ca(),
        from_file.file("--sasl-password-file", file.path()),
        by_option.with("--sasl-password", password),
    ];
    for way in &ways {
        there_and_back(way);
    }
}

fn turned_away() -> Vec<(Way, &'static str, &'static str)> {
    let to = secured();
    let certificates = &to.certificates;
    let scram = |name, brokers| Way::new(name, brokers).sasl("scram-sha-512", &to.scram);
    let user_or_password = "does not accept the user name or password";
    let nobody = User {
        name: "mallory".to_owned(),
        password: WRONG.to_owned(),
    };
    vec![
        (
            scram("wrong password", &to.sasl_ssl).ca().wrong(),
            user_or_password,
            "check `sasl_username`, `sasl_password`",
        ),
        (
            Way::new("unknown user", &to.sasl_ssl)
                .sasl("plain", &nobody)
                .ca(),
            user_or_password,
            "check `sasl_username`, `sasl_password`",
        ),
        (
            Way::new("refused client", &to.sasl_ssl)
                .tokens()
                .ca()
                .wrong(),
            "answers 401 Unauthorized: invalid_client",
            "check `oauth_client_id`, `oauth_client_secret`",
        ),
        (
            scram("unknown CA", &to.sasl_ssl).file("--ca-file", &certificates.unknown_ca),
            "not signed by a trusted CA",
            "`ca_file`",
        ),
        (
            Way::new("expired client", &to.ssl)
                .identity(&certificates.expired_client)
                .ca(),
            "the client's certificate expired on 20",
            "renew it (`cert_file`)",
        ),
        (
            Way::new("no client certificate", &to.ssl).ca(),
            "requires a client certificate",
            "set `cert_file` and `key_file`",
        ),
        (
            Way::new("TLS to a plain port", &kafka().bootstrap()).ca(),
            "not seem to speak TLS",
            "turn TLS off",
        ),
        (
            Way::new("plain text to a TLS port", &to.ssl),
            "require TLS",
            "set `tls` and the CA (`ca_file`)",
        ),
        (
            Way::new("nobody to a SASL port", &to.sasl_plaintext),
            "require SASL",
            "set `sasl_mechanism`",
        ),
    ]
}

#[test]
fn who_is_turned_away_is_told_why_within_20_seconds() {
    let commands: [(&[&str], &str); 3] = [
        (&["publish", "--topic", "kept-out"], "{\"name\":\"e\"}\n"),
        (&["subscribe", "--topic", "kept-out", "--count", "1"], ""),
        (&["metadata"], ""),
    ];
    let run = |way: &Way, cause: &str, remedy: &str, arguments: &[&str], input: &str| {
        let begin = Instant::now();
        let output = way.run(arguments, input);
        let (took, said) = (begin.elapsed(), text(&output.stderr));
        let who = format!("{} {}", way.name, arguments[0]);
        println!("{who}: {took:?}");
        assert_eq!(output.status.code(), Some(1), "{who}: {said}");
        assert!(
            said.contains(cause) && said.contains(remedy),
            "{who}: {said}"
        );
        assert!(took < Duration::from_secs(20), "{who}: {took:?}");
        has_no_secret(way, &output);
    };
    for cases in turned_away().chunks(2) {
        std::thread::scope(|scope| {
            for (way, cause, remedy) in cases {
                for (arguments, input) in commands {
                    scope.spawn(move || run(way, cause, remedy, arguments, input));
                }
            }
        });
    }
}

#[test]
fn credentials_over_plain_text_have_to_be_asked_for() {
    let to = secured();
    let way = Way::new("tls off", &to.sasl_plaintext).sasl("plain", &to.plain);
    for property in ["security.protocol=PLAINTEXT", "security.protocol=SSL"] {
        let way = way.clone().with("-X", property);
        let output = way.run(&["metadata"], "");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("one of sasl_ssl, sasl_plaintext"), "{said}");
        has_no_secret(&way, &output);
    }
}

#[test]
fn the_noisiest_log_has_no_secret() {
    let to = secured();
    let ways = [
        Way::new("scram", &to.sasl_ssl)
            .sasl("scram-sha-256", &to.scram)
            .ca(),
        Way::new("plain", &to.sasl_plaintext)
            .sasl("plain", &to.plain)
            .flag("--sasl-without-tls"),
        Way::new("tokens", &to.sasl_ssl).tokens().ca(),
        Way::new("wrong", &to.sasl_ssl)
            .sasl("plain", &to.plain)
            .ca()
            .wrong(),
    ];
    for way in ways {
        let way = way
            .with("--log", "debug")
            .with("-X", "debug=security,broker,protocol");
        let output = way.run(&["publish", "--topic", "noisy"], "{\"name\":\"e\"}\n");
        assert!(text(&output.stderr).contains("SASL"), "{}", way.name);
        has_no_secret(&way, &output);
    }
}
