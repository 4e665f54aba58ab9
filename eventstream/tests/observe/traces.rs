use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use eventstream::{
    Backoff, Client, Context, EmbeddedBroker, Error, Event, Publish, Retry, SpanContext,
    StartOffset, Subscribe,
};
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceId, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

use crate::logged::Logged;

const SOON: Duration = Duration::from_secs(30);

/// The exporter of all tests of the process.
pub(crate) fn exporter() -> &'static InMemorySpanExporter {
    static EXPORTER: OnceLock<InMemorySpanExporter> = OnceLock::new();
    EXPORTER.get_or_init(|| {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer).with(Logged);
        tracing::subscriber::set_global_default(subscriber).unwrap();
        exporter
    })
}

/// The finished spans of one trace.
struct Trace(Vec<SpanData>);

impl Trace {
    fn of(id: TraceId) -> Self {
        let mut spans = exporter().get_finished_spans().unwrap();
        spans.retain(|span| span.span_context.trace_id() == id);
        spans.sort_by_key(|span| span.start_time);
        Self(spans)
    }

    /// Waits for this many spans.
    async fn with(id: TraceId, count: usize) -> Self {
        let deadline = Instant::now() + SOON;
        loop {
            let trace = Self::of(id);
            if trace.0.len() >= count {
                return trace;
            }
            assert!(Instant::now() < deadline, "{:#?}", trace.0);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn all(&self, name: &str) -> Vec<&SpanData> {
        self.0.iter().filter(|span| span.name == name).collect()
    }

    fn only(&self, name: &str) -> &SpanData {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name}: {all:#?}");
        all[0]
    }
}

fn id(span: &SpanData) -> SpanId {
    span.span_context.span_id()
}

fn links(span: &SpanData) -> Vec<SpanId> {
    let links = span.links.iter();
    links.map(|link| link.span_context.span_id()).collect()
}

fn attributes(span: &SpanData) -> HashMap<&str, String> {
    let all = span.attributes.iter();
    all.map(|a| (a.key.as_str(), a.value.to_string())).collect()
}

fn failed(span: &SpanData) -> bool {
    matches!(span.status, Status::Error { .. })
}

fn client(broker: &EmbeddedBroker, name: &str) -> Client {
    let builder = Client::embedded().embedded_broker(broker);
    builder.name(name).prefix("p").build().unwrap()
}

/// What a handler found in addition to its event: the envelope's `spanContext`, and the header.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Found>>>);

type Found = (String, Option<String>);

impl Seen {
    fn see(&self, context: &Context, event: &Event) {
        let mut headers = context.headers();
        let header = headers.find(|(name, _)| *name == "traceparent");
        let header = header.map(|(_, value)| String::from_utf8(value.unwrap().to_vec()).unwrap());
        let seen = (event.span_context().to_owned(), header);
        self.0.lock().unwrap().push(seen);
    }

    fn first(&self) -> (SpanContext, Option<String>) {
        let (text, header) = self.0.lock().unwrap()[0].clone();
        (text.parse().unwrap(), header)
    }
}

fn subscribe(topic: &str, group: &str) -> Subscribe {
    let backoff = Backoff::default().initial(Duration::from_millis(1));
    Subscribe::new(topic)
        .group_id(group)
        .offset(StartOffset::Head)
        .retry(Retry::attempts(2).backoff(backoff))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_through_two_services_a_retry_and_a_dead_letter() {
    exporter();
    let broker = EmbeddedBroker::start().unwrap();
    let (orders, payments) = (client(&broker, "orders"), client(&broker, "payments"));
    let seen = Seen::default();
    let (sees, publisher) = (seen.clone(), payments.clone());
    let answer = move |context: Context, event: Event| {
        let (sees, publisher) = (sees.clone(), publisher.clone());
        async move {
            sees.see(&context, &event);
            if context.attempt() == 1 {
                return Err(std::io::Error::other("the first time").into());
            }
            let paid = Publish::new("payment", "paid").id("p-1");
            publisher.publish_sync(paid).await.map(drop)?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        }
    };
    let first = payments.register(subscribe("order", "payments").on("placed", answer));
    first.await.unwrap().detach();
    let refuse = |_: Context, _: Event| async { Err(std::io::Error::other("never")) };
    let second = orders.register(subscribe("payment", "orders").on("paid", refuse));
    second.await.unwrap().detach();

    let request = tracing::info_span!("request");
    let placed = Publish::new("order", "placed").id("o-1");
    let delivery = orders.publish_sync(placed).instrument(request.clone());
    let delivery = delivery.await.unwrap();
    let root = opentelemetry::trace::TraceContextExt::span(&request.context())
        .span_context()
        .clone();
    drop(request);
    let trace = Trace::with(root.trace_id(), 10).await;

    let publish = trace.only("publish p.order");
    assert_eq!(publish.parent_span_id, root.span_id());
    assert_eq!(publish.span_kind, SpanKind::Producer);
    let deliver = trace.all("deliver")[0];
    assert_eq!(deliver.parent_span_id, id(publish));
    assert_eq!(
        attributes(deliver)["messaging.kafka.offset"],
        delivery.offset().to_string()
    );
    let handle = trace.all("handle p.order");
    assert_eq!(handle.len(), 2, "two attempts");
    for attempt in &handle {
        assert_eq!(attempt.parent_span_id, id(publish));
        assert!(attempt.parent_span_is_remote);
        assert_eq!(attempt.span_kind, SpanKind::Consumer);
    }
    assert!(failed(handle[0]) && !failed(handle[1]));
    assert_eq!(links(handle[0]), []);
    assert_eq!(links(handle[1]), [id(handle[0])]);
    let found = attributes(handle[1]);
    for (name, value) in [
        ("messaging.system", "kafka"),
        ("messaging.destination.name", "p.order"),
        ("messaging.operation.type", "process"),
        ("messaging.operation.name", "handle"),
        ("messaging.consumer.group.name", "p.payments"),
        ("messaging.client.id", "payments"),
        ("messaging.message.id", "o-1"),
        (
            "messaging.destination.partition.id",
            &delivery.partition().to_string(),
        ),
        ("messaging.kafka.offset", &delivery.offset().to_string()),
        ("eventstream.event.name", "placed"),
        ("eventstream.attempt", "2"),
    ] {
        assert_eq!(found[name], value, "{name}");
    }
    let answered = trace.only("publish p.payment");
    assert_eq!(answered.parent_span_id, id(handle[1]));
    assert_eq!(attributes(answered)["messaging.message.id"], "p-1");
    let refused = trace.all("handle p.payment");
    assert_eq!(refused.len(), 2);
    assert!(
        refused
            .iter()
            .all(|span| failed(span) && span.parent_span_id == id(answered))
    );
    assert_eq!(links(refused[1]), [id(refused[0])]);
    let letter = trace.only("dead_letter p.payment-dlq");
    assert_eq!(letter.parent_span_id, id(answered));
    assert_eq!(links(letter), [id(refused[1])]);
    assert_eq!(
        attributes(letter)["eventstream.dead_letter.reason"],
        "exhausted"
    );
    assert_eq!(attributes(letter)["messaging.kafka.offset"], "0");

    // What the event carried: the same span, twice.
    let (text, header) = seen.first();
    assert_eq!(text.trace_id.to_be_bytes(), root.trace_id().to_bytes());
    assert_eq!(text.span_id.to_be_bytes(), id(publish).to_bytes());
    assert_eq!(text.parent_id.to_be_bytes(), root.span_id().to_bytes());
    assert_eq!(header, Some(text.to_traceparent()));
    orders.shutdown(SOON).await;
    payments.shutdown(SOON).await;
}

/// Publishes as the Go SDK does: the envelope, and no header.
fn publish_as_go(broker: &EmbeddedBroker, topic: &str, span_context: &str) {
    let go: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .create()
        .unwrap();
    let envelope = format!(
        r#"{{"id":"g-1","name":"asked","spanContext":"{span_context}","timestamp":"2025-01-01T00:00:00Z","version":1}}"#
    );
    go.send(BaseRecord::to(topic).key("g-1").payload(&envelope))
        .unwrap();
    go.flush(SOON).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_of_a_go_service_goes_through_ours_and_back() {
    exporter();
    let broker = EmbeddedBroker::start().unwrap();
    let ours = client(&broker, "ours");
    let publisher = ours.clone();
    let answer = move |_: Context, _: Event| {
        let publisher = publisher.clone();
        async move {
            let answered = Publish::new("answer", "answered");
            publisher.publish_sync(answered).await.map(drop)
        }
    };
    let question = ours.register(subscribe("question", "ours").on("asked", answer));
    question.await.unwrap().detach();
    let seen = Seen::default();
    let sees = seen.clone();
    let see = move |context: Context, event: Event| {
        sees.see(&context, &event);
        async { Ok::<_, Error>(()) }
    };
    let answers = ours.register(subscribe("answer", "go").on("answered", see));
    answers.await.unwrap().detach();

    // 64 bits of a trace, as an older Jaeger client writes them.
    publish_as_go(
        &broker,
        "p.question",
        "1234567890abcdef:00f067aa0ba902b7:0000000000000000:1",
    );
    let trace = Trace::with(TraceId::from(0x1234_5678_90ab_cdef_u128), 4).await;
    let handle = trace.only("handle p.question");
    assert_eq!(
        handle.parent_span_id,
        SpanId::from(0x00f0_67aa_0ba9_02b7_u64)
    );
    assert!(handle.parent_span_is_remote);
    let publish = trace.only("publish p.answer");
    assert_eq!(publish.parent_span_id, id(handle));
    let back = trace.only("handle p.answer");
    assert_eq!(back.parent_span_id, id(publish));
    // What a Go service reads from the answer: Jaeger's text in the same trace.
    let (context, _) = seen.first();
    let expected = format!("1234567890abcdef:{}:{}:1", id(publish), id(handle));
    assert_eq!(context.to_string(), expected);
    ours.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_context_of_the_caller_is_kept_and_is_the_parent() {
    exporter();
    let broker = EmbeddedBroker::start().unwrap();
    let client = client(&broker, "caller");
    let given = "feedfacecafebeef:00000000000000aa:0000000000000000:1";
    let event = Publish::new("given", "e").span_context(given);
    client.publish_sync(event).await.unwrap();
    let seen = Seen::default();
    let sees = seen.clone();
    let see = move |context: Context, event: Event| {
        sees.see(&context, &event);
        async { Ok::<_, Error>(()) }
    };
    let subscribed = client.register(subscribe("given", "g").on_any(see));
    subscribed.await.unwrap().detach();
    let trace = Trace::with(TraceId::from(0xfeed_face_cafe_beef_u128), 3).await;
    let publish = trace.only("publish p.given");
    assert_eq!(publish.parent_span_id, SpanId::from(0xaa_u64));
    let (text, header) = seen.first();
    assert_eq!(text.to_string(), given, "the caller's word is kept");
    let header = SpanContext::from_traceparent(&header.unwrap()).unwrap();
    assert_eq!(header.span_id.to_be_bytes(), id(publish).to_bytes());
    assert_eq!(trace.only("handle p.given").parent_span_id, id(publish));
    client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_ends_its_span_as_an_error() {
    exporter();
    let broker = EmbeddedBroker::start().unwrap();
    let client = client(&broker, "failing");
    let request = tracing::info_span!("request");
    let trace = opentelemetry::trace::TraceContextExt::span(&request.context())
        .span_context()
        .trace_id();
    broker.broker_down(1).unwrap();
    let late = Publish::new("late", "e").timeout(Duration::from_millis(100));
    let late = client.publish_sync(late).instrument(request.clone());
    assert!(late.await.is_err());
    let deliver = Trace::with(trace, 2).await;
    let deliver = deliver.only("deliver");
    assert!(failed(deliver));
    assert_eq!(attributes(deliver)["error.type"], "timeout");
    client.shutdown(Duration::from_millis(10)).await;
    let closed = client.publish(Publish::new("closed", "e"));
    assert!(closed.instrument(request).await.is_err());
    let refused = Trace::with(trace, 4).await;
    let refused = refused.only("publish p.closed");
    assert!(failed(refused));
    assert_eq!(attributes(refused)["error.type"], "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_is_not_sampled_goes_on_without_being_recorded() {
    exporter();
    let broker = EmbeddedBroker::start().unwrap();
    let client = client(&broker, "unsampled");
    let given = "cafecafecafecafe:00000000000000bb:0000000000000000:0";
    let event = Publish::new("quiet", "e").span_context(given);
    client.publish_sync(event).await.unwrap();
    let seen = Seen::default();
    let sees = seen.clone();
    let see = move |context: Context, event: Event| {
        sees.see(&context, &event);
        async { Ok::<_, Error>(()) }
    };
    let subscribed = client.register(subscribe("quiet", "g").on_any(see));
    let subscribed = subscribed.await.unwrap();
    let deadline = Instant::now() + SOON;
    while client.reader_stats().handled == 0 {
        assert!(Instant::now() < deadline, "not handled");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let header = seen.first().1.unwrap();
    assert!(
        header.starts_with("00-0000000000000000cafecafecafecafe-"),
        "{header}"
    );
    assert!(header.ends_with("-00"), "{header}");
    subscribed.stop(SOON).await.unwrap();
    client.shutdown(SOON).await;
    let trace = Trace::of(TraceId::from(0xcafe_cafe_cafe_cafe_u128));
    assert!(trace.0.is_empty(), "{:#?}", trace.0);
}

#[tokio::test]
async fn the_callers_trace_travels_where_our_spans_are_off() {
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO);
    let _scope = tracing::subscriber::set_default(subscriber.with(layer));
    let broker = EmbeddedBroker::start().unwrap();
    let client = client(&broker, "quiet");
    let request = tracing::info_span!("request");
    let root = opentelemetry::trace::TraceContextExt::span(&request.context())
        .span_context()
        .clone();
    let event = client.publish_sync(Publish::new("inherited", "e"));
    event.instrument(request).await.unwrap();
    let seen = Seen::default();
    let sees = seen.clone();
    let see = move |context: Context, event: Event| {
        sees.see(&context, &event);
        async { Ok::<_, Error>(()) }
    };
    let subscribed = client.register(subscribe("inherited", "g").on_any(see));
    subscribed.await.unwrap().detach();
    let deadline = Instant::now() + SOON;
    while client.reader_stats().handled == 0 {
        assert!(Instant::now() < deadline, "not handled");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (text, header) = seen.first();
    assert_eq!(text.trace_id.to_be_bytes(), root.trace_id().to_bytes());
    assert_eq!(text.span_id.to_be_bytes(), root.span_id().to_bytes());
    assert_eq!(header, Some(text.to_traceparent()));
    client.shutdown(SOON).await;
}
