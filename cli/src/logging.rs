//! The log: `tracing` events of the library, on standard error; and its spans, to measure them.

use std::io;

use eventstream::LogMode;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Spans are recorded until this is dropped.
pub(crate) struct Logging {
    _spans: Option<SdkTracerProvider>,
}

/// Starts the log. With a share, that share of the traces is recorded as in a service, and discarded
/// where a service would export them.
pub(crate) fn start(mode: LogMode, traced: Option<f64>) -> Logging {
    let level = match mode {
        LogMode::Off => LevelFilter::OFF,
        LogMode::Error => LevelFilter::ERROR,
        LogMode::Warn => LevelFilter::WARN,
        LogMode::Info => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let Some(share) = traced else {
        if level != LevelFilter::OFF {
            tracing_subscriber::fmt()
                .with_writer(io::stderr)
                .with_max_level(level)
                .with_ansi(false)
                .with_target(false)
                .init();
        }
        return Logging { _spans: None };
    };
    let log = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .with_filter(level);
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            share,
        ))))
        .with_batch_exporter(Forget)
        .build();
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("eventstream"))
        .with_filter(Targets::new().with_target("eventstream::spans", Level::DEBUG));
    tracing_subscriber::registry().with(log).with(spans).init();
    Logging {
        _spans: Some(provider),
    }
}

/// An exporter that discards everything.
#[derive(Debug)]
struct Forget;

impl SpanExporter for Forget {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}
