//! Faults of [`Security`], alone and with the properties in `base_config`.

use std::path::Path;

use crate::config::broker::BrokerConfig;
use crate::config::choice::SaslMechanism;
use crate::config::pem::{self, Part};
use crate::config::properties;
use crate::config::security::{Protocol, Security};
use crate::error::Fault;

pub(super) fn check(config: &BrokerConfig, faults: &mut Vec<Fault>) {
    let security = &config.security;
    check_mechanism(security, faults);
    check_credentials(config, faults);
    check_tls(config, faults);
    check_certificates(config, faults);
    check_files(config, faults);
    check_base(config, faults);
}

fn check_mechanism(security: &Security, faults: &mut Vec<Fault>) {
    let word = security.authentication_type.as_str();
    match (word, security.sasl_mechanism) {
        ("" | "SASL-SCRAM", None | Some(SaslMechanism::ScramSha512)) | ("", _) => {}
        ("SASL-SCRAM", Some(other)) => {
            let allowed = "SASL-SCRAM is scram-sha-512: give authentication_type or this, not both";
            faults.push(Fault::new("sasl_mechanism", other.as_str(), allowed));
        }
        _ => {
            let allowed = "SASL-SCRAM, or nothing; sasl_mechanism offers others";
            faults.push(Fault::new("authentication_type", word, allowed));
        }
    }
}

fn check_credentials(config: &BrokerConfig, faults: &mut Vec<Fault>) {
    let security = &config.security;
    let has_tokens = security.token_provider().is_some();
    let of_tokens = has_tokens || !security.oauth_options().is_empty();
    if of_tokens || security.mechanism() == Some(SaslMechanism::OauthBearer) {
        check_tokens(config, has_tokens, faults);
        return;
    }
    let mechanism = has_mechanism(config);
    let username =
        !security.sasl_username.is_empty() || config.base_config.get("sasl.username").is_some();
    let password =
        !security.sasl_password.is_empty() || config.base_config.get("sasl.password").is_some();
    if mechanism {
        for (name, given) in [("sasl_username", username), ("sasl_password", password)] {
            if !given {
                faults.push(Fault::new(name, "", "needed by the SASL mechanism"));
            }
        }
    } else if !security.sasl_username.is_empty()
        || !security.sasl_password.is_empty()
        || security.sasl_without_tls
    {
        // An unknown authentication type is already reported.
        if security.authentication_type.is_empty() {
            let allowed = format!(
                "needed by the other SASL options: {}",
                SaslMechanism::ALLOWED
            );
            faults.push(Fault::new("sasl_mechanism", "", allowed));
        }
    }
}

fn check_tokens(config: &BrokerConfig, has_tokens: bool, faults: &mut Vec<Fault>) {
    let security = &config.security;
    check_source(security, faults);
    if !has_tokens && security.oauth_options().is_empty() {
        let allowed = "needs something to get tokens from: oauth_token_endpoint, aws_msk_region, or Security::oauth in code";
        faults.push(Fault::new("sasl_mechanism", "oauthbearer", allowed));
    } else if let Some(other) = security
        .sasl_mechanism
        .filter(|it| *it != SaslMechanism::OauthBearer)
    {
        let allowed = "must be oauthbearer, or left out, where there is a token provider";
        faults.push(Fault::new("sasl_mechanism", other.as_str(), allowed));
    }
    let options = [
        ("sasl_username", !security.sasl_username.is_empty()),
        ("sasl_password", !security.sasl_password.is_empty()),
    ];
    let base = ["sasl.mechanism", "sasl.username", "sasl.password"]
        .into_iter()
        .filter(|key| config.base_config.get(key).is_some())
        .map(|key| format!("base_config.{key}"));
    let given = options.into_iter().filter(|(_, is_given)| *is_given);
    for field in given.map(|(name, _)| name.to_owned()).chain(base) {
        faults.push(Fault::new(
            field,
            "",
            "not together with oauthbearer, which logs in with a token",
        ));
    }
}

/// Where tokens come from, as options have it.
fn check_source(security: &Security, faults: &mut Vec<Fault>) {
    let options = security.oauth_options();
    let Some(first) = options.first() else { return };
    let mut fault = |name: &str, allowed: &str| faults.push(Fault::new(name, "", allowed));
    if security.provider.is_some() {
        fault(first, "not together with a token provider given in code");
    } else if security.aws_msk_region.is_empty() {
        check_endpoint(security, first, faults);
    } else if *first != "aws_msk_region" {
        fault("aws_msk_region", &format!("not together with {first}"));
    } else if cfg!(not(feature = "aws-msk-iam")) {
        fault(first, "needs the feature `aws-msk-iam` of eventstream");
    } else {
        let region = security.aws_msk_region.as_str();
        let is_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !region.chars().all(is_label) {
            faults.push(Fault::new(*first, region, "a region such as eu-west-1"));
        }
    }
}

