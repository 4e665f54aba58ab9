//! Running the tool, and the broker it uses.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Generous for two busy cores.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The tool, without this process's environment variables that it would read.
pub(crate) fn tool(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eventstream"));
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("EVENTSTREAM_") || name_text.starts_with("APP_EVENT_STREAM_") {
            command.env_remove(&name);
        }
    }
    command.args(args);
    command
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// Standard output as one JSON value per line.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.out.lines().map(parse).collect()
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }
}

/// Runs a command to completion with this standard input.
pub(crate) fn run_command(mut command: Command, input: &str) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A command that does not read its input closes it.
    std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    end(child)
}

/// Runs the tool to completion.
pub(crate) fn run(args: &[&str], input: &str) -> Ended {
    run_command(tool(args), input)
}

/// Waits for a process whose outputs are piped.
pub(crate) fn end(child: Child) -> Ended {
    end_within(child, SOON)
}

pub(crate) fn end_within(mut child: Child, time: Duration) -> Ended {
    fn reader(from: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut from) = from {
                from.read_to_end(&mut bytes).unwrap();
            }
            String::from_utf8(bytes).unwrap()
        })
    }
    let (out, err) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let deadline = Instant::now() + time;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            let (out, err) = (out.join().unwrap(), err.join().unwrap());
            panic!("still running after {time:?}:\n{out}\n{err}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Ended {
        code: status.code().unwrap_or(-1),
        out: out.join().unwrap(),
        err: err.join().unwrap(),
    }
}

/// Runs a command to completion at a terminal where this is typed. Only its standard output is not the terminal.
pub(crate) fn typed(mut command: Command, text: &str) -> Ended {
    let pty = openpty(None, None).unwrap();
    let slave = || Stdio::from(pty.slave.try_clone().unwrap());
    let child = command.stdin(slave()).stderr(slave());
    let child = child.stdout(Stdio::piped()).spawn().unwrap();
    drop((command, pty.slave));
    let mut terminal = File::from(pty.master);
    terminal.write_all(text.as_bytes()).unwrap();
    let shown = std::thread::spawn(move || {
        let mut shown = Vec::new();
        // It fails once the other side is closed.
        let _ = terminal.read_to_end(&mut shown);
        String::from_utf8(shown).unwrap()
    });
    let mut ended = end(child);
    ended.err = shown.join().unwrap();
    ended
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// `eventstream broker` as a process.
pub(crate) struct Broker {
    child: Child,
    pub(crate) address: String,
}

impl Broker {
    /// With these topics, each `name:partitions`.
    pub(crate) fn start(topics: &[&str]) -> Self {
        let mut args = vec!["broker"];
        args.extend(topics.iter().flat_map(|topic| ["--topic", topic]));
        let mut child = tool(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut address)
            .unwrap();
        Self {
            child,
            address: address.trim().to_owned(),
        }
    }

    /// The tool on this broker.
    pub(crate) fn tool(&self, args: &[&str]) -> Command {
        let mut command = tool(args);
        command.env("EVENTSTREAM_BROKERS", &self.address);
        command
    }

    pub(crate) fn run(&self, args: &[&str], input: &str) -> Ended {
        run_command(self.tool(args), input)
    }

    /// The tool on this broker, started.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.tool(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Publishes these lines to a topic; all must be stored.
    #[track_caller]
    pub(crate) fn publish(&self, topic: &str, lines: &str) {
        self.run(&["publish", "--topic", topic, "--name", "tested"], lines)
            .expect(0);
    }

    /// All records of a topic that has this many.
    #[track_caller]
    pub(crate) fn read(&self, topic: &str, count: usize) -> Vec<Value> {
        let count = count.to_string();
        let args = [
            "subscribe",
            "--topic",
            topic,
            "--from",
            "head",
            "--count",
            &count,
        ];
        self.run(&args, "").expect(0).lines()
    }

    pub(crate) fn signal(&self, what: Signal) {
        signal(&self.child, what);
    }

    /// Stops it with SIGTERM.
    pub(crate) fn stop(mut self) -> i32 {
        signal(&self.child, Signal::SIGTERM);
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Stopped already, or killed here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `count` numbered payload-only lines.
pub(crate) fn numbered(count: usize) -> String {
    (0..count)
        .map(|n| format!("{{\"payload\":{{\"n\":{n}}}}}\n"))
        .collect()
}
