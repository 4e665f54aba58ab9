//! AWS Signature Version 4 of a URL: a chain of HMACs, by OpenSSL.

use std::time::Duration;

use jiff::Timestamp;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::sign::Signer;

use super::encoding::pairs;

/// The hash of no bytes.
pub(super) const EMPTY_PAYLOAD: &str =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A GET request that is signed in its query. No `Debug`: it has the key.
pub(super) struct Presigned<'a> {
    pub(super) host: &'a str,
    /// Encoded.
    pub(super) path: &'a str,
    pub(super) service: &'a str,
    pub(super) region: &'a str,
    pub(super) access_key_id: &'a str,
    pub(super) secret_access_key: &'a str,
    /// Empty, or that of temporary credentials.
    pub(super) session_token: &'a str,
    pub(super) parameters: &'a [(&'a str, &'a str)],
    /// The payload's hash, or a word in its place.
    pub(super) payload: &'a str,
    pub(super) at: Timestamp,
    pub(super) lifetime: Duration,
}

impl Presigned<'_> {
    /// The query with its signature.
    pub(super) fn query(&self) -> Result<String, ErrorStack> {
        let time = self.at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = &time[..8];
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let query = self.unsigned(&time, &scope);
        let (host, path, payload) = (self.host, self.path, self.payload);
        let request = format!("GET\n{path}\n{query}\nhost:{host}\n\nhost\n{payload}");
        let digest = hex(&sha256(request.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
        let key = signing_key(self.secret_access_key, day, self.region, self.service)?;
        let signature = hex(&hmac(&key, &text)?);
        Ok(format!("{query}&X-Amz-Signature={signature}"))
    }

    fn unsigned(&self, time: &str, scope: &str) -> String {
        let credential = format!("{}/{scope}", self.access_key_id);
        let lifetime = self.lifetime.as_secs().to_string();
        let mut parameters = vec![
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", time),
            ("X-Amz-Expires", &lifetime),
            ("X-Amz-SignedHeaders", "host"),
        ];
        if !self.session_token.is_empty() {
            parameters.push(("X-Amz-Security-Token", self.session_token));
        }
        parameters.extend(self.parameters);
        parameters.sort_unstable();
        pairs(&parameters)
    }
}

fn signing_key(
    secret: &str,
    day: &str,
    region: &str,
    service: &str,
) -> Result<Vec<u8>, ErrorStack> {
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [day, region, service, "aws4_request"] {
        key = hmac(&key, part)?;
    }
    Ok(key)
}

fn hmac(key: &[u8], text: &str) -> Result<Vec<u8>, ErrorStack> {
    let key = PKey::hmac(key)?;
    Signer::new(MessageDigest::sha256(), &key)?.sign_oneshot_to_vec(text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Amazon's documentation: "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)".
    #[test]
    fn a_url_is_signed_as_in_amazons_example() {
        let presigned = Presigned {
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            service: "s3",
            region: "us-east-1",
            access_key_id: "AKIAIOSFODNN7EXAMPLE",
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            session_token: "",
            parameters: &[],
            payload: "UNSIGNED-PAYLOAD",
            at: "2013-05-24T00:00:00Z".parse().expect("a time"),
            lifetime: Duration::from_secs(86_400),
        };
        assert_eq!(
            presigned.query().expect("signed"),
            "X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
             &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }

    /// The example of "How to derive a signing key for Signature Version 4".
    #[test]
    fn a_key_is_derived_as_in_amazons_example() {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let key = signing_key(secret, "20120215", "us-east-1", "iam").expect("a key");
        let expected = "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d";
        assert_eq!(hex(&key), expected);
        assert_eq!(hex(&sha256(b"")), EMPTY_PAYLOAD);
    }
}
