use std::collections::VecDeque;

use super::events::{Plan, Ticket};

/// The records from the first unfinished one to the last one read, and the watermark.
pub(super) struct Window<R> {
    /// The ticket of the front slot.
    base: Ticket,
    slots: VecDeque<Slot<R>>,
    /// The number of unfinished records.
    records: usize,
    bytes: usize,
    watermark: Option<i64>,
    last: Option<i64>,
    /// The first record of the current history.
    began: Ticket,
    /// Records with something staged whose turn has come.
    released: VecDeque<Ticket>,
    /// What is staged or released and has not left: how many records it is of, and its bytes.
    held: (usize, usize),
}

/// The value to which a record of an earlier history raises the watermark.
const NOTHING: i64 = i64::MIN;

pub(super) struct Slot<R> {
    pub(super) offset: i64,
    pub(super) key: Option<u64>,
    pub(super) plan: Plan,
    /// At most once: the offset was committed and the record passed to its routes.
    pub(super) released: bool,
    /// The watermark once it and everything before it is done.
    up_to: i64,
    size: usize,
    /// Unfinished deliveries; the record is done at 0.
    pending: u32,
    /// Something is staged that leaves once the record and all before it are done.
    staged: bool,
    /// Released when the record is done, although an earlier one may keep the slot.
    body: Option<R>,
}

impl<R: Clone> Slot<R> {
    pub(super) fn body(&self) -> R {
        self.body
            .clone()
            .expect("a record keeps its body until it is done")
    }
}

/// What a new slot is created from.
pub(super) struct Arrival<R> {
    pub(super) offset: i64,
    pub(super) key: Option<u64>,
    pub(super) size: usize,
    pub(super) body: R,
    pub(super) plan: Plan,
    pub(super) deliveries: u32,
}

impl<R> Window<R> {
    pub(super) fn new(base: Ticket) -> Self {
        Self {
            base,
            slots: VecDeque::new(),
            records: 0,
            bytes: 0,
            watermark: None,
            last: None,
            began: base,
            released: VecDeque::new(),
            held: (0, 0),
        }
    }

    /// The records so far are of the past; later offsets start at `start`.
    pub(super) fn begin(&mut self, start: i64) {
        for slot in &mut self.slots {
            slot.up_to = NOTHING;
        }
        self.began = self.end();
        self.watermark = Some(start);
        self.last = None;
    }

    /// Whether the record is of an earlier history, so that nobody can read it again.
    pub(super) fn is_old(&self, ticket: Ticket) -> bool {
        ticket < self.began
    }

    /// After the last record of earlier histories, if one of them is unfinished.
    pub(super) fn end_of_old(&self) -> Option<Ticket> {
        (self.base < self.began).then_some(self.began)
    }

    /// Unfinished records of earlier histories that are not events.
    pub(super) fn old_undecodable(&self) -> Vec<Ticket> {
        let old = self.slots.iter().take(self.began.distance(self.base));
        let open = |slot: &Slot<R>| slot.pending > 0 && matches!(slot.plan, Plan::Undecodable);
        old.enumerate()
            .filter(|(_, slot)| open(slot))
            .map(|(at, _)| self.base.plus(at))
            .collect()
    }

    /// There is no record between the last one and `offset`.
    pub(super) fn read_to(&mut self, offset: i64) {
        if self.last.is_some_and(|last| offset <= last) {
            return;
        }
        match self.slots.back_mut() {
            Some(slot) => slot.up_to = slot.up_to.max(offset),
            None => self.raise(offset),
        }
    }

    pub(super) fn has_seen(&self, offset: i64) -> bool {
        self.last.is_some_and(|last| offset <= last)
    }

    pub(super) fn push(&mut self, arrival: Arrival<R>) -> Ticket {
        let ticket = self.end();
        self.last = Some(arrival.offset);
        self.records += 1;
        self.bytes += arrival.size;
        self.slots.push_back(Slot {
            offset: arrival.offset,
            key: arrival.key,
            plan: arrival.plan,
            released: false,
            up_to: arrival.offset + 1,
            size: arrival.size,
            pending: arrival.deliveries,
            staged: false,
            body: Some(arrival.body),
        });
        ticket
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Slot<R>> {
        self.slots.get(ticket.distance(self.base))
    }

    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Slot<R>> {
        self.slots.get_mut(ticket.distance(self.base))
    }

    /// One delivery of the record is done. With the last one, the record is done, and the watermark
    /// moves over every done record at the front.
    pub(super) fn finish_one(&mut self, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(ticket.distance(self.base)) else {
            return;
        };
        slot.pending = slot.pending.saturating_sub(1);
        if slot.pending > 0 {
            return;
        }
        slot.body = None;
        self.records -= 1;
        self.bytes -= slot.size;
        while let Some(front) = self.slots.front() {
            if front.pending > 0 {
                break;
            }
            let up_to = front.up_to;
            if front.staged {
                self.released.push_back(self.base);
            }
            self.slots.pop_front();
            self.base = self.base.next();
            self.raise(up_to);
        }
    }

    /// Something of the record waits for it, and counts until it has left.
    pub(super) fn stage(&mut self, ticket: Ticket, size: usize) {
        let Some(slot) = self.slots.get_mut(ticket.distance(self.base)) else {
            return;
        };
        self.held.0 += usize::from(!std::mem::replace(&mut slot.staged, true));
        self.held.1 += size;
    }

    /// So much of what was released has left.
    pub(super) fn left(&mut self, records: usize, bytes: usize) {
        self.held.0 = self.held.0.saturating_sub(records);
        self.held.1 = self.held.1.saturating_sub(bytes);
    }

    /// The next record whose staged part may leave, in order.
    pub(super) fn next_released(&mut self) -> Option<Ticket> {
        self.released.pop_front()
    }

    /// A fault for tests: it does not wait for its turn.
    pub(super) fn release_at_once(&mut self, ticket: Ticket) -> bool {
        let slot = self.slots.get_mut(ticket.distance(self.base));
        slot.is_some_and(|slot| std::mem::take(&mut slot.staged))
    }

    /// The watermark never goes back.
    pub(super) fn raise(&mut self, up_to: i64) {
        self.watermark = self.watermark.max(Some(up_to));
    }

    pub(super) fn is_done(&self, ticket: Ticket) -> bool {
        self.get(ticket).is_none_or(|slot| slot.pending == 0)
    }

    /// Whether every earlier record is done.
    pub(super) fn is_front(&self, ticket: Ticket) -> bool {
        ticket == self.base
    }

    /// After the last record that a route has finished.
    pub(super) fn end_of_done(&self) -> Option<Ticket> {
        let begun = |slot: &Slot<R>| match &slot.plan {
            Plan::One(_) => slot.pending == 0,
            Plan::Many(_) | Plan::Shared(_) => (slot.pending as usize) < slot.plan.routes().count(),
            Plan::Unmatched | Plan::Undecodable => false,
        };
        let last = self.slots.iter().rposition(begun)?;
        Some(self.base.plus(last).next())
    }

    /// The ticket of the next record to arrive.
    pub(super) fn end(&self) -> Ticket {
        self.base.plus(self.slots.len())
    }

    /// Forgets the records. Tickets issued so far stay unknown forever.
    pub(super) fn clear(&mut self) {
        self.base = self.end();
        self.slots = VecDeque::new();
        self.records = 0;
        self.bytes = 0;
        self.released.clear();
        self.held = (0, 0);
    }

    pub(super) fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    pub(super) fn records(&self) -> usize {
        self.records + self.held.0
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.held.1
    }

    pub(super) fn span(&self) -> usize {
        self.slots.len()
    }
}
