//! The thread of a group that is exactly once: it has the transactional producer, whose calls block,
//! so they must not run on the polling thread or on the runtime. [`Transactions`] decides what goes into a
//! transaction; this only carries it out.

mod producer;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;
use tokio::sync::mpsc::WeakUnboundedSender;

use self::producer::TransactionalProducer;
use super::assignment;
use super::events::TopicPartition;
use super::group::Group;
use super::words::{PollerHandle, ToPartition, ToPoller};
use crate::delivery::transactions::{Action, Input, Part, Transactions};
use crate::error::{Error, ErrorKind};
use crate::guard::{guarded, tracing};
use crate::kafka::questions::TopicId;
use crate::publish::Output;

/// Messages to the thread, in order.
pub(super) enum Word {
    Assigned {
        part: Part,
        name: TopicPartition,
        id: Option<TopicId>,
        /// Weak, so that a partition's task notices the end of the polling thread.
        words: WeakUnboundedSender<ToPartition>,
    },
    /// The partition now belongs to a recreated topic.
    Remade {
        part: Part,
        id: Option<TopicId>,
    },
    /// What the records up to this offset published, and how many records that is.
    Released {
        part: Part,
        outputs: Vec<Output>,
        up_to: i64,
        records: usize,
        bytes: usize,
    },
    Gone(Vec<Part>),
    /// Commit as this member of the group; answered with [`ToPoller::Transacted`].
    Commit {
        number: u64,
        metadata: Option<ConsumerGroupMetadata>,
    },
    End,
}

/// Sends messages to the thread.
#[derive(Clone)]
pub(super) struct TransactorHandle {
    words: Sender<Word>,
    /// How many commits were requested, by all consumers of the group.
    commits: Arc<AtomicU64>,
}

impl TransactorHandle {
    pub(super) fn new(words: Sender<Word>) -> Self {
        let commits = Arc::default();
        Self { words, commits }
    }

    /// A thread that has ended has nothing open.
    pub(super) fn send(&self, word: Word) {
        let _ = self.words.send(word);
    }

    /// Requests a commit; returns the number that its end is told with.
    pub(super) fn commit(&self, metadata: Option<ConsumerGroupMetadata>) -> u64 {
        let number = self.commits.fetch_add(1, Ordering::Relaxed);
        self.send(Word::Commit { number, metadata });
        number
    }
}

/// The thread's owner.
pub(super) struct Owner {
    pub(super) handle: TransactorHandle,
    done: Receiver<()>,
    thread: std::thread::JoinHandle<()>,
}

/// How long to wait for a transaction to end when the group ends. After that it continues in the background.
const END: Duration = Duration::from_secs(5);
/// The wait before partitions are read again after an abort, doubled while there is no commit.
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(10);

impl Owner {
    pub(super) fn start(group: &Arc<Group>, poller: &PollerHandle) -> Result<Self, Error> {
        let (sender, words) = std::sync::mpsc::channel();
        let (telling, done) = std::sync::mpsc::channel::<()>();
        let transactor = Transactor {
            group: Arc::clone(group),
            poller: poller.clone(),
            words,
            later: VecDeque::new(),
            ended: false,
            machine: Transactions::new(),
            parts: BTreeMap::new(),
            producer: None,
            metadata: None,
            backoff: AGAIN_MIN,
            again: None,
            is_told: false,
        };
        let thread = std::thread::Builder::new()
            .name("eventstream-transactor".to_owned())
            .spawn(move || {
                let _telling = telling;
                guarded(|| transactor.run());
            })
            .map_err(|e| {
                Error::new(ErrorKind::Fatal, "start the thread of transactions").with_source(e)
            })?;
        Ok(Self {
            handle: TransactorHandle::new(sender),
            done,
            thread,
        })
    }

    /// Ends it: what is not committed is aborted.
    pub(super) fn end(self) {
        self.handle.send(Word::End);
        // Its sender is dropped, and nothing is ever sent.
        if self.done.recv_timeout(END) == Err(RecvTimeoutError::Disconnected) {
            let _ = self.thread.join();
        } else {
            tracing::warn!("a transaction still ends in the background");
        }
    }
}

