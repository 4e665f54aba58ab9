//! Tokens for SASL/OAUTHBEARER: what one is, and who provides it.

#[cfg(feature = "aws-msk-iam")]
mod aws;
mod claims;
mod encoding;
#[cfg(feature = "oidc")]
mod http;
#[cfg(feature = "oidc")]
mod oidc;
#[cfg(feature = "aws-msk-iam")]
mod signing;

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use jiff::Timestamp;

use crate::config::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::guard::{panic_text, with_causes};

#[cfg(feature = "aws-msk-iam")]
pub use self::aws::{AwsCredentials, AwsMskIam};
#[cfg(feature = "oidc")]
pub use self::oidc::Oidc;
#[cfg(feature = "oidc")]
pub(crate) use self::oidc::endpoint;

/// An error of a [`TokenProvider`], of any type.
pub type TokenError = Box<dyn std::error::Error + Send + Sync>;

/// How long a provider may take for one token.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a broker is shown for SASL/OAUTHBEARER, and until when it holds.
///
/// `Debug` shows everything but the token's text.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use eventstream::Token;
///
/// let token = Token::new("the token's text", SystemTime::now() + Duration::from_secs(900));
/// assert!(!format!("{token:?}").contains("the token's text"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Token {
    pub(crate) text: Secret,
    pub(crate) expires: SystemTime,
    pub(crate) principal: String,
    pub(crate) extensions: Vec<(String, String)>,
}

impl Token {
    /// A token and the time at which it expires.
    pub fn new(text: impl Into<Secret>, expires: SystemTime) -> Self {
        Self {
            text: text.into(),
            expires,
            principal: String::new(),
            extensions: Vec::new(),
        }
    }

    /// A JSON Web Token: its claim `exp` says when it expires, and `sub`, if it is there, whose it is. The signature
    /// is for the broker to check.
    ///
    /// # Errors
    /// [`ErrorKind::Validation`] if it is not a JWT, or has no `exp` that is a number of seconds.
    pub fn jwt(text: impl Into<Secret>) -> Result<Self> {
        let text = text.into();
        let claims = claims::read(text.expose())?;
        Ok(Self::new(text, claims.expires).principal(claims.subject))
    }

    /// Whose token it is, for librdkafka's log; the broker reads it from the token itself. Default: empty.
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = principal.into();
        self
    }

    /// Adds a SASL extension ([RFC 7628](https://www.rfc-editor.org/rfc/rfc7628#section-3.1)), which some brokers want
    /// beside the token: Confluent Cloud wants `logicalCluster` and `identityPoolId`. The name has letters only, and is
    /// not `auth`. Default: none.
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extensions.push((name.into(), value.into()));
        self
    }

    /// When it expires.
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    /// How long it holds from now on; nothing if it has expired.
    pub(crate) fn left(&self) -> Duration {
        let left = self.expires.duration_since(SystemTime::now());
        left.unwrap_or_default()
    }

    /// What is wrong with it, in words that do not show it.
    fn fault(&self) -> Option<String> {
        let is_sendable = |text: &str| {
            text.bytes()
                .all(|b| (b' '..=b'~').contains(&b) || matches!(b, b'\t' | b'\r' | b'\n'))
        };
        let is_name = |name: &str| {
            !name.is_empty() && name != "auth" && name.bytes().all(|b| b.is_ascii_alphabetic())
        };
        if self.text.is_empty() {
            return Some("the token is empty".to_owned());
        }
        if !is_sendable(self.text.expose()) {
            return Some("the token has characters other than printable ASCII".to_owned());
        }
        if self.principal.contains('\0') {
            return Some("the token's principal contains a zero byte".to_owned());
        }
        for (name, value) in &self.extensions {
            if !is_name(name) {
                return Some(format!(
                    "the token's extension {name:?}: its name must have letters only, and not be auth"
                ));
            }
            if !is_sendable(value) {
                return Some(format!(
                    "the token's extension {name:?}: its value has characters other than printable ASCII"
                ));
            }
        }
        if self.left().is_zero() {
            let at = Timestamp::try_from(self.expires);
            let at = at.map_or_else(|_| "before 1970".to_owned(), |at| format!("at {at:.0}"));
            return Some(format!(
                "the token expired {at}: check the clocks of this machine and of the issuer"
            ));
        }
        None
    }
}

/// Gets tokens for SASL/OAUTHBEARER: see [`Security::oauth`](crate::Security::oauth).
///
/// An async closure is one, whatever its error type; a type can be one too:
///
/// ```
/// use eventstream::{Security, Token, TokenError, TokenProvider};
///
/// struct FromFile(std::path::PathBuf);
///
/// impl TokenProvider for FromFile {
///     async fn token(&self) -> Result<Token, TokenError> {
///         Ok(Token::jwt(std::fs::read_to_string(&self.0)?.trim())?)
///     }
/// }
///
/// let security = Security::oauth(FromFile("/run/secrets/kafka-token".into()));
/// ```
///
/// Each client asks its provider on a thread of its own, with a tokio runtime there: one call at a time, 10 s at most.
/// A call that takes longer is dropped.
pub trait TokenProvider: Send + Sync + 'static {
    /// A token that holds from now on. Called when the client first connects, at half the time that the token holds, and
    /// after a broker has refused it.
    fn token(&self) -> impl Future<Output = Result<Token, TokenError>> + Send;
}

