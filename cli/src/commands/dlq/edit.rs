//! `dlq edit`: an edited copy of one dead letter.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use eventstream::dead_letters::{DeadLetters, Letter};
use serde_json::json;

use super::selection::{Place, Selection, place};
use crate::connection::Connection;
use crate::exit::{Exit, Usage};
use crate::json_text::push_pretty;
use crate::output;
use crate::signals::Interrupt;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Its position in the dead-letter topic, as for --at
    #[arg(value_name = "PARTITION@OFFSET", value_parser = place)]
    place: Option<Place>,
}

pub(crate) const EXAMPLES: &str = "\
Opens the event in $VISUAL, $EDITOR or vi. If it is changed and saved, it is published to the source topic with a new id,
the key and headers of the original record, and the header eventstream-edited-from, and its position is printed. The
original then counts as done. If nothing is changed, nothing is published.

Examples:
  eventstream dlq edit --topic player 3@17
  EDITOR=nano eventstream dlq edit --topic player --id 4bf92f3577b34da6a3ce929d0e0e4736";

pub(super) async fn run(
    args: &Args,
    connection: &Connection,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    let client = connection.client()?;
    let letters = args.selection.of(&client, args.place.as_ref())?;
    let letters = letters.timeout(connection.patience());
    let Some(letter) = interrupt.or(only(&letters)).await else {
        return Ok(Exit::Interrupted);
    };
    let letter = letter?;
    let event = letter.event().context("only events can be edited")?;
    let mut before = Vec::new();
    push_pretty(event.json(), 0, &mut before);
    before.push(b'\n');
    let file = write(&before)?;
    let edited = {
        let file = file.clone();
        tokio::task::spawn_blocking(move || edit(&file)).await?
    };
    let edited = edited.with_context(|| format!("edit {}", file.display()))?;
    if interrupt.is_asked() {
        return Ok(Exit::Interrupted);
    }
    if edited.trim_ascii() == before.trim_ascii() {
        fs::remove_file(&file)?;
        output::say("nothing was changed, so nothing is published");
        return Ok(Exit::Done);
    }
    let kept = || format!("your text is saved in {}", file.display());
    let edited = String::from_utf8(edited).with_context(kept)?;
    let delivery = letters.edit(&letter, &edited).await.with_context(kept)?;
    fs::remove_file(&file)?;
    let stored = json!({
        "topic": delivery.topic().as_str(),
        "partition": delivery.partition(),
        "offset": delivery.offset(),
    });
    output::print(&format!("{stored}\n"))?;
    Ok(Exit::Done)
}

/// The selected dead letter, which must be the only one.
async fn only(letters: &DeadLetters) -> anyhow::Result<Letter> {
    let mut found = letters.letters().await?;
    let first = found.next().await.transpose()?;
    let Some(first) = first else {
        anyhow::bail!("no such dead letter in {}", letters.topic());
    };
    if found.next().await.transpose()?.is_some() {
        let text = "PARTITION@OFFSET: required, as the filters select more than one dead letter";
        return Err(Usage(text.to_owned()).into());
    }
    Ok(first)
}

/// A new file that only this user can read.
fn write(text: &[u8]) -> anyhow::Result<PathBuf> {
    let name = format!("eventstream-dead-letter-{}.json", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(text))
        .with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// Runs the editor through a shell, as git does, since it may have arguments.
fn edit(file: &Path) -> anyhow::Result<Vec<u8>> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let editor = variable("VISUAL").or_else(|| variable("EDITOR"));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg(&editor)
        .arg(file)
        .status()
        .with_context(|| format!("start {editor}"))?;
    anyhow::ensure!(status.success(), "{editor} failed: {status}");
    Ok(fs::read(file)?)
}
