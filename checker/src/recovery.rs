//! How long events stalled during a fault, and how soon afterwards they flowed again.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::world::{Window, World};

/// The effect of a fault on the two streams of events. Times in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Effect {
    pub(crate) fault: Window,
    pub(crate) stored: Flow,
    pub(crate) handled: Flow,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flow {
    /// The longest time without an event during the fault.
    pub(crate) gap: u64,
    /// From the end of the fault to the first event that started after it.
    pub(crate) again: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Recovery {
    /// In order of their start.
    pub(crate) effects: Vec<Effect>,
    /// How many have started.
    begun: usize,
    /// Those that have started and are still being observed.
    active: Vec<usize>,
    last_stored: u64,
    last_handled: u64,
}

impl Recovery {
    pub(crate) fn new(world: &World) -> Self {
        let effect = |fault: &Window| Effect {
            fault: fault.clone(),
            stored: Flow::default(),
            handled: Flow::default(),
        };
        Self {
            effects: world.faults.iter().map(effect).collect(),
            begun: 0,
            active: Vec::new(),
            last_stored: world.begin,
            last_handled: world.begin,
        }
    }

    /// An event that was published at `began` was stored.
    pub(crate) fn stored(&mut self, at: u64, began: u64) {
        let last = std::mem::replace(&mut self.last_stored, at);
        self.flow(at, last, Some(began), |effect| &mut effect.stored);
    }

    /// An event whose handler started at `began` was handled.
    pub(crate) fn handled(&mut self, at: u64, began: u64) {
        let last = std::mem::replace(&mut self.last_handled, at);
        self.flow(at, last, Some(began), |effect| &mut effect.handled);
    }

    /// The history ends.
    pub(crate) fn finish(&mut self, at: u64) {
        self.flow(at, self.last_stored, None, |effect| &mut effect.stored);
        self.flow(at, self.last_handled, None, |effect| &mut effect.handled);
    }

    fn flow(
        &mut self,
        at: u64,
        last: u64,
        began: Option<u64>,
        of: impl Fn(&mut Effect) -> &mut Flow,
    ) {
        while self
            .effects
            .get(self.begun)
            .is_some_and(|effect| effect.fault.begin <= at)
        {
            self.active.push(self.begun);
            self.begun += 1;
        }
        let effects = &mut self.effects;
        let mut seen = false;
        for index in &self.active {
            let effect = &mut effects[*index];
            let (begin, end) = (effect.fault.begin, effect.fault.end);
            let flow = of(effect);
            let during = at.min(end.unwrap_or(at)).saturating_sub(last.max(begin));
            flow.gap = flow.gap.max(during);
            if let (Some(end), Some(began)) = (end, began)
                && began >= end
                && flow.again.is_none()
            {
                flow.again = Some(at - end);
                seen = true;
            }
        }
        if seen {
            self.active.retain(|index| {
                let effect = &effects[*index];
                effect.stored.again.is_none() || effect.handled.again.is_none()
            });
        }
    }
}

/// The faults of one kind, and their effects. Times in seconds.
#[derive(Debug, Serialize)]
pub struct FaultSummary {
    /// The kind.
    pub kind: String,
    /// How many there were.
    pub count: usize,
    /// How many did not end.
    pub unended: usize,
    /// The stream of stored events.
    pub stored: FlowSummary,
    /// The stream of handled events.
    pub handled: FlowSummary,
}

/// The effects on a stream of events. Times in seconds.
#[derive(Debug, Serialize)]
pub struct FlowSummary {
    /// Longest gap during a fault, in the median.
    pub gap_median: Option<f64>,
    /// Longest gap during a fault, at worst.
    pub gap_worst: Option<f64>,
    /// From the end of a fault to the first event that started after it, in the median.
    pub again_median: Option<f64>,
    /// The same, at worst.
    pub again_worst: Option<f64>,
    /// After how many faults no event came that began after them.
    pub never: usize,
}

pub(crate) fn summarise(effects: &[Effect]) -> Vec<FaultSummary> {
    let mut kinds: BTreeMap<&str, Vec<&Effect>> = BTreeMap::new();
    for effect in effects {
        kinds.entry(&effect.fault.kind).or_default().push(effect);
    }
    let summary = |(kind, effects): (&str, Vec<&Effect>)| FaultSummary {
        kind: kind.to_owned(),
        count: effects.len(),
        unended: effects
            .iter()
            .filter(|effect| effect.fault.end.is_none())
            .count(),
        stored: flow(&effects, |effect| effect.stored),
        handled: flow(&effects, |effect| effect.handled),
    };
    kinds.into_iter().map(summary).collect()
}

fn flow(effects: &[&Effect], of: impl Fn(&Effect) -> Flow) -> FlowSummary {
    let ended = effects.iter().filter(|effect| effect.fault.end.is_some());
    let gaps = effects.iter().map(|effect| of(effect).gap).collect();
    let again: Vec<_> = ended
        .clone()
        .filter_map(|effect| of(effect).again)
        .collect();
    let never = ended.count() - again.len();
    let (gap_median, gap_worst) = median_and_worst(gaps);
    let (again_median, again_worst) = median_and_worst(again);
    FlowSummary {
        gap_median,
        gap_worst,
        again_median,
        again_worst,
        never,
    }
}

fn median_and_worst(mut nanos: Vec<u64>) -> (Option<f64>, Option<f64>) {
    nanos.sort_unstable();
    let seconds = |nanos: &u64| *nanos as f64 / 1e9;
    (
        nanos.get(nanos.len() / 2).map(seconds),
        nanos.last().map(seconds),
    )
}
