//! Clients that are observed, to compare with one that is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use clap::ValueEnum;
use eventstream::{Client, ClientBuilder, Metrics};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter,
};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

use crate::scenario::Run;

/// Spans that wait to be exported; more are dropped by the batching, which would look cheap.
const QUEUE: usize = 1 << 15;

/// What observes a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Observing {
    Nothing,
    /// `ClientBuilder::metrics`.
    Metrics,
    /// `ClientBuilder::tracer`, 1 % of the traces sampled.
    Tracer1,
    /// `ClientBuilder::tracer`, every trace sampled.
    Tracer100,
    /// Spans of `tracing` through `tracing-opentelemetry`, 1 % of the traces sampled.
    Bridge1,
    /// The same, every trace sampled.
    Bridge100,
}

impl Observing {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Metrics => ", metrics",
            Self::Tracer1 => ", tracer, 1 % sampled",
            Self::Tracer100 => ", tracer, 100 % sampled",
            Self::Bridge1 => ", tracing bridge, 1 %",
            Self::Bridge100 => ", tracing bridge, 100 %",
        }
    }

    /// The share of traces that are sampled.
    fn share(self) -> Option<f64> {
        match self {
            Self::Nothing | Self::Metrics => None,
            Self::Tracer1 | Self::Bridge1 => Some(0.01),
            Self::Tracer100 | Self::Bridge100 => Some(1.0),
        }
    }

    /// What makes the traces that a consumer continues: always a tracer, as `tracing` has one
    /// subscriber in the process.
    pub(crate) fn upstream(self) -> Self {
        match self {
            Self::Bridge1 => Self::Tracer1,
            Self::Bridge100 => Self::Tracer100,
            other => other,
        }
    }

    fn is_bridge(self) -> bool {
        matches!(self, Self::Bridge1 | Self::Bridge100)
    }
}

/// Builds clients, and keeps what observes them.
pub(crate) struct Observed {
    metrics: Option<Metrics>,
    provider: Option<SdkTracerProvider>,
    exported: Arc<AtomicUsize>,
    is_bridge: bool,
}

impl Observed {
    /// Installs what is needed for this run, once in the process.
    pub(crate) fn new(observing: Observing) -> Result<Self> {
        let exported = Arc::new(AtomicUsize::new(0));
        let provider = observing.share().map(|share| {
            let batches = BatchConfigBuilder::default().with_max_queue_size(QUEUE);
            let exporter = Counts(Arc::clone(&exported));
            let processor =
                BatchSpanProcessor::builder(exporter).with_batch_config(batches.build());
            let ratio = Sampler::TraceIdRatioBased(share);
            SdkTracerProvider::builder()
                .with_sampler(Sampler::ParentBased(Box::new(ratio)))
                .with_span_processor(processor.build())
                .build()
        });
        if let (Some(provider), true) = (&provider, observing.is_bridge()) {
            let spans = Targets::new().with_target("eventstream::spans", LevelFilter::DEBUG);
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
            let registry = tracing_subscriber::registry().with(layer.with_filter(spans));
            tracing::subscriber::set_global_default(registry)?;
        }
        let metrics = match observing {
            Observing::Metrics => Some(Metrics::new()),
            _ => None,
        };
        Ok(Self {
            metrics,
            provider,
            exported,
            is_bridge: observing.is_bridge(),
        })
    }

    pub(crate) fn client(&self, run: &Run) -> ClientBuilder {
        let mut builder = Client::kafka(run.brokers.split(','));
        if let Some(metrics) = &self.metrics {
            builder = builder.metrics(metrics);
        }
        match &self.provider {
            Some(provider) if !self.is_bridge => builder.tracer(provider.tracer("bench")),
            _ => builder,
        }
    }

    /// Passes on what waits to be exported; prints how many spans there were.
    pub(crate) fn flush(&self) -> Result<()> {
        if let Some(provider) = &self.provider {
            provider.force_flush()?;
            eprintln!("{} spans exported", self.exported.load(Ordering::Relaxed));
        }
        Ok(())
    }
}

/// Exports to nowhere.
#[derive(Debug)]
struct Counts(Arc<AtomicUsize>);

impl SpanExporter for Counts {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.fetch_add(batch.len(), Ordering::Relaxed);
        Ok(())
    }
}
