//! The task of a relay: moves rows from the database to the board, from there to the broker, and the outcomes back.

use std::collections::HashSet;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eventstream::{CancellationToken, Delivery, ErrorKind as Kind, Publisher, SealedEvent};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until};

use super::board::{Board, Lane, Row, Verdict};
use super::chores;
use super::leases::{Leases, Moment};
use super::shared::{Shared, Told};
use super::store::{Fetch, Store};
use super::turn::{self, Found, Turn};
use super::{Options, Published};
use crate::error::Result;
use crate::failed::Depth;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const CHORES_INTERVAL: Duration = Duration::from_secs(10);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Taken = (Turn, Found, Result<()>);
type Done = (Result<Depth>, Result<()>);

pub(super) struct Driver {
    store: Store,
    options: Options,
    publisher: Arc<dyn Publisher>,
    shared: Arc<Shared>,
    board: Board,
    flights: FuturesUnordered<Boxed<Landed>>,
    turn: Option<Boxed<Taken>>,
    /// Beside the turns.
    chores: Option<Boxed<Done>>,
    chores_at: Instant,
    /// The remaining work of a failed turn.
    left: Turn,
    /// The board's epoch when the running turn started.
    epoch: u64,
    /// The earliest time of the next turn.
    not_before: Instant,
    wait: Duration,
    leases: Leases,
    /// There may be rows to read.
    hungry: bool,
    polled: Instant,
    stopping: bool,
}

/// A finished attempt.
struct Landed {
    lane: Lane,
    event: SealedEvent,
    age: Duration,
    started: Instant,
    outcome: eventstream::Result<Delivery>,
    /// The event was never accepted.
    refused: bool,
}

impl Driver {
    pub(super) fn new(
        store: Store,
        options: Options,
        publisher: Arc<dyn Publisher>,
        shared: Arc<Shared>,
    ) -> Self {
        let started = Moment::now();
        let now = started.ticks;
        Self {
            leases: Leases::new(store.lease, started),
            board: Board::new(store.failed_key),
            store,
            options,
            publisher,
            shared,
            flights: FuturesUnordered::new(),
            turn: None,
            chores: None,
            chores_at: now,
            left: Turn::default(),
            epoch: 0,
            not_before: now,
            wait: FIRST_WAIT,
            hungry: true,
            polled: now,
            stopping: false,
        }
    }

    /// Runs until it is stopped and everything in flight has an outcome, or is marked.
    pub(super) async fn run(mut self, woken: &Notify, stop: &CancellationToken) {
        loop {
            self.step(Moment::now());
            if self.stopping && self.is_done() {
                break;
            }
            let due = self.due();
            tokio::select! {
                // A stop precedes what it prevents.
                biased;
                () = stop.cancelled(), if !self.stopping => self.begin_stop(),
                taken = async { self.turn.as_mut().expect("asked before").await }, if self.turn.is_some() => {
                    self.turn = None;
                    self.taken(taken);
                }
                done = async { self.chores.as_mut().expect("asked before").await }, if self.chores.is_some() => {
                    self.chores = None;
                    self.done(done);
                }
                Some(landed) = self.flights.next() => self.land(landed),
                () = woken.notified(), if !self.hungry && !self.stopping => self.hungry = true,
                () = sleep_until(due.into()) => {}
            }
        }
        // What a killed relay would leave until its leases end.
        if let Err(error) = self.store.leave().await {
            self.shared.tell(Told::Database(error));
        }
    }

    fn begin_stop(&mut self) {
        self.stopping = true;
        self.keep_slots();
    }

    /// Nothing is in flight or left to mark.
    fn is_done(&self) -> bool {
        let left = &self.left;
        self.turn.is_none()
            && self.flights.is_empty()
            && !self.board.has_done()
            && left.stored.is_empty()
            && left.rejected.is_empty()
    }

    fn step(&mut self, now: Moment) {
        // Before anything starts, however long this machine was suspended.
        if self.leases.expire(now) {
            self.keep_slots();
        }
        let now = now.ticks;
        for row in self.board.start() {
            self.flights.push(self.fly(row));
        }
        if self.turn.is_none() && now >= self.not_before {
            self.begin_turn(now);
        }
        if self.chores.is_none() && now >= self.chores_at && !self.stopping {
            self.chores_at = now + CHORES_INTERVAL;
            self.chores = Some(Box::pin(chores::run(self.store.clone())));
        }
        if !self.stopping {
            self.shared.keep_topics(|topic| self.board.holds(topic));
        }
        self.shared.set_in_flight(self.board.flying());
    }

