//! A TLS handshake that completes whatever the certificate is, and reports OpenSSL's verdict on it.

use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    HandshakeError, SslContext, SslContextBuilder, SslMethod, SslStream, SslVerifyMode,
};
use openssl::x509::{X509, X509Ref};
use parking_lot::Mutex;

use super::Manner;
use crate::doctor::facts::Tls;

/// Without a manner, nothing is trusted or presented: only whether the port speaks TLS matters.
pub(super) fn handshake(
    stream: TcpStream,
    host: &str,
    manner: Option<&Manner>,
) -> Result<(SslStream<TcpStream>, Tls), String> {
    let tls = Arc::new(Mutex::new(Tls::default()));
    let context = context(manner).map_err(|error| error.to_string())?;
    let mut ssl = openssl::ssl::Ssl::new(&context).map_err(|error| error.to_string())?;
    // A broker behind a load balancer is selected by its name.
    let named = match host.parse::<IpAddr>() {
        Ok(address) => ssl.param_mut().set_ip(address),
        Err(_) => ssl
            .set_hostname(host)
            .and_then(|()| ssl.param_mut().set_host(host)),
    };
    named.map_err(|error| error.to_string())?;
    let seen = Arc::clone(&tls);
    ssl.set_verify_callback(SslVerifyMode::PEER, move |is_fine, chain| {
        let mut tls = seen.lock();
        if let Some(certificate) = chain.current_cert() {
            tls.ends = tls.ends.into_iter().chain(end(certificate)).min();
        }
        if !is_fine {
            let verdict = chain.error();
            tls.verdicts
                .insert(verdict.as_raw(), verdict.error_string().to_owned());
        }
        true
    });
    let stream = ssl.connect(stream).map_err(|error| match error {
        HandshakeError::Failure(failed) | HandshakeError::WouldBlock(failed) => {
            failed.error().to_string()
        }
        HandshakeError::SetupFailure(error) => error.to_string(),
    })?;
    let mut tls = std::mem::take(&mut *tls.lock());
    stream.ssl().version_str().clone_into(&mut tls.version);
    if let Some(certificate) = stream.ssl().peer_certificate() {
        tls.subject = subject(&certificate);
        tls.names = names(&certificate);
        tls.ends = tls.ends.into_iter().chain(end(&certificate)).min();
    }
    Ok((stream, tls))
}

fn context(manner: Option<&Manner>) -> Result<SslContext, ErrorStack> {
    let mut context = SslContext::builder(SslMethod::tls_client())?;
    if let Some(manner) = manner {
        let property = |name: &str| manner.properties.get(name).map(String::as_str);
        trust(&mut context, property)?;
        show(&mut context, property)?;
    }
    Ok(context.build())
}

fn trust<'a>(
    context: &mut SslContextBuilder,
    property: impl Fn(&str) -> Option<&'a str>,
) -> Result<(), ErrorStack> {
    if let Some(pem) = property("ssl.ca.pem") {
        for certificate in X509::stack_from_pem(pem.as_bytes())? {
            context.cert_store_mut().add_cert(certificate)?;
        }
    }
    match property("ssl.ca.location") {
        Some("probe") => crate::trust::system(context),
        Some(path) if Path::new(path).is_dir() => {
            context.load_verify_locations(None, Some(Path::new(path)))
        }
        Some(path) => context.set_ca_file(path),
        None => Ok(()),
    }
}

/// Presents the client's own certificate, if it has one.
fn show<'a>(
    context: &mut SslContextBuilder,
    property: impl Fn(&str) -> Option<&'a str>,
) -> Result<(), ErrorStack> {
    let pem = |text: &str, location: &str| match property(text) {
        Some(pem) => Some(pem.as_bytes().to_vec()),
        None => property(location).and_then(|path| std::fs::read(path).ok()),
    };
    let certificates = pem("ssl.certificate.pem", "ssl.certificate.location");
    let key = pem("ssl.key.pem", "ssl.key.location");
    let (Some(certificates), Some(key)) = (certificates, key) else {
        return Ok(());
    };
    let mut chain = X509::stack_from_pem(&certificates)?.into_iter();
    if let Some(own) = chain.next() {
        context.set_certificate(&own)?;
    }
    for issuer in chain {
        context.add_extra_chain_cert(issuer)?;
    }
    let key = match property("ssl.key.password") {
        Some(password) => PKey::private_key_from_pem_passphrase(&key, password.as_bytes())?,
        None => PKey::private_key_from_pem(&key)?,
    };
    context.set_private_key(&key)
}

fn end(certificate: &X509Ref) -> Option<Timestamp> {
    seconds(certificate.not_after()).and_then(|seconds| Timestamp::from_second(seconds).ok())
}

fn seconds(time: &Asn1TimeRef) -> Option<i64> {
    let since = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    Some(i64::from(since.days) * 86_400 + i64::from(since.secs))
}

fn subject(certificate: &X509Ref) -> String {
    let entries = certificate.subject_name().entries();
    let texts = entries.filter_map(|entry| entry.data().to_string().ok());
    texts.collect::<Vec<_>>().join(", ")
}

fn names(certificate: &X509Ref) -> Vec<String> {
    let Some(names) = certificate.subject_alt_names() else {
        return Vec::new();
    };
    let name = |name: &openssl::x509::GeneralNameRef| {
        let address = name.ipaddress().and_then(|bytes| match bytes.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
            _ => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        });
        let address = address.map(|address| address.to_string());
        name.dnsname().map(str::to_owned).or(address)
    };
    names.iter().filter_map(name).collect()
}
