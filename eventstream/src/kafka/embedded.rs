#[cfg(any(test, feature = "testing"))]
mod faults;

use std::ffi::{CStr, CString};
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka_sys as sys;

#[cfg(feature = "testing")]
pub use self::faults::Refusal;
use super::error::from_code;
use crate::error::{Error, ErrorKind, Result};

/// A broker that speaks Kafka's protocol inside this process: for a first try, for examples, and
/// for tests of what you build. Clones are handles of the same broker; it ends with the last one.
///
/// It is librdkafka's mock cluster, and clients reach it by the very code that talks to a cluster.
/// What it is not:
///
/// * It listens on a random port of the loopback address and keeps everything in memory: the last
///   5 MiB of each partition, or the last 100,000 batches. What is older is gone without a word.
/// * A topic is created at its first use, with 4 partitions, or by [`create_topic`](Self::create_topic).
/// * It knows groups (eager, cooperative-sticky and KIP-848), commits, headers, tombstones,
///   compression and the idempotent producer. It has no TLS, no SASL, no admin calls, no static
///   membership, and finds no offset by time: a subscription that is to start at one starts at the
///   tail, which `on_error` says. A broker that is taken down elects no other leader.
/// * Every rebalance of a group after its first takes the session timeout less a second. It may
///   refuse the last commit of a member that gives up partitions, which a cluster takes: what the
///   member handled since the commit before is then handled again.
///
/// ```
/// use eventstream::EmbeddedBroker;
///
/// let broker = EmbeddedBroker::start()?;
/// broker.create_topic("dev.player", 2)?;
/// println!("connect to {}", broker.address());
/// # Ok::<(), eventstream::Error>(())
/// ```
#[derive(Clone)]
pub struct EmbeddedBroker {
    shared: Arc<Shared>,
}

struct Shared {
    address: String,
    commands: Mutex<Option<Sender<Command>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

type Command = Box<dyn FnOnce(&Cluster) + Send>;

impl EmbeddedBroker {
    /// Starts a cluster of one broker.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when the process has no thread or port left.
    pub fn start() -> Result<Self> {
        Self::start_nodes(1)
    }

    /// Starts a cluster of several brokers, 1 to 10, each topic copied to all.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_nodes(nodes: u8) -> Result<Self> {
        let nodes = i32::from(nodes.clamp(1, 10));
        let (commands, inbox) = channel::<Command>();
        let (started, address) = channel();
        // The cluster lives on one thread: librdkafka's handle must not be shared, and must be
        // destroyed before the client it was created with.
        let thread = std::thread::Builder::new()
            .name("eventstream-embedded".to_owned())
            .spawn(move || own(nodes, &started, &inbox))
            .map_err(|e| failed().with_source(e))?;
        let address = address.recv().map_err(|_| failed())??;
        Ok(Self {
            shared: Arc::new(Shared {
                address,
                commands: Mutex::new(Some(commands)),
                thread: Mutex::new(Some(thread)),
            }),
        })
    }

