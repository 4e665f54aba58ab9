use std::collections::HashMap;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eventstream::{Batch, Client, Context, EmbeddedBroker, Error, Event, Publish, SpanContext};
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceId, TracerProvider as _};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

use crate::ways::{Kind, SOON, Tracer, Tracing, both_ways, exporter, shared, subscribe};

impl Kind {
    fn client(self, broker: &EmbeddedBroker, name: &str) -> Client {
        let builder = Client::embedded().embedded_broker(broker);
        let builder = builder.name(name).prefix("p");
        self.traced(builder, &shared().tracer).build().unwrap()
    }

    /// The number of a trace that is this kind's alone.
    fn trace(self, number: u64) -> u64 {
        number ^ u64::from(self == Tracer)
    }
}

both_ways! {
    a_trace_goes_through_two_services_a_retry_and_a_dead_letter
    a_trace_of_a_go_service_goes_through_ours_and_back
    a_span_context_of_the_caller_is_kept_and_is_the_parent
    a_failure_ends_its_span_as_an_error
    a_trace_that_is_not_sampled_goes_on_without_being_recorded
    a_batch_is_linked_to_where_each_event_was_published
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

    /// A handler that sees what it is given.
    fn handler(&self) -> impl Fn(Context, Event) -> Ready<Result<(), Error>> + use<> {
        let sees = self.clone();
        move |context, event| {
            sees.see(&context, &event);
            ready(Ok(()))
        }
    }

    fn first(&self) -> (SpanContext, Option<String>) {
        let (text, header) = self.0.lock().unwrap()[0].clone();
        (text.parse().unwrap(), header)
    }
}

