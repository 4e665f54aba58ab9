//! The second pass: the lines of all files in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use anyhow::{Result, bail};

use crate::history::{Event, FileReader};
use crate::world::{World, time_of};

/// An item of the second pass.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// A process did or saw something.
    Event(Event<'a>),
    /// A process has written its last line.
    Gone,
}

/// Calls `each` with the time, the process and the step, in order. Ties are broken by file.
pub(crate) fn merge(
    world: &World,
    mut each: impl FnMut(u64, u32, Step<'_>) -> Result<()>,
) -> Result<()> {
    let mut order: BinaryHeap<_> = (0..)
        .zip(&world.files)
        .map(|(number, file)| Reverse((file.first, number)))
        .collect();
    // A file is opened when its time comes, as a long run has more files than a process may open.
    let mut open: Vec<Option<Source>> = world.files.iter().map(|_| None).collect();
    while let Some(Reverse((_, number))) = order.pop() {
        let source = &mut open[number];
        let source = match source {
            Some(source) => source,
            None => source.insert(Source::open(&world.files[number])?),
        };
        let until = order.peek().map(|Reverse(next)| *next);
        let next = source.play(number, until, &mut each)?;
        match next {
            Some(at) => order.push(Reverse((at, number))),
            None => open[number] = None,
        }
    }
    Ok(())
}

struct Source {
    reader: FileReader,
    /// The processes not started yet, last first.
    processes: Vec<u32>,
    process: Option<u32>,
    at: u64,
}

impl Source {
    fn open(file: &crate::world::File) -> Result<Self> {
        let mut reader = FileReader::open(&file.path)?;
        if !reader.advance()? {
            bail!("{} has changed", file.path.display());
        }
        Ok(Self {
            reader,
            processes: file.processes.iter().rev().copied().collect(),
            process: None,
            at: file.first,
        })
    }

    /// Replays lines until it is another file's turn; returns the time of the next line.
    fn play(
        &mut self,
        number: usize,
        until: Option<(u64, usize)>,
        each: &mut impl FnMut(u64, u32, Step<'_>) -> Result<()>,
    ) -> Result<Option<u64>> {
        loop {
            let entry = self.reader.entry()?;
            if let Event::Process(_) = entry.event {
                let before = std::mem::replace(&mut self.process, self.processes.pop());
                if let Some(before) = before {
                    each(self.at, before, Step::Gone)?;
                }
            } else if let Some(process) = self.process {
                each(entry.at, process, Step::Event(entry.event))?;
            }
            if !self.reader.advance()? {
                if let Some(process) = self.process {
                    each(self.at, process, Step::Gone)?;
                }
                return Ok(None);
            }
            // Times in a file never decrease; a line that goes back counts as late as the one
            // before.
            self.at = self.at.max(time_of(&self.reader)?);
            if until.is_some_and(|until| until < (self.at, number)) {
                return Ok(Some(self.at));
            }
        }
    }
}
