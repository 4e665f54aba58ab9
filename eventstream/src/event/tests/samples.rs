//! The shapes of events that `AccelByte`'s services publish.

use super::{file, refusal};
use crate::SpanContext;

/// Samples 01 to 23 except the group's, and 24: envelopes with placeholders.
const PLACEHOLDERS: &[&str] = &[
    "01-userAccountCreated",
    "02-userLoggedIn",
    "03-userThirdPartyLoggedIn",
    "04-userAccountBanned",
    "05-oauthTokenGenerated",
    "06-statItemUpdated",
    "07-statCreated",
    "08-partyUserJoined",
    "09-userConnected",
    "10-partyChatSent",
    "11-freeformNotificationSentToUser",
    "12-PartyJoinedEvent",
    "13-onPartyCreated",
    "14-MatchFoundEvent",
    "15-entitlementGranted",
    "16-orderFulfilled",
    "17-walletCredited",
    "18-userAchievementUnlocked",
    "19-playerRecordUpdated",
    "20-goalCompleted",
    "22-namespaceCreated",
    "23-userSeasonTierUp",
    "24-extend-userThirdPartyLoggedIn-kafka",
];

#[test]
fn reads_every_documented_event() {
    for sample in PLACEHOLDERS {
        let event = file(&format!("samples/{sample}.json"));
        assert_eq!(event.id(), "string", "{sample}");
        assert_eq!(event.name(), "string", "{sample}");
        assert_eq!(event.namespace(), "string", "{sample}");
        assert_eq!(event.version(), 0, "{sample}");
        assert_eq!(event.timestamp(), "2019-08-24T14:15:22Z", "{sample}");
        assert!(event.time().is_some(), "{sample}");
        assert_eq!(
            event.payload().is_empty(),
            *sample == "13-onPartyCreated",
            "{sample}"
        );
        // The payload equals the result of a full parse.
        let whole: serde_json::Value = serde_json::from_str(event.json()).unwrap();
        let payload = event.payload().to_value().unwrap();
        assert_eq!(
            whole.get("payload").unwrap_or(&serde_json::json!({})),
            &payload
        );
    }
}

#[test]
fn an_event_without_an_envelope_has_no_name() {
    let event = file("samples/21-groupCreated.json");
    assert_eq!(
        (event.name(), event.namespace(), event.user_id()),
        ("", "string", "string")
    );
    assert!(event.payload().is_empty());
}

#[test]
fn snake_case_keys_are_somebody_elses() {
    let event = file("samples/25-extend-userLoggedIn-grpc-snakecase.json");
    assert_eq!(
        (event.id(), event.user_id(), event.client_id()),
        ("string", "", "")
    );
    assert!(event.payload().get("user_account").is_some());
}

#[test]
fn reads_hand_written_samples() {
    let event = file("samples/26-challenge-suite-userLoggedIn.json");
    assert_eq!(event.user_id(), "abc123");
    assert!(event.span_context().parse::<SpanContext>().is_err());
    let event = file("samples/27-challenge-suite-statItemUpdated.json");
    let value = event.payload().get("value").unwrap();
    assert_eq!(
        (value.as_str(), value.decode::<f64>().unwrap()),
        ("7.0", 7.0)
    );
}

#[test]
fn half_reads_the_telemetry_envelope_as_go_does() {
    let event = file("samples/28-analytics-telemetry-realmoneyTransaction.json");
    assert_eq!((event.user_id(), event.client_id()), ("string", "string"));
    assert_eq!((event.id(), event.name(), event.timestamp()), ("", "", ""));
    assert!(event.payload().get("platform").is_some());
}

#[test]
fn reads_what_the_go_sdk_emits() {
    let event = file("samples/29-sdk-emitted-event-HEAD.json");
    assert!(
        event
            .span_context()
            .parse::<SpanContext>()
            .unwrap()
            .is_valid()
    );
    // An audit log is not an event: its timestamp is a number.
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/wire/samples/30-sdk-emitted-auditlog.json"
    );
    let refusal = refusal(std::fs::read(path).unwrap());
    assert!(
        refusal.contains("field `timestamp`: expected a string, found a number"),
        "{refusal}"
    );
}
