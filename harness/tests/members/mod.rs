//! Members as processes, and their logs.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod history;
pub(crate) mod load;
pub(crate) mod storm;

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eventstream_harness::{Guarded, eventually};
use rustix::process::Signal;

use self::history::{Fate, Run};

const LEAVE: Duration = Duration::from_secs(45);

/// One process, from start to end.
pub(crate) struct Member {
    process: Guarded,
    pub(crate) name: String,
    log: PathBuf,
}

impl Member {
    /// Starts a member; its files are in `folder` and have its name.
    pub(crate) fn start(folder: &Path, name: &str, arguments: &[(&str, &str)]) -> Self {
        let log = folder.join(format!("{name}.log"));
        let mut words: Vec<String> = arguments
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        words.push(format!("log={}", log.display()));
        let program = Path::new(env!("CARGO_BIN_EXE_member"));
        let errors = File::create(folder.join(format!("{name}.err"))).expect("a file");
        let _ = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log");
        let process = Guarded::spawn(program, &words, None, Stdio::null(), errors);
        Self {
            process: process.expect("a member"),
            name: name.to_owned(),
            log,
        }
    }

    /// What it has logged so far.
    pub(crate) fn handled(&self) -> Vec<history::Handled> {
        history::read(&self.log)
    }

    /// Waits until the group has given it its partitions, which a member with a handler reports.
    pub(crate) fn wait_until_ready(&self, within: Duration) {
        eventually("the member to be ready", within, || {
            let log = std::fs::read_to_string(&self.log)?;
            let is_ready = log.lines().any(|line| line.starts_with("ready "));
            Ok(is_ready.then_some(()))
        })
        .expect("it is ready");
    }

    /// Stops it where it is, or lets it go on.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.process.signal(signal).expect("it runs");
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(mut self) -> Run {
        let at = now();
        self.process.kill();
        self.run(Fate::Killed(at))
    }

    /// Lets it leave its group, and waits for its exit.
    pub(crate) fn leave(mut self) -> Run {
        let status = self.process.terminate(LEAVE).expect("it ends");
        assert!(status.success(), "{} ended with {status}", self.name);
        self.run(Fate::Left)
    }

    fn run(&self, fate: Fate) -> Run {
        Run {
            member: self.name.clone(),
            fate,
            handled: history::read(&self.log),
        }
    }
}

/// Nanoseconds of the wall clock, as in the logs.
pub(crate) fn now() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_nanos()
}