    /// The brokers' addresses, `host:port` joined by commas.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Creates a topic, named as on the broker: with the client's prefix.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Broker`] when it exists, or a number of partitions below 1.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        let native = CString::new(name).map_err(|e| failed().with_source(e))?;
        let name = name.to_owned();
        self.run(move |cluster| {
            // SAFETY: the cluster is alive on this thread.
            let code = unsafe {
                sys::rd_kafka_mock_topic_create(cluster.handle, native.as_ptr(), partitions, 1)
            };
            check(code, &format!("create the topic {name}"))
        })?
    }

    /// Takes a broker down, by its number from 1: its connections break and new ones are refused.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Broker`] when there is no such broker.
    pub fn broker_down(&self, node: i32) -> Result<()> {
        // SAFETY: the cluster is alive on its thread.
        self.run(move |cluster| unsafe {
            check(
                sys::rd_kafka_mock_broker_set_down(cluster.handle, node),
                "take a broker down",
            )
        })?
    }

    /// Brings a broker back.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Broker`] when there is no such broker.
    pub fn broker_up(&self, node: i32) -> Result<()> {
        // SAFETY: the cluster is alive on its thread.
        self.run(move |cluster| unsafe {
            check(
                sys::rd_kafka_mock_broker_set_up(cluster.handle, node),
                "bring a broker up",
            )
        })?
    }

    /// Lets a broker answer this much later.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Broker`] when there is no such broker.
    pub fn round_trip_time(&self, node: i32, delay: Duration) -> Result<()> {
        let millis = i32::try_from(delay.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the cluster is alive on its thread.
        self.run(move |cluster| unsafe {
            check(
                sys::rd_kafka_mock_broker_set_rtt(cluster.handle, node, millis),
                "set the round trip time",
            )
        })?
    }

    fn run<T: Send + 'static>(&self, f: impl FnOnce(&Cluster) -> T + Send + 'static) -> Result<T> {
        let (answer, result) = channel();
        let command: Command = Box::new(move |cluster| {
            // The receiver is gone if nobody waits any more.
            let _ = answer.send(f(cluster));
        });
        let sent = self
            .shared
            .commands
            .lock()
            .as_ref()
            .is_some_and(|commands| commands.send(command).is_ok());
        if !sent {
            return Err(failed());
        }
        result.recv().map_err(|_| failed())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.commands.lock().take();
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != std::thread::current().id()
        {
            // Ends as soon as the sender is gone; a panic there has already been printed.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedBroker")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

/// The mock cluster and the client it needs. Created and destroyed on one thread.
struct Cluster {
    handle: *mut sys::rd_kafka_mock_cluster_t,
    _client: Client<DefaultClientContext>,
}

impl Cluster {
    fn start(nodes: i32) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
        let native = config
            .create_native_config()
            .map_err(|e| failed().with_source(e))?;
        let client = Client::new(
            &config,
            native,
            sys::rd_kafka_type_t::RD_KAFKA_PRODUCER,
            DefaultClientContext,
        )
        .map_err(|e| failed().with_source(e))?;
        // SAFETY: the client is alive, and outlives the cluster (see `drop`).
        let handle = unsafe { sys::rd_kafka_mock_cluster_new(client.native_ptr(), nodes) };
        if handle.is_null() {
            return Err(failed());
        }
        // Otherwise the first member of a group waits three seconds for others.
        // SAFETY: the cluster is alive.
        unsafe { sys::rd_kafka_mock_group_initial_rebalance_delay_ms(handle, 0) };
        Ok(Self {
            handle,
            _client: client,
        })
    }

    fn address(&self) -> String {
        // SAFETY: the cluster is alive; the text is its own and is copied.
        unsafe { CStr::from_ptr(sys::rd_kafka_mock_cluster_bootstraps(self.handle)) }
            .to_string_lossy()
            .into_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SAFETY: made by this struct, destroyed once, and before its client: fields are dropped
        // after this.
        unsafe { sys::rd_kafka_mock_cluster_destroy(self.handle) }
    }
}

fn own(nodes: i32, started: &Sender<Result<String>>, inbox: &Receiver<Command>) {
    match Cluster::start(nodes) {
        Ok(cluster) => {
            // The starter waits for the answer.
            let _ = started.send(Ok(cluster.address()));
            while let Ok(command) = inbox.recv() {
                command(&cluster);
            }
        }
        Err(error) => {
            let _ = started.send(Err(error));
        }
    }
}

fn check(code: sys::rd_kafka_resp_err_t, doing: &str) -> Result<()> {
    if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        Ok(())
    } else {
        Err(from_code(format!("embedded broker: {doing}"), code.into()))
    }
}

fn failed() -> Error {
    Error::new(ErrorKind::Config, "start the embedded broker")
}
