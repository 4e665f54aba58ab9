//! Writes records that are not events to the topic whose group dead-letters, using bare librdkafka, as the library
//! cannot.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use crate::layout::{GROUPS, on_broker};

/// Between two records.
const PAUSE: Duration = Duration::from_millis(100);
/// Longer than any fault.
const PATIENCE: Duration = Duration::from_secs(120);

/// Values in turn; `None` is a tombstone.
const VALUES: [Option<&[u8]>; 6] = [
    Some(b"no JSON"),
    None,
    Some(br#"{"id":"cut"#),
    Some(b""),
    Some(b"\xff\xfe{}"),
    Some(br#"["an","array"]"#),
];

/// A thread that writes until it is stopped.
pub(super) struct Poison {
    stop: Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Poison {
    pub(super) fn start(bootstrap: &str) -> Result<Self> {
        let mut dead_lettering = GROUPS.iter().filter(|group| group.attempts.is_some());
        let topic = dead_lettering.next().context("no group dead-letters")?;
        let topic = on_broker(topic.topic);
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("reconnect.backoff.max.ms", "500")
            .create()
            .context("making a producer")?;
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            for value in VALUES.into_iter().cycle() {
                if stopped.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&topic);
                if let Some(value) = value {
                    record = record.payload(value);
                }
                producer.send(record).map_err(|(error, _)| error)?;
            }
            producer.flush(PATIENCE)?;
            Ok(())
        });
        Ok(Self { stop, thread })
    }

    /// Stops it, once all records are written or given up.
    pub(super) fn stop(self) -> Result<()> {
        drop(self.stop);
        match self.thread.join() {
            Ok(done) => done.context("writing records that are no events"),
            Err(_) => bail!("the writer of records that are no events panicked"),
        }
    }
}
