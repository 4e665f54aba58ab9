//! PostgreSQL as a child process: a private server with its data in a temporary folder.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{Gid, Uid, chown};
use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;

use crate::guard::Guarded;
use crate::paths::logs;
use crate::ports::Port;
use crate::shared::unique_topic;
use crate::wait::eventually;

/// On a busy machine, recovery from a kill takes a few seconds.
const START: Duration = Duration::from_secs(120);
const SUPERUSER: &str = "postgres";
const REMEDY: &str = "there is no PostgreSQL here: run `cargo xtask setup`, or install it (Debian: `apt-get install postgresql`)";

/// A running server on 127.0.0.1. Dropping it kills it and removes its data; its log stays in `.kafka/logs`.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    user: Option<User>,
    port: Port,
    durable: bool,
    log: PathBuf,
    process: Mutex<Option<Guarded>>,
    // Last, so that it is removed once the server is gone.
    folder: TempDir,
}

/// The user that runs the server if this process is root, as PostgreSQL does not run as root.
#[derive(Clone, Copy, Debug)]
struct User {
    uid: u32,
    gid: u32,
}

impl Postgres {
    /// Makes a server and starts it. It does not wait for the disk: what was committed survives a killed server, not a
    /// machine that loses its power.
    ///
    /// # Errors
    /// There is no PostgreSQL here (the message says what to do), or it does not start.
    pub fn start() -> Result<Self> {
        Self::with(false)
    }

