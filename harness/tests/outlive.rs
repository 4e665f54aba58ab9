//! Brokers end with the process that started them, however it ends.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use eventstream_harness::{eventually, shared};

/// Set for the second run of this very program, in which the test starts Kafka and waits to be killed.
const VICTIM: &str = "EVENTSTREAM_HARNESS_VICTIM";
const PREFIX: &str = "listening on ";

#[test]
fn kafka_ends_when_its_process_is_killed() -> Result<()> {
    if env::var_os(VICTIM).is_some() {
        println!("\n{PREFIX}{}", shared().bootstrap());
        loop {
            thread::park();
        }
    }
    let mut victim = Command::new(env::current_exe()?)
        .args([
            "--nocapture",
            "--exact",
            "kafka_ends_when_its_process_is_killed",
        ])
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
    let address = address.context("the second run ended before Kafka was up")?;
    eventually("Kafka to end", Duration::from_secs(10), || {
        Ok(TcpStream::connect(&address).is_err().then_some(()))
    })
}
