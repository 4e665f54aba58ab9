//! The connection, from the configuration file, environment variables and options; each overrides
//! the ones before it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use eventstream::{
    Backend, BrokerConfig, Client, ClientBuilder, Error, ErrorKind, Fault, LogMode, SaslMechanism,
    Secret,
};

use crate::exit::Usage;
use crate::output::EventLines;

const DEFAULT_BROKERS: &str = "127.0.0.1:9092";

/// Options of every command.
#[derive(Args, Clone)]
#[expect(
    clippy::doc_markdown,
    reason = "these comments are help texts, without Markdown"
)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// kafka, embedded (a broker inside this process), stdout or none [default: kafka]
    /// [env: EVENTSTREAM_STREAM]
    #[arg(long, global = true, value_name = "STREAM", value_parser = ["kafka", "embedded", "stdout", "none"], hide_possible_values = true)]
    stream: Option<String>,
    /// Bootstrap brokers [default: 127.0.0.1:9092] [env: EVENTSTREAM_BROKERS]
    #[arg(long, global = true, value_name = "HOST:PORT,...")]
    brokers: Option<String>,
    /// Prefix for topic and group names, joined by a dot; groups start with the dot even without a prefix
    /// [env: EVENTSTREAM_PREFIX]
    #[arg(long, global = true, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Configuration in TOML: brokers, prefix, [security] and the rest; variables override it,
    /// options override both [env: EVENTSTREAM_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Use TLS, if no other option implies it
    #[arg(long, global = true)]
    tls: bool,
    /// CA certificates (PEM) to trust instead of the system's; implies TLS
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<String>,
    /// Client certificate (PEM), for mutual TLS
    #[arg(long, global = true, value_name = "FILE")]
    cert_file: Option<String>,
    /// Private key (PEM) of the client certificate
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<String>,
    /// scram-sha-512, scram-sha-256, plain, or oauthbearer, which --oauth-token-endpoint and
    /// --aws-msk-region imply; implies TLS
    #[arg(long, global = true, value_name = "MECHANISM", value_parser = mechanism)]
    sasl_mechanism: Option<SaslMechanism>,
    /// SASL user name
    #[arg(long, global = true, value_name = "NAME")]
    sasl_username: Option<String>,
    /// SASL password; other processes can see options, so prefer the variable or a file
    /// [env: EVENTSTREAM_SASL_PASSWORD]
    #[arg(long, global = true, value_name = "PASSWORD", value_parser = secret)]
    sasl_password: Option<Secret>,
    /// File that holds the SASL password
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "sasl_password"
    )]
    sasl_password_file: Option<String>,
    /// Send SASL credentials over plain text
    #[arg(long, global = true)]
    sasl_without_tls: bool,
    /// Log in with tokens of this endpoint (OAUTHBEARER, OIDC client credentials); implies TLS
    /// [env: EVENTSTREAM_OAUTH_TOKEN_ENDPOINT]
    #[arg(long, global = true, value_name = "URL")]
    oauth_token_endpoint: Option<String>,
    /// Client id at the token endpoint [env: EVENTSTREAM_OAUTH_CLIENT_ID]
    #[arg(long, global = true, value_name = "ID")]
    oauth_client_id: Option<String>,
    /// Client secret at the token endpoint; other processes can see options, so prefer the variable
    /// or a file [env: EVENTSTREAM_OAUTH_CLIENT_SECRET]
    #[arg(long, global = true, value_name = "SECRET", value_parser = secret)]
    oauth_client_secret: Option<Secret>,
    /// File that holds the client secret
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "oauth_client_secret"
    )]
    oauth_client_secret_file: Option<String>,
    /// Scopes to ask for, separated by spaces [env: EVENTSTREAM_OAUTH_SCOPE]
    #[arg(long, global = true, value_name = "SCOPES")]
    oauth_scope: Option<String>,
    /// More of the token request, as audience=kafka; several are joined by commas
    /// [env: EVENTSTREAM_OAUTH_PARAMETERS]
    #[arg(long, global = true, value_name = "NAME=VALUE,...", value_parser = secret)]
    oauth_parameters: Option<Secret>,
    /// Send the client's id and secret in the body of the token request
    #[arg(long, global = true)]
    oauth_credentials_in_body: bool,
    /// CA certificates (PEM) for the token endpoint instead of the system's
    #[arg(long, global = true, value_name = "FILE")]
    oauth_ca_file: Option<String>,
    /// Log in to Amazon MSK with IAM, in this region, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
    /// AWS_SESSION_TOKEN; implies TLS [env: EVENTSTREAM_AWS_MSK_REGION]
    #[arg(long, global = true, value_name = "REGION")]
    aws_msk_region: Option<String>,
    /// How long an event may take to be stored [default: 60]
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    publish_timeout: Option<Duration>,
    /// Assignment protocol: eager (like the Go SDK), cooperative-sticky or consumer
    /// (KIP-848) [default: eager]
    #[arg(long, global = true, value_name = "ASSIGNMENT")]
    assignment: Option<String>,
    /// A property of librdkafka, repeatable
    #[arg(short = 'X', global = true, value_name = "KEY=VALUE")]
    properties: Vec<String>,
    /// off, error, warn, info or debug [default: error]
    #[arg(long, global = true, value_name = "LEVEL", value_parser = ["off", "error", "warn", "info", "debug"], hide_possible_values = true)]
    log: Option<String>,
}

