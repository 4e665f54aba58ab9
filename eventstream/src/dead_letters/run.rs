use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::done::{Deed, Done};
use super::filter::Filter;
use super::ledger::{self, Ledger};
use super::letter::Letter;
use super::plan::Plan;
use super::report::{End, Progress, Report};
use super::stream::Letters;
use crate::error::{ErrorKind, Result};
use crate::kafka::{Outgoing, Span};
use crate::name::Topic;
use crate::publish::receipt::Receipt;
use crate::subscribe::{PARKED, REPLAYS};

/// At most this many records are written but not yet recorded as done. These are repeated if a run is killed.
pub const IN_FLIGHT: usize = 500;
/// With a rate limit, the number of batches per second.
const BATCHES: u32 = 10;

impl Plan {
    /// Replays and parks what was planned, in batches; `progress` is called before the first and after each. Whatever
    /// another run has done since the plan was made is skipped.
    ///
    /// Order within a key is kept: the records of a partition are written in order. If one cannot be written (too
    /// large for the target), those of its key in later batches are held back. Records without a key have no order. A
    /// replayed event comes after newer ones of its key that are already in the target.
    ///
    /// Records keep the timestamp of their original, and brokers delete by it: a target with a shorter retention
    /// (`retention.ms`) soon deletes them again.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check), or if the run could not start. Later errors are in the report.
    ///
    /// # Cancellation
    ///
    /// Dropping it is like killing the process: the next run may repeat up to [`IN_FLIGHT`] records.
    /// [`Replay::stop`](super::Replay::stop) ends it gracefully.
    pub async fn run(self, mut progress: impl FnMut(&Progress)) -> Result<Report> {
        self.check()?;
        let mut report = Report::new(&self);
        let Some(bounds) = self.bounds.as_ref().filter(|_| !self.chosen.is_empty()) else {
            return Ok(report);
        };
        let (done, ledger) = Ledger::new(&self.letters, bounds)?.read().await?;
        report.already += done.count_of(&self.chosen);
        ledger.create().await?;
        let parking = self.parking()?;
        if self.to_park() > 0 {
            let partitions = u32::try_from(bounds.spans.len()).unwrap_or(1).max(1);
            ledger::create(&self.letters, &parking, partitions, bounds.replicas).await?;
        }
        let scan = self
            .letters
            .kafka()?
            .scan(&self.letters.topic, &self.spans())?;
        let mut run = Run {
            plan: &self,
            report: &mut report,
            ledger,
            parking,
            held_back: HashSet::new(),
            written: 0,
            since: Instant::now(),
        };
        let letters = Letters::new(scan, Filter::new(), done);
        if let Err(error) = run.all(letters, &mut progress).await {
            report.end = End::Failed(error);
        }
        Ok(report)
    }

    /// From the first selected record of each partition to the last.
    fn spans(&self) -> Vec<Span> {
        let hulls = self.chosen.partitions().filter_map(|(partition, offsets)| {
            let (from, to) = offsets.hull()?;
            Some(Span {
                partition,
                from,
                to,
            })
        });
        hulls.collect()
    }

    /// How many records are written in one batch.
    fn batch(&self) -> usize {
        let of_rate = |rate: u32| (rate / BATCHES).max(1) as usize;
        self.options.rate.map_or(IN_FLIGHT, of_rate).min(IN_FLIGHT)
    }
}

struct Run<'a> {
    plan: &'a Plan,
    report: &'a mut Report,
    ledger: Ledger<'a>,
    parking: Topic,
    /// Keys with a record that could not be written.
    held_back: HashSet<Vec<u8>>,
    written: u64,
    since: Instant,
}

/// A record in flight.
struct Sent<'b> {
    letter: &'b Letter,
    parked: bool,
    receipt: Result<Receipt>,
}

