//! The driver and the broker of one assignment, played by chance.

use std::time::Duration;

use super::super::sabotage::Sabotage;
use super::super::{Action, Input, Outcome, Partition, RouteId, Start, Ticket, Time};
use super::invariants::{Checked, ensure};
use super::ledger::Ledger;
use super::model::{Model, Phase};
use super::oracle::Oracle;
use super::plan;
use super::scenario::{Chance, Mood, NO_ROUTE, Scenario};

/// A delivery that waits for the world: by entry and route (or none).
type Work = (usize, usize);

/// A handler that runs, with its records.
pub(super) struct Call {
    pub(super) route: usize,
    pub(super) entries: Vec<usize>,
    is_batch: bool,
}

/// Where an owner begins to read.
#[derive(Clone, Copy)]
pub(super) struct From {
    pub(super) record: usize,
    /// The offset, where the group has not committed it.
    pub(super) start: Option<i64>,
}

pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) chance: &'a mut Chance,
    pub(super) machine: Partition<u64>,
    pub(super) oracle: Oracle<'a>,
    pub(super) running: Vec<Call>,
    pub(super) writing: Vec<Work>,
    /// Prints every input and action.
    pub(super) traced: bool,
    /// Bad weather: handlers fail, writes and commits too.
    pub(super) bad: bool,
}

impl<'a> World<'a> {
    pub(super) fn new(
        scenario: &'a Scenario,
        chance: &'a mut Chance,
        ledger: &'a mut Ledger,
        from: From,
        incarnation: u16,
        sabotage: Option<Sabotage>,
    ) -> Self {
        let mut config = scenario.config;
        config.incarnation = incarnation;
        config.start = from.start.map_or(Start::Committed, Start::ToCommit);
        let mut machine = Partition::new(config);
        machine.sabotage = sabotage;
        for (n, policy) in scenario.routes.iter().enumerate() {
            machine.add_route(RouteId(n as u32), policy.options());
        }
        let oracle = Oracle::new(Model::new(scenario, from.record, from.start), ledger);
        Self {
            scenario,
            chance,
            machine,
            oracle,
            running: Vec::new(),
            writing: Vec::new(),
            traced: false,
            bad: true,
        }
    }

    /// Plays until the partition leaves or everything is done; from where the next owner reads.
    pub(super) fn play(mut self, last: bool) -> Checked<From> {
        for _ in 0..self.chance.below(400) {
            self.step()?;
            if self.oracle.model.phase != Phase::Active {
                break;
            }
        }
        if self.scenario.is_dead {
            return self.die();
        }
        if last && self.oracle.model.phase == Phase::Active {
            self.clear_up()?;
        }
        if self.oracle.model.phase == Phase::Active {
            let how = self.chance.below(4);
            self.leave(how)?;
        }
        self.wind_down()
    }

    fn step(&mut self) -> Checked {
        match self.chance.below(100) {
            0..30 => self.feed(),
            30..55 => self.answer_handler(),
            55..65 => self.answer_letter(),
            65..75 => self.answer_commit(),
            75..87 => self.pass_time(),
            87..89 => self.withdraw(),
            89 => self.take_over(),
            90..94 => {
                let n = self.chance.below(self.scenario.routes.len());
                self.touch_route(n)
            }
            94..98 => self.disturb(),
            98 => self.change_log(),
            _ => {
                let how = self.chance.below(16);
                if how < 4 { self.leave(how) } else { Ok(()) }
            }
        }
    }

    pub(super) fn feed(&mut self) -> Checked {
        let model = &mut self.oracle.model;
        let at = model.first + model.entries.len();
        // A paused consumer may still hand out what it had in hand.
        if at >= self.scenario.records.len() || (model.paused && !self.chance.once_in(8)) {
            return Ok(());
        }
        let record = &self.scenario.records[at];
        let offset = self.oracle.ledger.offsets[at];
        let (plan, mask) = plan::choose(self.scenario, &model.routes, at, self.chance);
        model.fed(offset, mask);
        self.input(Input::Record {
            offset,
            key: record.key,
            size: record.size,
            body: at as u64,
            plan,
        })
    }

    /// A handler that was to start is not started after all.
    pub(super) fn withdraw(&mut self) -> Checked {
        if self.running.is_empty() {
            return Ok(());
        }
        let at = self.chance.below(self.running.len());
        let call = self.running.swap_remove(at);
        let mut tickets = Vec::new();
        for entry in call.entries {
            self.oracle.withdrawn(entry, call.route);
            tickets.push(self.ticket(entry)?);
        }
        let route = RouteId(call.route as u32);
        self.input(Input::Withdrawn { route, tickets })
    }

    pub(super) fn answer_handler(&mut self) -> Checked {
        if self.running.is_empty() {
            return Ok(());
        }
        let at = self.chance.below(self.running.len());
        let call = self.running.swap_remove(at);
        let (n, now) = (call.route, self.now());
        let route = RouteId(n as u32);
        if let ([entry], false) = (&call.entries[..], call.is_batch) {
            let (ticket, result) = (self.ticket(*entry)?, self.outcome(*entry, n));
            if result == Outcome::Handled {
                self.stage(*entry)?;
            }
            self.oracle.model.answered(*entry, n, result);
            return self.input(Input::Outcome {
                ticket,
                route,
                result,
            });
        }
        let (mut outcomes, mut answers) = (Vec::new(), Vec::new());
        for entry in call.entries {
            let outcome = self.outcome(entry, n);
            if outcome == Outcome::Handled {
                self.stage(entry)?;
            }
            answers.push((entry, outcome));
            outcomes.push((self.ticket(entry)?, outcome));
        }
        self.oracle.model.batch_answered(n, answers);
        self.input(Input::BatchEnded {
            route,
            outcomes,
            now,
        })
    }

