//! The command line as clap reads it.

use clap::{Parser, Subcommand};

use crate::commands::{
    audit, bench, broker, completions, copy, demo, dlq, doctor, group, metadata, publish, subscribe,
};
use crate::connection::Connection;

/// Publish, consume, inspect and measure events over Kafka.
#[derive(Parser)]
#[command(
    name = "eventstream",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = AFTER_HELP
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Data goes to standard output; progress, summary and log to standard error.
Exit codes: 0 success, 1 something failed, 2 wrong usage, 130 interrupted before completion.

Examples:
  eventstream demo
  eventstream publish --topic player --name levelUp --payload-only < payloads.ndjson
  eventstream subscribe --topic player --from head --count 10";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Publish, consume, retry and dead-letter sample events on a broker inside this process
    #[command(after_help = demo::EXAMPLES)]
    Demo,
    /// Publish events from NDJSON
    #[command(after_help = publish::EXAMPLES)]
    Publish(publish::Args),
    /// Print events as they arrive
    #[command(after_help = subscribe::EXAMPLES)]
    Subscribe(Box<subscribe::Args>),
    /// Publish audit logs, one from options or many from NDJSON
    #[command(after_help = audit::EXAMPLES)]
    Audit(Box<audit::Args>),
    /// Show brokers, topics, partitions, watermarks and a group's lag
    #[command(after_help = metadata::EXAMPLES)]
    Metadata(metadata::Args),
    /// List, show, replay, park and edit dead letters
    #[command(subcommand, after_help = dlq::EXAMPLES)]
    Dlq(Box<dlq::Dlq>),
    /// List, show, seek, copy and delete consumer groups
    #[command(subcommand, after_help = group::EXAMPLES)]
    Group(group::Group),
    /// Copy the records of one topic to another, unchanged
    #[command(after_help = copy::EXAMPLES)]
    Copy(copy::Args),
    /// Check a deployment: addresses, certificates, permissions, topics, a group, this configuration
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::Args),
    /// Measure publishing and consuming
    #[command(subcommand, after_help = bench::EXAMPLES)]
    Bench(bench::Bench),
    /// Run the embedded broker for other processes until interrupted
    #[command(after_help = broker::EXAMPLES)]
    Broker(broker::Args),
    /// Print a shell's completion script
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Args),
}

impl Command {
    /// The share of traces to record; `None` without spans.
    pub(crate) fn traced(&self) -> Option<f64> {
        match self {
            Self::Bench(bench) => bench.common().tracing,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples_and_they_parse() {
        let mut parsed = 0;
        check(&Cli::command(), &mut parsed);
        assert!(parsed >= 20, "{parsed} examples");
    }

    #[test]
    fn the_commands_beside_those_of_other_tools_parse() {
        let page = include_str!("../../docs/other-tools.md");
        let codes = page.split('`').skip(1).step_by(2);
        let ours: Vec<_> = codes.filter(|code| code.contains("eventstream ")).collect();
        assert!(ours.len() > 18, "{ours:?}");
        for command in ours {
            let words = words(&command.replace("\\|", "|"));
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{command}: {words:?}: {error}");
            }
        }
    }

    fn check(command: &clap::Command, parsed: &mut usize) {
        let name = command.get_name();
        let help = command.get_after_help().map(ToString::to_string);
        let help = help.unwrap_or_default();
        let examples: Vec<_> = help
            .lines()
            .flat_map(|line| line.split('|'))
            .map(str::trim)
            .filter(|line| line.contains("eventstream "))
            .collect();
        assert!(!examples.is_empty(), "{name} has no examples");
        for example in examples {
            let words = words(example);
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{example}: {words:?}: {error}");
            }
            *parsed += 1;
        }
        command
            .get_subcommands()
            .for_each(|command| check(command, parsed));
    }

    /// The words of a shell line from the program's name on, without redirections.
    fn words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        let mut word = String::new();
        let mut quoted = false;
        for c in line.chars().chain([' ']) {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => {
                    words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                }
                c => word.push(c),
            }
        }
        let program = words.iter().position(|word| word == "eventstream");
        let words = words.split_off(program.expect("the filter found it"));
        let end = words
            .iter()
            .position(|word| matches!(&**word, "<" | ">" | "&"));
        words[..end.unwrap_or(words.len())].to_vec()
    }
}