impl Run<'_> {
    async fn all(
        &mut self,
        mut letters: Letters,
        progress: &mut impl FnMut(&Progress),
    ) -> Result<()> {
        progress(&self.report.progress);
        let size = self.plan.batch();
        let mut batch = Vec::with_capacity(size);
        while let Some(letter) = letters.next().await.transpose()? {
            let raw = letter.raw();
            if !self.plan.chosen.contains(raw.source.partition, raw.offset) {
                continue;
            }
            batch.push(letter);
            if batch.len() == size && !self.write(&mut batch, progress).await? {
                return Ok(());
            }
        }
        self.write(&mut batch, progress).await.map(drop)
    }

    /// Writes a batch and records it; `false` if the run was stopped.
    async fn write(
        &mut self,
        batch: &mut Vec<Letter>,
        progress: &mut impl FnMut(&Progress),
    ) -> Result<bool> {
        if batch.is_empty() {
            return Ok(true);
        }
        tokio::select! {
            biased;
            () = self.plan.options.stop.cancelled() => {
                self.report.end = End::Stopped;
                return Ok(false);
            }
            () = tokio::time::sleep_until(self.due()) => {}
        }
        let mut sent = Vec::with_capacity(batch.len());
        for letter in batch.iter() {
            if letter
                .raw()
                .key()
                .is_some_and(|key| self.held_back.contains(key))
            {
                self.report.progress.failed += 1;
                continue;
            }
            let reason = self.plan.options.parks(letter);
            let parked = reason.is_some();
            let receipt = match reason {
                Some(reason) => self.park(letter, reason).await,
                None => self.replay(letter).await,
            };
            if receipt.is_err() {
                self.hold_back(letter);
            }
            sent.push(Sent {
                letter,
                parked,
                receipt,
            });
        }
        self.written += sent.len() as u64;
        let settled = self.settle(sent).await;
        batch.clear();
        progress(&self.report.progress);
        settled.map(|()| true)
    }

    /// Waits until every record of a batch has an outcome, and records the stored ones.
    async fn settle(&mut self, sent: Vec<Sent<'_>>) -> Result<()> {
        let (mut replayed, mut parked) = (Done::default(), Done::default());
        let mut lasting = None;
        for Sent {
            letter,
            parked: was_parked,
            receipt,
        } in sent
        {
            let outcome = match receipt {
                Ok(receipt) => receipt.await,
                Err(error) => Err(error),
            };
            let raw = letter.raw();
            match outcome {
                Ok(_) if was_parked => parked.insert(raw.source.partition, raw.offset),
                Ok(delivery) => {
                    replayed.insert(raw.source.partition, raw.offset);
                    self.report.note(letter, &delivery);
                }
                Err(error) => {
                    self.hold_back(letter);
                    // An error about one record does not hold back other keys.
                    if error.kind() != ErrorKind::TooLarge {
                        lasting.get_or_insert_with(|| error.clone());
                    }
                    self.report.fail(letter, error);
                }
            }
        }
        let deeds = [(Deed::Replayed, &replayed), (Deed::Parked, &parked)];
        if !(replayed.is_empty() && parked.is_empty()) {
            let recorded = self.ledger.record(&deeds).await;
            self.report.progress.replayed += replayed.len();
            self.report.progress.parked += parked.len();
            recorded?;
        }
        lasting.map_or(Ok(()), Err)
    }

    /// When the next batch may start.
    fn due(&self) -> Instant {
        let after = self
            .plan
            .options
            .rate
            .map(|rate| Duration::from_secs_f64(self.written as f64 / f64::from(rate)));
        self.since + after.unwrap_or_default()
    }

    fn hold_back(&mut self, letter: &Letter) {
        let key = letter.raw().key().filter(|key| !key.is_empty());
        self.held_back.extend(key.map(<[u8]>::to_vec));
    }

    async fn replay(&self, letter: &Letter) -> Result<Receipt> {
        let mut headers = letter.own_headers();
        let replays = letter.replays().saturating_add(1);
        headers.push((REPLAYS.to_owned(), Some(replays.to_string().into_bytes())));
        self.publish(
            self.plan.target.as_str(),
            letter,
            &headers,
            letter.timestamp_ms(),
        )
        .await
    }

    async fn park(&self, letter: &Letter, reason: String) -> Result<Receipt> {
        let headers = letter.raw().headers().iter();
        let mut headers: Vec<_> = headers
            .filter(|(name, _)| name != PARKED)
            .cloned()
            .collect();
        headers.push((PARKED.to_owned(), Some(reason.into_bytes())));
        let timestamp = letter.raw().timestamp_ms;
        self.publish(self.parking.as_str(), letter, &headers, timestamp)
            .await
    }

    async fn publish(
        &self,
        topic: &str,
        letter: &Letter,
        headers: &[(String, Option<Vec<u8>>)],
        timestamp_ms: Option<i64>,
    ) -> Result<Receipt> {
        let raw = letter.raw();
        let record = Outgoing {
            key: raw.key(),
            value: raw.value(),
            headers,
            timestamp_ms,
            ..Outgoing::default()
        };
        let kafka = self.plan.letters.kafka()?;
        kafka.sender.publish_record(topic, record).await
    }
}
