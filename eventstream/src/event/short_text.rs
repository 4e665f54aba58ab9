//! Text of fixed length on the stack.

use std::fmt;
use std::ops::Deref;

use uuid::Uuid;

/// ASCII text of `N` bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShortText<const N: usize>([u8; N]);

impl<const N: usize> ShortText<N> {
    pub(super) fn from_ascii(bytes: [u8; N]) -> Self {
        // Not `is_ascii`, which costs as much as generating an id.
        let all = bytes.iter().fold(0, |all, b| all | b);
        assert!(all < 0x80, "text of a fixed length is ASCII");
        Self(bytes)
    }

    pub(super) fn to_ascii(self) -> [u8; N] {
        self.0
    }

    pub(crate) fn as_str(&self) -> &str {
        // SAFETY: `from_ascii` has checked it, and is the only constructor.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }
}

impl<const N: usize> Deref for ShortText<N> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl<const N: usize> fmt::Debug for ShortText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A new version 4 UUID as 32 lower-case hex digits without hyphens.
pub(crate) fn new_id() -> ShortText<32> {
    let mut digits = [0; 32];
    Uuid::new_v4().simple().encode_lower(&mut digits);
    ShortText::from_ascii(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::is_uuid4_without_hyphens;

    #[test]
    fn fresh_ids_pass_strict_validation_and_differ() {
        let (a, b) = (new_id(), new_id());
        assert!(is_uuid4_without_hyphens(&a), "{a:?}");
        assert_ne!(a, b);
    }
}
