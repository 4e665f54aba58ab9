//! 11: a round trip.

use super::cluster;
use crate::doctor::facts::Facts;
use crate::doctor::report::Tally;

pub(super) fn check(facts: &Facts, out: &mut Vec<Tally>) {
    let mut tally = Tally::new("round_trip.canary");
    match cluster(facts).map(|cluster| &cluster.round_trip) {
        Err(why) => tally.not_run(why),
        Ok(None) => tally.not_run("no topic was given to publish a canary to"),
        Ok(Some(Err(error))) => tally.fail(error.to_string(), error.remedy()),
        Ok(Some(Ok(trip))) => {
            let millis = |at: usize| trip.times.get(at).map_or(0.0, |t| t.as_secs_f64() * 1000.0);
            let count = trip.times.len();
            tally.ok(format!(
                "{count} events to {} and back: p50 {:.1} ms, max {:.1} ms",
                trip.topic,
                millis(count / 2),
                millis(count.saturating_sub(1))
            ));
        }
    }
    out.push(tally);
}
