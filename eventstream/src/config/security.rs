use std::path::PathBuf;

use super::choice::SaslMechanism;
use super::options::options;
use super::parameters::Parameters;
use super::secret::Secret;
use crate::oauth::{Provider, TokenProvider};

options! {
    /// How the connection is secured: how the client authenticates (SASL, a certificate) and what it
    /// trusts.
    ///
    /// The parts combine: SASL with a private CA, a client certificate with SASL. Each of them implies
    /// TLS; only [`sasl_without_tls`](Security::sasl_without_tls) sends credentials over plain text,
    /// and it must be set explicitly. Without a CA, the system's certificates are trusted.
    ///
    /// ```
    /// use eventstream::{SaslMechanism, Security};
    ///
    /// let security = Security::sasl(SaslMechanism::ScramSha512, "alice", "her password")
    ///     .ca_pem("-----BEGIN CERTIFICATE-----\n...");
    /// ```
    ///
    /// [`BrokerConfig::validate`](crate::BrokerConfig::validate) finds contradictions (a certificate
    /// without its key, two CAs, credentials over plain text).
    pub struct Security {
        /// The Go SDK's name for the authentication: `SASL-SCRAM` means SCRAM-SHA-512 over TLS. Any
        /// other value is refused with an error that names this one. Default: empty, not set.
        authentication_type(impl Into<String>): String = String::new();
        /// The SASL mechanism. For tokens use [`oauth`](Security::oauth), which sets it. Default: none; the client
        /// does not use SASL.
        sasl_mechanism(impl Into<Option<SaslMechanism>>): Option<SaslMechanism> = None;
        /// The SASL user name. Default: empty.
        sasl_username(impl Into<String>): String = String::new();
        /// The SASL password. Default: empty.
        sasl_password(impl Into<Secret>): Secret = Secret::default();
        /// Sends SASL credentials over plain text, for a network that nobody else can read. PLAIN then
        /// exposes the password, SCRAM the events. Default: false.
        sasl_without_tls(bool): bool = false;
        /// TLS, if no other option here implies it. `false` together with an option that needs TLS is
        /// an error. Default: on if another option implies it.
        tls(impl Into<Option<bool>>): Option<bool> = None;
        /// A file with the CA certificates (PEM) to trust instead of the system's, or a directory of
        /// them with OpenSSL's hashed names. Default: empty, the system's.
        ca_file(impl Into<PathBuf>): PathBuf = PathBuf::new();
        /// The CA certificates to trust, as PEM text. Default: empty, the system's.
        ca_pem(impl Into<String>): String = String::new();
        /// A file with the client's certificate (PEM, with its chain), for mutual TLS. Default: empty.
        cert_file(impl Into<PathBuf>): PathBuf = PathBuf::new();
        /// The client's certificate as PEM text. Default: empty.
        cert_pem(impl Into<String>): String = String::new();
        /// A file with the private key (PEM) of the client's certificate. Default: empty.
        key_file(impl Into<PathBuf>): PathBuf = PathBuf::new();
        /// The private key of the client's certificate as PEM text. Default: empty.
        key_pem(impl Into<Secret>): Secret = Secret::default();
        /// The passphrase of an encrypted private key. Default: empty, the key is not encrypted.
        key_password(impl Into<Secret>): Secret = Secret::default();
        /// The token endpoint of an OIDC provider, which gives tokens by client credentials (feature `oidc`).
        /// An `https` URL; `http` only for this machine. It implies
        /// [`OauthBearer`](SaslMechanism::OauthBearer); the other options that begin with `oauth_` go with it. In code
        /// there is `Oidc`, too. Default: empty.
        oauth_token_endpoint(impl Into<String>): String = String::new();
        /// The client's id at the token endpoint. Default: empty.
        oauth_client_id(impl Into<String>): String = String::new();
        /// The client's secret at the token endpoint. Default: empty.
        oauth_client_secret(impl Into<Secret>): Secret = Secret::default();
        /// The scopes to ask for, separated by spaces. Default: empty, which leaves them to the endpoint.
        oauth_scope(impl Into<String>): String = String::new();
        /// More parameters of the token request, such as `audience=kafka`: joined by commas, or a list. Default: none.
        oauth_parameters(impl Into<Parameters>): Parameters = Parameters::default();
        /// Sends the client's id and secret in the body of the token request, instead of as HTTP Basic
        /// authentication. Default: false.
        oauth_credentials_in_body(bool): bool = false;
        /// A file with the CA certificates (PEM) that the token endpoint's certificate is checked with. Default:
        /// empty, the system's.
        oauth_ca_file(impl Into<PathBuf>): PathBuf = PathBuf::new();
        /// The region of an Amazon MSK cluster with IAM access control, such as `eu-west-1` (feature `aws-msk-iam`): logs
        /// in with tokens that are signed with the credentials of the environment, `AWS_ACCESS_KEY_ID`,
        /// `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`. It implies [`OauthBearer`](SaslMechanism::OauthBearer). For
        /// other credentials there is `AwsMskIam` in code. Default: empty.
        aws_msk_region(impl Into<String>): String = String::new();
    }
    and {
        /// Where tokens come from, given in code.
        provider: Option<Provider> = None;
    }
}

