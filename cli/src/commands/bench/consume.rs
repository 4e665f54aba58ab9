use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use eventstream::{Client, Context, Event, StartOffset, Subscribe};
use tokio_util::sync::CancellationToken;

use super::Common;
use super::figures::{Figures, Mark};
use crate::connection::seconds;
use crate::output;
use crate::progress::Progress;
use crate::signals::Interrupt;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// Give up after this long without an event
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    idle: Duration,
}

pub(crate) const EXAMPLES: &str = "\
Time is measured from the first handled event to the last. The exit code is 1 if the topic has too few events.

Examples:
  eventstream bench consume --events 1000000 --topic bench
  eventstream bench consume --events 1000000 --topic bench --idle 5";

const TICK: Duration = Duration::from_millis(100);

/// What the handler counts.
#[derive(Default)]
struct Count {
    handled: AtomicU64,
    first: OnceLock<Mark>,
    last: OnceLock<Mark>,
    done: CancellationToken,
}

impl Count {
    fn add(&self, wanted: u64) -> anyhow::Result<()> {
        let before = self.handled.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            self.first
                .get_or_init(|| Mark::now().expect("a process has a usage"));
        }
        if before + 1 == wanted {
            self.last
                .get_or_init(|| Mark::now().expect("a process has a usage"));
            self.done.cancel();
        }
        Ok(())
    }
}

pub(super) async fn run(
    args: &Args,
    client: &Client,
    interrupt: &Interrupt,
) -> anyhow::Result<Option<Figures>> {
    let Common { events, topic, .. } = &args.common;
    let (events, progress) = (*events, Progress::new(Some(*events), false));
    let count = Arc::new(Count::default());
    let counted = Arc::clone(&count);
    // Without a group id, all partitions are read, and nothing is committed.
    let subscribe = Subscribe::new(topic.as_str())
        .offset(StartOffset::Head)
        .on_any(move |_: Context, event: Event| {
            let counted = Arc::clone(&counted);
            async move {
                let _ = event.id();
                counted.add(events)
            }
        });
    let subscription = client.register(subscribe).await?;
    let mut seen = 0;
    let mut silent = Duration::ZERO;
    let whole = loop {
        tokio::select! {
            () = count.done.cancelled() => break true,
            () = interrupt.asked() => break false,
            () = tokio::time::sleep(TICK) => {}
        }
        let now = count.handled.load(Ordering::Relaxed);
        progress.inc_by(now - seen);
        silent = if now > seen {
            Duration::ZERO
        } else {
            silent + TICK
        };
        seen = now;
        if silent >= args.idle {
            break false;
        }
    };
    progress.end();
    subscription.stop(Duration::from_secs(10)).await?;
    if interrupt.is_asked() && !whole {
        return Ok(None);
    }
    let (Some(first), Some(last)) = (count.first.get(), count.last.get()) else {
        let handled = count.handled.load(Ordering::Relaxed);
        output::say(&format!(
            "{handled} of {events} events arrived, then none for {:?}",
            args.idle
        ));
        let now = Mark::now()?;
        let first = count.first.get().copied().unwrap_or(now);
        return Figures::between(first, now, handled, events - handled).map(Some);
    };
    Figures::between(*first, *last, events, 0).map(Some)
}
