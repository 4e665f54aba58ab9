//! What an OpenTelemetry collector sees: the SDK's batches, OTLP, and a receiver of it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;

use eventstream::testing::TestBroker;
use eventstream::{Batch, Client, Event, Publish};
use opentelemetry::Context;
use opentelemetry::context::FutureExt as _;
use opentelemetry::trace::{Span as _, TraceContextExt as _, Tracer as _};
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::arrived::{Arrived, said};
use crate::ways::{Kind, SOON, Tracer, Tracing, UNSAMPLED, both_ways, shared, subscribe};

both_ways! {
    a_chain_of_events_and_its_dead_letter_arrive_as_one_trace
    the_attributes_arrive_as_the_conventions_type_them
    a_batch_arrives_with_a_link_to_each_publisher
    nothing_arrives_of_what_is_not_sampled
}

/// Services on a broker of their own, whose spans go to the collector.
struct Shop {
    kind: Kind,
    broker: TestBroker,
}

/// A trace's id on the wire.
type Trace = Vec<u8>;

impl Shop {
    fn open(kind: Kind, prefix: &str) -> Self {
        // Before the first span.
        shared();
        let broker = TestBroker::with_prefix(prefix)
            .topic("order", 1)
            .topic("payment", 1)
            .topic("payment-dlq", 1);
        Self { kind, broker }
    }

    fn client(&self, name: &str) -> Client {
        let builder = self.broker.builder().name(name);
        self.kind.traced(builder, &shared().tracer).build().unwrap()
    }

    /// Publishes as part of a request of this name, which starts a trace.
    async fn publish(&self, client: &Client, event: Publish, request: &'static str) -> Trace {
        let publish = client.publish_sync(event);
        let (trace, published) = match self.kind {
            Tracing => {
                let span = tracing::info_span!("request", otel.name = request);
                let trace = span.context().span().span_context().trace_id();
                (trace, publish.instrument(span).await)
            }
            Tracer => {
                let span = shared().tracer.start(request);
                let trace = span.span_context().trace_id();
                let context = Context::new().with_span(span);
                (trace, publish.with_context(context).await)
            }
        };
        published.unwrap();
        trace.to_bytes().to_vec()
    }

    /// An order is placed and paid, and nobody can make sense of the payment.
    async fn sell(&self, request: &'static str) -> Trace {
        let (orders, payments) = (self.client("orders"), self.client("payments"));
        let publisher = payments.clone();
        let pay = move |_: Event| {
            let publisher = publisher.clone();
            async move {
                let paid = Publish::new("payment", "paid").id("p-1");
                publisher.publish_sync(paid).await.map(drop)
            }
        };
        let paying = payments.register(subscribe("order", "payments").on("placed", pay));
        paying.await.unwrap().detach();
        let refuse = |_: Event| ready(Err(std::io::Error::other("no such order")));
        let refusing = orders.register(subscribe("payment", "orders").on("paid", refuse));
        refusing.await.unwrap().detach();
        let placed = Publish::new("order", "placed").id("o-1");
        let trace = self.publish(&orders, placed, request).await;
        self.close(&[&orders, &payments]).await;
        self.broker.dead_letters("payment").expect_one();
        trace
    }

    /// Waits until everything is handled and the services have ended: then each span has, too.
    async fn close(&self, services: &[&Client]) {
        self.broker.settled().await;
        for service in services {
            service.shutdown(SOON).await;
        }
    }
}

/// What has arrived of the traces that have a span like this.
fn arrived(like: impl Fn(&Span) -> bool) -> Arrived {
    shared().provider.force_flush().unwrap();
    Arrived::of(&shared().collector.requests(), like)
}

async fn sold(kind: Kind) -> Arrived {
    let shop = Shop::open(kind, "p");
    let trace = shop.sell("request").await;
    arrived(|span| span.trace_id == trace)
}

async fn a_chain_of_events_and_its_dead_letter_arrive_as_one_trace(kind: Kind) {
    let arrived = sold(kind).await;
    let mut expected = vec![
        "consumer handle p.order < publish p.order",
        "consumer handle p.payment #1 < publish p.payment: {failed}",
        "consumer handle p.payment #2 < publish p.payment ~ handle p.payment #1: {failed}",
        "internal request",
        "producer dead_letter p.payment-dlq < publish p.payment ~ handle p.payment #2",
        "producer publish p.order < request",
        "producer publish p.payment < handle p.order",
    ];
    if kind == Tracing {
        expected.push("client deliver #1 < publish p.order");
        expected.push("client deliver #2 < publish p.payment");
    }
    expected.sort_unstable();
    let failed = "the handler returned an error: no such order";
    let expected = expected.join("\n").replace("{failed}", failed);
    assert_eq!(arrived.picture(), expected);
    assert_eq!(arrived.services, BTreeSet::from(["shop".to_owned()]));
    for span in &arrived.spans {
        // Only what is begun for a record has its parent in another service.
        let begun_for_a_record = ["handle", "dead_letter"].map(|name| span.name.starts_with(name));
        let of_another = span.flags & SpanFlags::ContextIsRemoteMask as u32 != 0;
        assert_eq!(of_another, begun_for_a_record.contains(&true), "{span:?}");
    }
}

