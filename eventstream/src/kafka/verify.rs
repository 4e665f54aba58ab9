//! Why a broker's certificate is not accepted. librdkafka itself only reports that verification
//! failed.
//!
//! The only callback that librdkafka calls on its own threads, and its `unsafe`, are here.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use rdkafka::config::{ClientConfig, NativeClientConfig};
use rdkafka_sys as sys;

/// Makes a client log why it does not accept a broker's certificate, see [`UNVERIFIED`].
pub(super) fn explain(config: &ClientConfig, native: &NativeClientConfig) {
    let verifies = config.get("enable.ssl.certificate.verification");
    if verifies.is_some_and(|value| value.eq_ignore_ascii_case("false")) {
        return;
    }
    // SAFETY: the configuration is alive. It fails only in a build without TLS.
    unsafe { sys::rd_kafka_conf_set_ssl_cert_verify_cb(native.ptr(), Some(verified)) };
}

/// The text before that of [`unverified`] in librdkafka's log.
pub(super) const UNVERIFIED: &str = "verification callback failed: ";

/// Returns OpenSSL's verdict on a broker's certificate unchanged. Registered because librdkafka
/// reports every fault as a failed verification, but logs the text that this callback writes.
///
/// # Safety
///
/// `x509_error` and `errstr` must be as librdkafka passes them: valid, and `errstr` of
/// `errstr_size`.
unsafe extern "C" fn verified(
    _client: *mut sys::rd_kafka_t,
    _broker: *const c_char,
    _broker_id: i32,
    x509_error: *mut c_int,
    _depth: c_int,
    _certificate: *const c_char,
    _certificate_size: usize,
    errstr: *mut c_char,
    errstr_size: usize,
    _opaque: *mut c_void,
) -> c_int {
    // SAFETY: by contract.
    let error = unsafe { *x509_error };
    if error == 0 {
        return 1;
    }
    let text = unverified(error).as_bytes();
    let length = text.len().min(errstr_size.saturating_sub(1));
    // SAFETY: as much as fits, and the terminator.
    unsafe {
        ptr::copy_nonoverlapping(text.as_ptr().cast(), errstr, length);
        *errstr.add(length) = 0;
    }
    0
}

/// The fault for one of OpenSSL's `X509_V_ERR_...`, and the remedy.
pub(crate) fn unverified(x509_error: c_int) -> &'static str {
    match x509_error {
        2 | 18..=21 => {
            "it is not signed by a trusted CA: set the broker's CA (`ca_file`, `ca_pem`)"
        }
        9 => "it is not valid yet: check the clocks",
        10 => "it has expired: renew it on the broker",
        23 => "it is revoked: replace it on the broker",
        62 | 64 => {
            "it is for another host name: connect by a name that it is valid for, or issue one for \
             this name"
        }
        _ => "OpenSSL does not accept it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(mut error: c_int, room: usize) -> (c_int, String) {
        let mut text = [1; 512];
        // SAFETY: both point to live memory, of which as much as said is written.
        let result = unsafe {
            verified(
                ptr::null_mut(),
                ptr::null(),
                1,
                &raw mut error,
                0,
                ptr::null(),
                0,
                text.as_mut_ptr(),
                room,
                ptr::null_mut(),
            )
        };
        let text: Vec<_> = text
            .iter()
            .take_while(|c| **c > 1)
            .map(|c| c.cast_unsigned())
            .collect();
        (result, String::from_utf8(text).expect("text"))
    }

    #[test]
    fn openssls_verdict_stands() {
        assert_eq!(verdict(0, 512), (1, String::new()));
        for error in 1..100 {
            let (result, text) = verdict(error, 512);
            assert_eq!(result, 0, "{error}");
            assert!(!text.is_empty(), "{error}");
        }
        assert!(verdict(10, 512).1.contains("expired"));
        assert!(verdict(20, 512).1.contains("`ca_file`"));
        assert_eq!(verdict(10, 6).1, "it ha");
    }
}
