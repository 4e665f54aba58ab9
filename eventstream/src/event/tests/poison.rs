//! Records that must be rejected, quickly and with a clear error.

use super::{event, refusal};

#[test]
fn refuses_what_is_not_one_object() {
    for (json, why) in [
        ("", "the value is empty"),
        (" \n", "ends unexpectedly"),
        ("null", "expected an object, found null"),
        ("true", "found a boolean"),
        ("1", "found a number"),
        ("\"x\"", "found a string"),
        ("[]", "found an array"),
        ("\u{feff}{}", "expected a value, at byte 0"),
        ("{} {}", "text after the object, at byte 3"),
        ("{}\0", "text after the object"),
        ("{\"id\":\"a\",}", "expected a key"),
        ("{\"id\" \"a\"}", "expected a colon"),
        ("{\"id\":\"a\" \"b\":1}", "expected a comma or }"),
        ("{id:1}", "expected a key"),
        ("{\"id\":\"a\nb\"}", "a control character"),
        ("{\"id\":\"\\x\"}", "an unknown escape"),
        ("{\"id\":\"\\u12g4\"}", "four hex digits"),
        ("{\"x\":01}", "a comma or }"),
        ("{\"x\":NaN}", "expected a value"),
        ("{\"x\":-}", "expected a digit"),
        ("{\"x\":1.}", "expected a digit"),
        ("{\"x\":.5}", "expected a value"),
        ("{\"x\":1e}", "expected a digit"),
        ("{\"x\":+1}", "expected a value"),
        ("{\"x\":tru}", "expected a value"),
        ("{\"x\":[1,]}", "expected a value"),
        ("{\"x\":[1}}", "a comma or ]"),
        ("{\"x\":{\"a\":1]}", "a comma or }"),
        ("{\"x\":\u{a0}1}", "expected a value"),
        ("{\"client_ids\":[\"a\",]}", "expected a value"),
        ("{\"client_ids\":[\"a\" \"b\"]}", "a comma or ]"),
    ] {
        let refusal = refusal(json);
        assert!(refusal.contains(why), "{json:?}: {refusal}");
    }
}

#[test]
fn names_the_field_of_the_wrong_type() {
    for (json, why) in [
        (
            r#"{"id":5}"#,
            "field `id`: expected a string, found a number, at byte 6",
        ),
        (
            r#"{"NAME":{}}"#,
            "field `NAME`: expected a string, found an object",
        ),
        (
            r#"{"version":"1"}"#,
            "field `version`: expected an integer, found a string",
        ),
        (
            r#"{"version":1.0}"#,
            "field `version`: expected a 64-bit integer",
        ),
        (
            r#"{"privacy":0}"#,
            "field `privacy`: expected a boolean, found a number",
        ),
        (
            r#"{"client_ids":"a"}"#,
            "field `client_ids`: expected an array of strings",
        ),
        (
            r#"{"client_ids":[1]}"#,
            "field `client_ids`: expected a string, found a number",
        ),
        (
            r#"{"payload":[]}"#,
            "field `payload`: expected an object, found an array",
        ),
        (
            r#"{"payload":"{}"}"#,
            "field `payload`: expected an object, found a string",
        ),
        (
            r#"{"additional_fields":1}"#,
            "field `additional_fields`: expected an object",
        ),
        (
            r#"{"payload":{"a":}}"#,
            "field `payload`: expected a value, at byte 16",
        ),
    ] {
        let refusal = refusal(json);
        assert!(refusal.contains(why), "{json:?}: {refusal}");
    }
}

#[test]
fn refuses_every_truncation() {
    let whole =
        r#"{"id":"a\u00e9é","x":[1.5e3,{"y":null}],"payload":{"a":[true,false]},"version":-12}"#;
    event(whole);
    for end in 0..whole.len() {
        refusal(&whole.as_bytes()[..end]);
    }
}

#[test]
fn refuses_a_megabyte_of_garbage() {
    // A fixed sequence over all bytes, so that failures are reproducible.
    let mut state = 1_u32;
    let garbage: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(1 << 20)
    .collect();
    refusal(&garbage);
    refusal([b"{\"id\":\"", &garbage[..]].concat());
}

#[test]
fn bounds_the_nesting_without_using_the_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |depth| format!("{{\"x\":{}1{}}}", open.repeat(depth), close.repeat(depth));
        event(nested(9_999));
        assert!(refusal(nested(10_000)).contains("field `x`: the nesting is deeper than 10000"));
        assert!(refusal(nested(100_000)).contains("the nesting is deeper"));
        let half = format!("{{\"payload\":{}", "{\"a\":".repeat(100_000));
        assert!(refusal(half).contains("the nesting is deeper"));
    }
}

#[test]
fn a_payload_nested_too_deep_for_a_tree_is_an_error_only_when_asked_for() {
    let json = format!(
        "{{\"payload\":{{\"a\":{}{}}}}}",
        "[".repeat(500),
        "]".repeat(500)
    );
    let event = event(json);
    assert_eq!(event.payload().get("a").unwrap().as_str().len(), 1000);
    assert_eq!(
        event.payload().to_value().unwrap_err().kind(),
        crate::ErrorKind::Decode
    );
}

#[test]
fn an_error_repeats_little_of_the_record() {
    let json = format!(
        "{{\"{}\":01}}",
        "k\u{1b}".replace('\u{1b}', "\\u001b").repeat(10_000)
    );
    let refusal = refusal(json);
    assert!(refusal.len() < 300, "{refusal}");
}
