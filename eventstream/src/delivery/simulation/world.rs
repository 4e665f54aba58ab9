//! The driver and the broker of one assignment, played by chance.

use std::time::Duration;

use super::super::sabotage::Sabotage;
use super::super::{Action, Input, Outcome, Partition, RouteId, Start, Ticket, Time};
use super::invariants::{Checked, ensure};
use super::ledger::Ledger;
use super::model::{Model, Phase, RouteModel, State};
use super::oracle::Oracle;
use super::plan;
use super::scenario::{Chance, Mood, NO_ROUTE, ROUTES, Scenario};

/// A delivery that waits for the world: by entry and route (or none).
type Work = (usize, usize);

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
    pub(super) running: Vec<Work>,
    pub(super) writing: Vec<Work>,
    /// Prints every input and action.
    traced: bool,
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
            89..94 => {
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

    /// The offsets begin anew, or are found to have a gap.
    fn change_log(&mut self) -> Checked {
        let model = &self.oracle.model;
        let at = model.first + model.entries.len();
        let next = self.oracle.ledger.offsets.get(at).copied();
        let last = model.entries.last().map_or(0, |entry| entry.offset);
        if self.chance.once_in(3) {
            let start = self.chance.pick(&[0, 0, 0, last / 2, last + 1, last + 20]);
            let first = start - 1 + self.chance.pick(&[0, 0, 3]);
            self.oracle.ledger.number(self.scenario, at, first);
            self.oracle.new_history(start);
            return self.input(Input::NewHistory { start });
        }
        let most = next.unwrap_or(last + 10).max(0);
        let least = (most - 12).max(0);
        let offset = least + self.chance.below((most - least + 1) as usize) as i64;
        self.oracle.model.read_to(offset);
        self.input(Input::ReadTo { offset })
    }

    /// A handler that was to start is not started after all.
    pub(super) fn withdraw(&mut self) -> Checked {
        if self.running.is_empty() {
            return Ok(());
        }
        let at = self.chance.below(self.running.len());
        let (entry, n) = self.running.swap_remove(at);
        self.oracle.withdrawn(entry, n);
        let ticket = self.ticket(entry)?;
        self.input(Input::Withdrawn {
            ticket,
            route: RouteId(n as u32),
        })
    }

    pub(super) fn answer_handler(&mut self) -> Checked {
        if self.running.is_empty() {
            return Ok(());
        }
        let at = self.chance.below(self.running.len());
        let (entry, n) = self.running.swap_remove(at);
        let model = &mut self.oracle.model;
        let attempts = model.entries[entry].attempts[n];
        let failed = Outcome::Failed {
            now: Time::from_nanos(model.now),
        };
        let result = match self.scenario.records[model.first + entry].moods[n] {
            _ if !self.bad => Outcome::Handled,
            Mood::Poison => failed,
            Mood::Fails(times) if attempts <= times => failed,
            Mood::Fails(_) => Outcome::Handled,
            Mood::Rejects => Outcome::Rejected,
        };
        model.answered(entry, n, result);
        let ticket = self.ticket(entry)?;
        self.input(Input::Outcome {
            ticket,
            route: RouteId(n as u32),
            result,
        })
    }

    pub(super) fn answer_letter(&mut self) -> Checked {
        if self.writing.is_empty() {
            return Ok(());
        }
        let at = self.chance.below(self.writing.len());
        let (entry, slot) = self.writing.swap_remove(at);
        let stored = !self.bad || !self.chance.once_in(3);
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

    fn pass_time(&mut self) -> Checked {
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

    fn touch_route(&mut self, n: usize) -> Checked {
        let id = RouteId(n as u32);
        if self.chance.once_in(60) {
            // All at once.
            for n in 0..self.scenario.routes.len() {
                self.close(n);
                if self.chance.once_in(2) {
                    self.abandon(n);
                }
            }
            return self.settle();
        }
        let closes = self.chance.once_in(15);
        let route = &mut self.oracle.model.routes[n];
        if route.gone {
            // The subscription comes back.
            *route = RouteModel::default();
            self.machine
                .add_route(id, self.scenario.routes[n].options());
        } else if closes {
            self.close(n);
        } else if (route.closing && self.chance.once_in(3)) || self.chance.once_in(80) {
            self.abandon(n);
        } else if route.paused {
            route.paused = false;
            self.machine.resume_route(id);
        } else if self.chance.once_in(3) {
            route.paused = !route.closing;
            self.machine.pause_route(id);
        }
        self.settle()
    }

    fn close(&mut self, n: usize) {
        let route = &mut self.oracle.model.routes[n];
        if !route.gone {
            route.closing = true;
            route.paused = false;
            self.machine.close_route(RouteId(n as u32));
        }
    }

    pub(super) fn abandon(&mut self, n: usize) {
        if self.traced {
            println!("-> abandon {n}");
        }
        let (scenario, routes) = (self.scenario, self.oracle.model.routes);
        let chosen = |at: usize| plan::heir(scenario, &routes, at, n);
        self.oracle
            .model
            .abandoned(n, &|at| chosen(at).map(|heir| heir.0));
        self.machine.abandon_route(RouteId(n as u32), &|body| {
            chosen(*body as usize).map(|heir| heir.1)
        });
    }

    /// What must have no effect: late, early, double and unknown inputs.
    pub(super) fn disturb(&mut self) -> Checked {
        let ticket = match self.chance.below(3) {
            0 => Ticket::first(self.chance.below(4) as u16).plus(self.chance.below(8)),
            _ => {
                let tickets: Vec<_> = self
                    .oracle
                    .model
                    .entries
                    .iter()
                    .filter_map(|entry| entry.ticket)
                    .collect();
                if tickets.is_empty() {
                    Ticket::first(9)
                } else {
                    self.chance.pick(&tickets)
                }
            }
        };
        let n = self.chance.below(ROUTES + 1);
        let route = RouteId(n as u32);
        let slot = if n == ROUTES { NO_ROUTE } else { n };
        let state = self
            .oracle
            .model
            .entries
            .iter()
            .find(|entry| entry.ticket == Some(ticket));
        let state = state.map(|entry| entry.states[slot]);
        let now = self.now();
        match self.chance.below(5) {
            4 if state != Some(State::Running) => self.input(Input::Withdrawn { ticket, route }),
            0 | 1 if state != Some(State::Running) => {
                let result = if self.chance.once_in(2) {
                    Outcome::Handled
                } else {
                    Outcome::Failed { now }
                };
                self.input(Input::Outcome {
                    ticket,
                    route,
                    result,
                })
            }
            2 if !matches!(state, Some(State::Writing(_))) => {
                let stored = self.chance.once_in(2);
                let route = (slot != NO_ROUTE).then_some(route);
                self.input(Input::DeadLettered {
                    ticket,
                    route,
                    stored,
                    now,
                })
            }
            3 => {
                // A record read twice.
                let model = &self.oracle.model;
                let read = model.entries.len() - model.began;
                if read == 0 {
                    return Ok(());
                }
                let entry = model.began + self.chance.below(read);
                let (at, offset) = (model.first + entry, model.offset(entry));
                let (key, size) = {
                    let record = &self.scenario.records[at];
                    (record.key, record.size)
                };
                let (plan, _) = plan::choose(self.scenario, &model.routes, at, self.chance);
                self.input(Input::Record {
                    offset,
                    key,
                    size,
                    body: at as u64,
                    plan,
                })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn leave(&mut self, how: usize) -> Checked {
        let (input, phase) = match how {
            0 => (Input::Lost, Phase::Lost),
            1 => (Input::Drain, Phase::Draining),
            _ => (Input::Revoke, Phase::Draining),
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
            let entry = |body: u64| body as usize - self.oracle.model.first;
            match action {
                Action::Run { route, body, .. } => {
                    self.running.push((entry(body), route.0 as usize));
                }
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

    fn ticket(&self, entry: usize) -> Checked<Ticket> {
        let ticket = self.oracle.model.entries[entry].ticket;
        ensure!(
            ticket.is_some(),
            NothingIsLost,
            "an answer without a question"
        );
        Ok(ticket.unwrap_or(Ticket::first(0)))
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.oracle.model.now)
    }
}
