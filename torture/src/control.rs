//! How handlers are told to misbehave: a small file that every member watches.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

const LOOK: Duration = Duration::from_millis(100);

/// A way for handlers to misbehave. A hash of an event's id decides whether it is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Slow = 1,
    Failing = 2,
    Panicking = 4,
    /// Registrations start and stop.
    Changing = 8,
}

/// The current moods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moods(Arc<AtomicU8>);

impl Moods {
    pub(crate) fn has(&self, mood: Mood) -> bool {
        self.0.load(Ordering::Relaxed) & mood as u8 != 0
    }

    pub(crate) fn set(&self, mood: Mood, on: bool) {
        if on {
            self.0.fetch_or(mood as u8, Ordering::Relaxed);
        } else {
            self.0.fetch_and(!(mood as u8), Ordering::Relaxed);
        }
    }

    /// Writes them for the members.
    pub(crate) fn publish(&self, directory: &Path) -> Result<()> {
        let text = self.0.load(Ordering::Relaxed).to_string();
        let fresh = directory.join("moods.new");
        fs::write(&fresh, text).context("writing the moods")?;
        fs::rename(&fresh, path(directory)).context("replacing the moods")
    }

    /// Watches the file until the process ends.
    pub(crate) fn follow(directory: &Path) -> Self {
        let moods = Self::default();
        let (followed, path) = (moods.clone(), path(directory));
        thread::spawn(move || {
            loop {
                // It does not exist before the first mood.
                let text = fs::read_to_string(&path).unwrap_or_default();
                let bits = text.trim().parse().unwrap_or_default();
                followed.0.store(bits, Ordering::Relaxed);
                thread::sleep(LOOK);
            }
        });
        moods
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("moods")
}
