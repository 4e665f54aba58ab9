//! A service: takes orders over HTTP, publishes them, and ships them in a handler. With configuration from a file and
//! the environment, receipts, probes, metrics, one trace from the caller to the handler, and an orderly end.
//!
//! ```console
//! $ BACKEND=embedded cargo run --release --example service -- eventstream/examples/service/eventstream.toml
//! $ curl -i -H 'content-type: application/json' -d '{"player":"player-7","item":"sword"}' 127.0.0.1:8080/orders
//! ```
//!
//! `kubernetes.yaml` is its deployment.

use std::env;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use eventstream::{
    Backend, BrokerConfig, Client, Error, ErrorKind, EventType, Metrics, Payload, Publish,
    StartOffset, Subscribe,
};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::{Registry, TextEncoder};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

#[derive(Serialize, Deserialize, EventType)]
#[event(topic = "orders", name = "orderPlaced", key = player)]
struct OrderPlaced {
    player: String,
    item: String,
}

#[derive(Clone)]
struct App {
    client: Client,
    registry: Registry,
}

/// Answers once the order is stored, so what the caller is told is true.
async fn place(
    State(app): State<App>,
    Json(order): Json<OrderPlaced>,
) -> Result<(StatusCode, String), Refused> {
    let receipt = app.client.publish(Publish::of(&order)).await?;
    let id = receipt.id().to_owned();
    receipt.await?;
    Ok((StatusCode::ACCEPTED, id))
}

async fn ship(Payload(order): Payload<OrderPlaced>) {
    let trace = Context::current();
    let trace = trace.span().span_context().trace_id();
    println!("{} for {}, trace {trace}", order.item, order.player);
}

/// A failure as the caller learns of it.
struct Refused(Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self.0.kind() {
            ErrorKind::Validation | ErrorKind::TooLarge => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, self.0.to_string()).into_response()
    }
}

/// For the readiness probe: the status, and a text for people.
async fn ready(State(app): State<App>) -> (StatusCode, String) {
    let health = app.client.health();
    let problems: Vec<_> = health.problems.iter().map(ToString::to_string).collect();
    let status = if health.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, problems.join("\n"))
}

async fn metrics(State(app): State<App>) -> Result<String, StatusCode> {
    let text = TextEncoder::new().encode_to_string(&app.registry.gather());
    text.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// Continues the caller's trace. What is published in a request carries it on to the handler.
async fn traced(request: Request, next: Next) -> Response {
    let span = tracing::info_span!("request", otel.kind = "server", path = request.uri().path());
    let caller = TraceContextPropagator::new().extract(&Headers(request.headers()));
    let _ = span.set_parent(caller); // fails only if nothing collects spans
    next.run(request).instrument(span).await
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// Logs to standard error, and collects spans. Add `with_batch_exporter` to the builder to send them somewhere.
fn observe() -> SdkTracerProvider {
    let provider = SdkTracerProvider::builder().build();
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("shipping"))
        .with_filter(LevelFilter::INFO);
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(spans).with(log).init();
    provider
}

/// SIGTERM, which is how Kubernetes ends a pod.
async fn terminated() {
    if let Ok(mut terminated) = signal(SignalKind::terminate()) {
        terminated.recv().await;
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let spans = observe();
    let file = env::args().nth(1);
    let file = file.unwrap_or_else(|| "eventstream.toml".to_owned());
    let config = BrokerConfig::from_file(file)?.apply_env()?;
    let backend: Backend = env::var("BACKEND").as_deref().unwrap_or("kafka").parse()?;
    let (metrics_of_client, registry) = (Metrics::new(), Registry::new());
    registry.register(Box::new(metrics_of_client.clone()))?;
    let client = Client::builder(backend)
        .config(config)
        .metrics(&metrics_of_client)
        .tracer(spans.tracer("shipping"))
        .build()?;

    let subscribe = Subscribe::to::<OrderPlaced>()
        .group_id("shipping")
        .offset(StartOffset::Head)
        .on_event(ship);
    let subscription = client.register(subscribe).await?;

    let app = App {
        client: client.clone(),
        registry,
    };
    let router = Router::new()
        .route("/orders", post(place))
        .layer(middleware::from_fn(traced))
        .route("/live", get(async || "ok"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(app);
    let port = env::var("PORT");
    let port: u16 = port.as_deref().unwrap_or("8080").parse()?;
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    println!("port {}", listener.local_addr()?.port());
    axum::serve(listener, router)
        .with_graceful_shutdown(terminated())
        .await?;

    // Every request is answered. Now the handlers end, their offsets are committed, and what they published is stored.
    drop(subscription);
    let undelivered = client.shutdown(Duration::from_secs(20)).await;
    println!("ended with {} events undelivered", undelivered.len());
    spans.shutdown()?;
    Ok(())
}