/// Waits until the client has handled an event.
async fn handled(client: &Client) {
    let deadline = Instant::now() + SOON;
    while client.reader_stats().handled == 0 {
        assert!(Instant::now() < deadline, "not handled");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn a_trace_goes_through_two_services_a_retry_and_a_dead_letter(kind: Kind) {
    exporter();
    let broker = EmbeddedBroker::start().unwrap();
    let (orders, payments) = (
        kind.client(&broker, "orders"),
        kind.client(&broker, "payments"),
    );
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
    let trace = Trace::with(root.trace_id(), 6 + 2 * kind.spans_of_publish()).await;

    let publish = trace.only("publish p.order");
    assert_eq!(publish.parent_span_id, root.span_id());
    assert_eq!(publish.span_kind, SpanKind::Producer);
    let deliver = match kind {
        Tracing => trace.all("deliver")[0],
        Tracer => publish,
    };
    if kind == Tracing {
        assert_eq!(deliver.parent_span_id, id(publish));
    }
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

async fn a_trace_of_a_go_service_goes_through_ours_and_back(kind: Kind) {
    exporter();
    let broker = EmbeddedBroker::start().unwrap();
    let ours = kind.client(&broker, "ours");
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
    let answers = ours.register(subscribe("answer", "go").on("answered", seen.handler()));
    answers.await.unwrap().detach();

    // 64 bits of a trace, as an older Jaeger client writes them.
    let number = kind.trace(0x1234_5678_90ab_cdee);
    let asked = format!("{number:016x}:00f067aa0ba902b7:0000000000000000:1");
    publish_as_go(&broker, "p.question", &asked);
    let spans = 2 + kind.spans_of_publish();
    let trace = Trace::with(TraceId::from(u128::from(number)), spans).await;
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
    let expected = format!("{number:016x}:{}:{}:1", id(publish), id(handle));
    assert_eq!(context.to_string(), expected);
    ours.shutdown(SOON).await;
}

async fn a_span_context_of_the_caller_is_kept_and_is_the_parent(kind: Kind) {
    exporter();
    let broker = EmbeddedBroker::start().unwrap();
    let client = kind.client(&broker, "caller");
    let number = kind.trace(0xfeed_face_cafe_beee);
    let given = format!("{number:016x}:00000000000000aa:0000000000000000:1");
    let event = Publish::new("given", "e").span_context(&given);
    client.publish_sync(event).await.unwrap();
    let seen = Seen::default();
    let subscribed = client.register(subscribe("given", "g").on_any(seen.handler()));
    subscribed.await.unwrap().detach();
    let trace = Trace::with(
        TraceId::from(u128::from(number)),
        1 + kind.spans_of_publish(),
    )
    .await;
    let publish = trace.only("publish p.given");
    assert_eq!(publish.parent_span_id, SpanId::from(0xaa_u64));
    let (text, header) = seen.first();
    assert_eq!(text.to_string(), given, "the caller's word is kept");
    let header = SpanContext::from_traceparent(&header.unwrap()).unwrap();
    assert_eq!(header.span_id.to_be_bytes(), id(publish).to_bytes());
    assert_eq!(trace.only("handle p.given").parent_span_id, id(publish));
    client.shutdown(SOON).await;
}

async fn a_failure_ends_its_span_as_an_error(kind: Kind) {
    exporter();
    let broker = EmbeddedBroker::start().unwrap();
    let client = kind.client(&broker, "failing");
    let request = tracing::info_span!("request");
    let trace = opentelemetry::trace::TraceContextExt::span(&request.context())
        .span_context()
        .trace_id();
    broker.broker_down(1).unwrap();
    let late = Publish::new("late", "e").timeout(Duration::from_millis(100));
    let late = client.publish_sync(late).instrument(request.clone());
    assert!(late.await.is_err());
    let late = Trace::with(trace, kind.spans_of_publish()).await;
    let deliver = match kind {
        Tracing => late.only("deliver"),
        Tracer => late.only("publish p.late"),
    };
    assert!(failed(deliver));
    assert_eq!(attributes(deliver)["error.type"], "timeout");
    client.shutdown(Duration::from_millis(10)).await;
    let closed = client.publish(Publish::new("closed", "e"));
    assert!(closed.instrument(request).await.is_err());
    // The request, too.
    let refused = Trace::with(trace, kind.spans_of_publish() + 2).await;
    let refused = refused.only("publish p.closed");
    assert!(failed(refused));
    assert_eq!(attributes(refused)["error.type"], "closed");
}

async fn a_trace_that_is_not_sampled_goes_on_without_being_recorded(kind: Kind) {
    exporter();
    let broker = EmbeddedBroker::start().unwrap();
    let client = kind.client(&broker, "unsampled");
    let number = kind.trace(0xcafe_cafe_cafe_cafe);
    let given = format!("{number:016x}:00000000000000bb:0000000000000000:0");
    let event = Publish::new("quiet", "e").span_context(&given);
    client.publish_sync(event).await.unwrap();
    let seen = Seen::default();
    let subscribed = client.register(subscribe("quiet", "g").on_any(seen.handler()));
    let subscribed = subscribed.await.unwrap();
    handled(&client).await;
    let (text, header) = seen.first();
    assert_eq!(text.trace_id, u128::from(number));
    assert!(!text.is_sampled());
    assert_eq!(header, None, "the envelope alone says so");
    subscribed.stop(SOON).await.unwrap();
    client.shutdown(SOON).await;
    let trace = Trace::of(TraceId::from(u128::from(number)));
    assert!(trace.0.is_empty(), "{:#?}", trace.0);
}

#[tokio::test]
async fn the_callers_trace_travels_where_our_spans_are_off() {
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO);
    let _scope = tracing::subscriber::set_default(subscriber.with(layer));
    let broker = EmbeddedBroker::start().unwrap();
    let client = Tracing.client(&broker, "quiet");
    let request = tracing::info_span!("request");
    let root = opentelemetry::trace::TraceContextExt::span(&request.context())
        .span_context()
        .clone();
    let event = client.publish_sync(Publish::new("inherited", "e"));
    event.instrument(request).await.unwrap();
    let seen = Seen::default();
    let subscribed = client.register(subscribe("inherited", "g").on_any(seen.handler()));
    subscribed.await.unwrap().detach();
    handled(&client).await;
    let (text, header) = seen.first();
    assert_eq!(text.trace_id.to_be_bytes(), root.trace_id().to_bytes());
    assert_eq!(text.span_id.to_be_bytes(), root.span_id().to_bytes());
    assert_eq!(header, Some(text.to_traceparent()));
    client.shutdown(SOON).await;
}

/// Without `tracing` nobody opens a span for the handler: what it starts itself is in the trace.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_starts_through_opentelemetry_is_in_the_trace() {
    use opentelemetry::trace::Tracer as _;
    exporter();
    let broker = EmbeddedBroker::start().unwrap();
    let client = Tracer.client(&broker, "inside");
    let given = "0badcafe0badcafe:00000000000000cc:0000000000000000:1";
    let event = Publish::new("inside", "e").span_context(given);
    client.publish_sync(event).await.unwrap();
    let query = |_: Event| async {
        // After a wait, the handler may be on another thread.
        tokio::task::yield_now().await;
        drop(shared().tracer.start("query"));
    };
    let subscribed = client.register(subscribe("inside", "g").on("e", query));
    subscribed.await.unwrap().detach();
    let trace = Trace::with(TraceId::from(0x0bad_cafe_0bad_cafe_u128), 3).await;
    let handle = trace.only("handle p.inside");
    assert_eq!(trace.only("query").parent_span_id, id(handle));
    client.shutdown(SOON).await;
}

/// A service may record less than the one before it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_does_not_record_is_not_sampled_further_on() {
    exporter();
    let broker = EmbeddedBroker::start().unwrap();
    let none = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff);
    let none = none.build().tracer("none");
    let silent = Client::embedded().embedded_broker(&broker).prefix("p");
    let silent = silent.tracer(none).build().unwrap();
    // One that records what it publishes in a trace that is sampled.
    let client = Tracer.client(&broker, "recording");
    let publisher = client.clone();
    let answer = move |_: Event| {
        let publisher = publisher.clone();
        async move {
            let answered = Publish::new("less-answer", "answered");
            publisher.publish_sync(answered).await.map(drop)
        }
    };
    let question = silent.register(subscribe("less", "silent").on("asked", answer));
    question.await.unwrap().detach();
    let seen = Seen::default();
    let answers = client.register(subscribe("less-answer", "g").on("answered", seen.handler()));
    answers.await.unwrap().detach();
    let given = "0ddba110ddba1100:00000000000000ee:0000000000000000:1";
    let event = Publish::new("less", "asked").span_context(given);
    client.publish_sync(event).await.unwrap();
    handled(&client).await;
    let (text, header) = seen.first();
    assert_eq!(text.trace_id, 0x0ddb_a110_ddba_1100);
    assert!(!text.is_sampled());
    assert_eq!(header, None);
    silent.shutdown(SOON).await;
    client.shutdown(SOON).await;
    let trace = Trace::of(TraceId::from(0x0ddb_a110_ddba_1100_u128));
    assert_eq!(trace.0.len(), 1, "the first publish alone: {:#?}", trace.0);
}

