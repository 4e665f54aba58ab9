//! The command line as clap reads it.

use clap::{Parser, Subcommand};

use crate::commands::{
    audit, bench, broker, completions, copy, demo, dlq, doctor, group, manual, metadata, publish,
    subscribe,
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
    /// Write the manual pages to a folder
    #[command(after_help = manual::EXAMPLES)]
    Manual(manual::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use harness::{Typed, pages_for_readers, workspace};

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

    /// What a page says to type is what the tool takes: lines of fenced blocks, and code within text.
    #[test]
    fn every_command_in_the_documentation_parses() {
        let others = ["CONTRIBUTING.md", "RELEASING.md", "observability/README.md"];
        let others = others.into_iter().map(|name| workspace().join(name));
        let mut parsed = 0;
        for path in pages_for_readers().unwrap().into_iter().chain(others) {
            for line in Typed::of(&path).unwrap() {
                for words in commands(&line.text) {
                    if let Err(error) = Cli::try_parse_from(&words) {
                        panic!("{}: {}: {words:?}: {error}", path.display(), line.text);
                    }
                    parsed += 1;
                }
            }
        }
        println!("{parsed} commands");
        assert!(parsed >= 45, "{parsed} commands");
    }

    fn check(command: &clap::Command, parsed: &mut usize) {
        let name = command.get_name();
        let help = command.get_after_help().map(ToString::to_string);
        let help = help.unwrap_or_default();
        let examples = help.lines().flat_map(commands);
        let mut here = 0;
        for words in examples {
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{words:?}: {error}");
            }
            here += 1;
        }
        assert!(here > 0, "{name} has no examples");
        *parsed += here;
        command
            .get_subcommands()
            .for_each(|command| check(command, parsed));
    }

    /// The words of each call of the tool in a shell line, redirections and comments left out.
    fn commands(line: &str) -> Vec<Vec<String>> {
        let words = words(line);
        let separate = |word: &String| matches!(&**word, "|" | "&" | "&&" | ";" | "#");
        let calls = words.split(separate).filter_map(|call| {
            let program = call.iter().position(|word| !word.contains('='))?;
            let call = &call[program..];
            let end = call.iter().position(|word| matches!(&**word, "<" | ">"));
            Some(call[..end.unwrap_or(call.len())].to_vec())
        });
        let ours = |call: &Vec<String>| call.len() > 1 && call[0] == "eventstream";
        calls.filter(ours).collect()
    }

    /// The words of a shell line.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word) = (Vec::new(), String::new());
        let mut quote = None;
        for c in line.chars().chain([' ']) {
            match (c, quote) {
                ('\'' | '"', None) => quote = Some(c),
                (c, Some(open)) if c == open => quote = None,
                (' ', None) => {
                    words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                }
                (c, _) => word.push(c),
            }
        }
        words
    }
}
