//! The two ways in which spans are made, and what tests of both share.

use std::sync::OnceLock;
use std::time::Duration;

use eventstream::{Backoff, ClientBuilder, Retry, StartOffset, Subscribe};
use opentelemetry::Context;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Link, SpanKind, TraceId, TracerProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    InMemorySpanExporter, Sampler, SamplingResult, SdkTracer, SdkTracerProvider, ShouldSample,
};
use tracing_subscriber::layer::SubscriberExt;

use crate::collector::Collector;
use crate::logged::Logged;

pub(crate) use self::Kind::{Tracer, Tracing};

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// What all tests of the process share. Spans of `tracing` that end on another thread need its
/// subscriber to be that of the process.
pub(crate) struct Shared {
    exporter: InMemorySpanExporter,
    pub(crate) collector: Collector,
    pub(crate) provider: SdkTracerProvider,
    pub(crate) tracer: SdkTracer,
}

pub(crate) fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let exporter = InMemorySpanExporter::default();
        let collector = Collector::start();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .with_batch_exporter(collector.exporter())
            .with_sampler(Sampler::ParentBased(Box::new(Requests)))
            .with_resource(Resource::builder().with_service_name("shop").build())
            .build();
        let tracer = provider.tracer("test");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer.clone());
        let subscriber = tracing_subscriber::registry().with(layer).with(Logged);
        tracing::subscriber::set_global_default(subscriber).unwrap();
        Shared {
            exporter,
            collector,
            provider,
            tracer,
        }
    })
}

pub(crate) fn exporter() -> &'static InMemorySpanExporter {
    &shared().exporter
}

/// The name of a span that starts traces of which none is sampled.
pub(crate) const UNSAMPLED: &str = "unsampled request";

/// Samples 0 % of the traces that [`UNSAMPLED`] starts, and all others.
#[derive(Clone, Debug)]
struct Requests;

impl ShouldSample for Requests {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let share = if name == UNSAMPLED { 0.0 } else { 1.0 };
        let sampler = Sampler::TraceIdRatioBased(share);
        sampler.should_sample(parent, trace, name, kind, attributes, links)
    }
}

/// What makes the spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `tracing`, and its bridge.
    Tracing,
    /// The client's tracer.
    Tracer,
}

impl Kind {
    /// Gives a client the tracer if it is what makes its spans.
    pub(crate) fn traced(self, builder: ClientBuilder, tracer: &SdkTracer) -> ClientBuilder {
        match self {
            Tracing => builder,
            Tracer => builder.tracer(tracer.clone()),
        }
    }

    /// How many spans publishing an event makes.
    pub(crate) fn spans_of_publish(self) -> usize {
        match self {
            Tracing => 2,
            Tracer => 1,
        }
    }
}

/// Runs tests with both kinds of spans.
macro_rules! both_ways {
    ($($test:ident)+) => {
        mod with_tracing {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($crate::ways::Tracing).await;
            })+
        }
        mod with_a_tracer {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($crate::ways::Tracer).await;
            })+
        }
    };
}

pub(crate) use both_ways;

/// A subscription from the start that tries twice.
pub(crate) fn subscribe(topic: &str, group: &str) -> Subscribe {
    let backoff = Backoff::default().initial(Duration::from_millis(1));
    Subscribe::new(topic)
        .group_id(group)
        .offset(StartOffset::Head)
        .retry(Retry::attempts(2).backoff(backoff))
}
