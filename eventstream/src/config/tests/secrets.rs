use super::settings;
use crate::config::{BrokerConfig, SaslMechanism, Secret, Security};

const SECRET: &str = "open-sesame";

fn config() -> BrokerConfig {
    let security = Security::sasl(SaslMechanism::Plain, "alice", SECRET)
        .cert_pem("no pem")
        .key_pem(SECRET)
        .key_password(SECRET)
        .oauth_client_secret(SECRET)
        .oauth_parameters([("key", SECRET)]);
    BrokerConfig::new()
        .security(security)
        .base_config("sasl.password", SECRET)
        .base_config("sasl.pasword", SECRET)
        .base_config("ssl.key.pem", SECRET)
        .base_config("ssl.keystore.password", SECRET)
        .base_config("sasl.oauthbearer.client.secret", SECRET)
}

#[test]
fn no_secret_is_printed() {
    let config = config();
    let error = config.validate().unwrap_err();
    let good = BrokerConfig::new().security(Security::sasl(SaslMechanism::Plain, "alice", SECRET));
    for text in [
        format!("{config:?}"),
        format!("{config:#?}"),
        format!("{:?}", settings(&config)),
        format!("{:?}", settings(&good)),
        format!("{error} {error:?}"),
        format!("{0} {0:?}", Secret::from(SECRET)),
    ] {
        assert!(!text.contains(SECRET), "{text}");
    }
    assert!(format!("{:?}", settings(&good)).contains("127.0.0.1:9092"));
}

#[test]
fn no_secret_is_quoted_from_a_file() {
    for text in [
        format!("[security]\nsasl_password = '{SECRET}"),
        format!("[security]\nsasl_password = {SECRET}"),
        format!("[security]\nsasl_password = ['{SECRET}']"),
        format!("[security]\nsasl_password = {{ a = '{SECRET}' }}"),
        format!("[security]\noauth_client_secret = ['{SECRET}']"),
        format!("[security]\noauth_parameters = '{SECRET}'"),
        format!("[security]\nsasl_pasword = '{SECRET}'"),
        format!("security = '{SECRET}'"),
        format!("base_config = '{SECRET}'"),
        format!("sasl_password = '{SECRET}'"),
    ] {
        let error = BrokerConfig::from_toml(&text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
    }
}

#[test]
fn a_broken_file_names_its_line() {
    let error = BrokerConfig::from_toml("linger = 1\nacks = 'al").unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
}