    /// How a record's handler ends.
    fn outcome(&self, entry: usize, n: usize) -> Outcome {
        let model = &self.oracle.model;
        let attempts = model.entries[entry].attempts[n];
        let record = &self.scenario.records[model.first + entry];
        let failed = Outcome::Failed {
            now: self.now(),
            retry: self.scenario.routes[n].own_retry(record.name),
        };
        match record.moods[n] {
            _ if !self.bad => Outcome::Handled,
            Mood::Poison => failed,
            Mood::Fails(times) if attempts <= times => failed,
            Mood::Fails(_) => Outcome::Handled,
            Mood::Rejects => Outcome::Rejected,
        }
    }

    pub(super) fn answer_letter(&mut self) -> Checked {
        if self.writing.is_empty() {
            return Ok(());
        }
        let at = self.chance.below(self.writing.len());
        let (entry, slot) = self.writing.swap_remove(at);
        let stored = !self.bad || !self.chance.once_in(3);
        if stored {
            self.stage(entry)?;
        }
        self.oracle.model.letter_answered(entry, slot, stored);
        let (ticket, now) = (self.ticket(entry)?, self.now());
        let route = (slot != NO_ROUTE).then_some(RouteId(slot as u32));
        self.input(Input::DeadLettered {
            ticket,
            route,
            stored,
            now,
        })
    }

    /// Commits are answered in the order they were asked for, as a client's queue does; those of an
    /// earlier history at times not at all.
    pub(super) fn answer_commit(&mut self) -> Checked {
        let Some((history, up_to)) = self.oracle.model.commits.front().copied() else {
            return Ok(());
        };
        let ok = !self.bad || !self.chance.once_in(4);
        let omitted = history != self.oracle.model.history && self.chance.once_in(2);
        self.oracle.model.commit_answered(history, up_to, ok);
        if omitted {
            return Ok(());
        }
        let now = self.now();
        self.input(Input::Committed {
            history,
            up_to,
            ok,
            now,
        })
    }

    pub(super) fn pass_time(&mut self) -> Checked {
        let now = self.oracle.model.now;
        let to = match (self.machine.poll_timeout(), self.chance.below(4)) {
            (Some(at), 0 | 1) => at.as_nanos().max(now),
            // Just before it: nothing may happen yet.
            (Some(at), 2) => at.as_nanos().saturating_sub(1).max(now),
            _ => now + Duration::from_millis(self.chance.below(100) as u64).as_nanos() as u64,
        };
        self.oracle.model.ticked(to);
        self.input(Input::Tick(Time::from_nanos(to)))
    }

    pub(super) fn leave(&mut self, how: usize) -> Checked {
        let (input, phase) = match how {
            0 => (Input::Lost, Phase::Lost),
            // Within an hour each retry is due in time; `StopCatchingUp` may come at any time.
            _ => {
                let until = self.now().after(Duration::from_secs(3_600));
                (Input::Revoke { until }, Phase::Draining)
            }
        };
        self.oracle.model.leave(phase);
        if self.traced {
            println!("-> {input:?}");
        }
        self.machine.handle(input);
        self.settle()
    }

    pub(super) fn traced(mut self, traced: bool) -> Self {
        self.traced = traced;
        self
    }

    pub(super) fn input(&mut self, input: Input<u64>) -> Checked {
        if self.traced {
            println!("-> {input:?}");
        }
        self.machine.handle(input);
        self.oracle.watermark(self.machine.watermark())?;
        // Mostly the driver polls at once; at times it takes in several inputs first.
        if self.chance.once_in(8) {
            Ok(())
        } else {
            self.settle()
        }
    }

    pub(super) fn settle(&mut self) -> Checked {
        for _ in 0..10_000 {
            let Some(action) = self.machine.poll() else {
                self.oracle.watermark(self.machine.watermark())?;
                self.oracle.covered(self.machine.covered(), true)?;
                let flight = (self.machine.in_flight(), self.oracle.model.in_flight());
                let phase = self.oracle.model.phase;
                ensure!(
                    flight.0 == flight.1 || phase == Phase::Lost,
                    DrainedOnce,
                    "in flight: {flight:?}"
                );
                return self
                    .oracle
                    .idle(self.machine.poll_timeout().map(Time::as_nanos));
            };
            if self.traced {
                println!("   {action:?}");
            }
            self.oracle.action(&action)?;
            self.oracle.covered(self.machine.covered(), false)?;
            let entry = |body: u64| body as usize - self.oracle.model.first;
            match action {
                Action::Run { route, body, .. } => self.running.push(Call {
                    route: route.0 as usize,
                    entries: vec![entry(body)],
                    is_batch: false,
                }),
                Action::RunBatch { route, records } => self.running.push(Call {
                    route: route.0 as usize,
                    entries: records.iter().map(|record| entry(record.body)).collect(),
                    is_batch: true,
                }),
                Action::DeadLetter(letter) => {
                    let slot = letter.route.map_or(NO_ROUTE, |id| id.0 as usize);
                    self.writing.push((entry(letter.body), slot));
                }
                Action::Orphaned { route } => self.abandon(route.0 as usize),
                _ => {}
            }
        }
        ensure!(false, Progress, "actions without end");
        Ok(())
    }

    pub(super) fn ticket(&self, entry: usize) -> Checked<Ticket> {
        let ticket = self.oracle.model.entries[entry].ticket;
        ensure!(
            ticket.is_some(),
            NothingIsLost,
            "an answer without a question"
        );
        Ok(ticket.unwrap_or(Ticket::first(0)))
    }

    pub(super) fn now(&self) -> Time {
        Time::from_nanos(self.oracle.model.now)
    }
}
