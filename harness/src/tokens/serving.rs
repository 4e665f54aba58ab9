//! The token server's HTTP: one request for each connection.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use openssl::base64::encode_block;
use openssl::ssl::SslAcceptor;

use super::{Answer, Issuer, TokenServer, unsecured_token};

/// As long as a client may take for its request.
const PATIENCE: Duration = Duration::from_secs(10);
const LARGEST: usize = 64 * 1024;

struct Request {
    path: String,
    authorization: String,
    body: String,
}

pub(super) fn serve(listener: &TcpListener, acceptor: Option<&SslAcceptor>, issuer: &Arc<Issuer>) {
    for stream in listener.incoming() {
        if issuer.state().ended {
            return;
        }
        let Ok(stream) = stream else { continue };
        let (acceptor, issuer) = (acceptor.cloned(), Arc::clone(issuer));
        // A client that goes away is none of the server's business.
        thread::spawn(move || answer(stream, acceptor.as_ref(), &issuer).ok());
    }
}

fn answer(stream: TcpStream, acceptor: Option<&SslAcceptor>, issuer: &Issuer) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    match acceptor {
        None => respond(stream, issuer),
        Some(acceptor) => {
            let stream = acceptor.accept(stream).ok().context("a TLS handshake")?;
            respond(stream, issuer)
        }
    }
}

fn respond<S: Read + Write>(stream: S, issuer: &Issuer) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let request = read(&mut stream)?;
    let (status, body) = match request.path.as_str() {
        "/jwks" => (200, issuer.jwks()?),
        "/token" => issuer.give(request)?,
        _ => (404, String::new()),
    };
    let length = body.len();
    write!(
        stream.get_mut(),
        "HTTP/1.1 {status} .\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )?;
    Ok(stream.get_mut().flush()?)
}

fn read<S: Read>(stream: &mut BufReader<S>) -> Result<Request> {
    let mut first = String::new();
    stream.read_line(&mut first)?;
    let path = first.split(' ').nth(1).context("no path")?.to_owned();
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse()?,
            "authorization" => value.trim().clone_into(&mut authorization),
            _ => {}
        }
    }
    if length > LARGEST {
        bail!("a body of {length} bytes");
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Request {
        path,
        authorization,
        body: String::from_utf8(body)?,
    })
}

impl Issuer {
    fn give(&self, request: Request) -> Result<(u16, String)> {
        let (client, secret) = (TokenServer::CLIENT, TokenServer::SECRET);
        let basic = encode_block(format!("{client}:{secret}").as_bytes());
        let may = request.body.contains(&format!("client_secret={secret}"))
            || request.authorization == format!("Basic {basic}");
        let mut state = self.state();
        state.asked.push((request.authorization, request.body));
        while state.answer == Answer::Silence && !state.ended {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let (token, lifetime) = match &state.answer {
            Answer::Status(status, body) => return Ok((*status, body.clone())),
            Answer::Silence => bail!("the server ends"),
            Answer::Token(lifetime) => (self.token(client, *lifetime)?, *lifetime),
            Answer::Unsecured(lifetime) => (unsecured_token(client, *lifetime), *lifetime),
        };
        drop(state);
        if !may {
            let error = serde_json::json!({
                "error": "invalid_client",
                "error_description": "unknown client, or a wrong secret",
            });
            return Ok((401, error.to_string()));
        }
        let answer = serde_json::json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": lifetime.as_secs(),
        });
        Ok((200, answer.to_string()))
    }
}