    fn fly(&self, row: Row) -> Boxed<Landed> {
        let publisher = Arc::clone(&self.publisher);
        Box::pin(async move {
            let Row {
                lane, event, age, ..
            } = row;
            let started = Instant::now();
            let accepted = match event.clone().into_publish() {
                Ok(publish) => publisher.publish(publish).await,
                Err(error) => Err(error),
            };
            let refused = accepted.is_err();
            let outcome = match accepted {
                Ok(receipt) => receipt.await,
                Err(error) => Err(error),
            };
            Landed {
                lane,
                event,
                age,
                started,
                outcome,
                refused,
            }
        })
    }

    fn land(&mut self, landed: Landed) {
        let Landed {
            lane,
            event,
            age,
            started,
            outcome,
            refused,
        } = landed;
        let now = Instant::now();
        let verdict = match outcome {
            Ok(delivery) => {
                self.shared.published();
                if let Some(callback) = &self.options.on_published {
                    let waited = age + now.duration_since(started);
                    let published = Published {
                        event,
                        delivery,
                        waited,
                    };
                    if catch_unwind(AssertUnwindSafe(|| callback(published))).is_err() {
                        tracing::error!("outbox relay: `on_published` panicked");
                    }
                }
                Verdict::Stored
            }
            Err(error) => {
                let verdict = verdict(&error, refused);
                if matches!(verdict, Verdict::Later) {
                    self.shared.tell(Told::Publish(&lane.topic, error));
                }
                verdict
            }
        };
        self.board.settle(&lane, verdict, now);
    }

    fn begin_turn(&mut self, now: Instant) {
        let mut turn = std::mem::take(&mut self.left);
        let (stored, rejected) = self.board.take_done();
        turn.stored.extend(stored);
        turn.rejected.extend(rejected);
        if now >= self.leases.renew_at() && !self.stopping {
            let leaving = self.leases.leaving();
            turn.renew = Some(leaving.filter(|slot| !self.board.flies_in(*slot)).collect());
        }
        self.want_rows(&mut turn, now);
        let idle = turn.stored.is_empty() && turn.rejected.is_empty() && turn.renew.is_none();
        if idle && turn.fetch.is_none() {
            self.left = turn;
            return;
        }
        self.epoch = self.board.epoch();
        self.turn = Some(Box::pin(turn::take(self.store.clone(), turn)));
    }

    /// Requests rows, if there may be any and there is room for a good part of a batch.
    fn want_rows(&mut self, turn: &mut Turn, now: Instant) {
        let slots: Vec<_> = self.leases.kept().into_iter().collect();
        turn.fetch = None;
        turn.probes.clear();
        if slots.is_empty() || self.stopping {
            return;
        }
        let probes = self.board.probes(now);
        let poll = now >= self.polled + self.options.poll_interval;
        let room = self.room();
        let wanted = (self.hungry || poll) && room > 0;
        if !wanted && probes.is_empty() {
            return;
        }
        (self.hungry, self.polled) = (false, now);
        turn.probes = probes;
        turn.fetch = Some(Fetch {
            slots,
            known: self.board.known(),
            held: self.board.held(),
            limit: room,
        });
    }

    fn taken(&mut self, (turn, found, outcome): Taken) {
        let now = Instant::now();
        let renewed = found.leased.is_some();
        if let Some(leased) = found.leased {
            self.leases.take(leased, now + FIRST_WAIT);
            self.keep_slots();
        }
        self.board.marked(found.marked);
        for (topic, row) in found.probed {
            self.board.probed(topic, row, self.epoch);
        }
        self.board.unprobed(&turn.probes);
        match found.rows {
            Some((rows, more)) => {
                let taken = self.board.add(rows, self.epoch);
                self.hungry |= more || !taken;
            }
            // It was requested, or there are slots to read now.
            None => self.hungry |= renewed || turn.fetch.is_some(),
        }
        match outcome {
            Ok(()) => {
                self.shared.database_is_well();
                self.wait = FIRST_WAIT;
                self.not_before = now;
            }
            Err(error) => {
                self.shared.tell(Told::Database(error));
                self.not_before = now + self.wait;
                self.wait = (2 * self.wait).min(LONGEST_WAIT);
            }
        }
        self.left = Turn {
            stored: turn.stored,
            rejected: turn.rejected,
            ..Turn::default()
        };
    }

