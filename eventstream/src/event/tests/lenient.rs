//! We accept what Go accepts.

use super::{event, refusal};

#[test]
fn passes_over_what_is_not_ours() {
    let event = event(r#" { "x" : [ 1 , {"y":[]} , "\ud800" , 1e400 ] , "id" : "a" , "z":{} } "#);
    assert_eq!(event.id(), "a");
    assert_eq!(event.to_json(), r#"{"id":"a"}"#);
}

#[test]
fn null_leaves_scalars_and_empties_lists_and_objects() {
    let all_null = r#"{"id":null,"version":null,"privacy":null,"client_ids":null,"payload":null}"#;
    assert_eq!(event(all_null).to_json(), "{}");
    let later = r#"{"id":"a","version":2,"privacy":true,"client_ids":["c"],"payload":{"p":1},
                    "id":null,"version":null,"privacy":null,"client_ids":null,"payload":null}"#;
    assert_eq!(
        event(later).to_json(),
        r#"{"id":"a","version":2,"privacy":true}"#
    );
    assert_eq!(
        event(r#"{"client_ids":["a",null]}"#).client_ids(),
        ["a", ""]
    );
}

#[test]
fn keys_match_in_any_case() {
    let event = event(
        r#"{"ID":"a","NAME":"b","Payload":{"c":1},"\u0075serId":"u","Event_Type":7,
            "ſeſſionId":"s","\u017fervice":"t","TARGET_USER_IDS":["v"],"user_id":"not ours"}"#,
    );
    assert_eq!((event.id(), event.name(), event.user_id()), ("a", "b", "u"));
    assert_eq!(
        (event.session_id(), event.service(), event.event_type()),
        ("s", "t", 7)
    );
    assert_eq!(event.payload().as_str(), r#"{"c":1}"#);
    assert_eq!(event.target_user_ids(), ["v"]);
}

#[test]
fn of_equal_keys_the_last_wins() {
    assert_eq!(event(r#"{"id":"a","ID":"b"}"#).id(), "b");
    assert_eq!(event(r#"{"ID":"a","id":"b"}"#).id(), "b");
    assert_eq!(event(r#"{"id":"\n","id":"b"}"#).id(), "b");
    let event = event(r#"{"payload":{"a":1},"payload":{"b":1,"b":2}}"#);
    assert_eq!(event.payload().as_str(), r#"{"b":1,"b":2}"#);
    assert_eq!(event.payload().get("b").unwrap().as_str(), "2");
}

#[test]
fn its_own_place_in_the_text_is_never_an_error() {
    for place in [
        r#""offset":"x""#,
        r#""Partition":{}"#,
        r#""key":5"#,
        r#""OFFSET":1e400"#,
    ] {
        let event = event(format!(r#"{{"id":"a",{place}}}"#));
        assert_eq!((event.id(), event.offset(), event.key()), ("a", None, None));
    }
}

#[test]
fn half_surrogates_and_bad_utf_8_read_as_replacement_characters() {
    for (json, id) in [
        (&br#"{"id":"\ud800"}"#[..], "\u{fffd}"),
        (br#"{"id":"\udc00x"}"#, "\u{fffd}x"),
        (br#"{"id":"\ud83d\ude00"}"#, "😀"),
        (br#"{"id":"\ud83dA"}"#, "\u{fffd}A"),
        (br#"{"id":"\ud83d\ud83d\ude00"}"#, "\u{fffd}😀"),
        (br#"{"id":"\ud83d\n"}"#, "\u{fffd}\n"),
        (b"{\"id\":\"\xe2\x82\"}", "\u{fffd}\u{fffd}"),
        (b"{\"id\":\"\xed\xa0\x80\"}", "\u{fffd}\u{fffd}\u{fffd}"),
        (
            br#"{"id":"\"\\\/\b\f\n\r\t\u00e9"}"#,
            "\"\\/\u{8}\u{c}\n\r\té",
        ),
    ] {
        assert_eq!(event(json).id(), id, "{}", String::from_utf8_lossy(json));
    }
}

#[test]
fn a_payload_with_half_surrogates_decodes() {
    let event = event(r#"{"payload":{"a\\u":"\ud800!\\ud800","b":["\udfff"],"c":"\ud83d\ude00"}}"#);
    let value = event.payload().to_value().unwrap();
    assert_eq!(value["a\\u"], "\u{fffd}!\\ud800");
    assert_eq!(value["b"][0], "\u{fffd}");
    assert_eq!(value["c"], "😀");
    let b: Vec<String> = event.payload().get("b").unwrap().decode().unwrap();
    assert_eq!(b, ["\u{fffd}"]);
}

#[test]
fn integers_have_64_bits_and_no_other_form() {
    let version = |text: &str| event(format!(r#"{{"version":{text}}}"#)).version();
    assert_eq!(version("-7"), -7);
    assert_eq!(version("-0"), 0);
    assert_eq!(version("9223372036854775807"), i64::MAX);
    assert_eq!(version("-9223372036854775808"), i64::MIN);
    for bad in [
        "9223372036854775808",
        "1.0",
        "1e2",
        "\"1\"",
        "true",
        "[]",
        "{}",
    ] {
        let refusal = refusal(format!(r#"{{"id":"a","version":{bad}}}"#));
        assert!(refusal.contains("field `version`"), "{refusal}");
    }
}

#[test]
fn numbers_in_a_payload_keep_their_text() {
    let event = event(
        r#"{"payload":{"big":12345678901234567890123,"far":1e400,"max":18446744073709551615}}"#,
    );
    assert_eq!(event.payload().get("far").unwrap().as_str(), "1e400");
    assert_eq!(
        event.payload().get("big").unwrap().to_string(),
        "12345678901234567890123"
    );
    assert_eq!(
        event.payload().get("max").unwrap().decode::<u64>().unwrap(),
        u64::MAX
    );
    let error = event.payload().to_value().unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Decode);
}

#[test]
fn an_absent_payload_reads_as_an_empty_object() {
    for json in [
        "{}",
        r#"{"payload":{}}"#,
        r#"{"payload":{ }}"#,
        r#"{"payload":null}"#,
    ] {
        let event = event(json);
        assert!(event.payload().is_empty(), "{json}");
        assert_eq!(event.payload().get("a").map(|p| p.to_string()), None);
        assert_eq!(event.payload().to_value().unwrap(), serde_json::json!({}));
        assert_eq!(event.to_json(), "{}");
    }
    assert!(!event(r#"{"payload":{"a":0}}"#).payload().is_empty());
}

#[test]
fn time_prefers_the_nanoseconds() {
    let both = event(r#"{"timestamp":"2024-10-28T10:18:45Z","timestampUnixNano":1}"#);
    assert_eq!(
        both.time(),
        Some(super::super::timestamp::from_unix_nanos(1))
    );
    assert!(
        event(r#"{"timestamp":"2024-10-28T10:18:45.5Z"}"#)
            .time()
            .is_some()
    );
    assert_eq!(event(r#"{"timestamp":"string"}"#).time(), None);
    assert_eq!(event("{}").time(), None);
}

#[test]
fn debug_shows_no_contents() {
    let event = event(r#"{"id":"i","name":"n","userId":"secret","payload":{"secret":"secret"}}"#);
    let shown = format!("{event:?} {:?}", event.payload());
    assert!(!shown.contains("secret"), "{shown}");
    assert!(shown.contains("Json(19 bytes)"), "{shown}");
}

#[test]
fn a_clone_shares_the_bytes() {
    let event = event(r#"{"id":"i"}"#);
    let clone = event.clone();
    assert!(std::ptr::eq(event.as_bytes(), clone.as_bytes()));
    assert!(
        size_of::<super::Event>() <= 336,
        "{}",
        size_of::<super::Event>()
    );
}
