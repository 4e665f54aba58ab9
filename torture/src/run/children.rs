//! The processes that the run starts: publishers, probes, and members that are killed and replaced.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use harness::{Guarded, Signal, eventually};

use crate::layout::GROUPS;
use crate::roles::{lane, member};

/// For a process to start on a busy machine.
const UP: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(500);
/// For a member to join and to have something to do, where the faults of members hit one group only.
const AT_WORK: Duration = Duration::from_secs(12);

/// Starts processes of this program.
#[derive(Debug)]
pub(super) struct Starter {
    history: PathBuf,
    brokers: String,
    sabotage: Option<&'static str>,
}

impl Starter {
    pub(super) fn new(
        history: &Path,
        brokers: String,
        sabotage: Option<&'static str>,
    ) -> Result<Self> {
        fs::create_dir_all(history.join("logs"))?;
        Ok(Self {
            history: history.to_owned(),
            brokers,
            sabotage,
        })
    }

    /// The folder of the histories.
    pub(super) fn history(&self) -> &Path {
        &self.history
    }

    pub(super) fn start(&self, role: &str, name: &str, more: &[String]) -> Result<Guarded> {
        let log = File::create(self.history.join("logs").join(format!("{name}.log")))?;
        let program = std::env::current_exe()?;
        let mut arguments = Vec::new();
        // Through `env`, since the guard passes on its own environment.
        if let Some(sabotage) = self.sabotage {
            arguments.push(format!("EVENTSTREAM_SABOTAGE={sabotage}"));
        }
        arguments.extend([program.display().to_string(), role.to_owned()]);
        for (option, value) in [
            ("--name", name),
            ("--brokers", &self.brokers),
            ("--history", &self.history.display().to_string()),
        ] {
            arguments.extend([option.to_owned(), value.to_owned()]);
        }
        arguments.extend_from_slice(more);
        Guarded::spawn(Path::new("env"), &arguments, None, Stdio::null(), log)
    }

    /// Waits until a process has started its history, which it does once it can be stopped cleanly.
    pub(super) fn wait_until_up(&self, name: &str) -> Result<()> {
        let path = self.history.join(format!("{name}.ndjson"));
        eventually(&format!("{name} to start"), UP, || {
            Ok(path.exists().then_some(()))
        })
    }

    pub(super) fn publisher(&self, number: usize, more: &[String]) -> Result<Guarded> {
        self.start("publisher", &format!("publisher-{number}"), more)
    }

    pub(super) fn lane(&self, kind: lane::Kind) -> Result<Guarded> {
        let more = ["--kind", kind.word()].map(str::to_owned);
        self.start("lane", &format!("lane-{}", kind.word()), &more)
    }

    fn member(&self, group: &str, slot: usize, incarnation: u32) -> Result<Guarded> {
        let name = member_name(group, slot, incarnation);
        let more = ["--group", group, "--slot", &slot.to_string()].map(str::to_owned);
        self.start("member", &name, &more)
    }
}

fn member_name(group: &str, slot: usize, incarnation: u32) -> String {
    format!("{group}-{slot}#{incarnation}")
}

/// All members.
#[derive(Debug)]
pub(super) struct Members {
    starter: Starter,
    places: Mutex<Vec<Place>>,
    /// The group that the faults of members hit; otherwise all.
    only: Option<&'static str>,
}

/// A member's place in its group, taken by one process after another.
#[derive(Debug)]
struct Place {
    group: &'static str,
    slot: usize,
    incarnation: u32,
    process: Option<Guarded>,
    /// A fault is using it.
    taken: bool,
    /// When the last fault of it was over.
    calm_since: Instant,
}

/// A place reserved by a fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken(usize);

impl Members {
    pub(super) fn start(starter: Starter, only: Option<&'static str>) -> Result<Self> {
        let mut places = Vec::new();
        for group in &GROUPS {
            for slot in 0..group.members {
                places.push(Place {
                    group: group.name,
                    slot,
                    incarnation: 0,
                    process: Some(starter.member(group.name, slot, 0)?),
                    taken: false,
                    calm_since: Instant::now(),
                });
            }
        }
        Ok(Self {
            starter,
            places: Mutex::new(places),
            only,
        })
    }

