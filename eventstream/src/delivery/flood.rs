/// When dead letters come too fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FloodOptions {
    /// How many of the last records are considered.
    pub(crate) window: usize,
    /// The share of the window that may be dead letters; at that number the guard trips.
    pub(crate) ratio: f64,
}

impl Default for FloodOptions {
    /// Half of the last 200: a deployment that cannot read its topic trips within 100 records, a
    /// handful of bad ones in a row does not.
    fn default() -> Self {
        Self {
            window: 200,
            ratio: 0.5,
        }
    }
}

/// Keeps a subscription from emptying its topic into the dead-letter topic: if this many of the
/// last records were dead-lettered, the fault is hardly in the records.
#[derive(Debug)]
pub(crate) struct FloodGuard {
    /// A ring of the outcomes of the last records; `true` for a dead letter.
    last: Vec<bool>,
    at: usize,
    dead: usize,
    limit: usize,
    tripped: bool,
}

impl FloodGuard {
    pub(crate) fn new(options: FloodOptions) -> Self {
        let window = options.window.max(1);
        let limit = (window as f64 * options.ratio).ceil() as usize;
        Self {
            last: vec![false; window],
            at: 0,
            dead: 0,
            limit: limit.clamp(1, window),
            tripped: false,
        }
    }

    /// A record was handled or skipped.
    pub(crate) fn done(&mut self) {
        self.count(false);
    }

    /// A record was dead-lettered. `true` if exactly this one trips the guard: then the
    /// subscription pauses and reports it.
    pub(crate) fn dead_lettered(&mut self) -> bool {
        self.count(true);
        let trips = !self.tripped && self.dead >= self.limit;
        self.tripped |= trips;
        trips
    }

    #[cfg(test)]
    pub(crate) fn is_tripped(&self) -> bool {
        self.tripped
    }

    /// Starts over with an empty window: the subscription was resumed.
    pub(crate) fn reset(&mut self) {
        self.last.fill(false);
        self.dead = 0;
        self.tripped = false;
    }

    fn count(&mut self, dead: bool) {
        let slot = &mut self.last[self.at];
        self.dead = self.dead + usize::from(dead) - usize::from(*slot);
        *slot = dead;
        self.at = (self.at + 1) % self.last.len();
    }
}
