//! The event that all figures are measured with, and how the floor encodes it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eventstream::Publish;
use serde::{Deserialize, Serialize};

use crate::scenario::Run;

/// How many keys the events are spread over.
const KEYS: u64 = 5000;

pub(crate) const NAME: &str = "userLoggedIn";
const NAMESPACE: &str = "accelbyte";
const CLIENT: &str = "fe5bd0e3dc184d2d8ae0e09fcedf0f51";
const TRACE: &str = "882da8cddd174d12af25da6310b47bd5";
const SPAN: &str = "00f067aa0ba902b7:00f067aa0ba902b7:0000000000000000:1";
const USER: &str = "48bf8a020b584f31bc605bf65d3300ed";
const SESSION: &str = "c1ab4f754acc4cb48a8f68dd25cfca21";

#[derive(Serialize)]
struct LoggedIn {
    n: u64,
    #[serde(rename = "platformId")]
    platform: &'static str,
    #[serde(rename = "userAccount")]
    account: Account,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    user_id: &'static str,
    email_address: &'static str,
    country: &'static str,
    display_name: &'static str,
    auth_type: &'static str,
    namespace: &'static str,
}

/// The payload as a service reads it.
#[derive(Deserialize)]
pub(crate) struct Read {
    pub(crate) n: u64,
    #[serde(rename = "platformId")]
    pub(crate) platform: String,
    #[serde(rename = "userAccount")]
    pub(crate) account: ReadAccount,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReadAccount {
    pub(crate) user_id: String,
    pub(crate) email_address: String,
    pub(crate) country: String,
    pub(crate) display_name: String,
    pub(crate) auth_type: String,
    pub(crate) namespace: String,
}

impl Read {
    /// The amount read, so that no decoding can be optimised away.
    pub(crate) fn weight(&self) -> u64 {
        let account = &self.account;
        let texts = [
            &self.platform,
            &account.user_id,
            &account.email_address,
            &account.country,
            &account.display_name,
            &account.auth_type,
            &account.namespace,
        ];
        self.n + texts.iter().map(|text| text.len() as u64).sum::<u64>()
    }
}

fn payload(n: u64) -> LoggedIn {
    LoggedIn {
        n,
        platform: "steam",
        account: Account {
            user_id: USER,
            email_address: "user@example.com",
            country: "US",
            display_name: "A Player With A Name",
            auth_type: "EMAILPASSWD",
            namespace: NAMESPACE,
        },
    }
}

/// Event `n` for the library.
pub(crate) fn publish(topic: &str, n: u64, key: &mut String) -> Publish {
    without_trace(topic, n, key).span_context(SPAN)
}

/// Event `n` of a run. If tracing is what it measures, the library has to write the trace.
pub(crate) fn of_run(run: &Run, n: u64, key: &mut String) -> Publish {
    if run.is_observed {
        without_trace(&run.topic, n, key)
    } else {
        publish(&run.topic, n, key)
    }
}

fn without_trace(topic: &str, n: u64, key: &mut String) -> Publish {
    write_key(n, key);
    Publish::new(topic, NAME)
        .key(&*key)
        .namespace(NAMESPACE)
        .client_id(CLIENT)
        .trace_id(TRACE)
        .user_id(USER)
        .session_id(SESSION)
        .payload(payload(n))
}

/// Writes the key of event `n` into a reused buffer.
pub(crate) fn write_key(n: u64, key: &mut String) {
    use std::fmt::Write as _;
    key.clear();
    // Writing to a string cannot fail.
    let _ = write!(key, "player-{}", n % KEYS);
}

/// The envelope as one typed struct: one pass of `serde_json` for each event.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    id: &'a str,
    name: &'a str,
    namespace: &'a str,
    client_id: &'a str,
    trace_id: &'a str,
    span_context: &'a str,
    user_id: &'a str,
    session_id: &'a str,
    timestamp: &'a str,
    timestamp_unix_nano: i64,
    version: i64,
    payload: LoggedIn,
}

/// Encodes events as a careful user of bare librdkafka would: buffers are reused, and the time is
/// formatted once a second.
#[derive(Default)]
pub(crate) struct Writer {
    second: u64,
    timestamp: String,
    bytes: Vec<u8>,
    key: String,
}

impl Writer {
    /// Key and value of event `n`.
    pub(crate) fn write(&mut self, n: u64) -> (&str, &[u8]) {
        write_key(n, &mut self.key);
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        if since.as_secs() != self.second || self.timestamp.is_empty() {
            self.second = since.as_secs();
            let whole = UNIX_EPOCH + Duration::from_secs(self.second);
            self.timestamp =
                jiff::Timestamp::try_from(whole).map_or_else(|_| String::new(), |t| t.to_string());
        }
        let mut id = [0; 32];
        let id = uuid::Uuid::new_v4().simple().encode_lower(&mut id);
        let envelope = Envelope {
            id,
            name: NAME,
            namespace: NAMESPACE,
            client_id: CLIENT,
            trace_id: TRACE,
            span_context: SPAN,
            user_id: USER,
            session_id: SESSION,
            timestamp: &self.timestamp,
            timestamp_unix_nano: i64::try_from(since.as_nanos()).unwrap_or(0),
            version: 1,
            payload: payload(n),
        };
        self.bytes.clear();
        serde_json::to_writer(&mut self.bytes, &envelope).expect("text and numbers are JSON");
        (&self.key, &self.bytes)
    }
}
