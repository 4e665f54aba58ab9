//! Judges a history: replays it in order of time, then checks what is left at the end.

mod assignment;
mod committing;
mod consuming;
mod holding;
mod last;
mod outputs;
mod publishing;
mod starting;
mod view;

use anyhow::Result;

use crate::anomaly::{Anomaly, Class, Findings};
use crate::history::Event;
use crate::merge::{Step, merge};
use crate::recovery::Recovery;
use crate::steady::{Samples, Steadiness};
use crate::timeline::Timeline;
use crate::world::World;

use consuming::Consuming;
use publishing::Publishing;

pub use consuming::{GroupCounts, Handlers};
pub use publishing::Outcomes;

/// The results of the second pass.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) findings: Findings,
    pub(crate) outcomes: Outcomes,
    pub(crate) handlers: Handlers,
    pub(crate) groups: Vec<GroupCounts>,
    pub(crate) recovery: Recovery,
    pub(crate) timeline: Timeline,
    pub(crate) steadiness: Option<Steadiness>,
}

/// The second pass.
pub(crate) fn judge(world: &World) -> Result<Verdict> {
    let mut findings = Findings::default();
    let mut publishing = Publishing::new(world);
    let mut consuming = Consuming::new(world);
    let mut recovery = Recovery::new(world);
    let mut timeline = Timeline::new(world.begin, world.end);
    let mut samples = Samples::new(world);
    for contradiction in &world.contradictions {
        findings.add(Class::InconsistentOffset, None, || {
            let [one, other] = contradiction.ids.map(event_name);
            let detail = format!("two reads of the log found {one} and {other}");
            located(
                world,
                Class::InconsistentOffset,
                detail,
                contradiction.place,
                contradiction.offset,
            )
        });
    }

    merge(world, |at, process, step| {
        let event = match step {
            Step::Event(event) => event,
            Step::Gone => {
                consuming.gone(at, process, &mut timeline);
                return Ok(());
            }
        };
        match event {
            Event::Publish(publish) => {
                publishing.publish(at, process, &publish)?;
                samples.published(at);
            }
            Event::Refused(refused) => publishing.refused(refused.id)?,
            Event::Accepted(accepted) => publishing.accepted(accepted.id)?,
            Event::Stored(stored) => {
                let published = publishing.stored(at, stored, &mut findings)?;
                recovery.stored(at, published);
                timeline.stored(at);
            }
            Event::Failed(failed) => {
                publishing.failed(at, failed.id, failed.kind, &mut findings)?;
            }
            Event::Joined(joined) => timeline.member(at, joined.member, true),
            Event::Left(left) => consuming.left(at, &left, &mut timeline)?,
            Event::Assigned(assigned) => consuming.assigned(at, &assigned)?,
            Event::Revoked(revoked) => consuming.revoked(at, &revoked)?,
            Event::Handle(handle) => consuming.handle(at, &handle, &mut findings)?,
            Event::Handled(handled) => {
                if let Some(started) = consuming.handled(at, &handled, &mut findings)? {
                    recovery.handled(at, started);
                    timeline.handled(at);
                }
            }
            Event::Committed(committed) => consuming.committed(at, &committed, &mut findings),
            Event::Sample(sample) => {
                timeline.sample(at, process, sample);
                samples.sample(at, process, sample);
            }
            _ => {}
        }
        Ok(())
    })?;

    recovery.finish(world.end);
    let outcomes = publishing.finish(&mut findings);
    let (handlers, mut groups) = consuming.finish(&mut findings);
    outputs::judge(world, &mut groups, &mut findings);
    Ok(Verdict {
        findings,
        outcomes,
        handlers,
        groups,
        recovery,
        timeline,
        steadiness: samples.finish(world),
    })
}

/// An anomaly at a position in the log.
fn located(world: &World, class: Class, detail: String, place: u32, offset: i64) -> Anomaly {
    let (topic, partition) = world.place_name(place);
    Anomaly {
        topic: Some(topic.to_owned()),
        partition: Some(partition),
        offset: Some(offset),
        ..Anomaly::new(class, detail)
    }
}

fn event_name(id: Option<u64>) -> String {
    match id {
        Some(id) => format!("event {id}"),
        None => "a record that is no event".to_owned(),
    }
}

fn key_name(key: Option<u64>) -> String {
    match key {
        Some(key) => format!("key {key}"),
        None => "no key".to_owned(),
    }
}