    fn done(&mut self, (depth, cleaned): Done) {
        let failed = match depth {
            Ok(depth) => {
                self.shared.set_depth(depth);
                cleaned.err()
            }
            Err(error) => Some(error),
        };
        match failed {
            Some(error) => self.shared.tell(Told::Chore(error)),
            None => self.shared.chores_are_well(),
        }
    }

    /// Only rows of these may start.
    fn keep_slots(&mut self) {
        let kept = if self.stopping {
            HashSet::new()
        } else {
            self.leases.kept()
        };
        self.board.keep_slots(kept);
        self.shared.set_slots(self.leases.count());
    }

    /// How many rows may be read now: none if that would be a small part of a batch.
    fn room(&self) -> usize {
        let batch = self.options.batch;
        let most = batch.saturating_mul(2);
        let room = most.saturating_sub(self.board.known_count()).min(batch);
        if room >= batch.div_ceil(2) { room } else { 0 }
    }

    /// When there is something to do, if nothing happens before.
    fn due(&self) -> Instant {
        let now = Instant::now();
        // The end of what runs is awaited.
        let turn = self.turn.is_none().then(|| self.turn_due()).flatten();
        let chores = (self.chores.is_none() && !self.stopping).then_some(self.chores_at);
        let due = [self.leases.end(), turn, chores]
            .into_iter()
            .flatten()
            .min();
        // On clocks without finer steps, it is a moment later.
        due.map_or(now + LONGEST_WAIT, |due| {
            due.max(now + Duration::from_millis(1))
        })
    }

    /// When a turn has something to do.
    fn turn_due(&self) -> Option<Instant> {
        let left = !self.left.stored.is_empty() || !self.left.rejected.is_empty();
        let unmarked = left || self.board.has_done();
        let poll = if self.hungry {
            self.polled
        } else {
            self.polled + self.options.poll_interval
        };
        let reads = self.leases.keeps_any() && !self.stopping;
        let turns = [
            unmarked.then_some(self.not_before),
            (!self.stopping).then_some(self.leases.renew_at()),
            (reads && self.room() > 0).then_some(poll),
            reads.then(|| self.board.next_probe()).flatten(),
        ];
        let turn = turns.into_iter().flatten().min();
        turn.map(|turn| turn.max(self.not_before))
    }
}

/// What a failure says about the event.
fn verdict(error: &eventstream::Error, refused: bool) -> Verdict {
    let text = || crate::error::with_causes(error);
    match error.kind() {
        Kind::Validation | Kind::Encode | Kind::Decode => Verdict::Rejected(text()),
        Kind::TooLarge if refused => Verdict::Rejected(text()),
        Kind::TooLarge | Kind::InvalidRecord => Verdict::Suspect(text()),
        // Whatever else a broker says may be said of every event, such as that it failed.
        _ => Verdict::Later,
    }
}

/// Wakes the relay for each notification of a commit, as long as it is polled.
pub(super) async fn listen(store: &Store, woken: &Notify) {
    let mut wait = FIRST_WAIT;
    loop {
        if let Ok(mut listener) = sqlx::postgres::PgListener::connect_with(&store.pool).await
            && listener.listen(crate::outbox::CHANNEL).await.is_ok()
        {
            wait = FIRST_WAIT;
            // Whatever was committed before is found now.
            woken.notify_one();
            while let Ok(Some(_)) = listener.try_recv().await {
                woken.notify_one();
            }
        }
        // Polling continues meanwhile.
        sleep(wait).await;
        wait = (2 * wait).min(LONGEST_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_broker_says_of_a_record_makes_it_a_suspect() {
        let of = |kind: Kind| verdict(&kind.into(), false);
        for kind in [Kind::TooLarge, Kind::InvalidRecord] {
            assert!(matches!(of(kind), Verdict::Suspect(_)), "{kind:?}");
        }
        let others = [
            Kind::Broker,
            Kind::Fatal,
            Kind::Timeout,
            Kind::Closed,
            Kind::UnknownTopic,
            Kind::Unauthorized,
        ];
        for kind in others {
            assert!(matches!(of(kind), Verdict::Later), "{kind:?}");
        }
        let refused = verdict(&Kind::TooLarge.into(), true);
        assert!(matches!(refused, Verdict::Rejected(_)));
    }
}
