//! The claims of a JSON Web Token, as far as a client needs them.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::encoding::from_base64;
use crate::error::{Error, ErrorKind, Fault, Result};

pub(super) struct Claims {
    pub(super) expires: SystemTime,
    pub(super) subject: String,
}

#[derive(Deserialize)]
struct Raw {
    exp: Option<f64>,
    #[serde(default)]
    sub: String,
}

pub(super) fn read(token: &str) -> Result<Claims> {
    let refused = |allowed: &str| {
        let fault = Fault::new("token", "", allowed);
        Error::from_faults(ErrorKind::Validation, "reading a token", vec![fault])
    };
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(refused("must be a JWT: three parts joined by dots"));
    };
    let claims = from_base64(claims).and_then(|json| serde_json::from_slice::<Raw>(&json).ok());
    let claims = claims.ok_or_else(|| refused("must be a JWT whose claims are JSON"))?;
    let expires = claims
        .exp
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since))
        .ok_or_else(|| refused("must have the claim exp, a number of seconds since 1970"))?;
    Ok(Claims {
        expires,
        subject: claims.sub,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_from_a_jwt() {
        // {"alg":"none"} {"sub":"alice?>","exp":1700000000.5}
        let claims = "eyJzdWIiOiJhbGljZT8-IiwiZXhwIjoxNzAwMDAwMDAwLjV9";
        let read = read(&format!("eyJhbGciOiJub25lIn0.{claims}.")).expect("claims");
        assert_eq!(read.subject, "alice?>");
        let since = read.expires.duration_since(SystemTime::UNIX_EPOCH);
        assert_eq!(
            since.expect("later"),
            Duration::from_millis(1_700_000_000_500)
        );
    }

    #[test]
    fn what_is_no_jwt_is_refused_without_showing_it() {
        for (text, expected) in [
            ("hunter2", "three parts"),
            ("a.b.c.d", "three parts"),
            ("hunter2.hunter2.x", "claims are JSON"),
            ("x.e30.", "the claim exp"),
            // {"exp":-1}
            ("x.eyJleHAiOi0xfQ.", "the claim exp"),
        ] {
            let error = read(text).err().expect("refused").to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
