use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::told::Told;
use crate::delivery::{
    Concurrency, FloodGuard, OnUndecodable, OnUnmatched, Plan, Retry, RouteId, RouteOptions, Worker,
};
use crate::error::Error;
use crate::guard;
use crate::name::{EventName, Topic};
use crate::observe::health::Problem;
use crate::observe::trace::Labels;
use crate::record::Record;
use crate::subscribe::{BoxBatchHandler, BoxHandler, DeadLetter, Offers, OnDeadLetter};

/// The handlers of a registration that share its order: those for its names, or one for all names.
pub(super) struct Route {
    pub(super) id: RouteId,
    pub(super) handlers: Handlers,
    pub(super) options: RouteOptions,
    pub(super) registration: Arc<Registration>,
}

impl Route {
    /// The handler for a record of this route.
    pub(super) fn handler(&self, record: &Record) -> Option<&BoxHandler> {
        let name = record.event.as_ref().map(crate::event::Event::name);
        self.handlers.pick(name)
    }

    /// The retry policy of a record's handler, if it has its own.
    pub(super) fn own_retry(&self, record: &Record) -> Option<Retry> {
        self.handler(record)?.retry()
    }
}

/// Which handler of a route gets an event.
pub(super) enum Handlers {
    /// By name, each name once. They are one route, as the order of a key holds across names.
    Named(Vec<(EventName, BoxHandler)>),
    Any(BoxHandler),
    /// For one name or for all, in batches.
    Batch(Option<EventName>, BoxBatchHandler),
}

impl Handlers {
    /// The handler for a name among the named ones.
    fn named(&self, name: &str) -> Option<&BoxHandler> {
        match self {
            Self::Named(handlers) => handlers
                .iter()
                .find(|(for_name, _)| for_name.as_str() == name)
                .map(|(_, handler)| handler),
            Self::Any(_) | Self::Batch(..) => None,
        }
    }

    /// The handler for a record of this route; `name` is its event's.
    fn pick(&self, name: Option<&str>) -> Option<&BoxHandler> {
        match self {
            Self::Named(_) => self.named(name?),
            Self::Any(handler) => Some(handler),
            Self::Batch(..) => None,
        }
    }

    /// The handler for several events at once.
    pub(super) fn batch(&self) -> Option<&BoxBatchHandler> {
        match self {
            Self::Batch(_, handler) => Some(handler),
            Self::Named(_) | Self::Any(_) => None,
        }
    }

    /// Whether it is for this name only, not for all.
    fn is_for(&self, name: &str) -> bool {
        match self {
            Self::Batch(only, _) => only.as_ref().is_some_and(|only| only.as_str() == name),
            Self::Named(_) | Self::Any(_) => self.named(name).is_some(),
        }
    }

    fn is_any(&self) -> bool {
        matches!(self, Self::Any(_) | Self::Batch(None, _))
    }

    fn is_any_raw(&self) -> bool {
        match self {
            Self::Any(handler) => handler.is_raw(),
            Self::Batch(None, handler) => handler.is_raw(),
            Self::Batch(Some(_), _) | Self::Named(_) => false,
        }
    }
}

/// Shared by the routes of one registration.
pub(super) struct Registration {
    pub(super) id: u32,
    /// Of its group, for spans.
    pub(super) labels: Arc<Labels>,
    /// One permit for [`Concurrency::Serial`], over all partitions.
    pub(super) serial: Option<Arc<Semaphore>>,
    pub(super) flood: Option<Mutex<FloodGuard>>,
    /// Where its events wait to be pulled, instead of handlers.
    pub(super) offers: Option<Arc<Offers>>,
    pub(super) told: Told,
    pub(super) on_dead_letter: Option<OnDeadLetter>,
    /// The time limit of one handler call.
    pub(super) handler_timeout: Option<Duration>,
    /// Counts the partitions that still have work of this registration.
    pub(super) working: TaskTracker,
    pub(super) ended: CancellationToken,
    pub(super) state: Mutex<RegistrationState>,
}

/// What may change after registering.
#[derive(Default)]
pub(super) struct RegistrationState {
    pub(super) paused: bool,
    pub(super) closing: bool,
    /// Its time to close is over: what its partitions still have of it is given away.
    pub(super) abandoned: bool,
    /// Why it does not work: its dead letter limit paused it, or its policy stopped it.
    pub(super) problem: Option<Problem>,
}

impl Registration {
    /// Reports an error to the registration's own callback.
    pub(super) fn tell(&self, error: &Error) {
        self.told.error(error);
    }

