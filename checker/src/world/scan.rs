use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::faults::{Mark, windows};
use super::{Contradiction, File, Group, Letter, Member, Output, Process, RunText, World};
use crate::disturbance::Disturbances;
use crate::history::{self, DeadLetter, Event, FileReader, Joined, Record, Tail, files};

/// Lines that only the second pass needs: nine out of ten.
const LATER: [&[u8]; 8] = [
    b"\"handle\"",
    b"\"handled\"",
    b"\"publish\"",
    b"\"accepted\"",
    b"\"stored\"",
    b"\"committed\"",
    b"\"sample\"",
    b"\"refused\"",
];

/// Reads all files of a directory once.
pub(crate) fn scan(directory: &Path, settle: Duration) -> Result<World> {
    let paths = files(directory).with_context(|| format!("reading {}", directory.display()))?;
    if paths.is_empty() {
        bail!("{} has no file *.ndjson", directory.display());
    }
    let mut scan = Scan {
        world: World {
            begin: u64::MAX,
            ..World::default()
        },
        marks: Vec::new(),
        losses: Vec::new(),
        rebalances: Vec::new(),
    };
    for path in paths {
        scan.file(&path)?;
    }
    scan.finish(settle)
}

struct Scan {
    world: World,
    marks: Vec<Mark>,
    /// When members lost partitions or were killed.
    losses: Vec<u64>,
    /// When members of a group joined or left.
    rebalances: Vec<(u32, u64)>,
}

impl Scan {
    fn file(&mut self, path: &Path) -> Result<()> {
        let mut reader = FileReader::open(path)?;
        let mut processes = Vec::new();
        let mut first = None;
        while reader.advance()? {
            let at = time_of(&reader)?;
            first.get_or_insert(at);
            self.world.lines += 1;
            self.world.begin = self.world.begin.min(at);
            self.world.end = self.world.end.max(at);
            if let Some(process) = processes.last() {
                self.world.processes[*process as usize].last = at;
            }
            if is_later(reader.line()) {
                continue;
            }
            let entry = reader.entry()?;
            if let Event::Process(process) = &entry.event {
                processes.push(self.process(process.name, at));
                continue;
            }
            let Some(process) = processes.last() else {
                bail!("{}: the first line is not a process", path.display());
            };
            self.entry(at, *process, entry.event)
                .with_context(|| path.display().to_string())?;
        }
        self.world.truncated += u64::from(reader.tail() == Tail::Truncated);
        if let Some(first) = first {
            let path = path.to_owned();
            self.world.files.push(File {
                path,
                first,
                processes,
            });
        }
        Ok(())
    }

    fn process(&mut self, name: &str, at: u64) -> u32 {
        let number = u32::try_from(self.world.processes.len()).expect("fewer than 2^32 processes");
        self.world.processes.push(Process {
            name: name.to_owned(),
            last: at,
            ended: false,
        });
        number
    }

    fn entry(&mut self, at: u64, process: u32, event: Event<'_>) -> Result<()> {
        match event {
            Event::Ended(_) => self.world.processes[process as usize].ended = true,
            Event::Run(run) => {
                self.world.run = Some(RunText {
                    seed: run.seed,
                    config: run.config.into_owned(),
                    off: run.off.into_iter().map(Into::into).collect(),
                });
            }
            Event::Joined(joined) => self.joined(at, process, &joined)?,
            Event::Left(left) => {
                let member = self.member(left.member)?;
                let group = self.world.members[member].group;
                self.rebalances.push((group, at));
                if !left.clean {
                    self.losses.push(at);
                }
            }
            Event::Assigned(assigned) => {
                let member = self.member(assigned.member)?;
                self.world.members[member].tells = true;
            }
            Event::Revoked(revoked) if revoked.lost => self.losses.push(at),
            Event::Record(record) => self.record(&record),
            Event::DeadLetter(letter) => self.letter(&letter),
            Event::Output(output) => self.output(&output),
            Event::Fault(fault) => self.marks.push(Mark {
                at,
                kind: fault.kind.into_owned(),
                target: fault.target.into_owned(),
                phase: fault.phase,
                clean: fault.clean,
            }),
            _ => {}
        }
        Ok(())
    }

