//! Waiting for a condition instead of sleeping.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(20);

/// Asks `probe` every 20 ms until it answers `Some`, and fails when `within` has passed.
///
/// # Errors
/// The deadline passed (the message says `what` was awaited), or `probe` itself failed.
pub fn eventually<T>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("still waiting for {what} after {within:?}");
        }
        thread::sleep(PAUSE);
    }
}
