//! The event that is measured: a `userLoggedIn`, built for each publish.

use eventstream::Publish;
use serde::Serialize;

const USER: &str = "48bf8a020b584f31bc605bf65d3300ed";
const NAMESPACE: &str = "accelbyte";
/// What an event has that is not traced itself.
pub(super) const SPAN_CONTEXT: &str = "00f067aa0ba902b7:00f067aa0ba902b7:0000000000000000:1";
const KEYS: u64 = 5000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LoggedIn<'a> {
    n: u64,
    platform_id: &'a str,
    user_account: UserAccount<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserAccount<'a> {
    user_id: &'a str,
    email_address: &'a str,
    country: &'a str,
    display_name: &'a str,
    auth_type: &'a str,
    namespace: &'a str,
}

/// Event number `n` of a run, without its span context.
pub(super) fn event(topic: &str, n: u64) -> Publish {
    let payload = LoggedIn {
        n,
        platform_id: "steam",
        user_account: UserAccount {
            user_id: USER,
            email_address: "user@example.com",
            country: "US",
            display_name: "A Player With A Name",
            auth_type: "EMAILPASSWD",
            namespace: NAMESPACE,
        },
    };
    Publish::new(topic, "userLoggedIn")
        .namespace(NAMESPACE)
        .client_id("fe5bd0e3dc184d2d8ae0e09fcedf0f51")
        .trace_id("882da8cddd174d12af25da6310b47bd5")
        .user_id(USER)
        .session_id("c1ab4f754acc4cb48a8f68dd25cfca21")
        .key(format!("player-{}", n % KEYS))
        .payload(&payload)
}
