//! PostgreSQL starts, is killed, paused and restarted, and ends with its process.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventstream_harness::{Postgres, eventually, shared_postgres};

/// Set for the second run of this very program, in which the test starts a server and waits to be killed.
const VICTIM: &str = "EVENTSTREAM_HARNESS_VICTIM";
const PREFIX: &str = "listening on ";
const NAME: &str = "postgres_ends_when_its_process_is_killed";

#[test]
fn what_was_committed_survives_a_kill_and_nothing_answers_in_a_pause() -> Result<()> {
    let postgres = Postgres::start()?;
    postgres.sql(
        "postgres",
        "CREATE TABLE t (n int); INSERT INTO t VALUES (7)",
    )?;
    postgres.kill();
    ensure!(postgres.sql("postgres", "SELECT 1").is_err());
    postgres.restart()?;
    ensure!(postgres.sql("postgres", "SELECT n FROM t")? == "7");
    postgres.pause()?;
    thread::scope(|scope| {
        let answer = scope.spawn(|| postgres.sql("postgres", "SELECT n FROM t"));
        let address = postgres
            .url("")
            .replace("postgres://postgres@", "")
            .replace('/', "");
        // The kernel still takes the connection, so the server is there and only silent.
        TcpStream::connect(address)?;
        ensure!(!answer.is_finished());
        postgres.resume()?;
        ensure!(answer.join().expect("no panic")? == "7");
        Ok(())
    })
}

#[test]
fn postgres_ends_when_its_process_is_killed() -> Result<()> {
    if env::var_os(VICTIM).is_some() {
        let url = shared_postgres().url("");
        println!(
            "\n{PREFIX}{}",
            url.replace("postgres://postgres@", "").replace('/', "")
        );
        loop {
            thread::park();
        }
    }
    let mut victim = Command::new(env::current_exe()?)
        .args(["--nocapture", "--exact", NAME])
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
    let address = address.context("the second run ended before PostgreSQL was up")?;
    eventually("PostgreSQL to end", Duration::from_secs(30), || {
        Ok(TcpStream::connect(&address).is_err().then_some(()))
    })
}