/// What the connection requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl Protocol {
    pub(crate) fn new(sasl: bool, tls: bool) -> Self {
        match (sasl, tls) {
            (false, false) => Self::Plaintext,
            (false, true) => Self::Ssl,
            (true, false) => Self::SaslPlaintext,
            (true, true) => Self::SaslSsl,
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [
            Self::Plaintext,
            Self::Ssl,
            Self::SaslPlaintext,
            Self::SaslSsl,
        ]
        .into_iter()
        .find(|protocol| protocol.as_str().eq_ignore_ascii_case(word.trim()))
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    pub(crate) fn tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    pub(crate) fn sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

impl Security {
    /// Secret options, whose values do not appear in faults.
    pub(crate) const SECRET: &[&str] = &[
        "sasl_password",
        "key_pem",
        "key_password",
        "oauth_client_secret",
        // They may hold one.
        "oauth_parameters",
        "oauth_token_endpoint",
    ];

    /// Keys of files, in the environment and in TOML, that hold the secret of the option without `_file`.
    pub(crate) const SECRET_FILES: &[&str] = &["sasl_password_file", "oauth_client_secret_file"];

    /// Plain text without authentication: the default.
    pub fn none() -> Self {
        Self::default()
    }

    /// SASL over TLS.
    pub fn sasl(
        mechanism: SaslMechanism,
        username: impl Into<String>,
        password: impl Into<Secret>,
    ) -> Self {
        Self::default()
            .sasl_mechanism(mechanism)
            .sasl_username(username)
            .sasl_password(password)
    }

    /// SASL/OAUTHBEARER over TLS, with tokens of this provider: an async closure, or a type that implements
    /// [`TokenProvider`].
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use eventstream::{Client, BrokerConfig, Security, Token};
    /// # async fn ask_vault() -> Result<String, std::io::Error> { Ok(String::new()) }
    ///
    /// let security = Security::oauth(|| async {
    ///     let text = ask_vault().await?;
    ///     Ok::<_, std::io::Error>(Token::new(text, SystemTime::now() + Duration::from_secs(900)))
    /// });
    /// let client = Client::kafka(["kafka-1:9093"]).config(BrokerConfig::new().security(security)).build()?;
    /// # Ok::<(), eventstream::Error>(())
    /// ```
    ///
    /// A [`Client`](crate::Client) calls the provider on a thread of its own, once for everything it connects: when it
    /// first connects, at half the time that a token holds, and when a broker has refused the token, but then not
    /// twice in 10 s. A call may take 10 s. After a failure it is repeated, first after 1 s, later every 10 s.
    ///
    /// A failure is logged, given to the `on_error` of subscriptions, and shown by [`Health`](crate::Health): among
    /// `notices` while the last token holds, and among `problems` as [`ErrorKind::Token`](crate::ErrorKind::Token) when
    /// there is none that does. Publishing and consuming go on while connections last, which a broker with
    /// `connections.max.reauth.ms` ends with the token; then they wait, and go on once there is a new one. Nothing is
    /// lost meanwhile but events older than their [`publish_timeout`](crate::BrokerConfig::publish_timeout), whose
    /// errors name the failure.
    pub fn oauth(provider: impl TokenProvider) -> Self {
        let mut security = Self::default().sasl_mechanism(SaslMechanism::OauthBearer);
        security.provider = Some(Provider::new(provider));
        security
    }

    /// Where tokens come from, if they are what this client logs in with.
    pub(crate) fn token_provider(&self) -> Option<Provider> {
        let given = self.provider.clone();
        given.or_else(|| self.oidc()).or_else(|| self.aws_msk_iam())
    }

    /// The options given that are about tokens.
    pub(crate) fn oauth_options(&self) -> Vec<&'static str> {
        [
            (
                "oauth_token_endpoint",
                !self.oauth_token_endpoint.is_empty(),
            ),
            ("oauth_client_id", !self.oauth_client_id.is_empty()),
            ("oauth_client_secret", !self.oauth_client_secret.is_empty()),
            ("oauth_scope", !self.oauth_scope.is_empty()),
            ("oauth_parameters", !self.oauth_parameters.0.is_empty()),
            ("oauth_credentials_in_body", self.oauth_credentials_in_body),
            ("oauth_ca_file", !self.oauth_ca_file.as_os_str().is_empty()),
            ("aws_msk_region", !self.aws_msk_region.is_empty()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }

    #[cfg(feature = "oidc")]
    fn oidc(&self) -> Option<Provider> {
        if self.oauth_token_endpoint.is_empty() {
            return None;
        }
        let (endpoint, id) = (&self.oauth_token_endpoint, &self.oauth_client_id);
        let mut oidc = crate::oauth::Oidc::new(endpoint, id, self.oauth_client_secret.clone())
            .scope(&self.oauth_scope)
            .credentials_in_body(self.oauth_credentials_in_body);
        for (name, value) in &self.oauth_parameters.0 {
            oidc = oidc.parameter(name, value);
        }
        if !self.oauth_ca_file.as_os_str().is_empty() {
            oidc = oidc.ca_file(&self.oauth_ca_file);
        }
        Some(Provider::new(oidc))
    }

    #[cfg(not(feature = "oidc"))]
    fn oidc(&self) -> Option<Provider> {
        None
    }

    #[cfg(feature = "aws-msk-iam")]
    fn aws_msk_iam(&self) -> Option<Provider> {
        let region = self.aws_msk_region.trim();
        (!region.is_empty()).then(|| Provider::new(crate::oauth::AwsMskIam::new(region)))
    }

    #[cfg(not(feature = "aws-msk-iam"))]
    fn aws_msk_iam(&self) -> Option<Provider> {
        None
    }

    /// The mechanism of `sasl_mechanism`, or the one implied by `authentication_type` or an option about tokens.
    pub(crate) fn mechanism(&self) -> Option<SaslMechanism> {
        let by_type =
            || (self.authentication_type == "SASL-SCRAM").then_some(SaslMechanism::ScramSha512);
        let by_tokens = || (!self.oauth_options().is_empty()).then_some(SaslMechanism::OauthBearer);
        self.sasl_mechanism.or_else(by_type).or_else(by_tokens)
    }

    /// The given options that only have a meaning with TLS.
    pub(crate) fn tls_options(&self) -> Vec<&'static str> {
        [
            ("ca_file", !self.ca_file.as_os_str().is_empty()),
            ("ca_pem", !self.ca_pem.is_empty()),
            ("cert_file", !self.cert_file.as_os_str().is_empty()),
            ("cert_pem", !self.cert_pem.is_empty()),
            ("key_file", !self.key_file.as_os_str().is_empty()),
            ("key_pem", !self.key_pem.is_empty()),
            ("key_password", !self.key_password.is_empty()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }

    /// The protocol these options ask for, before `base_config`.
    pub(crate) fn protocol(&self) -> Protocol {
        let sasl = self.mechanism().is_some();
        let tls = self.tls.unwrap_or(false)
            || !self.tls_options().is_empty()
            || (sasl && !self.sasl_without_tls);
        Protocol::new(sasl, tls)
    }

    /// librdkafka's properties for these options with this `security.protocol`.
    pub(crate) fn properties(&self, protocol: Protocol) -> Vec<(&'static str, String)> {
        let mechanism = self.mechanism().map_or("", SaslMechanism::as_str);
        let sasl = [
            ("sasl.mechanism", mechanism.to_owned()),
            ("sasl.username", self.sasl_username.clone()),
            ("sasl.password", self.sasl_password.expose().to_owned()),
        ];
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        let tls = [
            ("ssl.ca.location", path(&self.ca_file)),
            ("ssl.ca.pem", self.ca_pem.clone()),
            ("ssl.certificate.location", path(&self.cert_file)),
            ("ssl.certificate.pem", self.cert_pem.clone()),
            ("ssl.key.location", path(&self.key_file)),
            ("ssl.key.pem", self.key_pem.expose().to_owned()),
            ("ssl.key.password", self.key_password.expose().to_owned()),
        ];
        let sasl = sasl.into_iter().filter(|_| protocol.sasl());
        let tls = tls.into_iter().filter(|_| protocol.tls());
        sasl.chain(tls)
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }
}
