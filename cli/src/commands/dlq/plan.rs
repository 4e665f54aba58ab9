//! Showing, confirming, running and following a plan: what `replay` and `park` have in common.

use std::time::Duration;

use clap::ValueEnum;
use eventstream::CancellationToken;
use eventstream::Client;
use eventstream::dead_letters::{By, DeadLetters, End, Follow, Plan, Replay, Report};
use serde::Serialize;
use tokio::time::Instant;

use super::confirm::Consent;
use super::table::{self, Look, grouped};
use crate::ask;
use crate::exit::{self, Exit, in_options};
use crate::output;
use crate::progress::Progress;
use crate::signals::Interrupt;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

/// What to do, and how.
pub(super) struct Work {
    /// The word to type as confirmation.
    pub(super) word: &'static str,
    pub(super) replay: Replay,
    pub(super) rate: Option<u32>,
    pub(super) follow: Option<Duration>,
    pub(super) consent: Consent,
    pub(super) output: Format,
}

/// What would be done, as JSON.
#[derive(Serialize)]
struct Planned<'a> {
    selected: u64,
    to_replay: u64,
    to_park: u64,
    already_replayed: u64,
    target: &'a str,
}

/// What was done, as JSON.
#[derive(Serialize)]
struct Summary {
    selected: u64,
    replayed: u64,
    parked: u64,
    already_replayed: u64,
    failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_lettered_again: Option<u64>,
}

/// The interval between checks for records that are dead-lettered again.
const LOOK: Duration = Duration::from_secs(1);

