use std::time::Duration;

use serde::Deserialize;

use super::{CERTIFICATE, KEY};
use crate::config::{
    Acks, Assignment, BrokerConfig, CommitPolicy, Compression, LogMode, Partitioner, SaslMechanism,
    Security,
};

fn new() -> BrokerConfig {
    BrokerConfig::new()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Each option: its name, its value in TOML, and the same by the builder.
#[rustfmt::skip]
fn options() -> Vec<(&'static str, &'static str, BrokerConfig)> {
    vec![
        ("strict_validation", "true", new().strict_validation(true)),
        ("dial_timeout", r#""5s""#, new().dial_timeout(ms(5_000))),
        ("read_timeout", "2.5", new().read_timeout(ms(2_500))),
        ("write_timeout", "7", new().write_timeout(ms(7_000))),
        ("log_mode", r#""Warn""#, new().log_mode(LogMode::Warn)),
        ("publish_timeout", r#""1m30s""#, new().publish_timeout(ms(90_000))),
        ("publish_retries", "3", new().publish_retries(3)),
        ("acks", "1", new().acks(Acks::Leader)),
        ("idempotence", "false", new().idempotence(false)),
        ("compression", r#""zstd""#, new().compression(Compression::Zstd)),
        ("linger", r#""500us""#, new().linger(Duration::from_micros(500))),
        ("batch_bytes", "5000", new().batch_bytes(5_000)),
        ("batch_events", "7", new().batch_events(7)),
        ("partitioner", r#""murmur2_random""#, new().partitioner(Partitioner::Murmur2Random)),
        ("buffer_events", "1_000", new().buffer_events(1_000)),
        ("buffer_bytes", "2000000", new().buffer_bytes(2_000_000)),
        ("message_max_bytes", "2000", new().message_max_bytes(2_000)),
        ("session_timeout", r#""45s""#, new().session_timeout(ms(45_000))),
        ("heartbeat_interval", r#""500ms""#, new().heartbeat_interval(ms(500))),
        ("max_poll_interval", "300", new().max_poll_interval(ms(300_000))),
        ("commit", r#""each_event_async""#, new().commit(CommitPolicy::EachEventAsync)),
        ("registration_settle", "0", new().registration_settle(ms(0))),
        ("assignment", r#""cooperative-sticky""#, new().assignment(Assignment::CooperativeSticky)),
        ("prefix", r#""prod""#, new().prefix("prod")),
        ("dead_letter_suffix", r#"".dlq""#, new().dead_letter_suffix(".dlq")),
        ("fetch_queue_backoff", r#""1s""#, new().fetch_queue_backoff(ms(1_000))),
        ("fetch_queue_bytes", "2048", new().fetch_queue_bytes(2_048)),
        ("fetch_queue_events", "7", new().fetch_queue_events(7)),
        ("fetch_wait", r#""5ms""#, new().fetch_wait(ms(5))),
        ("client_id", r#""shop""#, new().client_id("shop")),
        ("allow_auto_create_topics", "false", new().allow_auto_create_topics(false)),
        ("statistics_interval", r#""5s""#, new().statistics_interval(ms(5_000))),
    ]
}

#[rustfmt::skip]
fn security() -> Vec<(&'static str, &'static str, Security)> {
    let none = Security::none;
    vec![
        ("authentication_type", "SASL-SCRAM", none().authentication_type("SASL-SCRAM")),
        ("sasl_mechanism", "scram-sha-256", none().sasl_mechanism(SaslMechanism::ScramSha256)),
        ("sasl_username", "alice", none().sasl_username("alice")),
        ("sasl_password", "12345", none().sasl_password("12345")),
        ("sasl_without_tls", "true", none().sasl_without_tls(true)),
        ("tls", "false", none().tls(false)),
        ("ca_file", "/etc/ca.pem", none().ca_file("/etc/ca.pem")),
        ("ca_pem", CERTIFICATE, none().ca_pem(CERTIFICATE)),
        ("cert_file", "/etc/cert.pem", none().cert_file("/etc/cert.pem")),
        ("cert_pem", CERTIFICATE, none().cert_pem(CERTIFICATE)),
        ("key_file", "/etc/key.pem", none().key_file("/etc/key.pem")),
        ("key_pem", KEY, none().key_pem(KEY)),
        ("key_password", "pass", none().key_password("pass")),
        ("oauth_token_endpoint", "https://a/token", none().oauth_token_endpoint("https://a/token")),
        ("oauth_client_id", "service", none().oauth_client_id("service")),
        ("oauth_client_secret", "12345", none().oauth_client_secret("12345")),
        ("oauth_scope", "a b", none().oauth_scope("a b")),
        ("oauth_parameters", "audience=kafka, resource=a=b", none().oauth_parameters([("audience", "kafka"), ("resource", "a=b")])),
        ("oauth_credentials_in_body", "true", none().oauth_credentials_in_body(true)),
        ("oauth_ca_file", "/etc/ca.pem", none().oauth_ca_file("/etc/ca.pem")),
        ("aws_msk_region", "eu-west-1", none().aws_msk_region("eu-west-1")),
    ]
}

fn from_var(name: &str, value: &str) -> BrokerConfig {
    let name = format!("EVENTSTREAM_{}", name.to_uppercase());
    BrokerConfig::from_vars([(name, value.to_owned())]).unwrap()
}

#[test]
fn code_environment_and_toml_are_equal() {
    for (name, toml, code) in options() {
        assert_ne!(code, new(), "{name} changes nothing");
        assert_eq!(
            BrokerConfig::from_toml(&format!("{name} = {toml}")).unwrap(),
            code,
            "{name}"
        );
        assert_eq!(from_var(name, toml.trim_matches('"')), code, "{name}");
    }
    for (name, value, code) in security() {
        let code = new().security(code);
        let toml = format!("[security]\n{name} = '''{value}'''");
        assert_ne!(code, new(), "{name} changes nothing");
        assert_eq!(BrokerConfig::from_toml(&toml).unwrap(), code, "{name}");
        assert_eq!(from_var(name, value), code, "{name}");
    }
}

#[test]
fn no_option_is_forgotten() {
    let tested: Vec<_> = options().iter().map(|(name, ..)| *name).collect();
    for name in BrokerConfig::NAMES {
        assert!(*name == "security" || tested.contains(name), "{name}");
    }
    let tested: Vec<_> = security().iter().map(|(name, ..)| *name).collect();
    for name in Security::NAMES {
        assert!(tested.contains(name), "{name}");
    }
}

#[test]
fn base_config_from_every_source() {
    let code = new()
        .base_config("fetch.min.bytes", 1000)
        .base_config("linger.ms", 0.5)
        .base_config("check.crcs", true)
        .base_config("client.rack", "a");
    let nested = "[base_config]\nfetch.min.bytes = 1000\nlinger.ms = 0.5\ncheck.crcs = true\nclient.rack = \"a\"";
    let quoted = "[base_config]\n\"fetch.min.bytes\" = \"1000\"\n\"linger.ms\" = 0.5\n\"check.crcs\" = \"true\"\n\"client.rack\" = \"a\"";
    assert_eq!(BrokerConfig::from_toml(nested).unwrap(), code);
    assert_eq!(BrokerConfig::from_toml(quoted).unwrap(), code);
    let vars = [
        ("FETCH_MIN_BYTES", "1000"),
        ("LINGER_MS", "0.5"),
        ("CHECK_CRCS", "true"),
        ("CLIENT_RACK", "a"),
    ];
    let vars =
        vars.map(|(name, value)| (format!("EVENTSTREAM_BASE_CONFIG_{name}"), value.to_owned()));
    assert_eq!(BrokerConfig::from_vars(vars).unwrap(), code);
}

#[test]
fn a_properties_underscore_survives_the_environment() {
    let config = from_var("base_config_log_level", "7");
    assert!(super::faults(&config)[0].starts_with("base_config.log_level"));
    let config = from_var("base_config_fetch_mni_bytes", "7");
    assert_eq!(
        super::faults(&config),
        ["base_config.fetch.mni.bytes: unknown property; did you mean fetch.min.bytes?"]
    );
}

#[test]
fn brokers_and_prefix_come_from_every_source() {
    let code = new().brokers(["a:1", "b:2"]).prefix("prod");
    for text in [
        "brokers = ['a:1', 'b:2']\nprefix = 'prod'",
        "brokers = 'a:1, b:2'\nprefix = 'prod'",
    ] {
        assert_eq!(BrokerConfig::from_toml(text).unwrap(), code);
    }
    let vars = [("BROKERS", "a:1,b:2"), ("PREFIX", "prod")];
    let vars = vars.map(|(name, value)| (format!("EVENTSTREAM_{name}"), value.to_owned()));
    assert_eq!(BrokerConfig::from_vars(vars).unwrap(), code);
}

#[test]
fn a_clients_own_brokers_win_over_the_configurations() {
    let config = new().brokers(["nohost"]).prefix("a b");
    let faults = |builder: crate::ClientBuilder| {
        let error = builder.config(config.clone()).build().unwrap_err();
        let faults = error.faults().iter().map(|fault| fault.field.clone());
        faults.collect::<Vec<_>>()
    };
    let builder = || crate::Client::builder(crate::Backend::Kafka);
    assert_eq!(faults(builder()), ["prefix", "brokers"]);
    assert_eq!(faults(builder().brokers(["a:1"])), ["prefix"]);
    assert_eq!(faults(builder().prefix("p")), ["brokers"]);
}

#[test]
fn an_address_with_a_password_is_refused_and_not_shown() {
    const SECRET: &str = "hunter2";
    let text = format!("u:{SECRET}@host:9092");
    let config = new().brokers([text.as_str()]);
    assert!(!format!("{config:?}").contains(SECRET), "{config:?}");
    for address in [
        text,
        format!("kafka://u:{SECRET}@h:1"),
        format!("{SECRET}@h:1"),
    ] {
        let builder = crate::Client::builder(crate::Backend::Kafka).brokers([address]);
        assert!(!format!("{builder:?}").contains(SECRET), "{builder:?}");
        let told = builder.build().unwrap_err().to_string();
        assert!(!told.contains(SECRET), "{told}");
        assert!(told.contains("sasl_password"), "{told}");
    }
    let wrong = BrokerConfig::from_toml(&format!("brokers = [1, 'u:{SECRET}@h:1']"));
    assert!(!wrong.unwrap_err().to_string().contains(SECRET));
}

#[test]
fn every_unknown_key_is_told_at_once() {
    let text = "dail_timeout = 1\nbrokers = 1\nstream = 'kafka'\nsasl_username = 'a'\nacks = 'some'\nbuffer_events = -1\nlinger = '1 parsec'\n[security]\nsasl_pasword = 'x'\n";
    let error = BrokerConfig::from_toml(text).unwrap_err();
    let faults: Vec<_> = error.faults().iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "acks \"some\": one of all, leader, none",
            "brokers: a list of host:port, or a string with commas between them",
            "buffer_events \"-1\": a whole number, not negative",
            "dail_timeout: unknown option; did you mean dial_timeout?",
            "linger \"1 parsec\": a time such as \"10s\", \"500ms\" or \"1m30s\", or a number of seconds",
            "sasl_username: unknown option; it belongs in the table [security]",
            "sasl_pasword: unknown option of security; did you mean sasl_password?",
            "stream: not an option of the brokers' configuration but an argument of Client::builder",
        ]
    );
}

#[test]
fn a_variable_nearly_ours_is_refused_and_a_strangers_passed_over() {
    let vars = |name: &str| BrokerConfig::from_vars([(name.to_owned(), "x".to_owned())]);
    let error = vars("EVENTSTREAM_DIAL_TIMOUT").unwrap_err();
    assert_eq!(
        error.faults()[0].to_string(),
        "EVENTSTREAM_DIAL_TIMOUT: unknown variable; did you mean EVENTSTREAM_DIAL_TIMEOUT?"
    );
    for name in [
        "EVENTSTREAM_SERVICE_HOST",
        "EVENTSTREAM_PORT_9092_TCP",
        "EVENTSTREAM_PORT",
        "EVENTSTREAM_STREAM",
        "EVENTSTREAM_CONFIG",
        "DIAL_TIMEOUT",
    ] {
        assert_eq!(vars(name).unwrap(), new(), "{name}");
    }
}

#[test]
fn an_empty_variable_is_unset() {
    assert_eq!(from_var("dial_timeout", ""), new());
}

#[test]
fn every_bad_variable_is_told_at_once() {
    let vars = [
        ("EVENTSTREAM_DIAL_TIMEOUT", "soon"),
        ("EVENTSTREAM_SECURITY", "tls"),
    ];
    let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let error = BrokerConfig::from_vars(vars).unwrap_err();
    assert_eq!(error.faults().len(), 2);
    assert_eq!(error.faults()[0].field, "EVENTSTREAM_DIAL_TIMEOUT");
    assert_eq!(error.faults()[0].value, "soon");
    assert_eq!(error.faults()[1].field, "EVENTSTREAM_SECURITY");
}

#[test]
fn variables_go_over_a_file() {
    let config = BrokerConfig::from_toml("dial_timeout = 1\nread_timeout = 2").unwrap();
    let vars = [("EVENTSTREAM_READ_TIMEOUT".to_owned(), "3".to_owned())];
    let expected = new().dial_timeout(ms(1_000)).read_timeout(ms(3_000));
    assert_eq!(config.apply_vars(vars).unwrap(), expected);
}

#[test]
fn durations_are_read_exactly() {
    for (text, expected) in [
        ("'250ms'", Some(ms(250))),
        ("'1h'", Some(ms(3_600_000))),
        ("'1.5s'", Some(ms(1_500))),
        ("'10'", Some(ms(10_000))),
        ("10", Some(ms(10_000))),
        ("0.25", Some(ms(250))),
        ("'-1s'", None),
        ("-1", None),
        ("'inf'", None),
        ("nan", None),
        ("true", None),
        ("''", None),
    ] {
        let read = BrokerConfig::from_toml(&format!("dial_timeout = {text}"));
        let expected = expected.map(|time| new().dial_timeout(time));
        assert_eq!(read.ok(), expected, "{text}");
    }
}

#[test]
fn a_program_may_contain_the_configuration_in_its_own() {
    #[derive(Deserialize)]
    struct Program {
        kafka: BrokerConfig,
    }
    let json = r#"{"kafka":{"dial_timeout":"1s","base_config":{"fetch.min.bytes":1}}}"#;
    let program: Program = serde_json::from_str(json).unwrap();
    let expected = new()
        .dial_timeout(ms(1_000))
        .base_config("fetch.min.bytes", 1);
    assert_eq!(program.kafka, expected);
    let error = serde_json::from_str::<Program>(r#"{"kafka":{"dail_timeout":1}}"#)
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("did you mean dial_timeout?"),
        "{error}"
    );
}

#[test]
fn files_are_read_and_missing_ones_named() {
    let directory = std::env::temp_dir().join(format!("eventstream-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let password = directory.join("password");
    std::fs::write(&password, "open sesame\n").unwrap();
    let file = directory.join("config.toml");
    let text = format!(
        "linger = '5ms'\n[security]\nsasl_password_file = '{}'",
        password.display()
    );
    std::fs::write(&file, text).unwrap();
    let read = BrokerConfig::from_file(&file);
    let variable = from_var("sasl_password_file", password.to_str().unwrap());
    std::fs::remove_dir_all(&directory).unwrap();

    let security = Security::none().sasl_password("open sesame");
    assert_eq!(variable, new().security(security.clone()));
    assert_eq!(read.unwrap(), new().linger(ms(5)).security(security));
    let error = BrokerConfig::from_file(&file).unwrap_err();
    assert!(error.to_string().contains("config.toml"), "{error}");
    let vars = [(
        "EVENTSTREAM_SASL_PASSWORD_FILE".to_owned(),
        password.display().to_string(),
    )];
    let error = BrokerConfig::from_vars(vars).unwrap_err();
    assert_eq!(error.faults()[0].field, "EVENTSTREAM_SASL_PASSWORD_FILE");
}

#[test]
fn words_parse_and_print() {
    assert_eq!(
        "SCRAM_SHA_512".parse::<SaslMechanism>().unwrap(),
        SaslMechanism::ScramSha512
    );
    assert_eq!(
        "Consistent_Random".parse::<Partitioner>().unwrap(),
        Partitioner::ConsistentRandom
    );
    assert_eq!(
        Assignment::CooperativeSticky.to_string(),
        "cooperative-sticky"
    );
    let error = "loud".parse::<LogMode>().unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("one of off, error, warn, info, debug"),
        "{error}"
    );
}

#[test]
fn parameters_may_be_a_list_and_a_secret_may_be_in_a_file() {
    let toml = "[security]\noauth_parameters = ['audience=a,b', 'resource = c']";
    let parameters = [("audience", "a,b"), ("resource", "c")];
    let expected = new().security(Security::none().oauth_parameters(parameters));
    assert_eq!(BrokerConfig::from_toml(toml).unwrap(), expected);
    let name = format!("eventstream-secret-{}", std::process::id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, "its secret\n").unwrap();
    let read = from_var("oauth_client_secret_file", file.to_str().unwrap());
    std::fs::remove_file(&file).unwrap();
    let security = Security::none().oauth_client_secret("its secret");
    assert_eq!(read, new().security(security));
}
