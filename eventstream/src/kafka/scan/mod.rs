//! Reads the current contents of a topic: given partitions between offsets known at the start, without a group.
//! Nothing is joined or committed.

mod bounds;
mod reader;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::mpsc;

use super::config::ClientConfigs;
use super::context::Reporter;
use crate::error::{Error, ErrorKind, Result};
use crate::name::Topic;
use crate::publish::Publisher;
use crate::record::Record;

pub(super) use self::bounds::bounds;

/// The records of a partition from one offset up to but excluding another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) partition: i32,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// The contents of a topic at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Distinguishes the topic from an earlier one of the same name; brokers before 2.8 and the embedded one have no
    /// ids.
    pub(crate) id: Option<String>,
    pub(crate) replicas: u16,
    /// Of every partition, including empty ones.
    pub(crate) spans: Vec<Span>,
}

/// A scan in progress. Dropping it ends it.
pub(crate) struct Scan {
    batches: mpsc::Receiver<Result<Vec<Arc<Record>>>>,
    #[cfg(test)]
    running: tokio_util::sync::CancellationToken,
}

/// The maximum number of batches queued for the reader.
const WAITING: usize = 4;

impl Scan {
    /// Reads the spans of a topic, each in order; `topic` has no prefix.
    pub(super) fn start(
        configs: &ClientConfigs,
        reporter: &Arc<Reporter>,
        wire_topic: String,
        topic: Topic,
        spans: &[Span],
        publisher: &Arc<dyn Publisher>,
    ) -> Result<Self> {
        let (sender, batches) = mpsc::channel(WAITING);
        #[cfg(test)]
        let running = tokio_util::sync::CancellationToken::new();
        #[cfg(test)]
        let guard = running.clone().drop_guard();
        let reader = reader::Reader::new(configs, reporter, wire_topic, topic, spans, publisher)?;
        if let Some(reader) = reader {
            std::thread::Builder::new()
                .name("eventstream-scan".to_owned())
                .spawn(move || {
                    #[cfg(test)]
                    let _guard = guard;
                    reader.run(&sender);
                })
                .map_err(|e| {
                    Error::new(ErrorKind::Config, "start the thread that reads a topic")
                        .with_source(e)
                })?;
        }
        Ok(Self {
            batches,
            #[cfg(test)]
            running,
        })
    }

    /// The next records; `None` at the end. Nothing follows an error. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Vec<Arc<Record>>>> {
        self.batches.recv().await
    }

    /// Like [`next`](Self::next), for a stream.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Vec<Arc<Record>>>>> {
        self.batches.poll_recv(cx)
    }

    /// How many batches are queued.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.batches.len()
    }

    /// Completes when its thread has ended.
    #[cfg(test)]
    fn ended(&self) -> impl Future<Output = ()> + use<> {
        self.running.clone().cancelled_owned()
    }
}
