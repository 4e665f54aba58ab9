//! A member of a group as a process of its own, for tests that kill members.
//!
//! Arguments are `name=value`: `brokers`, `prefix`, `topic`, `group` and `log` are required;
//! `instance`, `assignment`, `session_ms`, `ordering` (`key` or `partition`), `commit` (`interval`, `each`, `async` or `before`) and
//! `handler_ms` are not, nor is `debug`, librdkafka's. What the library logs goes to standard error. Each handled event is noted in the log file before and after its handler,
//! a line a time: `start` or `end`, nanoseconds of the wall clock, partition, offset, number, key.
//! SIGTERM is a clean leave; its end is the line `left`.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use eventstream::{
    Assignment, BrokerConfig, Client, CommitPolicy, Concurrency, Context, Event, LogMode,
    StartOffset, Subscribe,
};
use tokio::signal::unix::{SignalKind, signal};

const LEAVE: Duration = Duration::from_secs(20);

struct Arguments(HashMap<String, String>);

impl Arguments {
    fn read() -> Result<Self> {
        std::env::args()
            .skip(1)
            .map(|argument| {
                let (name, value) = argument
                    .split_once('=')
                    .with_context(|| format!("{argument}: must be name=value"))?;
                Ok((name.to_owned(), value.to_owned()))
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    fn required(&self, name: &str) -> Result<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("{name}: is missing"))
    }

    fn or<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.0.get(name).map_or(default, String::as_str)
    }

    fn millis(&self, name: &str, default: &str) -> Result<Duration> {
        Ok(Duration::from_millis(self.or(name, default).parse()?))
    }
}

/// The log: lines that a kill cannot tear, because each is one write to a file.
#[derive(Clone)]
struct Log(Arc<File>);

impl Log {
    fn note(&self, what: &str, rest: &str) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let line = format!("{what} {} {rest}\n", now.as_nanos());
        if let Err(error) = (&*self.0).write_all(line.as_bytes()) {
            // What is not noted would count as missing.
            eprintln!("cannot write the log: {error}");
            std::process::abort();
        }
    }
}

fn config(arguments: &Arguments) -> Result<BrokerConfig> {
    let assignment: Assignment = arguments.or("assignment", "eager").parse()?;
    let mut config = BrokerConfig::new().assignment(assignment);
    if let Some(debug) = arguments.0.get("debug") {
        config = config.log_mode(LogMode::Debug).base_config("debug", debug);
    }
    let config = match arguments.or("commit", "interval") {
        "each" => config.commit(CommitPolicy::EachEvent),
        "async" => config.commit(CommitPolicy::EachEventAsync),
        "before" => config.commit(CommitPolicy::BeforeProcessing),
        "interval" => config,
        other => bail!("commit={other}: unknown"),
    };
    if assignment == Assignment::Consumer {
        // The session timeout is the broker's in this protocol.
        return Ok(config);
    }
    Ok(config.session_timeout(arguments.millis("session_ms", "6000")?))
}

fn subscription(arguments: &Arguments, log: &Log) -> Result<Subscribe> {
    let handler = handler(log.clone(), arguments.millis("handler_ms", "2")?);
    Ok(Subscribe::new(arguments.required("topic")?)
        .group_id(arguments.required("group")?)
        .group_instance_id(arguments.or("instance", ""))
        .offset(StartOffset::Head)
        .concurrency(match arguments.or("ordering", "key") {
            "key" => Concurrency::PerKey(8),
            "partition" => Concurrency::PerPartition,
            other => bail!("ordering={other}: unknown"),
        })
        .on_any(handler))
}

fn handler(
    log: Log,
    delay: Duration,
) -> impl Fn(Context, Event) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>
+ Send
+ Sync
+ 'static {
    move |context, event| {
        let log = log.clone();
        Box::pin(async move {
            let number: u64 = event.payload().get("n").context("no number")?.decode()?;
            let key = String::from_utf8_lossy(context.key().unwrap_or_default());
            let place = format!(
                "{} {} {number} {key}",
                context.partition(),
                context.offset()
            );
            log.note("start", &place);
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            log.note("end", &place);
            Ok(())
        })
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(arguments.required("log")?)?;
    let log = Log(Arc::new(file));
    let mut terminated = signal(SignalKind::terminate())?;
    let client = Client::kafka(arguments.required("brokers")?.split(','))
        .prefix(arguments.or("prefix", ""))
        .config(config(arguments)?)
        .build()?;
    let subscription = client.register(subscription(arguments, &log)?).await?;
    log.note("registered", "");
    terminated.recv().await;
    let clean = subscription.stop(LEAVE).await.is_ok();
    client.shutdown(LEAVE).await;
    log.note("left", if clean { "clean" } else { "cut" });
    Ok(())
}

fn main() -> Result<()> {
    let level = tracing_subscriber::filter::LevelFilter::DEBUG;
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(run(&Arguments::read()?))
}
