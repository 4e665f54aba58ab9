//! Tokens for Amazon MSK with IAM: a presigned URL, as Amazon's own signers make it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::signing::{EMPTY_PAYLOAD, Presigned};
use super::{Token, TokenError, TokenProvider, encoding};
use crate::config::Secret;

/// As long as Amazon's signers have it; the brokers allow no more.
const LIFETIME: Duration = Duration::from_secs(900);

/// Credentials of AWS, for [`AwsMskIam`]. `Debug` shows the access key's id alone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct AwsCredentials {
    access_key_id: String,
    secret_access_key: Secret,
    session_token: Secret,
    expires: Option<SystemTime>,
}

impl AwsCredentials {
    /// An access key: its id and its secret.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<Secret>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            session_token: Secret::default(),
            expires: None,
        }
    }

    /// The session token of temporary credentials. Default: none.
    pub fn session_token(mut self, token: impl Into<Secret>) -> Self {
        self.session_token = token.into();
        self
    }

    /// When temporary credentials expire: a token is not used for longer. Default: later than that of a token.
    pub fn expires(mut self, expires: SystemTime) -> Self {
        self.expires = Some(expires);
        self
    }
}

type Asked = Pin<Box<dyn Future<Output = Result<AwsCredentials, TokenError>> + Send>>;
type Source = Arc<dyn Fn() -> Asked + Send + Sync>;

/// Makes tokens for Amazon MSK with IAM access control (feature `aws-msk-iam`), which hold for 15 minutes. Nobody is
/// asked for them: they are signed with the credentials.
///
/// ```
/// use eventstream::{AwsCredentials, AwsMskIam, Security};
/// # async fn assume_role() -> Result<(String, String, String), std::io::Error> { unimplemented!() }
///
/// // From AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
/// let security = Security::oauth(AwsMskIam::new("eu-west-1"));
/// // From elsewhere, such as the AWS SDK.
/// let security = Security::oauth(AwsMskIam::new("eu-west-1").credentials(|| async {
///     let (id, secret, session) = assume_role().await?;
///     Ok::<_, std::io::Error>(AwsCredentials::new(id, secret).session_token(session))
/// }));
/// ```
///
/// From a file or the environment: [`Security::aws_msk_region`](crate::Security::aws_msk_region). Use the cluster's
/// bootstrap brokers for IAM, at port 9098.
#[derive(Clone)]
#[must_use]
pub struct AwsMskIam {
    region: String,
    source: Source,
}

impl fmt::Debug for AwsMskIam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("AwsMskIam");
        shown.field("region", &self.region).finish_non_exhaustive()
    }
}

impl AwsMskIam {
    /// The cluster's region, such as `eu-west-1`. The credentials are those of the environment.
    pub fn new(region: impl Into<String>) -> Self {
        Self {
            region: region.into(),
            source: Arc::new(|| {
                let variable = |name: &str| std::env::var(name).ok();
                Box::pin(std::future::ready(from_variables(&variable)))
            }),
        }
    }

    /// Where the credentials come from, which are asked for with each token.
    pub fn credentials<F, T, E>(mut self, source: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<AwsCredentials, E>> + Send + 'static,
        E: Into<TokenError>,
    {
        self.source = Arc::new(move || {
            let asked = source();
            Box::pin(async move { asked.await.map_err(Into::into) })
        });
        self
    }
}

impl TokenProvider for AwsMskIam {
    async fn token(&self) -> Result<Token, TokenError> {
        let credentials = (self.source)().await?;
        token(&self.region, &credentials, Timestamp::now())
    }
}

fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Result<AwsCredentials, TokenError> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let needed = |name: &str| {
        given(name).ok_or_else(|| {
            let remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN with temporary credentials";
            super::refused(&format!("{name} is not set"), remedy)
        })
    };
    let credentials = AwsCredentials::new(
        needed("AWS_ACCESS_KEY_ID")?,
        needed("AWS_SECRET_ACCESS_KEY")?,
    );
    Ok(credentials.session_token(given("AWS_SESSION_TOKEN").unwrap_or_default()))
}

