//! Ports that stay reserved while a node is down.

use std::fs::{self, File};
use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};

/// Below the range that Linux uses for outgoing connections, which could otherwise take the port of a killed node
/// before the node returns.
const FIRST: u16 = 17_000;
const COUNT: u16 = 15_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A TCP port of 127.0.0.1 that no other harness on this machine uses.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    /// The lock ends with the process, however it exits.
    _lock: File,
}

impl Port {
    pub(crate) fn reserve() -> Result<Self> {
        let folder = std::env::temp_dir().join("eventstream-harness-ports");
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        // Processes start at different ports, so that they rarely try the same one.
        let start = process::id().wrapping_mul(61);
        for _ in 0..COUNT {
            let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
            let offset = start.wrapping_add(step) % u32::from(COUNT);
            let number = FIRST + u16::try_from(offset).expect("the remainder is below COUNT");
            let path = folder.join(number.to_string());
            let lock =
                File::create(&path).with_context(|| format!("creating {}", path.display()))?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            if TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Ok(Self {
                    number,
                    _lock: lock,
                });
            }
        }
        bail!("no free port between {FIRST} and {}", FIRST + COUNT)
    }
}