struct Known {
    name: TopicPartition,
    id: Option<TopicId>,
    words: WeakUnboundedSender<ToPartition>,
}

struct Transactor {
    group: Arc<Group>,
    poller: PollerHandle,
    words: Receiver<Word>,
    /// Messages that arrived while it waited for something else.
    later: VecDeque<Word>,
    ended: bool,
    machine: Transactions<Output>,
    parts: BTreeMap<Part, Known>,
    producer: Option<TransactionalProducer>,
    /// Of the commit that is asked for.
    metadata: Option<ConsumerGroupMetadata>,
    backoff: Duration,
    /// What to read again, and when.
    again: Option<(Instant, Vec<Part>)>,
    /// `health` shows that transactions fail.
    is_told: bool,
}

impl Transactor {
    fn run(mut self) {
        // At once, so that nobody waits for a transaction that a member of the same name left open.
        self.renew();
        while !self.ended {
            if let Some(word) = self.next() {
                self.serve(word);
            }
            self.read_again();
        }
        let parts = self.parts.keys().copied().collect();
        self.machine.handle(Input::Gone(parts));
        self.carry_out();
    }

    fn next(&mut self) -> Option<Word> {
        if let Some(word) = self.later.pop_front() {
            return Some(word);
        }
        let word = match &self.again {
            Some((at, _)) => {
                let left = at.saturating_duration_since(Instant::now());
                self.words.recv_timeout(left)
            }
            None => self.words.recv().map_err(Into::into),
        };
        match word {
            Ok(word) => Some(word),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Word::End),
        }
    }

    fn serve(&mut self, word: Word) {
        match word {
            Word::Assigned {
                part,
                name,
                id,
                words,
            } => {
                self.parts.insert(part, Known { name, id, words });
                self.machine.handle(Input::Assigned(part));
            }
            Word::Remade { part, id } => {
                if let Some(known) = self.parts.get_mut(&part) {
                    known.id = id;
                }
            }
            Word::Released {
                part,
                outputs,
                up_to,
                records,
                bytes,
            } => {
                self.machine.handle(Input::Released {
                    part,
                    outputs,
                    up_to,
                });
                self.carry_out();
                self.left(part, records, bytes);
            }
            Word::Gone(parts) => {
                let had = |part| self.parts.remove(part).is_some();
                let had = parts.iter().map(had).fold(false, |any, had| any | had);
                if let Some((_, again)) = &mut self.again {
                    again.retain(|part| !parts.contains(part));
                }
                self.machine.handle(Input::Gone(parts));
                // What failed is for others to do again. What is read again here has gone before.
                if had && self.parts.is_empty() && self.producer.is_some() {
                    self.all_is_well();
                }
            }
            Word::Commit { number, metadata } => {
                self.metadata = metadata;
                self.machine.handle(Input::CommitDue);
                self.carry_out();
                self.poller.send(ToPoller::Transacted(number));
            }
            Word::End => self.ended = true,
        }
        self.carry_out();
        self.look_after_producer();
    }

    /// What was released has been passed to librdkafka, which counts it from now on.
    fn left(&self, part: Part, records: usize, bytes: usize) {
        let words = self.parts.get(&part).and_then(|part| part.words.upgrade());
        if let Some(words) = words.filter(|_| records > 0) {
            // A task that has ended holds nothing.
            let _ = words.send(ToPartition::Left { records, bytes });
        }
    }

    fn look_after_producer(&mut self) {
        let Some(producer) = &self.producer else {
            return;
        };
        producer.poll();
        if let Some(error) = producer.failure() {
            self.failed(&error);
            self.carry_out();
        }
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.machine.poll() {
            match action {
                Action::Begin => {
                    let begun = self.producer().map(TransactionalProducer::begin);
                    self.check(begun);
                }
                Action::Produce { outputs, .. } => {
                    let prefix = Arc::clone(&self.group.env.prefix);
                    let sent = self.producer().map(|p| p.send_all(&prefix, &outputs));
                    self.check(sent);
                }
                Action::Commit(offsets) => self.commit(&offsets),
                Action::Abort => self.abort(),
                Action::Told(offsets) => self.poller.send(ToPoller::Told(offsets)),
                Action::Again(parts) => {
                    let (_, before) = self.again.take().unwrap_or((Instant::now(), Vec::new()));
                    let parts = before.into_iter().chain(parts).collect();
                    self.again = Some((Instant::now() + self.backoff, parts));
                    self.backoff = (self.backoff * 2).min(AGAIN_MAX);
                }
            }
        }
    }

    fn producer(&self) -> Option<&TransactionalProducer> {
        self.producer.as_ref()
    }

    /// `None`: there is no producer, because the group ends.
    fn check(&mut self, result: Option<Result<(), Error>>) {
        match result {
            Some(Ok(())) => {}
            Some(Err(error)) => self.failed(&error),
            None => self.machine.handle(Input::Failed),
        }
    }

    fn commit(&mut self, offsets: &[(Part, i64)]) {
        let list = offsets.iter().filter_map(|(part, up_to)| {
            let known = self.parts.get(part)?;
            Some((&known.name, *up_to, known.id))
        });
        let list = assignment::to_commit(list);
        let (Some(producer), Some(metadata)) = (&self.producer, &self.metadata) else {
            // The group has removed this member, and will say so.
            self.machine.handle(Input::Failed);
            return;
        };
        match producer.commit(&list, metadata) {
            Ok(()) => {
                self.backoff = AGAIN_MIN;
                self.all_is_well();
                self.machine.handle(Input::Committed);
            }
            Err(error) => self.failed(&error),
        }
    }

    /// The transaction fails. If a rebalance has overtaken it, that is not reported.
    fn failed(&mut self, error: &Error) {
        let group = &*self.group.env.wire_group;
        if producer::is_overtaken(error) {
            tracing::debug!(group, %error, "transaction overtaken");
        } else {
            tracing::warn!(group, %error, "a transaction is aborted, and its events are read again");
            self.tell(error);
        }
        self.machine.handle(Input::Failed);
    }

    fn tell(&mut self, error: &Error) {
        self.is_told = true;
        self.group.set_transacting(Some(error.clone()));
        self.group.tell_all(error);
    }

    fn all_is_well(&mut self) {
        if std::mem::take(&mut self.is_told) {
            self.group.set_transacting(None);
        }
    }

    /// Aborts. A producer that cannot abort is replaced by one of the same name, which ends the open
    /// transaction; the committed offsets then show whether it had been committed.
    fn abort(&mut self) {
        let aborted = self.producer.as_ref().map(TransactionalProducer::abort);
        if !matches!(aborted, Some(Ok(()))) {
            if let Some(Err(error)) = aborted {
                tracing::debug!(%error, "a producer of transactions is replaced");
            }
            self.renew();
        }
        self.machine.handle(Input::Aborted);
    }

    /// A new producer, however long that takes; `None` if the group ends.
    fn renew(&mut self) {
        self.producer = None;
        let mut wait = AGAIN_MIN;
        let mut last = None;
        while !self.ended {
            let error = match TransactionalProducer::new(&self.group.env) {
                Ok(producer) => {
                    self.producer = Some(producer);
                    if last.is_some() {
                        self.all_is_well();
                    }
                    return;
                }
                Err(error) => error,
            };
            let text = error.to_string();
            if last.as_ref() != Some(&text) {
                tracing::warn!(group = &*self.group.env.wire_group, %error, "transactions cannot start");
                self.tell(&error);
                last = Some(text);
            }
            self.wait(wait);
            wait = (wait * 2).min(AGAIN_MAX);
        }
    }

    /// Waits, and notices the end.
    fn wait(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.words.recv_timeout(left) {
                Ok(Word::End) | Err(RecvTimeoutError::Disconnected) => {
                    self.ended = true;
                    return;
                }
                Ok(word) => self.later.push_back(word),
                Err(RecvTimeoutError::Timeout) => return,
            }
        }
    }

    fn read_again(&mut self) {
        let due = |again: &mut (Instant, Vec<Part>)| again.0 <= Instant::now();
        if let Some((_, parts)) = self.again.take_if(due) {
            for part in &parts {
                self.parts.remove(part);
            }
            self.poller.send(ToPoller::Again(parts));
        }
    }
}