fn check_endpoint(security: &Security, first: &str, faults: &mut Vec<Fault>) {
    let mut fault = |name: &str, allowed: &str| faults.push(Fault::new(name, "", allowed));
    if security.oauth_token_endpoint.is_empty() {
        fault("oauth_token_endpoint", &format!("needed by {first}"));
        return;
    }
    if cfg!(not(feature = "oidc")) {
        fault(first, "needs the feature `oidc` of eventstream");
        return;
    }
    if security.oauth_client_id.is_empty() {
        fault("oauth_client_id", "needed by oauth_token_endpoint");
    }
    if security.oauth_client_secret.is_empty() {
        fault("oauth_client_secret", "needed by oauth_token_endpoint");
    }
    #[cfg(feature = "oidc")]
    if let Err(allowed) = crate::oauth::endpoint(&security.oauth_token_endpoint) {
        fault("oauth_token_endpoint", allowed);
    }
}

fn has_mechanism(config: &BrokerConfig) -> bool {
    config.security.mechanism().is_some() || config.base_config.get("sasl.mechanism").is_some()
}

fn check_tls(config: &BrokerConfig, faults: &mut Vec<Fault>) {
    let security = &config.security;
    let mut needs_tls = security.tls_options();
    if security.sasl_without_tls {
        if security.tls == Some(true) {
            needs_tls.insert(0, "tls");
        }
        if !needs_tls.is_empty() {
            let allowed = format!("not together with {}", needs_tls.join(", "));
            faults.push(Fault::new("sasl_without_tls", "true", allowed));
        }
    } else if security.tls == Some(false) {
        if !needs_tls.is_empty() {
            let allowed = format!("not together with {}", needs_tls.join(", "));
            faults.push(Fault::new("tls", "false", allowed));
        } else if security.mechanism().is_some() && config.protocol() != Protocol::SaslPlaintext {
            let allowed = "credentials over plain text need sasl_without_tls";
            faults.push(Fault::new("tls", "false", allowed));
        }
    }
}

fn check_certificates(config: &BrokerConfig, faults: &mut Vec<Fault>) {
    let security = &config.security;
    let options = security.tls_options();
    let base = |names: &[&str]| {
        names
            .iter()
            .any(|name| config.base_config.get(name).is_some())
    };
    for (file, pem) in [
        ("ca_file", "ca_pem"),
        ("cert_file", "cert_pem"),
        ("key_file", "key_pem"),
    ] {
        if options.contains(&file) && options.contains(&pem) {
            faults.push(Fault::new(pem, "", format!("not together with {file}")));
        }
    }
    let cert_option = options.iter().find(|name| name.starts_with("cert_"));
    let key_option = options
        .iter()
        .find(|name| ["key_file", "key_pem"].contains(name));
    let cert = cert_option.is_some() || base(&["ssl.certificate.location", "ssl.certificate.pem"]);
    let key = key_option.is_some() || base(&["ssl.key.location", "ssl.key.pem"]);
    if let (Some(name), false) = (cert_option, key) {
        faults.push(Fault::new(
            *name,
            "",
            "a certificate needs its key: key_file or key_pem",
        ));
    }
    if let (Some(name), false) = (key_option, cert) {
        faults.push(Fault::new(
            *name,
            "",
            "a key needs its certificate: cert_file or cert_pem",
        ));
    }
    if options.contains(&"key_password") && !key {
        faults.push(Fault::new("key_password", "", "needs key_file or key_pem"));
    }
    let same = [
        ("ca_file", "ssl.ca.pem"),
        ("ca_pem", "ssl.ca.location"),
        ("cert_file", "ssl.certificate.pem"),
        ("cert_pem", "ssl.certificate.location"),
        ("key_file", "ssl.key.pem"),
        ("key_pem", "ssl.key.location"),
    ];
    for (option, property) in same {
        if options.contains(&option) && base(&[property]) {
            let field = format!("base_config.{property}");
            faults.push(Fault::new(field, "", format!("not together with {option}")));
        }
    }
    if base(&["ssl.keystore.location"]) && !base(&["ssl.keystore.password"]) {
        faults.push(Fault::new(
            "base_config.ssl.keystore.location",
            "",
            "needs ssl.keystore.password",
        ));
    }
}

