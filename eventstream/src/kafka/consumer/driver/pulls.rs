//! Calls whose event is pulled: offered to the stream, taken by it, and answered.

use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::Driver;
use super::calls::Call;
use crate::delivery::{Input, RouteId};
use crate::kafka::consumer::routes::Route;
use crate::record;
use crate::subscribe::{Answer, Context, Handled, Offer, Offers, Place};

/// The offers of this partition. A call starts when its event is taken; until then it can be withdrawn.
pub(super) struct Pulls {
    offered: HashMap<u64, Offered>,
    next: u64,
    /// For the offers, made with the first one: most partitions have none. It never holds more messages than there
    /// are offers.
    taken: Option<(mpsc::UnboundedSender<u64>, mpsc::UnboundedReceiver<u64>)>,
}

struct Offered {
    call: Call,
    route: Arc<Route>,
    permit: Option<OwnedSemaphorePermit>,
    place: Place,
    answer: oneshot::Receiver<Answer>,
}

impl Pulls {
    pub(super) fn new() -> Self {
        Self {
            offered: HashMap::new(),
            next: 0,
            taken: None,
        }
    }

    /// For an offer to say that it was taken.
    fn tell(&mut self) -> mpsc::UnboundedSender<u64> {
        let (tell, _) = self.taken.get_or_insert_with(mpsc::unbounded_channel);
        tell.clone()
    }

    /// The next offer taken; for [`Driver::pulled`].
    pub(super) async fn next_taken(&mut self) -> u64 {
        let number = match &mut self.taken {
            Some((_, taken)) => taken.recv().await,
            None => None,
        };
        match number {
            Some(number) => number,
            // Nothing was offered; otherwise a sender lives as long as this.
            None => std::future::pending().await,
        }
    }
}

impl Driver {
    pub(super) fn offer(
        &mut self,
        offers: &Arc<Offers>,
        call: Call,
        route: Arc<Route>,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let event = match &call.record.event {
            Some(event) => Ok(event.clone()),
            // The topic's other handlers were all raw when the record arrived.
            None => record::decode(&call.record),
        };
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                self.run_pulled(call, route, permit, Box::pin(ready(Err(error.into()))));
                return;
            }
        };
        let (answer, answered) = oneshot::channel();
        let number = self.pulls.next;
        self.pulls.next += 1;
        let place = offers.add(Offer {
            event,
            context: Context::of(&call.record, call.attempt),
            answer,
            taken: self.pulls.tell(),
            number,
        });
        let offered = Offered {
            call,
            route,
            permit,
            place,
            answer: answered,
        };
        self.pulls.offered.insert(number, offered);
    }

    /// An event was taken, so its call starts.
    pub(super) fn pulled(&mut self, number: u64) {
        let Some(offered) = self.pulls.offered.remove(&number) else {
            return;
        };
        let Offered {
            call,
            route,
            permit,
            answer,
            ..
        } = offered;
        let answered = async move {
            let dropped = || Err("the pulled event was dropped without an answer".into());
            answer.await.unwrap_or_else(|_| dropped())
        };
        self.run_pulled(call, route, permit, Box::pin(answered));
    }

    fn run_pulled(
        &mut self,
        call: Call,
        route: Arc<Route>,
        permit: Option<OwnedSemaphorePermit>,
        answered: Handled,
    ) {
        self.tally.retries += u64::from(call.attempt > 1);
        self.running.push(Box::pin(async move {
            let _permit = permit;
            call.run_pulled(&route, answered).await
        }));
    }

    /// Withdraws offers; an event taken at the last moment starts.
    pub(super) fn withdraw_offers(&mut self, of: &impl Fn(RouteId) -> bool) {
        let offered = self.pulls.offered.iter();
        let concerned: Vec<_> = offered
            .filter(|(_, offered)| of(offered.call.route))
            .map(|(number, _)| *number)
            .collect();
        for number in concerned {
            if !self.pulls.offered[&number].place.withdraw() {
                self.pulled(number);
            } else if let Some(Offered { call, .. }) = self.pulls.offered.remove(&number) {
                self.machine.handle(Input::Withdrawn {
                    route: call.route,
                    tickets: vec![call.ticket],
                });
            }
        }
    }
}
