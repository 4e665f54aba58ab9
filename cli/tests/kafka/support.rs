//! Running the tool on real Kafka, beside members of the library.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use eventstream::{
    Assignment, BrokerConfig, Client, Context, RawRecord, StartOffset, Subscribe, Subscription,
};
use harness::shared;
use nix::pty::{Winsize, openpty};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;
use tokio::runtime::Runtime;

/// Generous for two busy cores.
const SOON: Duration = Duration::from_secs(60);

pub(crate) const PARTITIONS: usize = 2;
/// In each partition, a minute apart.
pub(crate) const RECORDS: usize = 20;
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// Records by partition and offset.
type Places = Vec<(i32, i64)>;

/// How a process ended.
pub(crate) struct Ended {
    code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap();
        self.out.lines().map(parse).collect()
    }
}

pub(crate) fn tool(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eventstream"));
    command.args(["--brokers", shared().bootstrap()]).args(args);
    command
}

/// Runs a command to completion with this standard input.
pub(crate) fn fed(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may exit without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// The JSON lines that a command has printed, which must have succeeded.
#[track_caller]
pub(crate) fn lines(output: &Output) -> Vec<Value> {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Runs the tool to completion, without a terminal.
pub(crate) fn run(args: &[&str]) -> Ended {
    let output = tool(args).stdin(Stdio::null()).output().unwrap();
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Creates the topic with its records; returns the time of the first ones.
pub(crate) fn fill(topic: &str) -> SystemTime {
    let partitions = i32::try_from(PARTITIONS).unwrap();
    shared()
        .admin()
        .create_topic(topic, partitions, 1, &[])
        .unwrap();
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", shared().bootstrap())
        // In order even if a batch is sent again.
        .set("enable.idempotence", "true")
        .create()
        .unwrap();
    let first = SystemTime::now() - 3 * 60 * MINUTE;
    let millis = first.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    for partition in 0..partitions {
        for n in 0..RECORDS {
            let time = millis + u32::try_from(n).unwrap() * MINUTE;
            let value =
                format!("{{\"id\":\"{partition}-{n}\",\"name\":\"n\",\"payload\":{{\"n\":{n}}}}}");
            let record = BaseRecord::<[u8], str>::to(topic)
                .partition(partition)
                .timestamp(i64::try_from(time.as_millis()).unwrap())
                .payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(SOON).unwrap();
    first
}

/// A producer of transactions, under the topic's name.
pub(crate) fn transactional(topic: &str) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", shared().bootstrap())
        .set("transactional.id", topic)
        .create()
        .unwrap();
    producer.init_transactions(MINUTE).unwrap();
    producer
}

/// The committed offsets of a group of a client without a prefix.
pub(crate) fn committed(topic: &str, group: &str) -> Vec<i64> {
    let found = shared().admin().committed(&format!(".{group}"), topic);
    found
        .unwrap()
        .into_iter()
        .map(|offset| offset.unwrap())
        .collect()
}

/// Commits for the group with this metadata.
pub(crate) fn marked(topic: &str, group: &str, partition: usize, offset: i64, metadata: &str) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", shared().bootstrap())
        .set("group.id", format!(".{group}"))
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(topic, i32::try_from(partition).unwrap());
    element.set_offset(Offset::Offset(offset)).unwrap();
    element.set_metadata(metadata);
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

/// Every record of each partition from these offsets on.
pub(crate) fn all_from(offsets: &[usize]) -> Places {
    let of = |(partition, from): (usize, &usize)| {
        let partition = i32::try_from(partition).unwrap();
        let offsets = *from..RECORDS;
        offsets.map(move |offset| (partition, i64::try_from(offset).unwrap()))
    };
    offsets.iter().enumerate().flat_map(of).collect()
}

/// A member of the library, on its own runtime.
pub(crate) struct Member {
    runtime: Runtime,
    client: Client,
    client_id: String,
    subscription: Subscription,
    seen: Arc<Mutex<Places>>,
}

impl Member {
    /// Returns once it has its partitions.
    pub(crate) fn join(
        topic: &str,
        group: &str,
        assignment: Assignment,
        from: StartOffset,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let client_id = format!("member-of-{group}");
        let config = BrokerConfig::new()
            .assignment(assignment)
            .client_id(&client_id);
        let client = Client::kafka([shared().bootstrap()])
            .config(config)
            .build()
            .unwrap();
        let seen: Arc<Mutex<Places>> = Arc::default();
        let into = Arc::clone(&seen);
        let subscribe = Subscribe::new(topic).group_id(group).offset(from).on_any(
            move |context: Context, _: RawRecord| {
                into.lock()
                    .unwrap()
                    .push((context.partition(), context.offset()));
                async {}
            },
        );
        let subscription = runtime.block_on(async {
            let subscription = client.register(subscribe).await.unwrap();
            tokio::time::timeout(SOON, subscription.ready())
                .await
                .unwrap()
                .unwrap();
            subscription
        });
        Self {
            runtime,
            client,
            client_id,
            subscription,
            seen,
        }
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// What it has handled, once there are this many records.
    pub(crate) fn wait_for(&self, count: usize) -> Places {
        let deadline = Instant::now() + SOON;
        loop {
            let mut seen = self.seen.lock().unwrap().clone();
            if seen.len() >= count {
                seen.sort_unstable();
                return seen;
            }
            assert!(Instant::now() < deadline, "{} of {count}", seen.len());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Leaves the group; returns what it has handled.
    pub(crate) fn stop(self) -> Places {
        self.runtime.block_on(async {
            self.subscription.stop(SOON).await.unwrap();
            self.client.shutdown(SOON).await;
        });
        let mut seen = self.seen.lock().unwrap().clone();
        seen.sort_unstable();
        seen
    }

    /// What it has handled if it leaves after this many records.
    pub(crate) fn read(self, count: usize) -> Places {
        self.wait_for(count);
        self.stop()
    }
}

/// A command on a terminal.
pub(crate) struct Screen {
    child: Child,
    keys: File,
    shown: Receiver<Vec<u8>>,
    text: String,
}

/// Runs a command on its own controlling terminal, where Ctrl-C is a signal.
pub(crate) fn screen(mut command: Command) -> Screen {
    let size = Winsize {
        ws_row: 50,
        ws_col: 200,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(Some(&size), None).unwrap();
    let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    // `setsid --ctty` makes the terminal on standard input the session's.
    let mut child = Command::new("setsid");
    child.args(["--ctty", "--wait"]).arg(command.get_program());
    child
        .args(arguments)
        .stdin(end(&pty.slave))
        .stdout(end(&pty.slave));
    command = child;
    let child = command.stderr(Stdio::null()).spawn().unwrap();
    drop(pty.slave);
    let (lines, shown) = channel();
    let mut from = File::from(pty.master.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // It fails once the other side is closed.
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0 || lines.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    Screen {
        child,
        keys: File::from(pty.master),
        shown,
        text: String::new(),
    }
}

impl Screen {
    /// What was shown since the last call, once it is as expected.
    pub(crate) fn until(&mut self, is_shown: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + SOON;
        while !is_shown(&self.text) {
            let left = deadline.saturating_duration_since(Instant::now());
            let some = self.shown.recv_timeout(left);
            let some = some.unwrap_or_else(|_| panic!("not shown: {}", self.text));
            self.text += &String::from_utf8_lossy(&some);
        }
        std::mem::take(&mut self.text)
    }

    pub(crate) fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
    }

    /// The exit code, once it has exited by itself.
    pub(crate) fn end(mut self, within: Duration) -> i32 {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "still running");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It has exited already, unless the test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
