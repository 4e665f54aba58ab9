use super::*;

fn defaults() -> Defaults {
    Defaults {
        topic: "t".to_owned(),
        name: Some("n".to_owned()),
        namespace: None,
        key: None,
        payload_only: false,
    }
}

/// The envelope of a line, as `stdout` writes it and `kafka` would send it.
fn envelope(line: &str, defaults: &Defaults) -> String {
    let parsed = parse(line.as_bytes(), defaults).unwrap_or_else(|bad| panic!("{}", bad.message));
    let (read, write) = std::io::pipe().unwrap();
    let client = eventstream::Client::builder(eventstream::Backend::Stdout)
        .writer(write)
        .build()
        .unwrap();
    let receipt = client.try_publish(&parsed.event).unwrap();
    drop((receipt, client));
    let text = std::io::read_to_string(read).unwrap();
    let (_, event) = text.split_once(",\"event\":").unwrap();
    event.trim_end().strip_suffix('}').unwrap().to_owned()
}

fn fault(line: &str) -> String {
    match parse(line.as_bytes(), &defaults()) {
        Ok(_) => panic!("{line} was accepted"),
        Err(bad) => bad.message,
    }
}

#[test]
fn keeps_every_field_of_an_envelope_as_it_is() {
    let line = concat!(
        r#"{"id":"i","name":"testEvent","namespace":"event","parentNamespace":"p","unionNamespace":"u","#,
        r#""clientId":"c","traceId":"t","spanContext":"1:2:0:1","userId":"u","sessionId":"s","#,
        r#""timestamp":"2024-10-28T10:18:45.120Z","timestampUnixNano":1730110725123456789,"version":7,"#,
        r#""event_id":3,"event_type":301,"event_level":-3,"service":"test","client_ids":["a"],"#,
        r#""target_user_ids":["b",""],"target_namespace":"publisher","privacy":true,"topic":"other","#,
        r#""sourceNamespace":"src","additional_fields":{"summary":1.0},"#,
        r#""payload":{"big":9007199254740993,"huge":123456789012345678901234567890,"z":1e400,"a":-0.0}}"#,
    );
    assert_eq!(envelope(line, &defaults()).trim_end(), line);
}

#[test]
fn options_fill_what_a_line_leaves_out_and_no_more() {
    let defaults = Defaults {
        namespace: Some("game".to_owned()),
        key: Some("k".to_owned()),
        ..defaults()
    };
    let given = r#"{"id":"1","name":"own","namespace":"mine","key":"me","timestamp":"2020-01-01T00:00:00Z"}"#;
    assert_eq!(
        envelope(given, &defaults).trim_end(),
        r#"{"id":"1","name":"own","namespace":"mine","timestamp":"2020-01-01T00:00:00Z","version":1}"#
    );
    let parsed = parse(given.as_bytes(), &defaults);
    assert_eq!(
        parsed.unwrap_or_else(|_| panic!()).key.as_deref(),
        Some("me")
    );
    let bare = r#"{"id":"1","name":null,"namespace":"","timestamp":"2020-01-01T00:00:00Z"}"#;
    assert_eq!(
        envelope(bare, &defaults).trim_end(),
        r#"{"id":"1","name":"n","namespace":"game","timestamp":"2020-01-01T00:00:00Z","version":1}"#
    );
}

#[test]
fn a_consumed_event_that_was_written_anew_keeps_its_key() {
    let line = r#"{"id":"1","name":"n","Partition":3,"Offset":17,"Key":"player-1"}"#;
    let parsed = parse(line.as_bytes(), &defaults()).unwrap_or_else(|_| panic!());
    assert_eq!(parsed.key.as_deref(), Some("player-1"));
}

#[test]
fn nanoseconds_alone_are_the_time() {
    let line = r#"{"id":"1","timestampUnixNano":1730110725123456789}"#;
    assert_eq!(
        envelope(line, &defaults()).trim_end(),
        r#"{"id":"1","name":"n","timestamp":"2024-10-28T10:18:45Z","timestampUnixNano":1730110725123456789,"version":1}"#
    );
}

#[test]
fn unknown_fields_are_all_named() {
    assert_eq!(
        fault(r#"{"Payload":{},"EventId":"x"}"#),
        "\"Payload\": the envelope has no such field; did you mean \"payload\"?; \
         \"EventId\": the envelope has no such field; did you mean \"event_id\"?"
    );
    assert!(fault(r#"{"user_id":"x"}"#).contains("did you mean \"userId\"?"));
}

#[test]
fn wrong_types_name_the_field_and_the_value() {
    assert_eq!(fault(r#"{"userId":5}"#), "userId: must be a string, not 5");
    assert_eq!(
        fault(r#"{"version":1.0,"payload":[1]}"#),
        "version: must be a 64-bit integer, not 1.0; payload: must be an object, not [1]"
    );
}

#[test]
fn broken_json_says_where() {
    assert!(
        fault(r#"{"id":"x""#).contains("at column 9"),
        "{}",
        fault(r#"{"id":"x""#)
    );
    assert!(
        fault("[1]").contains("expected a JSON object"),
        "{}",
        fault("[1]")
    );
    assert!(
        fault(r#"{"id":"x"} {"id":"y"}"#).contains("trailing"),
        "trailing text"
    );
}

#[test]
fn a_missing_name_is_told() {
    let nameless = Defaults {
        name: None,
        ..defaults()
    };
    let bad = parse(b"{}", &nameless).err().unwrap();
    assert_eq!(
        bad.message,
        "name: is missing; add it to the line or set --name"
    );
}

#[test]
fn a_payload_line_is_the_payload() {
    let defaults = Defaults {
        payload_only: true,
        ..defaults()
    };
    let written = envelope(r#" {"name":1,"n":9007199254740993} "#, &defaults);
    assert!(
        written.contains(r#""payload":{"name":1,"n":9007199254740993}"#),
        "{written}"
    );
    let bad = parse(b"[1]", &defaults).err().unwrap();
    assert_eq!(bad.message, "payload: must be an object, not [1]");
}

#[test]
fn library_faults_are_spelled_as_on_the_wire() {
    for (builder, wire) in [
        ("event_name", "name"),
        ("user_id", "userId"),
        ("parent_namespace", "parentNamespace"),
        ("client_ids", "client_ids"),
        ("payload", "payload"),
    ] {
        assert_eq!(wire_name(builder), wire);
    }
}
