//! The certificates that this system trusts. OpenSSL is built into the program and knows no place to look for them.

use std::path::Path;

use openssl::error::ErrorStack;
use openssl::ssl::SslContextBuilder;

/// Where systems keep them: what librdkafka's `probe` tries, too.
const PLACES: &[&str] = &[
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// Trusts them; nobody, where there are none.
pub(crate) fn system(context: &mut SslContextBuilder) -> Result<(), ErrorStack> {
    let bundle = PLACES.iter().map(Path::new).find(|path| path.is_file());
    bundle.map_or(Ok(()), |path| context.set_ca_file(path))
}
