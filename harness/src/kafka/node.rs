//! One node: a Java process, its ports, its log.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use super::properties::Listeners;
use crate::admin::Admin;
use crate::guard::Guarded;
use crate::jars::Jars;
use crate::paths::logs;
use crate::wait::eventually;

const TAIL_LINES: usize = 25;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: i32,
    pub(crate) listeners: Listeners,
    /// Contains the data, `server.properties` and the logging configuration.
    folder: PathBuf,
    log: PathBuf,
    jvm_options: Vec<String>,
    process: Mutex<Option<Guarded>>,
}

impl Node {
    pub(crate) fn new(
        id: i32,
        folder: PathBuf,
        listeners: Listeners,
        properties: &BTreeMap<String, String>,
        log: PathBuf,
        jvm_options: Vec<String>,
    ) -> Result<Self> {
        let mut text = String::new();
        for (name, value) in properties {
            writeln!(text, "{name}={value}")?;
        }
        fs::write(folder.join("server.properties"), text)?;
        fs::write(folder.join("log4j2.properties"), LOG4J2)?;
        fs::write(folder.join("log4j.properties"), LOG4J)?;
        File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        Ok(Self {
            id,
            listeners,
            folder,
            log,
            jvm_options,
            process: Mutex::new(None),
        })
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.listeners.plaintext.number)
    }

    pub(crate) fn properties(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn spawn(&self, jars: &Jars) -> Result<()> {
        let log = OpenOptions::new()
            .append(true)
            .open(&self.log)
            .context("opening the node's log")?;
        let mut arguments = vec![logging_option(jars, &self.folder)];
        arguments.extend(self.jvm_options.iter().cloned());
        arguments.extend([
            "-cp".to_owned(),
            jars.class_path(),
            "kafka.Kafka".to_owned(),
        ]);
        arguments.push(self.properties().display().to_string());
        let stdout = Stdio::from(log.try_clone()?);
        let process = Guarded::spawn(
            Path::new("java"),
            &arguments,
            self.folder.parent(),
            stdout,
            log,
        )?;
        *self.process() = Some(process);
        Ok(())
    }

    /// Returns once the node itself answers and knows at least `brokers` brokers.
    pub(crate) fn wait_until_ready(&self, brokers: usize, within: Duration) -> Result<()> {
        let what = format!("node {} of Kafka", self.id);
        let listening = eventually(&what, within, || {
            self.check_alive()?;
            Ok(TcpStream::connect(("127.0.0.1", self.listeners.plaintext.number)).ok())
        });
        listening.with_context(|| self.log_tail())?;
        let admin = Admin::new(&self.address())?;
        let answered = eventually(&what, within, || {
            self.check_alive()?;
            let known = admin.broker_ids().unwrap_or_default();
            Ok((known.len() >= brokers && known.contains(&self.id)).then_some(()))
        });
        answered.with_context(|| self.log_tail())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        match self.process().as_mut() {
            Some(process) => process.signal(signal),
            None => bail!("node {} does not run", self.id),
        }
    }

    pub(crate) fn kill(&self) {
        // Dropping the process kills it and waits for it.
        drop(self.process().take());
    }

    pub(crate) fn shut_down(&self, within: Duration) -> Result<()> {
        if let Some(mut process) = self.process().take() {
            process
                .terminate(within)
                .with_context(|| format!("shutting node {} down", self.id))?;
        }
        Ok(())
    }

    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("the end of {}:\n{}\n", self.log.display(), tail.join("\n"))
    }

    fn check_alive(&self) -> Result<()> {
        match self.process().as_mut() {
            None => bail!("node {} was stopped", self.id),
            Some(process) => match process.exit_status()? {
                Some(status) => bail!("node {} ended with {status}", self.id),
                None => Ok(()),
            },
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Guarded>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The option that passes this Kafka version's logging library its configuration.
pub(crate) fn logging_option(jars: &Jars, folder: &Path) -> String {
    if jars.has_log4j2() {
        format!(
            "-Dlog4j2.configurationFile={}",
            folder.join("log4j2.properties").display()
        )
    } else {
        format!(
            "-Dlog4j.configuration=file:{}",
            folder.join("log4j.properties").display()
        )
    }
}

/// Counts the clusters that this process starts.
pub(crate) fn next_instance() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Named after the program, so that its next run uses the same name.
pub(crate) fn log_path(instance: u32, id: i32) -> PathBuf {
    let program = std::env::current_exe().ok();
    let program = program
        .as_deref()
        .and_then(Path::file_stem)
        .and_then(|stem| stem.to_str())
        .unwrap_or("program");
    logs().join(format!("{program}-{instance}-node{id}.log"))
}

const LOG4J2: &str = "\
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
";

const LOG4J: &str = "\
log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %m (%c)%n
";
