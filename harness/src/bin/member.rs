//! A member of a group as a process of its own, for tests that kill members.
//!
//! Arguments are `name=value`: `brokers`, `prefix`, `topic`, `group` and `log` are required;
//! `instance`, `assignment`, `session_ms`, `ordering` (`key` or `partition`), `commit` (`interval`, `each`, `async` or `before`) and
//! `handler_ms`, `backoff_ms` are not, nor is `debug`, librdkafka's. `way` is how events come: `handler`, `batch` or `pull`. Of `retry_each=n`
//! events one fails at its first attempt, of `reject_each=n` one is rejected. What the library logs goes to standard error.
//! `copy_to` names a topic to which each event is published again, exactly once.
//! Each event is noted in the log file before and after its handler, a line a time: `start`, then `end`, `fail` or
//! `reject`; nanoseconds of the wall clock, partition, offset, number, key.
//! `ready` says that it has its partitions, if it has a handler. SIGTERM is a clean leave; its end is the line `left`.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use eventstream::{
    Assignment, Backoff, Batch, BatchResult, BrokerConfig, Client, CommitPolicy, Concurrency,
    Context, Event, Events, LogMode, Publish, Reject, Retry, StartOffset, Subscribe, Subscription,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

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

/// The log: lines that a kill cannot tear, as each is a single write to a file.
#[derive(Clone)]
struct Log(Arc<File>);

impl Log {
    fn note(&self, what: &str, rest: &str) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let line = format!("{what} {} {rest}\n", now.as_nanos());
        if let Err(error) = (&*self.0).write_all(line.as_bytes()) {
            // An event that is not logged would count as missing.
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
        // With this protocol, the broker sets the session timeout.
        return Ok(config);
    }
    Ok(config.session_timeout(arguments.millis("session_ms", "6000")?))
}

fn subscription(arguments: &Arguments) -> Result<Subscribe> {
    let subscribe = Subscribe::new(arguments.required("topic")?)
        .group_id(arguments.required("group")?)
        .group_instance_id(arguments.or("instance", ""))
        .offset(StartOffset::Head)
        .concurrency(match arguments.or("ordering", "key") {
            "key" => Concurrency::PerKey(8),
            "partition" => Concurrency::PerPartition,
            other => bail!("ordering={other}: unknown"),
        });
    if arguments.or("commit", "interval") == "before" {
        // Committed records are not retried.
        return Ok(subscribe);
    }
    let subscribe = match arguments.0.get("copy_to") {
        Some(_) => subscribe.exactly_once(),
        None => subscribe,
    };
    let soon = Backoff::default().initial(arguments.millis("backoff_ms", "10")?);
    Ok(subscribe.retry(Retry::forever().backoff(soon)))
}

/// Handles each event, however it arrives.
#[derive(Clone)]
struct Work {
    log: Log,
    delay: Duration,
    /// One of this many events fails at its first attempt; 0 for none.
    retry_each: u64,
    /// One of this many events is rejected.
    reject_each: u64,
    copy_to: Option<String>,
}

impl Work {
    fn of(arguments: &Arguments, log: &Log) -> Result<Self> {
        Ok(Self {
            log: log.clone(),
            delay: arguments.millis("handler_ms", "2")?,
            retry_each: arguments.or("retry_each", "0").parse()?,
            reject_each: arguments.or("reject_each", "0").parse()?,
            copy_to: arguments.0.get("copy_to").cloned(),
        })
    }