async fn a_batch_is_linked_to_where_each_event_was_published(kind: Kind) {
    exporter();
    let broker = EmbeddedBroker::start().unwrap();
    let client = kind.client(&broker, "batches");
    let topic = match kind {
        Tracing => "batch-of-tracing",
        Tracer => "batch-of-tracer",
    };
    let mut published = Vec::new();
    for n in 0..3_u64 {
        let number = kind.trace(0xba7c_ba7c_ba7c_ba70 + 2 * n);
        let given = format!("{number:016x}:00000000000000dd:0000000000000000:1");
        let event = Publish::new(topic, "e").key("one").span_context(&given);
        client.publish_sync(event).await.unwrap();
        published.push(TraceId::from(u128::from(number)));
    }
    let all = Batch::up_to(3).within(SOON);
    let handle = |events: Vec<Event>| async move { assert_eq!(events.len(), 3) };
    let subscribed = client.register(subscribe(topic, "g").on_batch("e", all, handle));
    subscribed.await.unwrap().detach();
    let mut origins = Vec::new();
    for trace in published {
        let trace = Trace::with(trace, kind.spans_of_publish()).await;
        origins.push(id(trace.only(&format!("publish p.{topic}"))));
    }
    let name = format!("handle p.{topic}");
    let deadline = Instant::now() + SOON;
    let batch = loop {
        let spans = exporter().get_finished_spans().unwrap();
        if let Some(batch) = spans.into_iter().find(|span| span.name == name) {
            break batch;
        }
        assert!(Instant::now() < deadline, "no span of the batch");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let mut linked = links(&batch);
    linked.sort_unstable_by_key(|id| id.to_bytes());
    origins.sort_unstable_by_key(|id| id.to_bytes());
    assert_eq!(linked, origins);
    assert_eq!(attributes(&batch)["messaging.batch.message_count"], "3");
    client.shutdown(SOON).await;
}
