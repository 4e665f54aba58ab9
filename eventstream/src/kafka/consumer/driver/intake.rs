//! What comes in: records, and the routes they may take.

use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;

use super::{Attached, Driver, State};
use crate::delivery::{Input, Plan};
use crate::handler::{self, Record};
use crate::kafka::consumer::routes::RouteTable;
use crate::kafka::consumer::words::{Read, ToPoller};

impl Driver {
    /// While a topic has no handler here, its records are left where they are: they must not be
    /// acknowledged, for another member, or the next registration, may be there for them.
    pub(super) fn wants_records(&self) -> bool {
        self.state == State::Active && !self.topic.routes.is_empty()
    }

    pub(super) fn take(&mut self, read: Read) {
        match read {
            Read::Records(records) => {
                for record in records {
                    self.record(record);
                }
            }
            Read::NewHistory { start } => {
                self.machine.handle(Input::NewHistory { start });
                self.shared.watermark.store(start, Atomic::Release);
                self.shared.history.fetch_add(1, Atomic::Release);
            }
            Read::ReadTo { offset } => self.machine.handle(Input::ReadTo { offset }),
        }
        if self.shared.starved.swap(false, Atomic::AcqRel) {
            self.poller.send(ToPoller::Room);
        }
    }

    pub(super) fn record(&mut self, mut record: Record) {
        let partition = record.source.partition;
        let plan = if self.topic.needs_decoding() {
            match handler::decode(&record) {
                Ok(event) => {
                    let plan = self.plan(event.name(), partition);
                    record.event = Some(event);
                    plan
                }
                Err(error) => {
                    self.tally.undecodable += 1;
                    let plan = self.topic.plan_undecodable(partition);
                    if matches!(plan, Plan::Undecodable) {
                        self.tell(None, &self.context_of(&record, "decode", &error));
                    }
                    plan
                }
            }
        } else {
            self.topic.plan_any(partition)
        };
        if matches!(plan, Plan::Unmatched) {
            self.tally.unmatched += 1;
        }
        self.machine.handle(Input::Record {
            offset: record.offset,
            key: match record.key() {
                Some(key) if self.by_key && !key.is_empty() => Some(hash(key)),
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
        let plan = self.topic.plan(name, partition);
        self.last_plan = Some((name.into(), plan.clone()));
        plan
    }

    /// Brings the machine's routes in line with a new table.
    pub(super) fn attach(&mut self, table: &Arc<RouteTable>) {
        self.topic = table
            .topics
            .get(&self.shared.source.topic)
            .cloned()
            .unwrap_or_default();
        self.by_key = self.topic.needs_keys();
        self.last_plan = None;
        for attached in &mut self.routes {
            let gone = self.topic.routes.iter().all(|r| r.id != attached.route.id);
            if gone && !attached.closing {
                attached.closing = true;
                self.machine.close_route(attached.route.id);
            }
        }
        for route in &self.topic.routes {
            let paused = route.registration.is_paused();
            let known = self.routes.iter_mut().find(|r| r.route.id == route.id);
            let attached = match known {
                Some(attached) => attached,
                None => {
                    self.machine.add_route(route.id, route.options);
                    self.routes.push(Attached {
                        route: Arc::clone(route),
                        _working: route.registration.working.token(),
                        paused: false,
                        closing: false,
                    });
                    let Some(last) = self.routes.last_mut() else {
                        continue;
                    };
                    last
                }
            };
            if attached.paused != paused {
                attached.paused = paused;
                if paused {
                    self.machine.pause_route(route.id);
                } else {
                    self.machine.resume_route(route.id);
                }
            }
        }
    }
}

/// FNV-1a: short keys, no adversary inside one partition's lanes that a collision would help; two
/// keys that collide share a lane, which keeps the order of both.
fn hash(key: &[u8]) -> u64 {
    key.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