    /// As [`start`](Self::start), waiting for the disk as PostgreSQL does by default: for figures.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_durable() -> Result<Self> {
        Self::with(true)
    }

    /// Where the programs of the newest PostgreSQL of this machine are.
    ///
    /// # Errors
    /// There is none; the message says what to do.
    pub fn programs() -> Result<PathBuf> {
        let in_path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<_> = std::env::split_paths(&in_path).collect();
        // Debian's locations, newest first.
        let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let mut versions: Vec<_> = debian
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        versions.sort_by_key(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            std::cmp::Reverse(name.and_then(|name| name.parse::<u32>().ok()))
        });
        folders.extend(versions.into_iter().map(|version| version.join("bin")));
        let whole = |folder: &PathBuf| {
            let programs = ["initdb", "postgres", "psql"];
            programs
                .iter()
                .all(|program| folder.join(program).is_file())
        };
        folders.into_iter().find(whole).context(REMEDY)
    }

    fn with(durable: bool) -> Result<Self> {
        let programs = Self::programs()?;
        let folder = tempfile::Builder::new()
            .prefix("eventstream-postgres-")
            .tempdir()?;
        let user = User::other_than_root()?;
        if let Some(User { uid, gid }) = user {
            chown(
                folder.path(),
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
            )?;
        }
        let port = Port::reserve()?;
        fs::create_dir_all(logs())?;
        let program = std::env::current_exe().ok();
        let program = program
            .as_deref()
            .and_then(Path::file_stem)
            .and_then(|stem| stem.to_str());
        let log = logs().join(format!(
            "{}-{}.log",
            program.unwrap_or("program"),
            unique_topic("postgres")
        ));
        File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let postgres = Self {
            programs,
            user,
            port,
            durable,
            log,
            process: Mutex::default(),
            folder,
        };
        postgres.initialise()?;
        postgres.spawn()?;
        Ok(postgres)
    }

    fn initialise(&self) -> Result<()> {
        let mut arguments = self.demoted("initdb");
        let data = self.data().display().to_string();
        arguments.extend(["-D".to_owned(), data, "-U".to_owned(), SUPERUSER.to_owned()]);
        arguments.extend(
            ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"].map(str::to_owned),
        );
        let log = self.open_log()?;
        let status = Command::new(&arguments[0])
            .args(&arguments[1..])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .status()
            .context("starting initdb")?;
        ensure!(status.success(), "initdb: {status}; {}", self.log_tail());
        Ok(())
    }

    /// The address of a database for a client.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@{}/{database}", self.address())
    }

    /// Where it listens: host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number)
    }

    /// Makes an empty database that no other test uses, and gives its address.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn create_database(&self, test: &str) -> Result<String> {
        let name = unique_topic(test).replace('-', "_").to_lowercase();
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\""))?;
        Ok(self.url(&name))
    }

    /// Runs SQL with `psql`, and gives the values, a row a line.
    ///
    /// # Errors
    /// The server does not answer, or refuses; the message has its words.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let output = Command::new(self.programs.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg(self.url(database))
            .stdin(Stdio::null())
            .output()
            .context("starting psql")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "psql: {errors}");
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Ends the server and its connections with SIGKILL. Starting it again is a recovery.
    pub fn kill(&self) {
        let children = self.children();
        // Dropping the process kills it and waits for it.
        drop(self.process().take());
        for child in children {
            let _ = kill_process(child, Signal::KILL);
        }
    }

    /// Starts the server again with its data and its port, killing it first if it runs. Returns when it answers.
    ///
    /// # Errors
    /// It does not come up; the message has the end of its log.
    pub fn restart(&self) -> Result<()> {
        self.kill();
        self.spawn()
    }

    /// Stops the server and its connections with SIGSTOP: they stay open, and nothing answers.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Resumes a paused server (SIGCONT).
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // The server first, so that a stopped one creates no more children meanwhile.
        match self.process().as_mut() {
            Some(process) => process.signal(signal)?,
            None => bail!("PostgreSQL does not run"),
        }
        for child in self.children() {
            let _ = kill_process(child, signal);
        }
        Ok(())
    }

    /// The processes of its connections and background tasks, each in its own process group.
    fn children(&self) -> Vec<Pid> {
        let Some(id) = self.process().as_ref().map(Guarded::id) else {
            return Vec::new();
        };
        let text = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let text = text.unwrap_or_default();
        let ids = text.split_whitespace().filter_map(|id| id.parse().ok());
        ids.filter_map(Pid::from_raw).collect()
    }

    fn spawn(&self) -> Result<()> {
        // Resources of a killed server may still be in use for a moment, and a new one then refuses to start.
        let started = eventually("PostgreSQL", START, || {
            self.spawn_once()?;
            self.answers()
        });
        started.with_context(|| self.log_tail())
    }

    fn spawn_once(&self) -> Result<()> {
        let mut arguments = self.demoted("postgres");
        let settings = [
            format!("port={}", self.port.number),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", self.folder.path().display()),
            "max_connections=200".to_owned(),
            format!("fsync={}", if self.durable { "on" } else { "off" }),
        ];
        arguments.extend(["-D".to_owned(), self.data().display().to_string()]);
        for setting in settings {
            arguments.extend(["-c".to_owned(), setting]);
        }
        let log = self.open_log()?;
        let program = PathBuf::from(arguments.remove(0));
        let process = Guarded::spawn(
            &program,
            &arguments,
            Some(self.folder.path()),
            Stdio::from(log.try_clone()?),
            log,
        )?;
        *self.process() = Some(process);
        Ok(())
    }

    /// Whether it answers; `None` if it has exited.
    fn answers(&self) -> Result<Option<()>> {
        eventually("PostgreSQL to answer or to end", START, || {
            let ended = match self.process().as_mut() {
                Some(process) => process.exit_status()?.is_some(),
                None => bail!("PostgreSQL was killed while it started"),
            };
            if ended {
                return Ok(Some(None));
            }
            Ok(self.sql("postgres", "SELECT 1").ok().map(|_| Some(())))
        })
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn open_log(&self) -> Result<File> {
        OpenOptions::new()
            .append(true)
            .open(&self.log)
            .context("opening the log of PostgreSQL")
    }

    fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(25)..];
        format!("the end of {}:\n{}\n", self.log.display(), tail.join("\n"))
    }

    /// A program of PostgreSQL, run as a user that it accepts.
    fn demoted(&self, program: &str) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(User { uid, gid }) = self.user {
            words.extend([
                "setpriv".to_owned(),
                format!("--reuid={uid}"),
                format!("--regid={gid}"),
                "--clear-groups".to_owned(),
            ]);
        }
        words.push(self.programs.join(program).display().to_string());
        words
    }

    fn process(&self) -> MutexGuard<'_, Option<Guarded>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_file(&self.log);
    }
}

impl User {
    fn other_than_root() -> Result<Option<Self>> {
        if !getuid().is_root() {
            return Ok(None);
        }
        for name in [SUPERUSER, "nobody"] {
            if let (Some(uid), Some(gid)) = (id("-u", name), id("-g", name)) {
                return Ok(Some(Self { uid, gid }));
            }
        }
        bail!(
            "this process is root, whom PostgreSQL refuses, and there is no user `postgres` or `nobody` to run it"
        )
    }
}

fn id(which: &str, user: &str) -> Option<u32> {
    let output = Command::new("id").args([which, user]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// One server for a whole test binary, started at the first call and killed when the process ends.
///
/// # Panics
/// It cannot start; the message says what to do. Every test of the binary then fails with it, and none is skipped.
#[must_use]
pub fn shared_postgres() -> &'static Postgres {
    static SHARED: OnceLock<Result<Postgres, String>> = OnceLock::new();
    match SHARED.get_or_init(|| Postgres::start().map_err(|error| format!("{error:#}"))) {
        Ok(postgres) => postgres,
        Err(error) => panic!("no PostgreSQL for this test: {error}"),
    }
}
