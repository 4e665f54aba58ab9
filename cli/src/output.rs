//! Standard output and standard error.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::escape::push_text;

/// Writes all of `text` to standard output.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes messages to standard error. If that fails, there is nowhere to report it. Text from records
/// and brokers is escaped.
pub(crate) fn say(lines: &str) {
    let mut text = Vec::with_capacity(lines.len() + 1);
    for line in lines.split('\n') {
        push_text(line, &mut text);
        text.push(b'\n');
    }
    let _ = io::stderr().write_all(&text);
}

/// Standard output for the `stdout` backend.
#[derive(Clone, Default)]
pub(crate) struct EventLines {
    closed: CancellationToken,
}

impl EventLines {
    /// Cancelled once the reader is gone and nothing more can be written.
    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    fn notice<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            self.closed.cancel();
        }
        done
    }
}

impl Write for EventLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.notice(io::stdout().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.notice(io::stdout().flush())
    }
}

/// Standard output for many lines, written by a separate thread: a reader that is slow or gone must
/// not block the runtime, whose workers also run signals and handlers.
#[derive(Clone)]
pub(crate) struct Lines {
    queue: mpsc::Sender<Entry>,
    state: Arc<State>,
}

enum Entry {
    Line(Line),
    End,
}

struct Line {
    /// With its newline; empty for an entry that counts but prints nothing.
    text: Vec<u8>,
    written: Option<oneshot::Sender<()>>,
}

#[derive(Default)]
struct State {
    /// No more lines are written: the limit is reached, or the reader is gone.
    ended: CancellationToken,
    done: CancellationToken,
    error: Mutex<Option<io::Error>>,
}

/// The line was not written, and no later one will be.
#[derive(Debug)]
pub(crate) struct NotWritten;

impl std::fmt::Display for NotWritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the line was not written")
    }
}

impl std::error::Error for NotWritten {}

/// The maximum number of bytes in one write, and of lines queued for it.
const CHUNK: usize = 256 * 1024;
const WAITING: usize = 4096;

impl Lines {
    /// Starts the thread, which writes at most `limit` lines.
    pub(crate) fn start(limit: Option<u64>) -> io::Result<Self> {
        let (queue, lines) = mpsc::channel(WAITING);
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || {
                if let Err(error) = write(lines, limit, &shared.ended) {
                    *shared
                        .error
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                    shared.ended.cancel();
                }
                shared.done.cancel();
            })?;
        Ok(Self { queue, state })
    }

    /// Queues a line, and waits while the reader is behind.
    pub(crate) async fn send(&self, text: Vec<u8>) -> Result<(), NotWritten> {
        let line = Line {
            text,
            written: None,
        };
        self.queue
            .send(Entry::Line(line))
            .await
            .map_err(|_| NotWritten)
    }

    /// Returns once the operating system has the line.
    pub(crate) async fn write(&self, text: Vec<u8>) -> Result<(), NotWritten> {
        let (written, ack) = oneshot::channel();
        let line = Line {
            text,
            written: Some(written),
        };
        self.queue
            .send(Entry::Line(line))
            .await
            .map_err(|_| NotWritten)?;
        ack.await.map_err(|_| NotWritten)
    }

    /// Cancelled once no more lines are written.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.state.ended
    }

    /// Waits until everything queued so far is written, or nothing more can be written. Lines queued
    /// later are not written.
    ///
    /// # Errors
    ///
    /// The error that stopped the writing, including a broken pipe.
    pub(crate) async fn finish(self) -> io::Result<()> {
        // If the thread has ended, everything is done.
        let _ = self.queue.send(Entry::End).await;
        self.state.done.cancelled().await;
        let mut error = self
            .state
            .error
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        error.take().map_or(Ok(()), Err)
    }
}

fn write(
    mut entries: mpsc::Receiver<Entry>,
    limit: Option<u64>,
    ended: &CancellationToken,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut left = limit.unwrap_or(u64::MAX);
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut acks = Vec::new();
    let mut open = true;
    while left > 0 && open {
        let mut next = entries.blocking_recv();
        loop {
            let Some(Entry::Line(line)) = next else {
                // `finish` was called, or every sender is gone.
                open = false;
                break;
            };
            chunk.extend_from_slice(&line.text);
            acks.extend(line.written);
            left -= 1;
            if left == 0 || chunk.len() >= CHUNK {
                break;
            }
            next = match entries.try_recv() {
                Ok(entry) => Some(entry),
                Err(_) => break,
            };
        }
        out.write_all(&chunk)?;
        out.flush()?;
        chunk.clear();
        for ack in acks.drain(..) {
            // The waiter may have been cancelled; the line is written all the same.
            let _ = ack.send(());
        }
    }
    ended.cancel();
    Ok(())
}
