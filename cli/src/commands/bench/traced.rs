//! Spans recorded as in a service, and discarded where a service exports them.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter};

/// A tracer that records this share of the traces, as long as the provider lives.
pub(super) fn tracer(share: f64) -> (SdkTracer, SdkTracerProvider) {
    let share = Sampler::TraceIdRatioBased(share);
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(share)))
        .with_batch_exporter(Forget)
        .build();
    (provider.tracer("eventstream"), provider)
}

/// An exporter that discards everything.
#[derive(Debug)]
struct Forget;

impl SpanExporter for Forget {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}
