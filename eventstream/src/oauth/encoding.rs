//! How texts and bytes are written into tokens and requests.

/// Base64 for URLs, without padding.
#[cfg(feature = "aws-msk-iam")]
pub(super) fn base64(bytes: &[u8]) -> String {
    let text = openssl::base64::encode_block(bytes);
    let text = text.trim_end_matches('=');
    text.replace('+', "-").replace('/', "_")
}

/// The bytes of base64 for URLs, with or without padding.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let padding = "=".repeat(text.len().wrapping_neg() % 4);
    let text = text.replace('-', "+").replace('_', "/");
    openssl::base64::decode_block(&format!("{text}{padding}")).ok()
}

/// Percent-encoded, as in a form or a query.
#[cfg(any(feature = "aws-msk-iam", feature = "oidc"))]
pub(super) fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Names and values, as a query or a form has them.
#[cfg(any(feature = "aws-msk-iam", feature = "oidc"))]
pub(super) fn pairs(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs.iter();
    let pairs = pairs.map(|(name, value)| format!("{}={}", percent(name), percent(value)));
    pairs.collect::<Vec<_>>().join("&")
}
