//! Inputs: records, and the routes they may take.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;

use super::{Attached, Driver, State};
use crate::delivery::{Heir, Input, Plan, RouteId};
use crate::kafka::consumer::routes::{self, Known, RouteTable};
use crate::kafka::consumer::words::{Read, ToPoller};
use crate::record::{self, Record};

/// How many records are passed on to the machine at a time.
const PORTION: usize = 32;

impl Driver {
    /// While a topic has no handler here, its records are left in place: they must not be
    /// acknowledged, as another member, or the next registration, may handle them.
    fn wants_records(&self) -> bool {
        self.state == State::Active && !self.topic.routes.is_empty()
    }

    pub(super) fn take(&mut self, read: Read) {
        match read {
            Read::Records(records) => self.coming = records.into_iter(),
            Read::NewHistory { start } => {
                self.machine.handle(Input::NewHistory { start });
                self.hand_over_start(start);
                self.shared.watermark.store(start, Atomic::Release);
                self.shared.history.fetch_add(1, Atomic::Release);
            }
            Read::ReadTo { offset } => self.machine.handle(Input::ReadTo { offset }),
        }
        if self.shared.starved.swap(false, Atomic::AcqRel) {
            self.poller.send(ToPoller::Room);
        }
    }

    /// Whether the next of the inbox may be taken.
    pub(super) fn wants_more(&self) -> bool {
        self.wants_records() && self.coming.as_slice().is_empty()
    }

    /// Passes some of the records that were taken on to the machine; `false` if there are none. Few at a time: most are
    /// handled at once, while the processor has them in its cache, and the next ones get their memory.
    pub(super) fn admit_some(&mut self) -> bool {
        if !self.wants_records() || self.coming.as_slice().is_empty() {
            return false;
        }
        if self.has_batches {
            self.machine.handle(Input::Tick(self.now()));
        }
        for _ in 0..PORTION {
            let Some(record) = self.coming.next() else {
                break;
            };
            self.taken += 1;
            self.record(record);
        }
        true
    }

    fn record(&mut self, mut record: Record) {
        let partition = record.source.partition;
        let plan = if self.topic.needs_decoding() {
            match record::decode(&record) {
                Ok(event) => {
                    let plan = self.plan(event.name(), partition);
                    record.event = Some(event);
                    plan
                }
                Err(error) => {
                    self.tally.undecodable += 1;
                    let plan = routes::plan_undecodable(&self.known(), partition);
                    if matches!(plan, Plan::Undecodable) {
                        self.tell(None, &self.context_of(&record, "decode", &error));
                    }
                    plan
                }
            }
        } else {
            self.plan_any(partition)
        };
        if matches!(plan, Plan::Unmatched) {
            self.tally.unmatched += 1;
        }
        self.machine.handle(Input::Record {
            offset: record.offset,
            key: match record.key() {
                Some(key) if self.by_key => hash(key),
                _ => None,
            },
            size: record.size(),
            body: Arc::new(record),
            plan,
        });
    }

    pub(super) fn plan(&mut self, name: &str, partition: i32) -> Plan {
        if let Some((last, plan)) = &self.last_plan
            && **last == *name
        {
            return plan.clone();
        }
        let plan = routes::plan(&self.known(), name, partition);
        self.last_plan = Some((name.into(), plan.clone()));
        plan
    }

    /// Like [`plan`](Self::plan), but no event is decoded here, so there is no name.
    fn plan_any(&mut self, partition: i32) -> Plan {
        if let Some((last, plan)) = &self.last_plan
            && last.is_empty()
        {
            return plan.clone();
        }
        let plan = routes::plan_any(&self.known(), partition);
        self.last_plan = Some(("".into(), plan.clone()));
        plan
    }

    fn known(&self) -> Vec<Known<'_>> {
        known(&self.routes)
    }

    /// A closing route's time is over: its records go to other workers, or are unmatched. If it is the topic's last,
    /// the partition is given up, and they are read again.
    pub(super) fn abandon(&mut self, id: RouteId) {
        if self.topic.routes.is_empty() {
            return;
        }
        self.withdraw(|route| route == id);
        let Some(from) = self.routes.iter_mut().find(|r| r.route.id == id) else {
            return;
        };
        from.abandoned = true;
        let from = Arc::clone(&from.route);
        let partition = self.shared.source.partition;
        let known = known(&self.routes);
        self.machine.abandon_route(id, &|record| {
            let name = record.event.as_ref().map(crate::event::Event::name);
            Some(Heir {
                worker: routes::heir(&known, &from, name, partition)?,
                key: record.key().and_then(hash),
            })
        });
    }

    /// Updates the machine's routes to a new table.
    pub(super) fn attach(&mut self, table: &Arc<RouteTable>) {
        self.topic = table
            .topics
            .get(&self.shared.source.topic)
            .cloned()
            .unwrap_or_default();
        self.by_key = self.topic.needs_keys();
        self.has_batches = self.topic.has_batches();
        self.last_plan = None;
        let wanted: HashSet<_> = self.topic.routes.iter().map(|route| route.id).collect();
        for attached in &mut self.routes {
            if !attached.closing && !wanted.contains(&attached.route.id) {
                attached.closing = true;
                attached.paused = false;
                self.machine.close_route(attached.route.id);
            }
        }
        let known: HashSet<_> = self.routes.iter().map(|r| r.route.id).collect();
        let new = self.topic.routes.iter().filter(|r| !known.contains(&r.id));
        for route in new {
            self.machine.add_route(route.id, route.options);
            self.routes.push(Attached {
                route: Arc::clone(route),
                _working: route.registration.working.token(),
                paused: false,
                closing: false,
                abandoned: false,
                unhandled: 0,
            });
        }
        let mut paused_now = HashSet::new();
        for attached in self.routes.iter_mut().filter(|r| !r.closing) {
            let (id, paused) = (attached.route.id, attached.route.registration.is_paused());
            if std::mem::replace(&mut attached.paused, paused) == paused {
                continue;
            }
            if paused {
                self.machine.pause_route(id);
                paused_now.insert(id);
            } else {
                self.machine.resume_route(id);
            }
        }
        self.withdraw(|id| paused_now.contains(&id));
        let late = self.routes.iter().filter(|attached| {
            attached.closing && !attached.abandoned && attached.route.registration.is_abandoned()
        });
        let late: Vec<_> = late.map(|attached| attached.route.id).collect();
        for route in &late {
            self.abandon(*route);
        }
    }
}

/// Routes with the properties that matter when choosing among them.
fn known(routes: &[Attached]) -> Vec<Known<'_>> {
    let routes = routes.iter();
    routes
        .map(|attached| Known {
            route: &attached.route,
            closing: attached.closing,
            paused: attached.paused,
        })
        .collect()
}

/// FNV-1a: keys are short, and no adversary gains from a collision inside one partition's lanes;
/// colliding keys share a lane, which keeps the order of both.
///
/// `None` for an empty key, which has no order.
fn hash(key: &[u8]) -> Option<u64> {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (!key.is_empty()).then_some(hash)
}
