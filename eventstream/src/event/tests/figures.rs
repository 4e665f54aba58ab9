//! What the codec costs. Not an assertion: run it by hand on a quiet machine with `cargo test
//! --release -p eventstream figures -- --ignored --nocapture`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::{Envelope, Event, Place, new_id, now};
use crate::Topic;

const ROUNDS: u32 = 200_000;

/// The minimum of several runs, in nanoseconds per call: the cost without interference.
fn measure(what: &str, mut call: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..7 {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            call();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
    }
    println!("{what:<44} {best:>7.1} ns");
}

/// The plain implementation, for comparison.
#[derive(Deserialize)]
#[expect(dead_code, reason = "the fields are there to be filled")]
#[serde(rename_all = "camelCase")]
struct Owned {
    id: String,
    name: String,
    namespace: String,
    client_id: String,
    trace_id: String,
    span_context: String,
    user_id: String,
    session_id: String,
    timestamp: String,
    timestamp_unix_nano: i64,
    version: i64,
    payload: Box<RawValue>,
}

#[test]
#[ignore = "a measurement, not an assertion"]
fn figures() {
    let (stamp, nanos) = now();
    let id = new_id();
    let envelope = Envelope {
        id: &id,
        name: "userLoggedIn",
        namespace: "accelbyte",
        client_id: "fe5bd0e3dc184d2d8ae0e09fcedf0f51",
        trace_id: "882da8cddd174d12af25da6310b47bd5",
        span_context: "00f067aa0ba902b7:00f067aa0ba902b7:0000000000000000:1",
        user_id: "48bf8a020b584f31bc605bf65d3300ed",
        session_id: "c1ab4f754acc4cb48a8f68dd25cfca21",
        timestamp: &stamp,
        timestamp_unix_nano: nanos,
        version: 1,
        payload: r#"{"n":123456,"platformId":"steam","userAccount":{"userId":"48bf8a020b584f31bc605bf65d3300ed","emailAddress":"user@example.com","country":"US","displayName":"A Player With A Name","authType":"EMAILPASSWD","namespace":"accelbyte"}}"#,
        ..Envelope::default()
    };
    let mut out = Vec::with_capacity(4096);
    envelope.write(&mut out);
    println!("the event has {} bytes", out.len());
    let body: Arc<[u8]> = Arc::from(&out[..]);

    let topic = Topic::new("topic").unwrap();
    let place = || Place {
        topic: topic.clone(),
        partition: 0,
        offset: 0,
        key: None,
        headers: None,
    };
    measure("utf-8 check alone", || {
        black_box(std::str::from_utf8(black_box(&body)).is_ok());
    });
    measure("decode_record", || {
        black_box(Event::decode_record(black_box(&body), 0..body.len(), place()).is_ok());
    });
    measure("decode (copies the bytes)", || {
        black_box(Event::decode(black_box(&body)).is_ok());
    });
    measure("serde_json, owned strings, raw payload", || {
        black_box(serde_json::from_slice::<Owned>(black_box(&body)).is_ok());
    });
    measure("serde_json, ignoring everything", || {
        black_box(serde_json::from_slice::<serde::de::IgnoredAny>(black_box(&body)).is_ok());
    });
    let event = Event::decode_record(&body, 0..body.len(), place()).unwrap();
    measure("clone", || {
        black_box(black_box(&event).clone());
    });
    measure("name()", || {
        black_box(black_box(&event).name());
    });
    measure("Envelope::write", || {
        out.clear();
        black_box(&envelope).write(&mut out);
        black_box(&out);
    });
    measure("new_id", || {
        black_box(new_id());
    });
    measure("now", || {
        black_box(now());
    });
    measure("check_published_topic + check_event_name", || {
        black_box(crate::name::check_published_topic(black_box("userAuthentication")).is_none());
        black_box(crate::name::check_event_name(black_box("userLoggedIn")).is_none());
    });
}