async fn the_attributes_arrive_as_the_conventions_type_them(kind: Kind) {
    let arrived = sold(kind).await;
    let stored = [
        ("messaging.destination.partition.id", "0"),
        ("messaging.kafka.offset", "0 (int)"),
    ];
    let of_the_order = [
        ("messaging.system", "kafka"),
        ("messaging.destination.name", "p.order"),
        ("messaging.message.id", "o-1"),
        ("eventstream.event.name", "placed"),
    ];
    let published = [
        ("messaging.operation.name", "publish"),
        ("messaging.client.id", "orders"),
    ];
    let publish = said(arrived.first("publish p.order"));
    match kind {
        Tracing => {
            let created = [("messaging.operation.type", "create")];
            assert_eq!(publish, all(&[&of_the_order, &published, &created]));
            let sent = [
                ("messaging.system", "kafka"),
                ("messaging.operation.name", "deliver"),
                ("messaging.operation.type", "send"),
            ];
            assert_eq!(said(arrived.first("deliver")), all(&[&sent, &stored]));
        }
        Tracer => {
            let sent = [("messaging.operation.type", "send")];
            assert_eq!(publish, all(&[&of_the_order, &published, &sent, &stored]));
        }
    }
    let handled = [
        ("messaging.operation.name", "handle"),
        ("messaging.operation.type", "process"),
        ("messaging.client.id", "payments"),
        ("messaging.consumer.group.name", "p.payments"),
        ("eventstream.attempt", "1 (int)"),
    ];
    let handle = said(arrived.first("handle p.order"));
    assert_eq!(handle, all(&[&of_the_order, &handled, &stored]));
    let failed = said(arrived.first("handle p.payment"));
    assert_eq!(failed["error.type"], "handler");
    let letter = [
        ("messaging.system", "kafka"),
        ("messaging.destination.name", "p.payment-dlq"),
        ("messaging.operation.name", "dead_letter"),
        ("messaging.operation.type", "send"),
        ("messaging.client.id", "orders"),
        ("messaging.consumer.group.name", "p.orders"),
        ("messaging.message.id", "p-1"),
        ("eventstream.event.name", "paid"),
        ("eventstream.dead_letter.reason", "exhausted"),
        ("eventstream.source.topic", "p.payment"),
        ("eventstream.source.partition", "0 (int)"),
        ("eventstream.source.offset", "0 (int)"),
    ];
    let wrote = said(arrived.first("dead_letter p.payment-dlq"));
    assert_eq!(wrote, all(&[&letter, &stored]));
}

async fn a_batch_arrives_with_a_link_to_each_publisher(kind: Kind) {
    let shop = Shop::open(kind, "p");
    let client = shop.client("orders");
    let mut traces = BTreeSet::new();
    for id in ["o-1", "o-2", "o-3"] {
        let placed = Publish::new("order", "placed").id(id);
        traces.insert(shop.publish(&client, placed, "request").await);
    }
    let publisher = client.clone();
    let bill = move |orders: Vec<Event>| {
        assert_eq!(orders.len(), 3);
        let publisher = publisher.clone();
        async move {
            let billed = Publish::new("payment", "billed");
            publisher.publish_sync(billed).await.map(drop)
        }
    };
    let up_to_three = Batch::up_to(3).within(SOON);
    let billing = subscribe("order", "billing").on_batch("placed", up_to_three, bill);
    client.register(billing).await.unwrap().detach();
    shop.close(&[&client]).await;

    let of_ours = |link: &Link| traces.contains(&link.trace_id);
    let arrived = arrived(|span| traces.contains(&span.trace_id) || span.links.iter().any(of_ours));
    let batch = arrived.first("handle p.order");
    assert_eq!(batch.kind(), SpanKind::Consumer);
    assert!(batch.parent_span_id.is_empty(), "a trace of its own");
    let published = arrived.all("publish p.order").into_iter();
    let published = published.map(|span| (&span.trace_id, &span.span_id));
    let linked = batch.links.iter();
    let linked: BTreeSet<_> = linked.map(|to| (&to.trace_id, &to.span_id)).collect();
    assert_eq!(linked, published.collect());
    assert_eq!(linked.len(), 3);
    let sampled_elsewhere = 1 | SpanFlags::ContextIsRemoteMask as u32;
    for link in &batch.links {
        assert_eq!(link.flags & sampled_elsewhere, sampled_elsewhere);
    }
    let handled = [
        ("messaging.system", "kafka"),
        ("messaging.destination.name", "p.order"),
        ("messaging.destination.partition.id", "0"),
        ("messaging.operation.name", "handle"),
        ("messaging.operation.type", "process"),
        ("messaging.client.id", "orders"),
        ("messaging.consumer.group.name", "p.billing"),
        ("messaging.batch.message_count", "3 (int)"),
    ];
    assert_eq!(said(batch), all(&[&handled]));
    let follow_up = arrived.first("publish p.payment");
    assert_eq!(follow_up.trace_id, batch.trace_id);
    assert_eq!(follow_up.parent_span_id, batch.span_id);
}

async fn nothing_arrives_of_what_is_not_sampled(kind: Kind) {
    let prefix = format!("unsampled-by-{kind:?}");
    let shop = Shop::open(kind, &prefix);
    shop.sell(UNSAMPLED).await;
    let ours = |span: &Span| span.name.contains(&prefix);
    assert_eq!(arrived(ours).picture(), "");
    // Not that nothing ever does.
    let client = shop.client("sampled");
    let placed = Publish::new("payment-dlq", "placed");
    shop.publish(&client, placed, "request").await;
    shop.close(&[&client]).await;
    let arrived = arrived(ours);
    let publish = format!("publish {prefix}.payment-dlq");
    assert_eq!(arrived.all(&publish).len(), 1);
    assert_eq!(arrived.spans.len(), 1 + kind.spans_of_publish());
}

fn all(parts: &[&[(&str, &str)]]) -> BTreeMap<String, String> {
    let all = parts.iter().copied().flatten();
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
