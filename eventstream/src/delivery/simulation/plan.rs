//! Which routes a record goes to: what the driver says, and what must come of it.

use std::sync::Arc;

use super::super::{Heir, Plan, RouteId, Worker};
use super::model::RouteModel;
use super::scenario::{Chance, ROUTES, Scenario, Target};

/// A plan for a record, with any worker of those that compete; and the routes that must get it.
pub(super) fn choose(
    scenario: &Scenario,
    routes: &[RouteModel; ROUTES],
    at: usize,
    chance: &mut Chance,
) -> (Plan, u8) {
    let classes = match scenario.records[at].target {
        Target::Unmatched => return (Plan::Unmatched, 0),
        Target::Undecodable => return (Plan::Undecodable, 0),
        Target::Classes(classes) => classes,
    };
    let (mut workers, mut mask) = (Vec::new(), 0);
    for class in (0..ROUTES).filter(|class| classes & (1 << class) != 0) {
        let known = scenario.candidates(at, class).filter(|n| !routes[*n].gone);
        let known: Vec<_> = known.collect();
        if known.is_empty() {
            continue;
        }
        let open: Vec<_> = known.iter().filter(|n| routes[**n].is_open()).collect();
        // The driver may be behind, and name one that closes.
        let chosen = if open.is_empty() || chance.once_in(8) {
            chance.pick(&known)
        } else {
            *chance.pick(&open)
        };
        let others: Vec<_> = known.iter().copied().filter(|n| *n != chosen).collect();
        let mut choices = std::iter::once(&chosen).chain(&others);
        if let Some(to) = choices.find(|n| routes[**n].is_open()) {
            mask |= 1 << to;
        }
        workers.push(worker(chosen, others));
    }
    let ids: Vec<_> = workers.iter().map(|worker: &Worker| worker.route).collect();
    let plan = match ids[..] {
        [] => Plan::Unmatched,
        _ if workers.iter().any(|worker| !worker.others.is_empty()) => {
            Plan::Shared(Arc::from(workers))
        }
        [id] => Plan::One(id),
        _ => Plan::Many(Arc::from(ids)),
    };
    (plan, mask)
}

/// Who gets a record of a route that is abandoned.
pub(super) fn heir(
    scenario: &Scenario,
    routes: &[RouteModel; ROUTES],
    at: usize,
    from: usize,
) -> Option<(usize, Heir)> {
    let known = scenario.candidates(at, scenario.routes[from].class);
    let known: Vec<_> = known.filter(|n| !routes[*n].gone).collect();
    let fits = |n: &&usize| **n != from && routes[**n].is_open();
    let open: Vec<_> = known.iter().filter(fits).copied().collect();
    let to = *open.get(at.checked_rem(open.len())?)?;
    let others = known.iter().copied().filter(|n| *n != to).collect();
    let heir = Heir {
        worker: worker(to, others),
        key: scenario.records[at].key,
    };
    Some((to, heir))
}

fn worker(route: usize, others: Vec<usize>) -> Worker {
    let id = |n: usize| RouteId(n as u32);
    Worker {
        route: id(route),
        others: others.into_iter().map(id).collect(),
    }
}
