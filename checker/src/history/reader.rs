use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use super::Entry;

const BUFFER: usize = 256 * 1024;

/// The files of the history in `directory`, sorted by name.
///
/// # Errors
///
/// The directory cannot be read.
pub fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "ndjson")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// How a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// With a complete line, or empty.
    Whole,
    /// In the middle of a line: the process was killed while writing.
    Truncated,
}

/// Reads one file, line by line.
#[derive(Debug)]
pub struct FileReader {
    path: PathBuf,
    input: BufReader<File>,
    line: Vec<u8>,
    number: u64,
    tail: Tail,
}

impl FileReader {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            input: BufReader::with_capacity(BUFFER, File::open(path)?),
            line: Vec::with_capacity(512),
            number: 0,
            tail: Tail::Whole,
        })
    }

    /// Goes to the next line. Without one, [`FileReader::tail`] says how the file ended.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn advance(&mut self) -> io::Result<bool> {
        self.line.clear();
        self.input.read_until(b'\n', &mut self.line)?;
        self.number += 1;
        match self.line.last() {
            Some(b'\n') => Ok(true),
            None => Ok(false),
            Some(_) => {
                self.tail = Tail::Truncated;
                Ok(false)
            }
        }
    }

    /// The text of this line.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// What this line says.
    ///
    /// # Errors
    ///
    /// The line is not one of a history; the error names file and line.
    pub fn entry(&self) -> io::Result<Entry<'_>> {
        serde_json::from_slice(&self.line).map_err(|error| {
            let place = format!("{}:{}: {error}", self.path.display(), self.number);
            io::Error::new(io::ErrorKind::InvalidData, place)
        })
    }

    /// How the file ended, once [`FileReader::advance`] found no more.
    pub fn tail(&self) -> Tail {
        self.tail
    }
}