impl<F, T, E> TokenProvider for F
where
    F: Fn() -> T + Send + Sync + 'static,
    T: Future<Output = Result<Token, E>> + Send,
    E: Into<TokenError>,
{
    async fn token(&self) -> Result<Token, TokenError> {
        self().await.map_err(Into::into)
    }
}

type Asked<'a> = Pin<Box<dyn Future<Output = Result<Token, TokenError>> + Send + 'a>>;

/// A [`TokenProvider`] whose type is erased.
trait Erased: Send + Sync {
    fn ask(&self) -> Asked<'_>;
}

impl<P: TokenProvider> Erased for P {
    fn ask(&self) -> Asked<'_> {
        Box::pin(self.token())
    }
}

/// The provider of a configuration.
#[derive(Clone)]
pub(crate) struct Provider(Arc<dyn Erased>);

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[token provider]")
    }
}

impl PartialEq for Provider {
    /// Whether it is the same one.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Provider {
    pub(crate) fn new(provider: impl TokenProvider) -> Self {
        Self(Arc::new(provider))
    }

    /// One token, in bounded time; whatever is wrong is an error that does not show it.
    pub(crate) async fn ask(&self) -> Result<Token> {
        self.ask_within(PATIENCE).await
    }

    pub(crate) async fn ask_within(&self, patience: Duration) -> Result<Token> {
        // The call may panic before its future does.
        let call = AssertUnwindSafe(async { self.0.ask().await }).catch_unwind();
        let answer = match tokio::time::timeout(patience, call).await {
            Err(_) => {
                let text = format!("the token provider has not answered within {patience:?}");
                return Err(failure(&text));
            }
            Ok(Err(panic)) => {
                let text = panic_text(&*panic);
                return Err(failure(&format!("the token provider panicked: {text}")));
            }
            Ok(Ok(answer)) => answer,
        };
        let token = answer.map_err(|error| match error.downcast::<Error>() {
            // It knows more: what the token endpoint refuses for good.
            Ok(error) if error.kind() == ErrorKind::Authentication => *error,
            Ok(error) => failure(&with_causes(&*error)),
            Err(error) => failure(&with_causes(&*error)),
        })?;
        match token.fault() {
            Some(fault) => Err(failure(&fault)),
            None => Ok(token),
        }
    }
}

/// Whom the provider asks does not know this client, or it cannot ask: no repetition helps.
#[cfg(any(feature = "aws-msk-iam", feature = "oidc"))]
fn refused(text: &str, remedy: &str) -> Error {
    let text = format!("kafka: no token: {text}; {remedy}");
    Error::new(ErrorKind::Authentication, text)
        .with_retriable(false)
        .with_remedy(remedy)
}

fn failure(text: &str) -> Error {
    let text = format!("kafka: no token: {text}");
    Error::new(ErrorKind::Token, text)
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::io;

    use super::*;

    fn soon() -> SystemTime {
        SystemTime::now() + Duration::from_secs(60)
    }

    async fn told(provider: impl TokenProvider) -> String {
        let provider = Provider::new(provider);
        let told = provider.ask_within(Duration::from_millis(50)).await;
        told.expect_err("no token").to_string()
    }

    #[tokio::test]
    async fn a_closure_gives_a_token() {
        let provider = Provider::new(|| async { Ok::<_, io::Error>(Token::new("t", soon())) });
        let token = provider.ask().await.expect("a token");
        assert_eq!(token.text.expose(), "t");
        assert!(token.left() > Duration::from_secs(50));
        let shown = format!("{provider:?} {token:?}");
        assert!(shown.starts_with("[token provider] Token"), "{shown}");
        assert!(shown.contains("[secret]"), "{shown}");
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_told() {
        let failing = || async { Err::<Token, _>(io::Error::other("the vault is sealed")) };
        assert_eq!(told(failing).await, "kafka: no token: the vault is sealed");
        let hanging = || pending::<Result<Token, io::Error>>();
        assert_eq!(
            told(hanging).await,
            "kafka: no token: the token provider has not answered within 50ms"
        );
        fn panics() -> Result<Token, io::Error> {
            panic!("the answer has no token")
        }
        let panicking = || async { panics() };
        assert_eq!(
            told(panicking).await,
            "kafka: no token: the token provider panicked: the answer has no token"
        );
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_used_is_told_but_not_shown() {
        let gone = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (token, expected) in [
            (Token::new("", soon()), "the token is empty"),
            (
                Token::new("hunter2\0", soon()),
                "other than printable ASCII",
            ),
            (
                Token::new("hunter2", gone),
                "expired at 2023-11-14T22:13:20Z: check the clocks",
            ),
            (
                Token::new("hunter2", soon()).extension("a-b", "x"),
                "\"a-b\": its name must",
            ),
            (
                Token::new("hunter2", soon()).extension("auth", "x"),
                "\"auth\": its name must",
            ),
            (
                Token::new("hunter2", soon()).extension("a", "\u{e9}"),
                "\"a\": its value has",
            ),
            (
                Token::new("hunter2", soon()).principal("a\0"),
                "a zero byte",
            ),
        ] {
            let text = told(move || {
                let token = token.clone();
                async move { Ok::<_, io::Error>(token) }
            })
            .await;
            assert!(text.contains(expected), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
