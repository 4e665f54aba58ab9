//! Round trips, and agreement with `serde_json` on any input.

use proptest::prelude::*;
use serde_json::Value;

use super::super::{Envelope, Event, SpanContext};
use super::reference::compare;

/// Text with many special characters: quotes, escapes, control and wide characters.
fn nasty() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9-]{0,40}",
        "[\"\\\\/<>&'\u{0}-\u{1f}\u{7f}é\u{2028}😀 a-z]{0,30}",
        "\\PC{0,20}",
        any::<String>(),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        nasty().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(nasty(), inner, 0..6).prop_map(Value::from_iter),
        ]
    })
}

/// Text close to the grammar, such as a mutated envelope.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(","),
        Just(":"),
        Just(" "),
        Just("\n"),
        Just("\"id\""),
        Just("\"NAME\""),
        Just("\"payload\""),
        Just("\"client_ids\""),
        Just("\"version\""),
        Just("\"privacy\""),
        Just("\"x\""),
        Just("\"\\ud800\""),
        Just("\"\\n\""),
        Just("null"),
        Just("true"),
        Just("false"),
        Just("0"),
        Just("-1"),
        Just("1.5"),
        Just("1e400"),
        Just("01"),
        Just("\u{1}"),
        Just("\""),
        Just("\\"),
        Just("\"id\":\"a\","),
        Just("\"payload\":{"),
        Just("\"x\":[1,"),
    ];
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_written_is_read(
        texts in prop::collection::vec(nasty(), 15),
        numbers in prop::collection::vec(any::<i64>(), 5),
        privacy: bool,
        ids in prop::collection::vec(nasty(), 0..4),
        payload in prop::collection::hash_map(nasty(), value(), 0..4),
    ) {
        let ids_json = serde_json::to_string(&ids).unwrap();
        let payload = serde_json::to_string(&payload).unwrap();
        let t = |i: usize| texts[i].as_str();
        let envelope = Envelope {
            id: t(0), name: t(1), namespace: t(2), parent_namespace: t(3), union_namespace: t(4),
            client_id: t(5), trace_id: t(6), span_context: t(7), span: None, user_id: t(8), session_id: t(9),
            timestamp: t(10), timestamp_unix_nano: numbers[0], version: numbers[1],
            event_id: numbers[2], event_type: numbers[3], event_level: numbers[4],
            service: t(11), client_ids: &ids_json, target_user_ids: &ids_json,
            target_namespace: t(12), privacy, topic: t(13), source_namespace: t(14),
            additional_fields: &payload, payload: &payload,
        };
        let mut out = Vec::new();
        envelope.write(&mut out);
        let event = Event::decode(&out).unwrap();
        let read = [
            event.id(), event.name(), event.namespace(), event.parent_namespace(),
            event.union_namespace(), event.client_id(), event.trace_id(), event.span_context(),
            event.user_id(), event.session_id(), event.timestamp(), event.service(),
            event.target_namespace(), event.topic(), event.source_namespace(),
        ];
        prop_assert_eq!(&read[..], &texts[..]);
        prop_assert_eq!(event.timestamp_unix_nano(), numbers[0]);
        prop_assert_eq!(event.event_level(), numbers[4]);
        prop_assert_eq!(event.privacy(), privacy);
        prop_assert_eq!(&event.client_ids(), &ids);
        prop_assert_eq!(&event.target_user_ids(), &ids);
        prop_assert_eq!(event.payload().as_str(), &payload);
        prop_assert_eq!(event.additional_fields().as_str(), &payload);
        // Encoding what was decoded gives the same bytes, and serde_json reads the same strings.
        let text = String::from_utf8(out).unwrap();
        prop_assert_eq!(event.to_json(), &text[..]);
        let whole: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(whole["id"].as_str().unwrap_or(""), t(0));
        compare(text.as_bytes());
    }

    #[test]
    fn a_publishers_span_is_written_unless_a_text_is_given(
        trace_id: u128, span_id: u64, parent_id: u64, flags: u8, given in "[0-9a-f:]{0,3}",
    ) {
        let span = SpanContext { trace_id, span_id, parent_id, flags };
        let envelope = Envelope { span_context: &given, span: Some(&span), ..Envelope::default() };
        let mut out = Vec::new();
        envelope.write(&mut out);
        let expected = if given.is_empty() { span.to_string() } else { given };
        let event = Event::decode(&out).unwrap();
        prop_assert_eq!(event.span_context(), expected);
    }

    #[test]
    fn get_finds_what_a_tree_finds(payload in prop::collection::hash_map(nasty(), value(), 0..5)) {
        let text = serde_json::to_string(&serde_json::json!({ "payload": payload })).unwrap();
        let event = Event::decode(&text).unwrap();
        prop_assert_eq!(event.payload().is_empty(), payload.is_empty());
        for (key, value) in &payload {
            let found = event.payload().get(key).unwrap();
            prop_assert_eq!(found.as_str(), &serde_json::to_string(value).unwrap());
        }
    }

    #[test]
    fn pretty_or_compact_is_one_event(members in prop::collection::hash_map("[a-z]{1,9}", value(), 0..5)) {
        let members = serde_json::json!({ "payload": members, "name": "n", "client_ids": ["a", null] });
        let compact = Event::decode(serde_json::to_string(&members).unwrap()).unwrap();
        let pretty = Event::decode(serde_json::to_string_pretty(&members).unwrap()).unwrap();
        prop_assert_eq!(compact.payload().to_value().unwrap(), pretty.payload().to_value().unwrap());
        prop_assert_eq!(compact.client_ids(), pretty.client_ids());
    }

    #[test]
    fn agrees_with_serde_json_near_the_grammar(json in nearly_json()) {
        compare(&json);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, at in 0..600_usize, with: u8) {
        compare(&bytes);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/golden/head-v4-full.json");
        let mut golden = std::fs::read(path).unwrap();
        if let Some(b) = golden.get_mut(at) {
            *b = with;
        }
        compare(&golden);
    }
}