    /// Logs the start at once; the future does the rest.
    fn begin(
        &self,
        context: &Context,
        event: &Event,
    ) -> Result<impl Future<Output = Result<()>> + Send + use<>> {
        let number: u64 = event.payload().get("n").context("no number")?.decode()?;
        let key = String::from_utf8_lossy(context.key().unwrap_or_default());
        let place = format!(
            "{} {} {number} {key}",
            context.partition(),
            context.offset()
        );
        self.log.note("start", &place);
        let is_one_of = |each: u64| each > 0 && number % each == each / 2;
        let fails = is_one_of(self.retry_each) && context.attempt() == 1;
        let rejected = is_one_of(self.reject_each);
        let copy = self.copy_to.as_ref().map(|topic| {
            let copy = Publish::new(topic, "copied").key(&*key);
            copy.payload(serde_json::json!({ "n": number }))
        });
        let context = context.clone();
        let (log, delay) = (self.log.clone(), self.delay);
        Ok(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if let Some(copy) = copy {
                // What does not succeed has published nothing.
                context.publish(copy).await?.await?;
            }
            if rejected {
                log.note("reject", &place);
                return Err(Reject::new("it is one of those").into());
            }
            if fails {
                log.note("fail", &place);
                bail!("the first attempt fails");
            }
            log.note("end", &place);
            Ok(())
        })
    }
}

/// Handles a batch in order. Events that follow a failed one of their key fail with it, or the key's order would be
/// lost.
async fn write_all(work: Work, events: Vec<(Context, Event)>) -> BatchResult {
    if events.len() > 1 && events.iter().any(|(context, _)| context.attempt() > 1) {
        eprintln!("one that has failed comes with others");
        std::process::abort();
    }
    let mut result = BatchResult::handled();
    let mut failed = HashSet::new();
    for (position, (context, event)) in events.iter().enumerate() {
        let key = context.key().unwrap_or_default();
        if failed.contains(key) {
            result.fail(position, "an earlier event of its key has failed");
            continue;
        }
        let handled = match work.begin(context, event) {
            Ok(rest) => rest.await,
            Err(error) => Err(error),
        };
        if let Err(error) = handled {
            if !error.is::<Reject>() {
                failed.insert(key);
            }
            result.fail(position, error);
        }
    }
    result
}

/// Handles pulled events, as many concurrently as there are. Ends with the stream.
async fn pull(mut events: Events, work: Work) {
    while let Some(event) = events.next().await {
        let begun = work.begin(event.context(), event.event());
        tokio::spawn(async move {
            let result = match begun {
                Ok(rest) => rest.await,
                Err(error) => Err(error),
            };
            event.settle(result);
        });
    }
}

/// Notes when the group has given this member its partitions. Never ends.
async fn note_ready(subscription: &Subscription, log: &Log) {
    if subscription.ready().await.is_ok() {
        log.note("ready", "");
    }
    std::future::pending::<()>().await;
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
    let work = Work::of(arguments, &log)?;
    let subscribe = subscription(arguments)?;
    let clean = match arguments.or("way", "handler") {
        "handler" => {
            let handler = move |context: Context, event: Event| {
                let begun = work.begin(&context, &event);
                async move { begun?.await }
            };
            let subscription = client.register(subscribe.on_any(handler)).await?;
            log.note("registered", "");
            tokio::select! {
                _ = terminated.recv() => {}
                () = note_ready(&subscription, &log) => {}
            }
            subscription.stop(LEAVE).await.is_ok()
        }
        "batch" => {
            let batch = Batch::up_to(500).within(Duration::from_millis(100));
            let handler = move |events: Vec<(Context, Event)>| write_all(work.clone(), events);
            let subscription = client
                .register(subscribe.on_any_batch(batch, handler))
                .await?;
            log.note("registered", "");
            terminated.recv().await;
            subscription.stop(LEAVE).await.is_ok()
        }
        "pull" => {
            let leave = CancellationToken::new();
            let subscribe = subscribe.cancel_on(leave.clone());
            let pulling = tokio::spawn(pull(client.consume(subscribe).await?, work));
            log.note("registered", "");
            terminated.recv().await;
            leave.cancel();
            tokio::time::timeout(LEAVE, pulling).await.is_ok()
        }
        other => bail!("way={other}: unknown"),
    };
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
