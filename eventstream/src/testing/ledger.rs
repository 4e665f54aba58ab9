//! What the clients of a [`TestBroker`](super::TestBroker) report that they have done.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::changes::Changes;
use crate::client::{Client, WeakClient};
use crate::error::Error;
use crate::event::Event;
use crate::guard::with_causes;
use crate::record::{self, Record};
use crate::subscribe::DeadLetter;
use crate::witness::{PartitionWitness, Witness};

/// A topic, as named on the broker, and a partition.
type Place = (Arc<str>, i32);

#[derive(Default)]
pub(super) struct Ledger {
    state: Mutex<State>,
    pub(super) changes: Changes,
}

#[derive(Default)]
struct State {
    clients: Vec<WeakClient>,
    /// The offset after the last stored record.
    ends: BTreeMap<Place, i64>,
    stored: u64,
    groups: HashMap<Arc<str>, HashMap<Place, Progress>>,
    members: u64,
    handled: Vec<Handled>,
    letters: Vec<DeadLetter>,
}

/// A group's progress in a partition.
#[derive(Default)]
struct Progress {
    /// Everything before it is done.
    position: i64,
    /// The number of records read but not done, by the member that has them.
    in_hand: HashMap<u64, usize>,
    /// The last handler failure, as long as its record is not done.
    failing: Option<(i64, String)>,
}

/// An event that a handler has handled.
#[derive(Clone)]
pub(super) struct Handled {
    /// As named on the broker.
    pub(super) group: Arc<str>,
    pub(super) event: Event,
}

impl Ledger {
    /// The clients that still exist.
    pub(super) fn clients(&self) -> Vec<Client> {
        let mut state = self.state.lock();
        let mut living = Vec::new();
        state.clients.retain(|client| {
            let client = client.upgrade();
            let lives = client.is_some();
            living.extend(client);
            lives
        });
        living
    }

    /// The number of records stored.
    pub(super) fn stored(&self) -> u64 {
        self.state.lock().stored
    }

    pub(super) fn handled(&self) -> Vec<Handled> {
        self.state.lock().handled.clone()
    }

    pub(super) fn letters(&self) -> Vec<DeadLetter> {
        self.state.lock().letters.clone()
    }

    /// What is stored but not done by a group that is subscribed to it, one line for each
    /// partition.
    pub(super) fn outstanding(&self) -> Vec<String> {
        let mut subscribed: Vec<_> = self.clients().iter().flat_map(Client::subscribed).collect();
        // Several members are one group.
        subscribed.sort();
        subscribed.dedup();
        let state = self.state.lock();
        let mut lines = Vec::new();
        for (group, topics) in &subscribed {
            let places = state.ends.iter();
            for (place, end) in
                places.filter(|((topic, _), _)| topics.iter().any(|t| **t == **topic))
            {
                let progress = state.groups.get(group).and_then(|g| g.get(place));
                lines.extend(progress_line(group, place, *end, progress));
            }
        }
        lines.dedup();
        lines
    }
}

/// What is left of a partition, if anything.
fn progress_line(
    group: &str,
    (topic, partition): &Place,
    end: i64,
    progress: Option<&Progress>,
) -> Option<String> {
    let what = format!("group {group:?}, topic {topic}, partition {partition}");
    let Some(progress) = progress else {
        return Some(format!("{what}: {end} records, and no member has it yet"));
    };
    let in_hand: usize = progress.in_hand.values().sum();
    if progress.position >= end && in_hand == 0 {
        return None;
    }
    let mut line = format!(
        "{what}: done up to offset {} of {end}, {in_hand} records in hand",
        progress.position
    );
    if progress.in_hand.is_empty() {
        line += ", no member has it";
    }
    if let Some((_, failure)) = &progress.failing {
        line += &format!("; {failure}");
    }
    Some(line)
}

/// What clients report.
pub(super) struct Told(pub(super) Arc<Ledger>);

impl Witness for Told {
    fn client(&self, client: WeakClient) {
        self.0.state.lock().clients.push(client);
    }

    fn stored(&self, wire_topic: &str, partition: i32, offset: i64) {
        {
            let mut state = self.0.state.lock();
            let end = state
                .ends
                .entry((wire_topic.into(), partition))
                .or_default();
            *end = (*end).max(offset + 1);
            state.stored += 1;
        }
        self.0.changes.tell();
    }

    fn changed(&self) {
        self.0.changes.tell();
    }

    fn assigned(
        &self,
        wire_group: &str,
        wire_topic: &str,
        partition: i32,
        position: i64,
    ) -> Box<dyn PartitionWitness> {
        let member = {
            let mut state = self.0.state.lock();
            state.members += 1;
            state.members
        };
        let mut part = Part {
            ledger: Arc::clone(&self.0),
            group: wire_group.into(),
            place: (wire_topic.into(), partition),
            member,
        };
        part.progress(position, 0);
        Box::new(part)
    }
}

/// One partition, as long as a member has it.
struct Part {
    ledger: Arc<Ledger>,
    group: Arc<str>,
    place: Place,
    member: u64,
}

impl Part {
    fn update(&self, update: impl FnOnce(&mut Progress)) {
        {
            let mut state = self.ledger.state.lock();
            let group = state.groups.entry(Arc::clone(&self.group)).or_default();
            update(group.entry(self.place.clone()).or_default());
        }
        self.ledger.changes.tell();
    }
}

impl PartitionWitness for Part {
    fn handled(&mut self, record: &Arc<Record>) {
        let event = record.event.clone().or_else(|| record::decode(record).ok());
        let Some(event) = event else { return };
        let group = Arc::clone(&self.group);
        self.ledger
            .state
            .lock()
            .handled
            .push(Handled { group, event });
        self.ledger.changes.tell();
    }

    fn failed(&mut self, offset: i64, attempt: u32, error: &Error) {
        let text = format!(
            "offset {offset} failed attempt {attempt}: {}",
            with_causes(error)
        );
        self.update(|progress| progress.failing = Some((offset, text)));
    }

    fn dead_lettered(&mut self, letter: DeadLetter) {
        self.ledger.state.lock().letters.push(letter);
        self.ledger.changes.tell();
    }

    fn progress(&mut self, position: i64, in_hand: usize) {
        let member = self.member;
        self.update(|progress| {
            progress.position = progress.position.max(position);
            progress.in_hand.insert(member, in_hand);
            progress
                .failing
                .take_if(|(offset, _)| *offset < progress.position);
        });
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let member = self.member;
        self.update(|progress| {
            progress.in_hand.remove(&member);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(position: i64, in_hand: &[usize]) -> Option<String> {
        let progress = Progress {
            position,
            in_hand: (0..).zip(in_hand.iter().copied()).collect(),
            failing: None,
        };
        progress_line("g", &("t".into(), 0), 5, Some(&progress))
    }

    #[test]
    fn a_partition_is_done_at_its_end_with_nothing_in_hand() {
        assert_eq!(line(5, &[0]), None);
        assert_eq!(line(5, &[]), None);
        assert!(line(4, &[1]).is_some());
        assert!(line(4, &[]).is_some_and(|line| line.ends_with("no member has it")));
        assert!(progress_line("g", &("t".into(), 0), 5, None).is_some());
    }

    #[test]
    fn what_a_member_handles_again_is_waited_for() {
        assert!(line(5, &[0, 1]).is_some());
    }
}
