use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Ended, Entry, Event, Process};

/// Writes the history of one process into a file of its own.
///
/// A line is in the kernel's hands when [`Writer::write`] returns, so that it outlives a killed
/// process. There is one lock and one system call for each line.
#[derive(Debug)]
pub struct Writer {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    line: Vec<u8>,
    last: u64,
}

impl Writer {
    /// Begins the history of the process `name` in `directory`, which exists.
    ///
    /// # Errors
    ///
    /// The file is there already, or cannot be made or written.
    pub fn create(directory: &Path, name: &str) -> io::Result<Self> {
        let file = File::create_new(directory.join(format!("{name}.ndjson")))?;
        let writer = Self {
            inner: Mutex::new(Inner {
                file,
                line: Vec::with_capacity(512),
                last: 0,
            }),
        };
        writer.write(Event::Process(Process { name }))?;
        Ok(writer)
    }

    /// Appends what happens now, and returns its time. The times of a file never go back.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, event: Event<'_>) -> io::Result<u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { file, line, last } = &mut *inner;
        let at = now().max(*last);
        *last = at;
        line.clear();
        serde_json::to_writer(&mut *line, &Entry { at, event })?;
        line.push(b'\n');
        file.write_all(line)?;
        Ok(at)
    }

    /// The process ends by itself, and everything it knows is written.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn ended(&self) -> io::Result<u64> {
        self.write(Event::Ended(Ended {}))
    }
}

fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
