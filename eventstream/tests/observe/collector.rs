//! A receiver of OTLP over HTTP, and the exporter by which a service sends to it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, Handle, Runtime};

/// Listens as long as the process, and keeps what it is sent.
pub(crate) struct Collector {
    runtime: Runtime,
    address: SocketAddr,
    requests: Requests,
}

type Requests = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

impl Collector {
    pub(crate) fn start() -> Self {
        let mut runtime = runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Requests::default();
        let router = Router::new()
            .route("/v1/traces", post(receive))
            .with_state(Arc::clone(&requests));
        runtime.spawn(async {
            let listener = TcpListener::from_std(listener)?;
            axum::serve(listener, router).await
        });
        Self {
            runtime,
            address,
            requests,
        }
    }

    /// What a service gives its tracer provider.
    pub(crate) fn exporter(&self) -> SpanExporter {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("http://{}/v1/traces", self.address))
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(Client(self.runtime.handle().clone()));
        exporter.build().unwrap()
    }

    /// All that has arrived so far.
    pub(crate) fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.requests.lock().unwrap().clone()
    }
}

async fn receive(State(requests): State<Requests>, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    requests.lock().unwrap().push(request);
    Ok(ExportTraceServiceResponse::default().encode_to_vec())
}

/// The exporter's connection. The exporter has a thread without a runtime.
#[derive(Debug)]
struct Client(Handle);

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.0.spawn(send(request)).await?
    }
}

async fn send(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let to = request.uri().authority().ok_or("no address")?;
    let stream = TcpStream::connect(to.as_str()).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request.map(Full::new)).await?;
    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}
