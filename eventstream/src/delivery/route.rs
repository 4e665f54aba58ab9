use std::collections::VecDeque;

use super::config::RouteOptions;
use super::events::RouteId;
use super::lanes::Lanes;
use super::policy::{Batch, Exhausted, Retry};
use super::time::Time;

/// One route in one partition.
pub(super) struct Route {
    pub(super) id: RouteId,
    pub(super) retry: Retry,
    pub(super) lanes: Lanes,
    pub(super) batch: Option<Batch>,
    /// When the next batch starts, full or not; and whether a timer is set for it.
    pub(super) batch_due: Option<Time>,
    pub(super) batch_timer: bool,
    /// Records of the window that this route has not finished.
    pub(super) owed: usize,
    pub(super) paused: bool,
    /// Accepts no new records; removed once it has finished its own.
    pub(super) closing: bool,
    /// Its time to close is over: records that are not running are given away.
    pub(super) abandoned: bool,
    /// Its subscription must stop or rejoin: nothing starts any more.
    pub(super) halted: bool,
    /// Is in the machine's list of routes that may have something to start.
    pub(super) listed: bool,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Again,
    DeadLetter,
    Skip,
    Stop,
    Rejoin,
}

impl Route {
    pub(super) fn new(id: RouteId, options: RouteOptions) -> Self {
        Self {
            id,
            retry: options.retry,
            lanes: Lanes::new(options.concurrency, options.batch.is_some()),
            batch: options.batch,
            batch_due: None,
            batch_timer: false,
            owed: 0,
            paused: false,
            closing: false,
            abandoned: false,
            halted: false,
            listed: false,
        }
    }

    /// Queues it among the routes that may have something to start.
    pub(super) fn list(&mut self, listed: &mut VecDeque<RouteId>) {
        if !self.listed {
            self.listed = true;
            listed.push_back(self.id);
        }
    }

    pub(super) fn may_start(&self) -> bool {
        !self.paused && !self.halted && !self.abandoned
    }
}

impl Next {
    pub(super) fn after(retry: Retry, attempts: u32) -> Self {
        match retry {
            Retry::Rejoin => Self::Rejoin,
            Retry::InPlace {
                max_attempts, then, ..
            } => match max_attempts {
                Some(max) if attempts >= max.get() => match then {
                    Exhausted::DeadLetter => Self::DeadLetter,
                    Exhausted::Skip => Self::Skip,
                    Exhausted::Stop => Self::Stop,
                },
                _ => Self::Again,
            },
        }
    }
}
