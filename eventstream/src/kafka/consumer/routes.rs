use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dead_letter::DeadLetter;
use crate::delivery::{
    FloodGuard, OnUndecodable, OnUnmatched, Ordering, Plan, RouteId, RouteOptions,
};
use crate::error::Error;
use crate::handler::Handler;
use crate::name::{EventName, Topic};
use crate::subscribe::{OnDeadLetter, OnSubscriptionError};
use crate::trace::Labels;

/// The handlers of a registration that share its order: those for its names, or one for all names.
pub(super) struct Route {
    pub(super) id: RouteId,
    pub(super) handlers: Handlers,
    pub(super) options: RouteOptions,
    pub(super) registration: Arc<Registration>,
}

/// Which handler an event of a route goes to.
pub(super) enum Handlers {
    /// By name, each name once. They are one route, because the order of a key holds over names.
    Named(Vec<(EventName, Handler)>),
    Any(Handler),
}

impl Handlers {
    /// The handler for a name among the named ones.
    fn named(&self, name: &str) -> Option<&Handler> {
        match self {
            Self::Named(handlers) => handlers
                .iter()
                .find(|(for_name, _)| for_name.as_str() == name)
                .map(|(_, handler)| handler),
            Self::Any(_) => None,
        }
    }

    /// The handler for a record of this route; `name` is its event's.
    pub(super) fn pick(&self, name: Option<&str>) -> Option<&Handler> {
        match self {
            Self::Named(_) => self.named(name?),
            Self::Any(handler) => Some(handler),
        }
    }

    fn is_any(&self) -> bool {
        matches!(self, Self::Any(_))
    }

    fn is_any_raw(&self) -> bool {
        matches!(self, Self::Any(handler) if handler.is_raw())
    }
}

/// What the routes of one registration share.
pub(super) struct Registration {
    pub(super) id: u32,
    /// Of its group, for spans.
    pub(super) labels: Arc<Labels>,
    /// One permit for [`Ordering::Serial`], over all partitions.
    pub(super) serial: Option<Arc<Semaphore>>,
    pub(super) flood: Option<Mutex<FloodGuard>>,
    pub(super) on_error: Option<OnSubscriptionError>,
    pub(super) on_dead_letter: Option<OnDeadLetter>,
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
    /// Why it does not do its work: it was paused by its dead letter limit, or its policy stopped it.
    pub(super) problem: Option<Error>,
}

impl Registration {
    /// Tells an error to the registration's own callback.
    pub(super) fn tell(&self, error: &Error) {
        let Some(on_error) = &self.on_error else {
            return;
        };
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            on_error(error.clone());
        }));
        if told.is_err() {
            tracing::error!("an on_error callback of a subscription panicked");
        }
    }

    /// Tells of a dead letter to the registration's own callback.
    pub(super) fn tell_dead_letter(&self, letter: &DeadLetter) {
        let Some(on_dead_letter) = &self.on_dead_letter else {
            return;
        };
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            on_dead_letter(letter.clone());
        }));
        if told.is_err() {
            tracing::error!("an on_dead_letter callback of a subscription panicked");
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.state.lock().paused
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state.lock().closing
    }
}

/// The routes of a group at one moment. Never changed: a change makes a new table.
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

    /// Takes a registration's routes out, and the topics that have no other.
    pub(super) fn remove(&mut self, registration: u32) {
        for topic in self.topics.values_mut() {
            topic.routes.retain(|r| r.registration.id != registration);
        }
        self.topics.retain(|_, topic| !topic.routes.is_empty());
    }

    pub(super) fn registrations(&self) -> Vec<Arc<Registration>> {
        Self::distinct(self.topics.values())
    }

    /// Those of one topic.
    pub(super) fn registrations_of(&self, topic: Option<&Topic>) -> Vec<Arc<Registration>> {
        Self::distinct(topic.and_then(|topic| self.topics.get(topic)))
    }

    fn distinct<'a>(topics: impl IntoIterator<Item = &'a TopicRoutes>) -> Vec<Arc<Registration>> {
        let mut found: Vec<Arc<Registration>> = Vec::new();
        for route in topics.into_iter().flat_map(|topic| &topic.routes) {
            if found.iter().all(|r| r.id != route.registration.id) {
                found.push(Arc::clone(&route.registration));
            }
        }
        found
    }
}

impl TopicRoutes {
    /// Whether any route needs the envelope to be decoded.
    pub(super) fn needs_decoding(&self) -> bool {
        self.routes.iter().any(|route| !route.handlers.is_any_raw())
    }

    /// Whether any route orders its records by key.
    pub(super) fn needs_keys(&self) -> bool {
        let by_key = |route: &Arc<Route>| matches!(route.options.ordering, Ordering::PerKey(_));
        self.routes.iter().any(by_key)
    }

    /// The routes for an event of this name in this partition: one of each set of competing
    /// workers, that is, of the routes for the same name, or for all names. A partition always goes to the
    /// same worker, so order within it (and so within a key) is kept, as between members of a group.
    pub(super) fn plan(&self, name: &str, partition: i32) -> Plan {
        let named = self.worker(partition, |handlers| handlers.named(name).is_some());
        let any = self.worker(partition, Handlers::is_any);
        match (named, any) {
            (Some(a), Some(b)) => Plan::Many(Arc::new([a.id, b.id])),
            (Some(one), None) | (None, Some(one)) => Plan::One(one.id),
            (None, None) => Plan::Unmatched,
        }
    }

    /// The routes for a record that is no event: a raw handler for everything takes it.
    pub(super) fn plan_undecodable(&self, partition: i32) -> Plan {
        match self.worker(partition, Handlers::is_any) {
            Some(route) if route.handlers.is_any_raw() => Plan::One(route.id),
            _ => Plan::Undecodable,
        }
    }

    /// The route for everything, where there is one and no filter at all.
    pub(super) fn plan_any(&self, partition: i32) -> Plan {
        self.worker(partition, Handlers::is_any)
            .map_or(Plan::Unmatched, |route| Plan::One(route.id))
    }

    fn worker(&self, partition: i32, matches: impl Fn(&Handlers) -> bool) -> Option<&Arc<Route>> {
        let open = || self.routes.iter().filter(|route| matches(&route.handlers));
        let count = open().count();
        let turn = usize::try_from(partition).unwrap_or(0).checked_rem(count)?;
        open().nth(turn)
    }
}

/// Whether records of a route run one at a time over all partitions.
pub(super) fn serial(ordering: Ordering) -> Option<Arc<Semaphore>> {
    (ordering == Ordering::Serial).then(|| Arc::new(Semaphore::new(1)))
}
