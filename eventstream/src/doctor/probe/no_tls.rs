//! Without TLS there is nothing to shake hands with.

use std::net::TcpStream;

use super::Manner;
use crate::doctor::facts::Tls;

pub(super) fn handshake(
    _: TcpStream,
    _: &str,
    _: Option<&Manner>,
) -> Result<(TcpStream, Tls), String> {
    Err("this build has no TLS".to_owned())
}
