//! Certificates created for one test run: an authority, a server, and valid and invalid clients.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// The PEM files of a key and its certificate.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The private key, PKCS#8.
    pub key: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
    /// Both in one file, the key first, as the broker requires.
    pub key_and_certificate: PathBuf,
}

/// Everything a secured cluster and its clients need. All keys are ECDSA on P-256.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority that the brokers trust and that signed their own certificate.
    pub ca: PathBuf,
    /// An authority that the brokers do not know.
    pub unknown_ca: PathBuf,
    /// The brokers: valid for `localhost` and 127.0.0.1.
    pub server: Identity,
    /// The same, but it expired yesterday.
    pub expired_server: Identity,
    /// A client that is accepted.
    pub client: Identity,
    /// A client that is accepted, with a certificate that expires in ten days.
    pub ending_client: Identity,
    /// A client whose certificate, by the right authority, expired yesterday.
    pub expired_client: Identity,
    /// A client signed by the unknown authority.
    pub unknown_client: Identity,
}

impl Certificates {
    /// Creates all of them in `folder`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn generate(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let (ca, authority) = make_authority(folder, "ca")?;
        let (unknown_ca, unknown_authority) = make_authority(folder, "unknown-ca")?;
        let now = OffsetDateTime::now_utc();
        let valid = (now - Duration::days(1), now + Duration::days(90));
        let ending = (now - Duration::days(1), now + Duration::days(10));
        let ended = (now - Duration::days(30), now - Duration::days(1));
        Ok(Self {
            ca,
            unknown_ca,
            server: issue(folder, "server", &authority, valid)?,
            expired_server: issue(folder, "expired-server", &authority, ended)?,
            client: issue(folder, "client", &authority, valid)?,
            ending_client: issue(folder, "ending-client", &authority, ending)?,
            expired_client: issue(folder, "expired-client", &authority, ended)?,
            unknown_client: issue(folder, "unknown-client", &unknown_authority, valid)?,
        })
    }
}

fn make_authority(folder: &Path, name: &str) -> Result<(PathBuf, Issuer<'static, KeyPair>)> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let path = folder.join(format!("{name}.pem"));
    fs::write(&path, certificate.pem())?;
    Ok((path, Issuer::new(params, key)))
}

fn issue(
    folder: &Path,
    name: &str,
    authority: &Issuer<'static, KeyPair>,
    (from, until): (OffsetDateTime, OffsetDateTime),
) -> Result<Identity> {
    let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    params.distinguished_name = common_name(name);
    params.not_before = from;
    params.not_after = until;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    let identity = Identity {
        key: folder.join(format!("{name}-key.pem")),
        certificate: folder.join(format!("{name}.pem")),
        key_and_certificate: folder.join(format!("{name}-both.pem")),
    };
    let (key, certificate) = (key.serialize_pem(), certificate.pem());
    fs::write(&identity.key, &key)?;
    fs::write(&identity.certificate, &certificate)?;
    fs::write(&identity.key_and_certificate, format!("{key}{certificate}"))?;
    Ok(identity)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