    pub(super) fn starter(&self) -> &Starter {
        &self.starter
    }

    /// Reserves a free place; `None` if there is none.
    pub(super) fn take(&self, random: &mut fastrand::Rng) -> Option<Taken> {
        let mut places = self.places();
        let is_free = |place: &Place| {
            // Otherwise its members would only be hit while they join.
            let is_hit = |group| group == place.group && place.calm_since.elapsed() > AT_WORK;
            !place.taken && self.only.is_none_or(is_hit)
        };
        let free: Vec<_> = (0..places.len())
            .filter(|at| is_free(&places[*at]))
            .collect();
        let at = random.choice(free)?;
        places[at].taken = true;
        Some(Taken(at))
    }

    pub(super) fn give_back(&self, taken: Taken) {
        let mut places = self.places();
        let place = &mut places[taken.0];
        place.taken = false;
        place.calm_since = Instant::now();
    }

    /// The name of the process in a place.
    pub(super) fn name(&self, taken: Taken) -> String {
        let place = &self.places()[taken.0];
        member_name(place.group, place.slot, place.incarnation)
    }

    pub(super) fn signal(&self, taken: Taken, signal: Signal) -> Result<()> {
        match &mut self.places()[taken.0].process {
            Some(process) => process.signal(signal),
            None => bail!("the member does not run"),
        }
    }

    /// Kills the process with SIGKILL.
    pub(super) fn kill(&self, taken: Taken) {
        drop(self.places()[taken.0].process.take());
    }

    /// Stops the process with SIGTERM and waits for it.
    pub(super) fn stop(&self, taken: Taken) -> Result<()> {
        let name = self.name(taken);
        self.starter.wait_until_up(&name)?;
        let process = self.places()[taken.0].process.take();
        match process {
            Some(process) => end(process, &name),
            None => Ok(()),
        }
    }

    /// Removes the process from its place without ending it.
    pub(super) fn set_aside(&self, taken: Taken) -> Option<Guarded> {
        self.places()[taken.0].process.take()
    }

    /// Starts the next process in an empty place.
    pub(super) fn replace(&self, taken: Taken) -> Result<()> {
        let mut places = self.places();
        let place = &mut places[taken.0];
        ensure!(place.process.is_none(), "the place is taken");
        place.incarnation += 1;
        let (group, slot, incarnation) = (place.group, place.slot, place.incarnation);
        place.process = Some(self.starter.member(group, slot, incarnation)?);
        Ok(())
    }

    /// Fails if a member has exited by itself.
    pub(super) fn check(&self) -> Result<()> {
        for place in self.places().iter_mut() {
            if let Some(process) = &mut place.process
                && let Some(status) = process.exit_status()?
            {
                let name = member_name(place.group, place.slot, place.incarnation);
                bail!("{name} ended by itself with {status}; see logs/{name}.log");
            }
        }
        Ok(())
    }

    /// Waits, checking that all members are still running.
    pub(super) fn watch_until(&self, until: Instant) -> Result<()> {
        while Instant::now() < until {
            self.check()?;
            thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// Stops all of them cleanly, in parallel.
    pub(super) fn stop_all(&self) -> Result<()> {
        let mut running = Vec::new();
        for place in self.places().iter_mut() {
            if let Some(mut process) = place.process.take() {
                let name = member_name(place.group, place.slot, place.incarnation);
                self.starter.wait_until_up(&name)?;
                process.signal(Signal::TERM)?;
                running.push((process, name));
            }
        }
        for (process, name) in running {
            end(process, &name)?;
        }
        Ok(())
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops a process with SIGTERM and requires it to succeed.
pub(super) fn end(mut process: Guarded, name: &str) -> Result<()> {
    let within = 3 * member::STOP + Duration::from_secs(100);
    let status = process
        .terminate(within)
        .with_context(|| format!("ending {name}"))?;
    ensure!(
        status.success(),
        "{name} ended with {status}; see logs/{name}.log"
    );
    Ok(())
}
