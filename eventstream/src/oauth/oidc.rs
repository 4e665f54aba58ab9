//! Tokens by OIDC's client credentials ([RFC 6749, 4.4](https://www.rfc-editor.org/rfc/rfc6749#section-4.4)).

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::{StatusCode, Uri};
use serde::Deserialize;

use super::encoding::{pairs, percent};
use super::http::{self, Trust};
use super::{Token, TokenError, TokenProvider, claims};
use crate::config::Secret;
use crate::error::{Error, ErrorKind};

/// What of an endpoint's description of an error is passed on.
const LONGEST: usize = 300;

/// Answers that no repetition changes: they are about this client.
const FINAL: &[&str] = &[
    "invalid_client",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "unauthorized_client",
    "unsupported_grant_type",
];

const REMEDY: &str = "check `oauth_client_id`, `oauth_client_secret`, `oauth_scope` and `oauth_parameters`, and that \
                      the client is known at `oauth_token_endpoint`";

/// Gets tokens from an OIDC provider, with the credentials of a client (feature `oidc`).
///
/// ```
/// use eventstream::{Oidc, Security};
///
/// let oidc = Oidc::new("https://login.example.com/oauth2/token", "inventory", "its secret")
///     .scope("kafka")
///     .parameter("audience", "kafka-prod");
/// let security = Security::oauth(oidc);
/// ```
///
/// The same from a file or the environment: the options of [`Security`](crate::Security) that begin with `oauth_`. The
/// endpoint is asked directly, not through a proxy, and must not redirect. An endpoint that refuses the client itself
/// (`invalid_client` and the like) is an [`ErrorKind::Authentication`]; any other failure may pass.
#[derive(Clone, Debug)]
#[must_use]
pub struct Oidc {
    endpoint: String,
    client_id: String,
    client_secret: Secret,
    scope: String,
    parameters: Vec<(String, String)>,
    in_body: bool,
    trust: Trust,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Secret,
    expires_in: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
    error_description: String,
}

impl Oidc {
    /// The token endpoint, an `https` URL (`http` only on this machine), and the client's id and secret.
    pub fn new(
        token_endpoint: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<Secret>,
    ) -> Self {
        Self {
            endpoint: token_endpoint.into(),
            client_id: client_id.into(),
            client_secret: client_secret.into(),
            scope: String::new(),
            parameters: Vec::new(),
            in_body: false,
            trust: Trust::System,
        }
    }

    /// The scopes to ask for, separated by spaces. Default: none, which leaves them to the endpoint.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = scope.into();
        self
    }

    /// One more parameter of the request: `audience`, `resource`. Default: none.
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// Sends id and secret in the request's body, for an endpoint that does not take them as HTTP Basic
    /// authentication. Default: false.
    pub fn credentials_in_body(mut self, in_body: bool) -> Self {
        self.in_body = in_body;
        self
    }

    /// A file with the CA certificates (PEM) that the endpoint's certificate is checked with. It is read for each
    /// token. Default: the system's.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.trust = Trust::File(path.into());
        self
    }

    fn form(&self) -> String {
        let mut form = vec![("grant_type", "client_credentials")];
        if !self.scope.is_empty() {
            form.push(("scope", &self.scope));
        }
        if self.in_body {
            form.push(("client_id", &self.client_id));
            form.push(("client_secret", self.client_secret.expose()));
        }
        form.extend(
            self.parameters
                .iter()
                .map(|(name, value)| (&**name, &**value)),
        );
        pairs(&form)
    }

    /// As the standard has it: both are encoded before they are joined.
    fn basic(&self) -> Option<String> {
        let joined = format!(
            "{}:{}",
            percent(&self.client_id),
            percent(self.client_secret.expose())
        );
        (!self.in_body).then(|| format!("Basic {}", STANDARD.encode(joined)))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Error {
        let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
        let mut text = format!("the token endpoint {} answers {status}", self.endpoint);
        for part in [&refusal.error, &refusal.error_description] {
            if !part.is_empty() {
                let shown: String = part
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(LONGEST)
                    .collect();
                text = format!("{text}: {shown}");
            }
        }
        if !self.client_secret.is_empty() {
            text = text.replace(self.client_secret.expose(), "[secret]");
        }
        if FINAL.contains(&&*refusal.error) || status == StatusCode::UNAUTHORIZED {
            super::refused(&text, REMEDY)
        } else {
            Error::new(ErrorKind::Token, text)
        }
    }
}

impl TokenProvider for Oidc {
    async fn token(&self) -> Result<Token, TokenError> {
        let uri = endpoint(&self.endpoint)?;
        let asked = SystemTime::now();
        let authorization = self.basic();
        let (status, body) = http::post(&uri, &self.trust, authorization.as_deref(), self.form())
            .await
            .map_err(|error| format!("the token endpoint {}: {error}", self.endpoint))?;
        if status != StatusCode::OK {
            return Err(self.refused(status, &body).into());
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| {
            format!(
                "the token endpoint {} answers with something other than a token",
                self.endpoint
            )
        })?;
        token(answer, asked).ok_or_else(|| {
            format!(
                "the token endpoint {} does not say when its token expires",
                self.endpoint
            )
            .into()
        })
    }
}

