//! Reading, and pausing it for a full partition.

use std::sync::atomic::Ordering as Atomic;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::Offset;

use super::Poller;
use crate::guard::tracing;
use crate::kafka::consumer::assignment;
use crate::kafka::consumer::events::{Event, TopicPartition};

/// Records read in one go before they are passed on.
const BATCH: usize = 512;
/// How long a full partition blocks reading before its fetching is paused. A pause discards what
/// librdkafka has read ahead, so a handler that is only slightly behind is waited for.
const GRACE: Duration = Duration::from_millis(50);
/// How long the poll sleeps when nothing happens; it is woken for everything that matters.
const IDLE: Duration = Duration::from_millis(500);

impl Poller {
    /// Reads what is available, at most a batch for each partition, and passes it on.
    pub(super) fn read(&mut self) {
        self.tell_heard();
        let now = Instant::now();
        let until = [self.rejoin_at, self.next_question(now)];
        let until = until.into_iter().flatten().min();
        let until = until.map_or(self.next_commit, |at| at.min(self.next_commit));
        let mut wait = until
            .saturating_duration_since(now)
            .min(IDLE)
            .max(Duration::from_millis(1));
        if self.assigned.has_unsent() {
            wait = wait.min(GRACE);
        }
        for n in 0..BATCH {
            let (mut restarted, mut other) = (None, None);
            // Records go straight into the batches; everything else is rare, and needs `self`.
            let assigned = &mut self.assigned;
            let some = self.queue.poll(
                self.consumer.client(),
                wait,
                &mut |message| {
                    if !assigned.take(message) {
                        let name = (message.topic().to_owned(), message.partition());
                        restarted = Some(Event::OutOfRange(name, Some(message.offset())));
                    }
                },
                &mut |event| other = Some(event),
            );
            wait = Duration::ZERO;
            if let Some(event) = restarted.or(other) {
                self.flush();
                self.event(event);
                return;
            }
            if !some {
                if n == 0 && now.elapsed() >= GRACE {
                    self.assigned.rest();
                }
                break;
            }
        }
        self.flush();
    }

    pub(super) fn read_to(&mut self, name: &TopicPartition, offset: i64) {
        if let Some(at) = self.assigned.position(&name.0, name.1) {
            self.assigned.read_to(at, offset);
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        let (records, bytes) = self.assigned.flush();
        if records > 0 {
            self.group.env.reporter.heard();
        }
        if records > 0 && std::mem::take(&mut self.refused) {
            self.group.set_problem(None);
        }
        let counters = &self.group.env.counters;
        counters.records.fetch_add(records as u64, Atomic::Relaxed);
        counters.bytes.fetch_add(bytes as u64, Atomic::Relaxed);
    }

    /// How long to leave the queue alone because a partition is full; pauses partitions that stay
    /// full.
    pub(super) fn backpressure(&mut self, now: Instant) -> Option<Duration> {
        let (mut pause, mut resume, mut wait) = (Vec::new(), Vec::new(), None);
        self.assigned.each_pressed(|assigned| {
            if !assigned.is_full() {
                assigned.full_since = None;
                if std::mem::take(&mut assigned.paused) {
                    assigned.shared.paused.store(false, Atomic::Relaxed);
                    resume.push(assigned.name.clone());
                }
                return;
            }
            if assigned.paused {
                return;
            }
            let since = *assigned.full_since.get_or_insert(now);
            let left = GRACE.saturating_sub(now - since);
            if left.is_zero() {
                assigned.paused = true;
                assigned.shared.paused.store(true, Atomic::Relaxed);
                pause.push(assigned.name.clone());
            } else {
                wait = Some(wait.map_or(left, |w: Duration| w.min(left)));
            }
        });
        let list = |names: &[TopicPartition]| {
            assignment::list(names.iter().map(|name| (name, Offset::Invalid)))
        };
        if !pause.is_empty()
            && let Err(error) = self.consumer.pause(&list(&pause))
        {
            tracing::warn!(%error, "pause");
        }
        if !resume.is_empty()
            && let Err(error) = self.consumer.resume(&list(&resume))
        {
            tracing::warn!(%error, "resume");
        }
        wait
    }
}