impl Work {
    pub(super) async fn run(
        self,
        client: &Client,
        letters: &DeadLetters,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Exit> {
        let stop = CancellationToken::new();
        let planned = letters.replay(self.replay.clone().stop(stop.clone()));
        let Some(plan) = interrupt.or(planned).await else {
            return Ok(Exit::Interrupted);
        };
        let plan = plan.map_err(in_options)?;
        self.tell(&plan, letters)?;
        if self.consent.dry_run {
            return Ok(Exit::Done);
        }
        plan.check().map_err(in_options)?;
        let total = plan.causes().count();
        if total > 0 {
            match self.consent.given(self.word, interrupt).await {
                Some(true) => {}
                Some(false) => return Ok(ask::declined()),
                None => return Ok(Exit::Interrupted),
            }
        }
        let report = carry_out(plan, total, &stop, interrupt).await?;
        let is_complete = matches!(report.end(), End::Complete);
        let (again, followed) = match self.follow.filter(|_| is_complete) {
            Some(time) if report.replayed() > 0 => {
                let (again, followed) = follow(&report, time, interrupt).await;
                (Some(again), followed)
            }
            Some(_) => (Some(0), Ok(Exit::Done)),
            None => (None, Ok(Exit::Done)),
        };
        // What was replayed is told whatever became of watching it.
        self.summary(&report, again)?;
        client.shutdown(Duration::from_secs(1)).await;
        let exit = end(&report);
        let followed = followed?;
        Ok(if exit == Exit::Done { followed } else { exit })
    }

    /// Prints what will be done.
    fn tell(&self, plan: &Plan, letters: &DeadLetters) -> anyhow::Result<()> {
        let dry = self.consent.dry_run;
        if dry && self.output == Format::Json {
            let line = serde_json::to_string(&Planned {
                selected: plan.causes().count() + plan.already_done(),
                to_replay: plan.to_replay(),
                to_park: plan.to_park(),
                already_replayed: plan.already_done(),
                target: plan.target().as_str(),
            })?;
            output::print(&format!("{line}\n"))?;
            return Ok(());
        }
        let mut text = String::new();
        if plan.causes().count() > 0 {
            let look = match dry {
                true => Look::of(&std::io::stdout()),
                false => Look::of(&std::io::stderr()),
            };
            text += &table::table(plan.causes(), By::Cause, look);
        }
        text += &self.sentences(plan, letters)?;
        if dry {
            output::print(&text)?;
        } else {
            output::say(text.trim_end());
        }
        Ok(())
    }

    fn sentences(&self, plan: &Plan, letters: &DeadLetters) -> anyhow::Result<String> {
        let topic = letters.topic();
        let mut text = String::new();
        if plan.to_replay() > 0 {
            let (count, target) = (grouped(plan.to_replay()), plan.target());
            let pace = match self.rate {
                Some(rate) => {
                    let seconds = plan.to_replay().div_ceil(u64::from(rate.max(1)));
                    format!("at {} per second ({seconds} s)", grouped(rate.into()))
                }
                None => "at full speed".to_owned(),
            };
            text += &format!("{count} from {topic} will be published to {target} {pace}.\n");
            text += "Each will follow newer events of its key that are already there.\n";
        }
        if plan.to_park() > 0 {
            let (count, parking) = (grouped(plan.to_park()), plan.parking()?);
            text += &format!("{count} from {topic} will be parked in {parking}.\n");
        }
        if plan.already_done() > 0 {
            let count = grouped(plan.already_done());
            text += &format!("{count} more were already replayed, parked or edited.\n");
        }
        if text.is_empty() {
            text = format!("no such dead letter in {topic}\n");
        }
        Ok(text)
    }

    fn summary(&self, report: &Report, again: Option<u64>) -> anyhow::Result<()> {
        let (selected, already) = (report.selected(), report.already_replayed());
        let (replayed, parked, failed) = (report.replayed(), report.parked(), report.failed());
        let text = match self.output {
            Format::Json => serde_json::to_string(&Summary {
                selected,
                replayed,
                parked,
                already_replayed: already,
                failed,
                dead_lettered_again: again,
            })?,
            Format::Text => {
                let mut line = format!(
                    "{} selected: {} replayed, {} parked, {} already done, {} failed",
                    grouped(selected),
                    grouped(replayed),
                    grouped(parked),
                    grouped(already),
                    grouped(failed)
                );
                if let Some(again) = again {
                    line += &format!("; {} dead-lettered again", grouped(again));
                }
                line
            }
        };
        output::print(&format!("{text}\n"))?;
        Ok(())
    }
}

async fn carry_out(
    plan: Plan,
    total: u64,
    stop: &CancellationToken,
    interrupt: &Interrupt,
) -> anyhow::Result<Report> {
    // Created with the first record, so that the time before it does not lower the rate.
    let mut bar = None;
    let mut told = 0;
    let report = {
        let run = plan.run(|so_far| {
            let done = so_far.replayed + so_far.parked + so_far.failed;
            bar.get_or_insert_with(|| Progress::new(Some(total), false))
                .inc_by(done - told);
            told = done;
        });
        tokio::pin!(run);
        tokio::select! {
            report = &mut run => report,
            () = interrupt.asked() => {
                stop.cancel();
                run.await
            }
        }
    };
    if let Some(bar) = bar {
        bar.end();
    }
    report.map_err(in_options)
}

/// How many were dead-lettered again, and how the watching ended.
async fn follow(
    report: &Report,
    time: Duration,
    interrupt: &Interrupt,
) -> (u64, eventstream::Result<Exit>) {
    let mut follow = report.follow();
    let until = Instant::now() + time;
    output::say(&format!(
        "watching for {} s, as replayed records may be dead-lettered again",
        time.as_secs_f64()
    ));
    let look = async {
        loop {
            follow.look().await?;
            if follow.is_over() || Instant::now() >= until {
                return Ok(Exit::Done);
            }
            tokio::time::sleep_until(until.min(Instant::now() + LOOK)).await;
        }
    };
    let looked = interrupt.or(look).await;
    say_followed(&follow);
    let again = follow.dead_lettered_again().count();
    (again, looked.unwrap_or(Ok(Exit::Interrupted)))
}

fn say_followed(follow: &Follow) {
    let again = follow.dead_lettered_again();
    if again.count() > 0 {
        output::say("dead-lettered again:");
        let look = Look::of(&std::io::stderr());
        output::say(table::table(again, By::Cause, look).trim_end());
    }
    for group in follow.groups() {
        let passed = group.passed.map_or_else(|| "-".to_owned(), grouped);
        let of = grouped(group.of);
        output::say(&format!(
            "group {}: {passed} of {of} replayed records passed",
            group.group
        ));
    }
}

/// The exit code; prints what failed and how to continue.
fn end(report: &Report) -> Exit {
    for (place, error) in report.failures() {
        output::say(&format!("error: {place}: {}", exit::chain(error)));
    }
    let left = report.selected()
        - (report.replayed() + report.parked() + report.already_replayed()).min(report.selected());
    let go_on = "run the same command again to continue; finished records are not repeated";
    match report.end() {
        End::Stopped => {
            output::say(&format!("interrupted with {} left: {go_on}", grouped(left)));
            Exit::Interrupted
        }
        End::Failed(error) => {
            let (told, remedy) = (exit::chain(error), error.remedy());
            output::say(&format!("error: {told}\n{remedy}; then {go_on}"));
            Exit::Failed
        }
        _ if report.failed() > 0 => Exit::Failed,
        _ => Exit::Done,
    }
}