    /// Reports a dead letter to the registration's own callback.
    pub(super) fn tell_dead_letter(&self, letter: &DeadLetter) {
        let Some(on_dead_letter) = &self.on_dead_letter else {
            return;
        };
        let call = || on_dead_letter(letter.clone());
        guard::callback("an on_dead_letter callback of a subscription", call);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.state.lock().paused
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.state.lock().abandoned
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state.lock().closing
    }
}

/// The routes of a group at one moment. Immutable: a change creates a new table.
#[derive(Default, Clone)]
pub(super) struct RouteTable {
    pub(super) topics: HashMap<Topic, TopicRoutes>,
}

/// The routes of one topic.
#[derive(Default, Clone)]
pub(super) struct TopicRoutes {
    pub(super) routes: Vec<Arc<Route>>,
    pub(super) on_unmatched: OnUnmatched,
    pub(super) on_undecodable: OnUndecodable,
}

impl RouteTable {
    pub(super) fn topic_names(&self) -> Vec<&Topic> {
        self.topics.keys().collect()
    }
}

impl TopicRoutes {
    /// Whether any route needs the envelope to be decoded.
    pub(super) fn needs_decoding(&self) -> bool {
        self.routes.iter().any(|route| !route.handlers.is_any_raw())
    }

    /// Whether any route takes batches.
    pub(super) fn has_batches(&self) -> bool {
        self.routes
            .iter()
            .any(|route| route.options.batch.is_some())
    }

    /// Whether any route orders its records by key.
    pub(super) fn needs_keys(&self) -> bool {
        let by_key =
            |route: &Arc<Route>| matches!(route.options.concurrency, Concurrency::PerKey(_));
        self.routes.iter().any(by_key)
    }
}

/// A route as a partition knows it; a closing one may still have work there.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) route: &'a Route,
    pub(super) closing: bool,
    pub(super) paused: bool,
}

/// The routes for an event of this name in this partition: one of each set of competing workers,
/// that is, of the routes for the same name, or for all names. A paused one is left out while there
/// is another; the machine keeps the order of a key that changes workers.
pub(super) fn plan(known: &[Known<'_>], name: &str, partition: i32) -> Plan {
    let named = worker(known, partition, |handlers| handlers.is_for(name));
    let any = worker(known, partition, Handlers::is_any);
    plan_of(named.into_iter().chain(any).collect())
}

/// The route for a record that is not an event: a raw handler for everything gets it.
pub(super) fn plan_undecodable(known: &[Known<'_>], partition: i32) -> Plan {
    match plan_of(
        worker(known, partition, Handlers::is_any_raw)
            .into_iter()
            .collect(),
    ) {
        Plan::Unmatched => Plan::Undecodable,
        plan => plan,
    }
}

/// The route for everything, if there is one without any filter.
pub(super) fn plan_any(known: &[Known<'_>], partition: i32) -> Plan {
    plan_of(
        worker(known, partition, Handlers::is_any)
            .into_iter()
            .collect(),
    )
}

/// The worker that takes over a record of a route.
pub(super) fn heir(
    known: &[Known<'_>],
    from: &Route,
    name: Option<&str>,
    partition: i32,
) -> Option<Worker> {
    worker(known, partition, |handlers| {
        match (from.handlers.is_any(), name) {
            (true, Some(_)) => handlers.is_any(),
            (true, None) => handlers.is_any_raw(),
            (false, name) => name.is_some_and(|name| handlers.is_for(name)),
        }
    })
}

fn worker(
    known: &[Known<'_>],
    partition: i32,
    matches: impl Fn(&Handlers) -> bool,
) -> Option<Worker> {
    let all = || known.iter().filter(|known| matches(&known.route.handlers));
    let open = || all().filter(|known| !known.closing);
    let awake = || open().filter(|known| !known.paused);
    let pick = |count: usize| usize::try_from(partition).unwrap_or(0).checked_rem(count);
    let chosen = match pick(awake().count()) {
        Some(turn) => awake().nth(turn)?,
        None => open().nth(pick(open().count())?)?,
    };
    let route = chosen.route.id;
    let others = all().map(|known| known.route.id);
    Some(Worker {
        route,
        others: others.filter(|id| *id != route).collect(),
    })
}

fn plan_of(workers: Vec<Worker>) -> Plan {
    match &workers[..] {
        [] => Plan::Unmatched,
        workers_ if workers_.iter().any(|worker| !worker.others.is_empty()) => {
            Plan::Shared(Arc::from(workers))
        }
        [one] => Plan::One(one.route),
        _ => Plan::Many(workers.iter().map(|worker| worker.route).collect()),
    }
}

/// Whether records of a route run one at a time over all partitions.
pub(super) fn serial(concurrency: Concurrency) -> Option<Arc<Semaphore>> {
    (concurrency == Concurrency::Serial).then(|| Arc::new(Semaphore::new(1)))
}
