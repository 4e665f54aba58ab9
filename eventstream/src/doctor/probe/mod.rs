//! Probes an address with our own sockets, as librdkafka reports little about it.

#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
mod wire;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::facts::{Configs, Listener, Role, Speaks};
use crate::deadline;

/// The time limit of a connection, and of each response.
const CONNECT: Duration = Duration::from_millis(1500);
const ANSWER: Duration = Duration::from_secs(3);
/// The maximum number of addresses probed: enough for all but the largest clusters.
const MOST: usize = 64;

/// How this client would connect to a listener.
pub(super) struct Manner {
    pub(super) tls: bool,
    /// The SASL mechanism, as Kafka names it.
    pub(super) mechanism: Option<String>,
    /// librdkafka's properties, of which those about certificates matter here.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "there are none"))]
    pub(super) properties: Configs,
}

/// Probes all listeners at once, each on its own thread, and returns at the deadline with what is known by then. Name
/// resolution has no deadline and may hold up a thread for longer; it is not waited for.
pub(super) fn look(
    addresses: &[(Role, String)],
    manner: &Arc<Manner>,
    deadline: Instant,
) -> Vec<Listener> {
    let (results, found) = mpsc::channel();
    let addresses = &addresses[..addresses.len().min(MOST)];
    let mut listeners: Vec<_> = addresses
        .iter()
        .map(|(role, address)| Listener::new(*role, address))
        .collect();
    for (at, (role, address)) in addresses.iter().enumerate() {
        let (results, manner) = (results.clone(), Arc::clone(manner));
        let (role, address) = (*role, address.clone());
        let look = move || {
            // The doctor may have stopped waiting.
            let _ = results.send((at, look_at(role, &address, &manner, deadline)));
        };
        let name = "doctor-probe".to_owned();
        if std::thread::Builder::new().name(name).spawn(look).is_err() {
            break;
        }
    }
    drop(results);
    while let Ok((at, listener)) = found.recv_timeout(deadline::left(deadline)) {
        listeners[at] = listener;
    }
    listeners
}

fn look_at(role: Role, address: &str, manner: &Manner, deadline: Instant) -> Listener {
    let mut listener = Listener::new(role, address);
    listener.resolved = resolve(address);
    let Ok(addresses) = listener.resolved.clone() else {
        return listener;
    };
    let begin = Instant::now();
    let (stream, at) = match connect(&addresses, deadline) {
        Ok(connected) => connected,
        Err(why) => {
            listener.connected = Some(Err(why));
            return listener;
        }
    };
    listener.connected = Some(Ok(begin.elapsed()));
    if manner.tls {
        match tls::handshake(stream, host(address), Some(manner)) {
            Ok((stream, tls)) => {
                listener.tls = Some(tls);
                listener.speaks = Speaks::Tls;
                ask(&mut listener, stream, manner);
            }
            Err(why) => listener.speaks = without_tls(at, why),
        }
    } else {
        let said = ask(&mut listener, stream, manner);
        if !matches!(listener.speaks, Speaks::Kafka { .. } | Speaks::Http) {
            listener.speaks = with_tls_or_http(at, host(address), said);
        }
    }
    listener
}

fn resolve(address: &str) -> Result<Vec<SocketAddr>, String> {
    match address.to_socket_addrs() {
        Ok(found) => {
            let found: Vec<_> = found.collect();
            match found.is_empty() {
                true => Err("it has no address".to_owned()),
                false => Ok(found),
            }
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The host name or address before the port.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

fn connect(addresses: &[SocketAddr], deadline: Instant) -> Result<(TcpStream, SocketAddr), String> {
    let mut last = "the time was up".to_owned();
    for address in addresses {
        let left = deadline::left(deadline).min(CONNECT);
        if left.is_zero() {
            break;
        }
        let connected = TcpStream::connect_timeout(address, left).and_then(|stream| {
            stream.set_read_timeout(Some(ANSWER))?;
            stream.set_write_timeout(Some(ANSWER))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => return Ok((stream, *address)),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// Sends requests as Kafka's clients do; returns what was received instead of a response.
fn ask(listener: &mut Listener, mut stream: impl Read + Write, manner: &Manner) -> String {
    match wire::versions(&mut stream) {
        Ok(versions) => {
            listener.speaks = Speaks::Kafka { tls: manner.tls };
            listener.versions = Some(versions);
            if let Some(mechanism) = &manner.mechanism {
                listener.mechanisms = wire::mechanisms(&mut stream, mechanism).ok();
            }
            String::new()
        }
        Err(wire::NoAnswer::Http) => {
            listener.speaks = Speaks::Http;
            String::new()
        }
        Err(wire::NoAnswer::Other(said)) => said,
    }
}

/// What speaks at a port that does not support TLS.
fn without_tls(at: SocketAddr, why: String) -> Speaks {
    let mut listener = Listener::new(Role::Bootstrap, "");
    let manner = Manner {
        tls: false,
        mechanism: None,
        properties: BTreeMap::new(),
    };
    if let Ok((stream, _)) = connect(&[at], Instant::now() + CONNECT) {
        ask(&mut listener, stream, &manner);
    }
    match listener.speaks {
        Speaks::Unknown if is_http(at) => Speaks::Http,
        Speaks::Unknown => Speaks::Other(why),
        speaks => speaks,
    }
}

/// What speaks at a port that does not answer without TLS.
fn with_tls_or_http(at: SocketAddr, host: &str, said: String) -> Speaks {
    let again = || connect(&[at], Instant::now() + CONNECT).ok();
    if again().is_some_and(|(stream, _)| tls::handshake(stream, host, None).is_ok()) {
        Speaks::Tls
    } else if is_http(at) {
        Speaks::Http
    } else {
        Speaks::Other(said)
    }
}

fn is_http(at: SocketAddr) -> bool {
    let Ok((mut stream, _)) = connect(&[at], Instant::now() + CONNECT) else {
        return false;
    };
    let mut begin = [0; 5];
    stream.write_all(b"HEAD / HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_exact(&mut begin).is_ok()
        && &begin == b"HTTP/"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_ports() {
        for (address, expected) in [
            ("a:1", "a"),
            ("[::1]:9092", "::1"),
            ("10.0.0.1:5", "10.0.0.1"),
        ] {
            assert_eq!(host(address), expected);
        }
    }
}