fn check_files(config: &BrokerConfig, faults: &mut Vec<Fault>) {
    let security = &config.security;
    let base = |property: &str| {
        let path = config.base_config.get(property);
        Path::new(path.filter(|path| *path != "probe").unwrap_or_default())
    };
    let files: [(&str, Part, &Path); 7] = [
        ("ca_file", Part::Ca, &security.ca_file),
        ("cert_file", Part::Certificate, &security.cert_file),
        ("key_file", Part::Key, &security.key_file),
        ("oauth_ca_file", Part::Ca, &security.oauth_ca_file),
        (
            "base_config.ssl.ca.location",
            Part::Ca,
            base("ssl.ca.location"),
        ),
        (
            "base_config.ssl.certificate.location",
            Part::Certificate,
            base("ssl.certificate.location"),
        ),
        (
            "base_config.ssl.key.location",
            Part::Key,
            base("ssl.key.location"),
        ),
    ];
    let mut key = security.key_pem.expose().to_owned();
    for (name, part, path) in files {
        if path.as_os_str().is_empty() {
            continue;
        }
        let shown = path.display().to_string();
        if path.to_str().is_none() {
            faults.push(Fault::new(name, shown, "a path in UTF-8"));
        } else if path.is_dir() {
            if part != Part::Ca || name == "oauth_ca_file" {
                faults.push(Fault::new(name, shown, "a file, not a directory"));
            }
        } else {
            match std::fs::read(path) {
                Ok(bytes) => {
                    let wrong = pem::fault(part, &bytes);
                    faults.extend(wrong.map(|allowed| Fault::new(name, shown, allowed)));
                    if part == Part::Key {
                        key = String::from_utf8_lossy(&bytes).into_owned();
                    }
                }
                Err(error) => {
                    let allowed = format!("a file that can be read ({error})");
                    faults.push(Fault::new(name, shown, allowed));
                }
            }
        }
    }
    let texts = [
        ("ca_pem", Part::Ca, security.ca_pem.as_str()),
        ("cert_pem", Part::Certificate, security.cert_pem.as_str()),
        ("key_pem", Part::Key, security.key_pem.expose()),
    ];
    for (name, part, text) in texts.into_iter().filter(|(_, _, text)| !text.is_empty()) {
        let wrong = pem::fault(part, text.as_bytes());
        faults.extend(wrong.map(|allowed| Fault::new(name, "", allowed)));
    }
    let has_password =
        !security.key_password.is_empty() || config.base_config.get("ssl.key.password").is_some();
    if pem::is_encrypted(&key) && !has_password {
        faults.push(Fault::new(
            "key_password",
            "",
            "needed: the private key is encrypted",
        ));
    }
}

/// `security.protocol`, and what it silently disables or ignores.
fn check_base(config: &BrokerConfig, faults: &mut Vec<Fault>) {
    let security = &config.security;
    let protocol = config.protocol();
    if let Some(word) = config.base_config.get("security.protocol") {
        let mut fault = |allowed: &str| {
            faults.push(Fault::new("base_config.security.protocol", word, allowed));
        };
        let tls_options = security.tls_options();
        if security.mechanism().is_some() && !protocol.sasl() {
            fault("one of sasl_ssl, sasl_plaintext, or the SASL options have no effect");
        }
        if (security.tls == Some(true) || !tls_options.is_empty()) && !protocol.tls() {
            fault("one of ssl, sasl_ssl, or the TLS options have no effect");
        }
        if (security.tls == Some(false) || security.sasl_without_tls) && protocol.tls() {
            fault("one of plaintext, sasl_plaintext, as tls or sasl_without_tls says");
        }
        if protocol.sasl() && !has_mechanism(config) {
            fault("needs a SASL mechanism and its credentials");
        }
    }
    let known = |key: &&str| properties::find(key).is_some();
    for key in config.base_config.iter().map(|(key, _)| key).filter(known) {
        let without = if key.starts_with("sasl.") && !protocol.sasl() {
            "SASL"
        } else if key.starts_with("ssl.") && !protocol.tls() {
            "TLS"
        } else {
            continue;
        };
        let allowed = format!("no effect: security does not use {without}");
        faults.push(Fault::new(format!("base_config.{key}"), "", allowed));
    }
}