impl Connection {
    /// The same connection to other brokers.
    pub(crate) fn at(mut self, brokers: &str) -> Self {
        self.brokers = Some(brokers.to_owned());
        self
    }

    /// The log level of the library and, passed on, of librdkafka.
    pub(crate) fn log_mode(&self) -> LogMode {
        // A fault in the configuration is reported by the command.
        self.broker_config()
            .map_or(LogMode::Error, |config| config.effective_log_mode())
    }

    /// A client that connects in the background.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        self.client_with(&EventLines::default(), |builder| builder)
    }

    /// Like [`client`](Self::client), for a command that watches the reader of `stdout`'s events.
    pub(crate) fn client_on(&self, events: &EventLines) -> anyhow::Result<Client> {
        self.client_with(events, |builder| builder)
    }

    /// Like [`client`](Self::client), observed.
    pub(crate) fn client_observed(
        &self,
        observe: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> anyhow::Result<Client> {
        self.client_with(&EventLines::default(), observe)
    }

    fn client_with(
        &self,
        events: &EventLines,
        observe: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> anyhow::Result<Client> {
        let mut builder = self.builder()?;
        if self.stream()? == Backend::Stdout {
            builder = builder.writer(events.clone());
        }
        observe(builder).build().map_err(usage)
    }

    /// The settings of a client, for a command that creates none.
    pub(crate) fn builder(&self) -> anyhow::Result<ClientBuilder> {
        let builder = Client::builder(self.stream()?);
        Ok(builder
            .config(self.broker_config()?)
            .name("eventstream-cli"))
    }

    pub(crate) fn stream(&self) -> anyhow::Result<Backend> {
        let word = self.stream.clone().or_else(|| variable("STREAM"));
        match word {
            Some(word) => word.parse().map_err(usage),
            None => Ok(Backend::Kafka),
        }
    }

    /// How long to wait for an unreachable broker before a command fails.
    pub(crate) fn patience(&self) -> Duration {
        self.broker_config()
            .map_or(Duration::from_secs(60), |config| {
                config.effective_publish_timeout()
            })
    }

    fn broker_config(&self) -> anyhow::Result<BrokerConfig> {
        let file = self
            .config
            .clone()
            .filter(|path| !path.as_os_str().is_empty())
            .or_else(|| variable("CONFIG").map(PathBuf::from));
        let mut config = BrokerConfig::new().log_mode(LogMode::Error);
        // Without an address, the embedded broker runs in this process.
        if self.stream()? != Backend::Embedded {
            config = config.brokers([DEFAULT_BROKERS]);
        }
        if let Some(path) = &file {
            config = config.apply_file(path)?;
        }
        config = config.apply_env()?;
        if let Some(word) = &self.log {
            config = config.log_mode(word.parse().map_err(usage)?);
        }
        if let Some(timeout) = self.publish_timeout {
            config = config.publish_timeout(timeout);
        }
        if let Some(brokers) = &self.brokers {
            let brokers = brokers.split(',').map(str::trim);
            config = config.brokers(brokers.filter(|broker| !broker.is_empty()));
        }
        if let Some(prefix) = &self.prefix {
            config = config.prefix(prefix);
        }
        // As variables, so that each option overrides only its own setting of the file.
        config = config.apply_vars(self.variables()).map_err(usage)?;
        for property in &self.properties {
            // Not checked by clap, which would print the value, and that may be a password.
            let Some((key, value)) = property.split_once('=').filter(|(key, _)| !key.is_empty())
            else {
                return Err(Usage("-X: must be key=value".to_owned()).into());
            };
            config = config.base_config(key, value);
        }
        Ok(config)
    }

    fn variables(&self) -> impl Iterator<Item = (String, String)> {
        let given = [
            ("ASSIGNMENT", self.assignment.clone()),
            ("TLS", self.tls.then(|| "true".to_owned())),
            ("CA_FILE", self.ca_file.clone()),
            ("CERT_FILE", self.cert_file.clone()),
            ("KEY_FILE", self.key_file.clone()),
            (
                "SASL_MECHANISM",
                self.sasl_mechanism
                    .map(|mechanism| mechanism.as_str().to_owned()),
            ),
            ("SASL_USERNAME", self.sasl_username.clone()),
            ("SASL_PASSWORD", exposed(self.sasl_password.as_ref())),
            ("SASL_PASSWORD_FILE", self.sasl_password_file.clone()),
            (
                "SASL_WITHOUT_TLS",
                self.sasl_without_tls.then(|| "true".to_owned()),
            ),
            ("OAUTH_TOKEN_ENDPOINT", self.oauth_token_endpoint.clone()),
            ("OAUTH_CLIENT_ID", self.oauth_client_id.clone()),
            (
                "OAUTH_CLIENT_SECRET",
                exposed(self.oauth_client_secret.as_ref()),
            ),
            (
                "OAUTH_CLIENT_SECRET_FILE",
                self.oauth_client_secret_file.clone(),
            ),
            ("OAUTH_SCOPE", self.oauth_scope.clone()),
            ("OAUTH_PARAMETERS", exposed(self.oauth_parameters.as_ref())),
            (
                "OAUTH_CREDENTIALS_IN_BODY",
                self.oauth_credentials_in_body.then(|| "true".to_owned()),
            ),
            ("OAUTH_CA_FILE", self.oauth_ca_file.clone()),
            ("AWS_MSK_REGION", self.aws_msk_region.clone()),
        ];
        given
            .into_iter()
            .filter_map(|(name, value)| Some((format!("EVENTSTREAM_{name}"), value?)))
    }
}

fn exposed(secret: Option<&Secret>) -> Option<String> {
    secret.map(|secret| secret.expose().to_owned())
}

/// A variable of this tool; an empty one counts as unset, as everywhere in the configuration.
fn variable(name: &str) -> Option<String> {
    std::env::var(format!("EVENTSTREAM_{name}"))
        .ok()
        .filter(|value| !value.is_empty())
}

/// Names rejected fields of the configuration by their options.
fn usage(error: Error) -> anyhow::Error {
    if error.kind() != ErrorKind::Config || error.faults().is_empty() {
        return error.into();
    }
    let faults: Vec<_> = error.faults().iter().map(in_options).collect();
    Usage(faults.join("\n       ")).into()
}

/// A fault with the option for its field.
fn in_options(fault: &Fault) -> String {
    const OPTIONS: &[&str] = &[
        "stream",
        "brokers",
        "prefix",
        "assignment",
        "tls",
        "ca_file",
        "cert_file",
        "key_file",
        "sasl_mechanism",
        "sasl_username",
        "sasl_password",
        "sasl_password_file",
        "sasl_without_tls",
        "oauth_token_endpoint",
        "oauth_client_id",
        "oauth_client_secret",
        "oauth_client_secret_file",
        "oauth_scope",
        "oauth_parameters",
        "oauth_credentials_in_body",
        "oauth_ca_file",
        "aws_msk_region",
        "publish_timeout",
    ];
    let field = fault
        .field
        .strip_prefix("EVENTSTREAM_")
        .map_or_else(|| fault.field.clone(), str::to_ascii_lowercase);
    let option = if let Some(property) = field.strip_prefix("base_config.") {
        format!("-X {property}")
    } else if OPTIONS.contains(&&*field) {
        format!("--{}", field.replace('_', "-"))
    } else {
        fault.field.clone()
    };
    if fault.value.is_empty() {
        format!("{option}: {}", fault.allowed)
    } else {
        format!("{option} {:?}: {}", fault.value, fault.allowed)
    }
}

/// clap's parser for a number of seconds above 0.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "must be a number of seconds above 0".to_owned())
}

fn mechanism(word: &str) -> Result<SaslMechanism, String> {
    word.parse().map_err(|error: Error| {
        let allowed = error.faults().first().map(|fault| fault.allowed.clone());
        allowed.unwrap_or_default()
    })
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "clap's parsers of arguments are fallible"
)]
fn secret(text: &str) -> Result<Secret, String> {
    Ok(Secret::from(text))
}