    fn joined(&mut self, at: u64, process: u32, joined: &Joined<'_>) -> Result<()> {
        let world = &mut self.world;
        let group = world.group_names.intern(joined.group);
        if group as usize == world.groups.len() {
            world.groups.push(Group {
                topics: Default::default(),
                order: joined.order,
                copies: joined.output.is_some(),
                rebalances: Disturbances::default(),
            });
        }
        let known = &mut world.groups[group as usize];
        if known.order != joined.order {
            bail!("group {} has members of different order", joined.group);
        }
        if known.copies != joined.output.is_some() {
            bail!(
                "some members of group {} copy, and some do not",
                joined.group
            );
        }
        for topic in &joined.topics {
            known.topics.insert(world.topics.intern(topic));
        }
        let member = world.member_names.intern(joined.member);
        if (member as usize) < world.members.len() {
            bail!("member {} joined twice", joined.member);
        }
        world.members.push(Member {
            group,
            process,
            tells: false,
        });
        self.rebalances.push((group, at));
        Ok(())
    }

    fn member(&self, name: &str) -> Result<usize> {
        let member = self.world.member_names.find(name);
        let member = member.with_context(|| format!("member {name} did not join before"))?;
        Ok(member as usize)
    }

    fn record(&mut self, record: &Record<'_>) {
        let place = self.world.place(record.topic, record.partition);
        let log = &mut self.world.logs[place as usize];
        if let Some(before) = log.add(record.offset, record.id, record.key) {
            self.world.contradictions.push(Contradiction {
                place,
                offset: record.offset,
                ids: [before.id(), record.id],
            });
        }
    }

    fn letter(&mut self, letter: &DeadLetter<'_>) {
        let world = &mut self.world;
        let group = world.group_names.intern(letter.group);
        let place = world.place(letter.topic, letter.partition);
        let offset = letter.offset;
        world.letters.push(Letter {
            group,
            place,
            offset,
        });
        let reason = (group, letter.reason.to_owned());
        *world.letter_counts.entry(reason).or_default() += 1;
    }

    fn output(&mut self, output: &history::Output<'_>) {
        let world = &mut self.world;
        let place = world.place(output.topic, output.partition);
        world.outputs.push(Output {
            group: world.group_names.intern(output.group),
            at: output.at,
            place,
            offset: output.offset,
            key: output.key,
        });
    }

    /// Turns what happened into the intervals in which it explains something.
    fn finish(mut self, settle: Duration) -> Result<World> {
        let settle = u64::try_from(settle.as_nanos()).unwrap_or(u64::MAX);
        let mut world = self.world;
        if world.group_names.len() != world.groups.len() {
            bail!("a dead letter or an output is of a group that nobody joined");
        }
        // A second read finds the same again.
        world.outputs.sort_unstable();
        world.outputs.dedup();
        world.faults = windows(self.marks);
        for member in &world.members {
            let process = &world.processes[member.process as usize];
            self.rebalances.push((member.group, process.last));
            if !process.ended {
                self.losses.push(process.last);
            }
        }
        let after = |at: u64| (at, at.saturating_add(settle));
        let fault = |clean: bool| {
            let faults = world
                .faults
                .iter()
                .filter(move |fault| fault.clean == clean);
            faults.map(|fault| (fault.begin, after(fault.end.unwrap_or(world.end)).1))
        };
        let losses: Vec<_> = fault(false)
            .chain(self.losses.iter().map(|at| after(*at)))
            .collect();
        for (number, group) in (0..).zip(&mut world.groups) {
            let own = self.rebalances.iter().filter(|(group, _)| *group == number);
            let mut all: Vec<_> = own.map(|(_, at)| after(*at)).collect();
            all.extend(losses.iter().copied().chain(fault(true)));
            group.rebalances = Disturbances::new(all);
        }
        world.losses = Disturbances::new(losses);
        Ok(world)
    }
}

/// The line's time, without reading the rest of it.
pub(crate) fn time_of(reader: &FileReader) -> Result<u64> {
    let digits = reader.line().strip_prefix(b"{\"at\":");
    let at = digits.and_then(|text| {
        let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
        std::str::from_utf8(&text[..end]).ok()?.parse().ok()
    });
    match at {
        Some(at) => Ok(at),
        None => Ok(reader.entry()?.at),
    }
}

fn is_later(line: &[u8]) -> bool {
    let Some(comma) = line.iter().position(|byte| *byte == b',') else {
        return false;
    };
    LATER.iter().any(|tag| line[comma + 1..].starts_with(tag))
}
