//! What happens to a partition besides its records: users, a log that changes, unexpected answers.

use super::super::{Input, Outcome, RouteId, Ticket};
use super::invariants::Checked;
use super::model::{RouteModel, State};
use super::plan;
use super::scenario::{NO_ROUTE, ROUTES};
use super::world::World;

impl World<'_> {
    /// The offsets restart, or turn out to have a gap.
    pub(super) fn change_log(&mut self) -> Checked {
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

    pub(super) fn touch_route(&mut self, n: usize) -> Checked {
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
            4 if state != Some(State::Running) => {
                let tickets = vec![ticket];
                self.input(Input::Withdrawn { route, tickets })
            }
            0 | 1 if state != Some(State::Running) => {
                let result = if self.chance.once_in(2) {
                    Outcome::Handled
                } else {
                    Outcome::Failed { now, retry: None }
                };
                if self.chance.once_in(2) {
                    let outcomes = vec![(ticket, result)];
                    return self.input(Input::BatchEnded {
                        route,
                        outcomes,
                        now,
                    });
                }
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
}
