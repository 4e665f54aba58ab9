//! Lines from a file or standard input, read by a separate thread: a read of a pipe or a terminal
//! cannot be cancelled, and a signal must not wait for one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::Path;

use anyhow::Context;
use tokio::sync::mpsc;

/// A line that is not blank.
pub(crate) struct Line {
    /// Counted from 1, blank ones included.
    pub(crate) number: u64,
    /// Without its line break.
    pub(crate) text: Vec<u8>,
    /// The position of the line's end in the input, in bytes.
    pub(crate) end: u64,
}

/// An opened input.
pub(crate) struct Source {
    reader: Box<dyn Read + Send>,
    size: u64,
}

/// The lines of a source.
pub(crate) struct Input {
    lines: mpsc::Receiver<io::Result<Line>>,
    size: u64,
}

/// How many lines are read ahead.
const AHEAD: usize = 1024;
/// A line is kept in memory, so its length is limited; no broker accepts a record of this size.
const LONGEST: u64 = 256 * 1024 * 1024;
const BUFFER: usize = 256 * 1024;

impl Source {
    /// Opens the file; standard input without one and for `-`.
    pub(crate) fn open(file: Option<&Path>) -> anyhow::Result<Self> {
        match file.filter(|path| *path != Path::new("-")) {
            Some(path) => {
                let opened = File::open(path)
                    .and_then(|file| Ok((file.metadata()?, file)))
                    .with_context(|| format!("open {}", path.display()))?;
                let (metadata, file) = opened;
                Ok(Self {
                    reader: Box::new(file),
                    size: metadata.len(),
                })
            }
            None => {
                if io::stdin().is_terminal() {
                    crate::output::say("reading NDJSON from the terminal; press Ctrl-D to finish");
                }
                Ok(Self {
                    reader: Box::new(io::stdin()),
                    size: 0,
                })
            }
        }
    }

    /// An input of this one line.
    pub(crate) fn of_one_line(line: &'static str) -> Self {
        Self {
            reader: Box::new(line.as_bytes()),
            size: 0,
        }
    }

    /// A first guess at the number of lines, refined as they are read.
    pub(crate) fn guess(&self) -> Option<u64> {
        (self.size > 0).then_some(1)
    }

    /// Starts reading.
    pub(crate) fn read(self) -> io::Result<Input> {
        let Self { reader, size } = self;
        let (send, lines) = mpsc::channel(AHEAD);
        std::thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || {
                if let Err(error) = feed(reader, &send) {
                    // A receiver that is gone does not need the error.
                    let _ = send.blocking_send(Err(error));
                }
            })?;
        Ok(Input { lines, size })
    }
}

impl Input {
    /// The next line; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<io::Result<Line>> {
        self.lines.recv().await
    }

    /// The size of the whole input in bytes; 0 if unknown.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

fn feed(reader: Box<dyn Read + Send>, lines: &mpsc::Sender<io::Result<Line>>) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(BUFFER, reader);
    let mut end = 0;
    for number in 1.. {
        let mut text = Vec::new();
        let read = reader.by_ref().take(LONGEST).read_until(b'\n', &mut text)? as u64;
        if read == 0 {
            break;
        }
        if read == LONGEST && !text.ends_with(b"\n") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("line {number}: must be at most {LONGEST} bytes long"),
            ));
        }
        end += read;
        if number == 1 && text.starts_with(b"\xef\xbb\xbf") {
            text.drain(..3);
        }
        while text.last().is_some_and(u8::is_ascii_whitespace) {
            text.pop();
        }
        if text.is_empty() {
            continue;
        }
        if lines.blocking_send(Ok(Line { number, text, end })).is_err() {
            break;
        }
    }
    Ok(())
}