fn token(region: &str, credentials: &AwsCredentials, now: Timestamp) -> Result<Token, TokenError> {
    let host = format!("kafka.{region}.amazonaws.com");
    let query = Presigned {
        host: &host,
        path: "/",
        service: "kafka-cluster",
        region,
        access_key_id: &credentials.access_key_id,
        secret_access_key: credentials.secret_access_key.expose(),
        session_token: credentials.session_token.expose(),
        parameters: &[("Action", "kafka-cluster:Connect")],
        payload: EMPTY_PAYLOAD,
        at: now,
        lifetime: LIFETIME,
    }
    .query()?;
    // It is not signed, and read by Amazon alone.
    let agent = concat!("eventstream%2F", env!("CARGO_PKG_VERSION"));
    let url = format!("https://{host}/?{query}&User-Agent={agent}");
    // The time in it has whole seconds.
    let signed = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_second().try_into()?);
    let expires = signed + LIFETIME;
    let expires = credentials.expires.map_or(expires, |end| end.min(expires));
    Ok(Token::new(encoding::base64(url.as_bytes()), expires))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn credentials() -> AwsCredentials {
        AwsCredentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    }

    #[test]
    fn a_token_is_a_presigned_url() {
        let now = "2026-11-28T22:00:00.7Z".parse().expect("a time");
        let credentials = credentials().session_token("its/session");
        let token = token("eu-west-1", &credentials, now).expect("a token");
        let url = encoding::from_base64(token.text.expose()).expect("base64");
        let url = String::from_utf8(url).expect("text");
        let (signed, agent) = url.rsplit_once('&').expect("an agent");
        let (rest, signature) = signed.rsplit_once("&X-Amz-Signature=").expect("signed");
        assert_eq!(
            rest,
            "https://kafka.eu-west-1.amazonaws.com/?Action=kafka-cluster%3AConnect\
             &X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIDEXAMPLE%2F20261128%2Feu-west-1%2Fkafka-cluster%2Faws4_request\
             &X-Amz-Date=20261128T220000Z&X-Amz-Expires=900\
             &X-Amz-Security-Token=its%2Fsession&X-Amz-SignedHeaders=host"
        );
        assert!(
            signature.len() == 64 && agent.starts_with("User-Agent=eventstream%2F"),
            "{url}"
        );
        let holds = |token: &Token| {
            token
                .expires()
                .duration_since(SystemTime::from(now))
                .expect("later")
        };
        assert_eq!(holds(&token), Duration::from_millis(899_300));
        let soon = SystemTime::from(now) + Duration::from_secs(60);
        let token = super::token("eu-west-1", &credentials.expires(soon), now).expect("a token");
        assert_eq!(holds(&token), Duration::from_secs(60));
    }

    /// A known answer of two independent signers for MSK.
    #[test]
    fn a_url_is_signed_as_by_others() {
        let now = Timestamp::from_second(1_700_000_000).expect("a time");
        let credentials = credentials().session_token("IQoJb3Jp");
        let token = token("ap-southeast-1", &credentials, now).expect("a token");
        let url = encoding::from_base64(token.text.expose()).expect("base64");
        let url = String::from_utf8(url).expect("text");
        let expected = "https://kafka.ap-southeast-1.amazonaws.com/?Action=kafka-cluster%3AConnect\
             &X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIDEXAMPLE%2F20231114%2Fap-southeast-1%2Fkafka-cluster%2Faws4_request\
             &X-Amz-Date=20231114T221320Z&X-Amz-Expires=900&X-Amz-Security-Token=IQoJb3Jp\
             &X-Amz-SignedHeaders=host\
             &X-Amz-Signature=4c02acd7700d674cecd2b27f6a906be056df725db5c7571700fd54a354a31904&";
        assert!(url.starts_with(expected), "{url}");
    }

    #[test]
    fn credentials_come_from_the_environment() {
        let full = |name: &str| match name {
            "AWS_ACCESS_KEY_ID" => Some("AKIDEXAMPLE".to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some("hunter2".to_owned()),
            _ => None,
        };
        let read = from_variables(&full).expect("credentials");
        assert_eq!(read, AwsCredentials::new("AKIDEXAMPLE", "hunter2"));
        assert!(!format!("{read:?}").contains("hunter2"));
        let partly = |name: &str| full(name).filter(|_| name == "AWS_ACCESS_KEY_ID");
        let error = from_variables(&partly).expect_err("incomplete");
        let error = error.downcast::<Error>().expect("ours");
        let text = "kafka: no token: AWS_SECRET_ACCESS_KEY is not set; set AWS_ACCESS_KEY_ID";
        assert!(error.to_string().starts_with(text), "{error}");
        assert!(error.is_final() && error.remedy().contains("AWS_SESSION_TOKEN"));
    }
}