/// It expires at the earlier of the times that the answer and the token itself give.
fn token(answer: Answer, asked: SystemTime) -> Option<Token> {
    let told = answer.expires_in.and_then(|seconds| {
        let holds = Duration::try_from_secs_f64(seconds).ok()?;
        asked.checked_add(holds)
    });
    let claims = claims::read(answer.access_token.expose()).ok();
    let expires = claims
        .iter()
        .map(|claims| claims.expires)
        .chain(told)
        .min()?;
    let principal = claims.map(|claims| claims.subject).unwrap_or_default();
    Some(Token::new(answer.access_token, expires).principal(principal))
}

/// A URL that credentials may be sent to.
pub(crate) fn endpoint(url: &str) -> Result<Uri, &'static str> {
    const ALLOWED: &str = "must be a URL such as https://login.example.com/oauth2/token";
    let uri: Uri = url.parse().map_err(|_| ALLOWED)?;
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(ALLOWED);
    };
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err("must not have credentials in it");
    }
    match scheme {
        "https" => Ok(uri),
        "http" if matches!(host, "localhost" | "127.0.0.1" | "[::1]") => Ok(uri),
        "http" => Err("must be https: the client's secret would be sent over plain text"),
        _ => Err(ALLOWED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oidc() -> Oidc {
        Oidc::new("https://a/token", "me:", "p&ss")
            .scope("a b")
            .parameter("audience", "k\u{e9}")
    }

    #[test]
    fn credentials_are_sent_in_one_place() {
        let form = "grant_type=client_credentials&scope=a%20b&audience=k%C3%A9";
        assert_eq!(oidc().form(), form);
        // me%3A:p%26ss
        assert_eq!(oidc().basic().as_deref(), Some("Basic bWUlM0E6cCUyNnNz"));
        let in_body = oidc().credentials_in_body(true);
        assert_eq!(in_body.basic(), None);
        let form = "grant_type=client_credentials&scope=a%20b&client_id=me%3A&client_secret=p%26ss&audience=k%C3%A9";
        assert_eq!(in_body.form(), form);
        let shown = format!("{:?}", oidc());
        assert!(!shown.contains("p&ss"), "{shown}");
    }

    #[test]
    fn a_refused_client_is_told_from_an_endpoint_in_trouble() {
        let body = br#"{"error":"invalid_client","error_description":"p&ss is\nwrong"}"#;
        let error = oidc().refused(StatusCode::BAD_REQUEST, body);
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(!error.is_retriable());
        let text = "kafka: no token: the token endpoint https://a/token answers 400 Bad Request: invalid_client: \
                    [secret] iswrong; check `oauth_client_id`";
        assert!(error.to_string().starts_with(text), "{error}");
        let error = oidc().refused(StatusCode::SERVICE_UNAVAILABLE, b"<html>");
        assert_eq!(error.kind(), ErrorKind::Token);
        let text = "the token endpoint https://a/token answers 503 Service Unavailable";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_token_expires_at_the_earlier_of_two_times() {
        let asked = SystemTime::UNIX_EPOCH + Duration::from_secs(1_699_999_999);
        let of = |text: &str, expires_in| {
            let access_token = text.into();
            let answer = Answer {
                access_token,
                expires_in,
            };
            let expires = token(answer, asked)?.expires();
            Some(
                expires
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .expect("later")
                    .as_secs(),
            )
        };
        // exp is 1,700,000,000.
        let jwt = "x.eyJzdWIiOiJhbGljZT8-IiwiZXhwIjoxNzAwMDAwMDAwfQ.";
        assert_eq!(of(jwt, None), Some(1_700_000_000));
        assert_eq!(of(jwt, Some(0.0)), Some(1_699_999_999));
        assert_eq!(of(jwt, Some(60.0)), Some(1_700_000_000));
        assert_eq!(of("opaque", Some(60.0)), Some(1_700_000_059));
        assert_eq!(of("opaque", None), None);
        assert_eq!(of("opaque", Some(-1.0)), None);
    }

    #[test]
    fn secrets_go_to_https_or_to_this_machine_only() {
        for (url, allowed) in [
            ("https://a/token", true),
            ("http://127.0.0.1:1/token", true),
            ("http://localhost/token", true),
            ("http://[::1]:8080/token", true),
            ("http://a/token", false),
            ("http://127.0.0.1.a/token", false),
            ("https://user:pass@a/token", false),
            ("ftp://a/token", false),
            ("/token", false),
            ("a b", false),
        ] {
            assert_eq!(endpoint(url).is_ok(), allowed, "{url}");
        }
    }
}
