//! PostgreSQL starts, is killed, paused and restarted.

use std::net::TcpStream;
use std::thread;

use anyhow::{Result, ensure};
use eventstream_harness::Postgres;

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
        // The kernel still accepts the connection, so the server is there but silent.
        TcpStream::connect(postgres.address())?;
        ensure!(!answer.is_finished());
        postgres.resume()?;
        ensure!(answer.join().expect("no panic")? == "7");
        Ok(())
    })
}
