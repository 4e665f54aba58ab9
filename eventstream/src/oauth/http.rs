//! One HTTP request, over the OpenSSL that librdkafka is linked with.

use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::rt::{Read, Write};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use openssl::ssl::{SslConnector, SslMethod};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use crate::trust;

/// Tokens have a few KiB.
const LARGEST: usize = 1024 * 1024;

/// What a server's certificate is checked with.
#[derive(Clone, Debug)]
pub(super) enum Trust {
    System,
    File(PathBuf),
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Posts a form, and returns the status and the body.
pub(super) async fn post(
    uri: &Uri,
    trust: &Trust,
    authorization: Option<&str>,
    form: String,
) -> Result<(StatusCode, Bytes), Failure> {
    let is_tls = uri.scheme_str() == Some("https");
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let mut request = Request::post(path)
        .header(HOST, authority)
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(
            USER_AGENT,
            concat!("eventstream/", env!("CARGO_PKG_VERSION")),
        );
    if let Some(authorization) = authorization {
        let mut value = hyper::header::HeaderValue::from_str(authorization)?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let request = request.body(Full::new(Bytes::from(form)))?;
    let stream = TcpStream::connect((address, port)).await?;
    stream.set_nodelay(true)?;
    if is_tls {
        let stream = handshake(stream, address, trust).await?;
        exchange(TokioIo::new(stream), request).await
    } else {
        exchange(TokioIo::new(stream), request).await
    }
}

async fn handshake(
    stream: TcpStream,
    host: &str,
    trust: &Trust,
) -> Result<SslStream<TcpStream>, Failure> {
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    match trust {
        Trust::System => trust::system(&mut connector)?,
        Trust::File(path) => connector.set_ca_file(path)?,
    }
    let mut configuration = connector.build().configure()?;
    configuration.set_use_server_name_indication(host.parse::<IpAddr>().is_err());
    let mut stream = SslStream::new(configuration.into_ssl(host)?, stream)?;
    if let Err(error) = Pin::new(&mut stream).connect().await {
        let verdict = stream.ssl().verify_result();
        if verdict != openssl::x509::X509VerifyResult::OK {
            let why = verdict.error_string();
            return Err(format!("its certificate is not accepted: {why} (`oauth_ca_file`)").into());
        }
        return Err(error.into());
    }
    Ok(stream)
}

async fn exchange<S: Read + Write + Unpin>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Failure> {
    let (mut sender, connection) = http1::handshake(stream).await?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST);
        Ok((status, body.collect().await?.to_bytes()))
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // Nothing more comes; what came is in the channel.
        _ = connection => answer.await,
    }
}
