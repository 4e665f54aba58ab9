//! Servers exit with the process that started them, however it exits.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use eventstream_harness::{eventually, shared, shared_postgres};

/// Set for the second run of this program, in which the test starts its server and waits to be killed.
const VICTIM: &str = "EVENTSTREAM_HARNESS_VICTIM";
const PREFIX: &str = "listening on ";

#[test]
fn kafka_ends_when_its_process_is_killed() -> Result<()> {
    ends_when_its_process_is_killed(
        "Kafka",
        "kafka_ends_when_its_process_is_killed",
        Duration::from_secs(10),
        || shared().bootstrap().to_owned(),
    )
}

#[test]
fn postgres_ends_when_its_process_is_killed() -> Result<()> {
    ends_when_its_process_is_killed(
        "PostgreSQL",
        "postgres_ends_when_its_process_is_killed",
        Duration::from_secs(30),
        || shared_postgres().address(),
    )
}

/// `start` starts the server and returns its address.
fn ends_when_its_process_is_killed(
    server: &str,
    test: &str,
    within: Duration,
    start: impl FnOnce() -> String,
) -> Result<()> {
    if env::var_os(VICTIM).is_some() {
        println!("\n{PREFIX}{}", start());
        loop {
            thread::park();
        }
    }
    let mut victim = Command::new(env::current_exe()?)
        .args(["--nocapture", "--exact", test])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = BufReader::new(victim.stdout.take().context("no standard output")?);
    let lines = stdout.lines().map_while(Result::ok);
    let address = lines
        .filter_map(|line| line.strip_prefix(PREFIX).map(str::to_owned))
        .next();
    victim.kill()?;
    victim.wait()?;
    let address =
        address.with_context(|| format!("the second run ended before {server} was up"))?;
    eventually(&format!("{server} to end"), within, || {
        Ok(TcpStream::connect(&address).is_err().then_some(()))
    })
}
