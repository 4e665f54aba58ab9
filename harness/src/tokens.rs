//! Tokens for OAUTHBEARER, and a server that signs them.

mod serving;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use openssl::base64::encode_block;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod};

use crate::certificates::Identity;

/// The audience of every token.
const AUDIENCE: &str = "kafka";
const KEY_ID: &str = "one";

/// What the token server does when it is asked for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Gives a signed one that holds for so long.
    Token(Duration),
    /// The same, but nobody signed it.
    Unsecured(Duration),
    /// Says nothing until it is to answer otherwise.
    Silence,
    /// Answers with this status and body.
    Status(u16, String),
}

/// An issuer of tokens on a port of this machine: it signs them with RS256, serves the key as a JWKS, and gives tokens to
/// clients that present credentials in a form, as OIDC has it.
#[derive(Debug)]
pub struct TokenServer {
    address: SocketAddr,
    over_tls: bool,
    issuer: Arc<Issuer>,
}

struct Issuer {
    key: PKey<Private>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    answer: Answer,
    /// What was asked: the header `Authorization` and the body.
    asked: Vec<(String, String)>,
    ended: bool,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").finish_non_exhaustive()
    }
}

/// A token that nobody signed, for brokers that take any.
pub fn unsecured_token(subject: &str, lifetime: Duration) -> String {
    format!(
        "{}.",
        joined(&serde_json::json!({ "alg": "none" }), subject, lifetime)
    )
}

fn joined(header: &serde_json::Value, subject: &str, lifetime: Duration) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // In whole seconds: a token never holds for longer than its user thinks.
    let claims = serde_json::json!({
        "iss": "eventstream-harness",
        "sub": subject,
        "aud": AUDIENCE,
        "iat": now.as_secs(),
        "exp": (now + lifetime).as_secs(),
    });
    let part = |json: &serde_json::Value| for_url(json.to_string().as_bytes());
    format!("{}.{}", part(header), part(&claims))
}

/// Base64 for URLs, without padding.
fn for_url(bytes: &[u8]) -> String {
    let text = encode_block(bytes);
    text.trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_")
}

impl TokenServer {
    /// The client that it knows.
    pub const CLIENT: &str = "service";
    /// That client's secret.
    pub const SECRET: &str = "opens-the-vault";

    /// Starts it over plain HTTP. It gives tokens that hold for five minutes unless told otherwise.
    ///
    /// # Errors
    /// There is no port, or no key.
    pub fn start() -> Result<Self> {
        Self::serve(None)
    }

    /// Starts it over TLS, with this certificate.
    ///
    /// # Errors
    /// As `start`, or the certificate cannot be read.
    pub fn start_over_tls(identity: &Identity) -> Result<Self> {
        Self::serve(Some(acceptor(&identity.key, &identity.certificate)?))
    }

    fn serve(acceptor: Option<SslAcceptor>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("a port for the token server")?;
        let server = Self {
            address: listener.local_addr()?,
            over_tls: acceptor.is_some(),
            issuer: Arc::new(Issuer {
                key: PKey::from_rsa(Rsa::generate(2048)?)?,
                state: Mutex::new(State {
                    answer: Answer::Token(Duration::from_secs(300)),
                    asked: Vec::new(),
                    ended: false,
                }),
                changed: Condvar::new(),
            }),
        };
        let issuer = Arc::clone(&server.issuer);
        thread::Builder::new()
            .name("token-server".to_owned())
            .spawn(move || serving::serve(&listener, acceptor.as_ref(), &issuer))?;
        Ok(server)
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.over_tls { "https" } else { "http" };
        format!("{scheme}://{}/{path}", self.address)
    }

    /// Where its key is.
    pub fn jwks_url(&self) -> String {
        self.url("jwks")
    }

    /// Where clients get tokens. One without [`SECRET`](Self::SECRET) gets none.
    pub fn token_url(&self) -> String {
        self.url("token")
    }

    /// What it does from now on, for those that wait, too.
    pub fn answer(&self, answer: Answer) {
        self.issuer.state().answer = answer;
        self.issuer.changed.notify_all();
    }

    /// What it was asked for tokens with: the header `Authorization`, and the form.
    pub fn asked(&self) -> Vec<(String, String)> {
        self.issuer.state().asked.clone()
    }

    /// A token of its own making.
    ///
    /// # Errors
    /// OpenSSL cannot sign.
    pub fn token(&self, subject: &str, lifetime: Duration) -> Result<String> {
        self.issuer.token(subject, lifetime)
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.issuer.state().ended = true;
        self.issuer.changed.notify_all();
        // It notices at the next connection.
        let _ = std::net::TcpStream::connect(self.address);
    }
}

impl Issuer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn token(&self, subject: &str, lifetime: Duration) -> Result<String> {
        let header = serde_json::json!({ "alg": "RS256", "typ": "JWT", "kid": KEY_ID });
        let text = joined(&header, subject, lifetime);
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key)?;
        let signature = signer.sign_oneshot_to_vec(text.as_bytes())?;
        Ok(format!("{text}.{}", for_url(&signature)))
    }

    fn jwks(&self) -> Result<String> {
        let key = self.key.rsa()?;
        let key = serde_json::json!({
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": KEY_ID,
            "n": for_url(&key.n().to_vec()),
            "e": for_url(&key.e().to_vec()),
        });
        Ok(serde_json::json!({ "keys": [key] }).to_string())
    }
}

fn acceptor(key: &Path, certificate: &Path) -> Result<SslAcceptor> {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    acceptor.set_private_key_file(key, SslFiletype::PEM)?;
    acceptor.set_certificate_chain_file(certificate)?;
    Ok(acceptor.build())
}
