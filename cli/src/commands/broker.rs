//! `broker`: the embedded broker as a process.

use std::num::NonZeroU16;

use eventstream::EmbeddedBroker;

use crate::exit::Exit;
use crate::output;
use crate::signals::Interrupt;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many brokers the cluster has, 1 to 10
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=10))]
    nodes: u8,
    /// A topic to create, with its prefix and its number of partitions; repeatable
    #[arg(long = "topic", value_name = "TOPIC[:PARTITIONS]", value_parser = topic)]
    topics: Vec<(String, NonZeroU16)>,
}

pub(crate) const EXAMPLES: &str = "\
The first line on standard output is the address to pass to --brokers. Topics are created at their
first use, with 4 partitions, or by --topic. Everything is kept in memory: the last 5 MiB of each
partition. TLS, SASL and starting at a time (--from) are not supported.

Examples:
  eventstream broker
  eventstream broker --topic player:1 --topic audit:8
  eventstream broker | tee address
  eventstream publish --brokers \"$(head -1 address)\" --topic player events.ndjson    # in another terminal";

pub(crate) async fn run(args: &Args, interrupt: &Interrupt) -> anyhow::Result<Exit> {
    let broker = EmbeddedBroker::start_nodes(args.nodes)?;
    for (topic, partitions) in &args.topics {
        broker.create_topic(topic, i32::from(partitions.get()))?;
    }
    output::print(&format!("{}\n", broker.address()))?;
    interrupt.asked().await;
    Ok(Exit::Done)
}

fn topic(text: &str) -> Result<(String, NonZeroU16), String> {
    const ALLOWED: &str = "must be a topic, or a topic, a colon and a number of partitions from 1";
    let (name, partitions) = text.rsplit_once(':').unwrap_or((text, "4"));
    eventstream::Topic::new(name).map_err(|error| error.to_string())?;
    let partitions = partitions.parse().map_err(|_| ALLOWED.to_owned())?;
    Ok((name.to_owned(), partitions))
}
