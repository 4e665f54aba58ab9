//! Exactly once: what is published with records is kept here until the machine releases it to the
//! transaction.

use std::collections::HashMap;

use super::{Driver, State};
use crate::delivery::{Input, Ticket};
use crate::kafka::consumer::transactor::{TransactorHandle, Word};
use crate::publish::Output;

/// What a partition has staged and released.
pub(super) struct Staged {
    transactor: TransactorHandle,
    waiting: HashMap<Ticket, Vec<Output>>,
    /// What is handed over next, and how many records it is from.
    released: Vec<Output>,
    records: usize,
    /// Everything below this offset was handed over.
    up_to: i64,
}

impl Staged {
    pub(super) fn new(transactor: TransactorHandle, start: i64) -> Self {
        Self {
            transactor,
            waiting: HashMap::new(),
            released: Vec::new(),
            records: 0,
            up_to: start,
        }
    }
}

impl Driver {
    /// Keeps what was published with a record that is about to be done.
    pub(super) fn stage(&mut self, ticket: Ticket, outputs: Vec<Output>) {
        let Some(staged) = self.staged.as_mut().filter(|_| !outputs.is_empty()) else {
            return;
        };
        let size = outputs.iter().map(Output::size).sum();
        staged.waiting.entry(ticket).or_default().extend(outputs);
        self.machine.handle(Input::Staged { ticket, size });
    }

    pub(super) fn release(&mut self, ticket: Ticket) {
        let Some(staged) = &mut self.staged else {
            return;
        };
        if let Some(outputs) = staged.waiting.remove(&ticket) {
            staged.released.extend(outputs);
            staged.records += 1;
        }
    }

    /// Hands over what was released, and the offset that it covers.
    pub(super) fn hand_over(&mut self) {
        let covered = self.machine.covered();
        let Some(staged) = &mut self.staged else {
            return;
        };
        let Some(up_to) = covered.filter(|_| self.state != State::Lost) else {
            return;
        };
        if up_to == staged.up_to && staged.released.is_empty() {
            return;
        }
        staged.up_to = up_to;
        let outputs = std::mem::take(&mut staged.released);
        let bytes = outputs.iter().map(Output::size).sum();
        staged.transactor.send(Word::Released {
            part: self.number,
            outputs,
            up_to,
            records: std::mem::take(&mut staged.records),
            bytes,
        });
    }

    /// The offsets restart here: outputs of earlier offsets are left out of the transaction.
    pub(super) fn hand_over_start(&mut self, start: i64) {
        if let Some(staged) = &mut self.staged {
            staged.up_to = start;
            staged.transactor.send(Word::Released {
                part: self.number,
                outputs: Vec::new(),
                up_to: start,
                records: 0,
                bytes: 0,
            });
        }
    }
}
