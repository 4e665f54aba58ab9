//! Draws the pictures of the README: what commands print, as a terminal shows it.
//!
//! ```text
//! cargo build --release --workspace --example pictures && target/release/examples/pictures
//! ```

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use eventstream::{
    Client, EmbeddedBroker, Exhausted, Payload, Publish, Reject, Retry, StartOffset, State,
    Subscribe,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

/// The size of a character and of a line, in pixels.
const CHARACTER: f64 = 7.8;
const LINE: usize = 18;
/// Longer lines are cut, as by a terminal that does not wrap.
const COLUMNS: usize = 112;
const MARGIN: usize = 16;
const SOON: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    draw("demo", &["demo"], &[])?;
    let broker = EmbeddedBroker::start()?;
    tokio::runtime::Runtime::new()?.block_on(make_letters(&broker))?;
    let brokers = ["--brokers", broker.address()];
    draw("dlq-list", &["dlq", "list", "--topic", "player"], &brokers)
}

/// Runs the tool and draws what it prints; `hidden` arguments are not shown.
fn draw(name: &str, arguments: &[&str], hidden: &[&str]) -> Result<()> {
    let mut tool = Command::new(env!("CARGO"));
    tool.args(["run", "--release", "--quiet", "--"]);
    tool.args(arguments).args(hidden);
    let printed = output(&mut tool)?;
    let text = format!("$ eventstream {}\n\n{printed}", arguments.join(" "));
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pictures");
    let path = pictures.join(format!("{name}.svg"));
    fs::write(&path, svg(&text)).with_context(|| format!("writing {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().context("starting cargo")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a picture has few characters"
)]
fn svg(text: &str) -> String {
    let columns = text.lines().map(|line| line.chars().count()).max();
    let columns = columns.unwrap_or(0).min(COLUMNS);
    let width = (columns as f64 * CHARACTER) as usize + 2 * MARGIN;
    let height = text.lines().count() * LINE + 2 * MARGIN;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">
<rect width="100%" height="100%" rx="8" fill="#16191d"/>
<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="13" fill="#d6dbe0">
"##
    );
    for (at, line) in text.lines().enumerate() {
        let y = MARGIN + at * LINE + 13;
        let shown = line
            .chars()
            .take(COLUMNS)
            .collect::<String>()
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            // Several spaces would be drawn as one.
            .replace(' ', "\u{a0}");
        let color = color(line).map_or_else(String::new, |color| format!(r#" fill="{color}""#));
        // Writing to a string cannot fail.
        let _ = writeln!(svg, r#"<text x="{MARGIN}" y="{y}"{color}>{shown}</text>"#);
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// The prompt, what went wrong, and what went well in the end stand out.
fn color(line: &str) -> Option<&'static str> {
    let has = |words: &[&str]| words.iter().any(|word| line.contains(word));
    if line.starts_with('$') {
        Some("#8fb8ff")
    } else if has(&["failed (", "rejected", "dead letter stored", "exhausted"]) {
        Some("#f0a36b")
    } else if has(&["   handled", "handled at"]) {
        Some("#8fd18f")
    } else {
        None
    }
}

#[derive(Serialize, Deserialize)]
struct Bought {
    item: String,
    gold: u64,
}

/// Dead letters of a few kinds, as a bad day of a service leaves them.
async fn make_letters(broker: &EmbeddedBroker) -> Result<()> {
    let client = Client::embedded().embedded_broker(broker).build()?;
    let players = ["ann", "ben", "cem", "dee", "eva", "fay", "gus"];
    for (n, player) in players.iter().cycle().take(42).enumerate() {
        let (item, name) = match n % 6 {
            0 => ("flying pig", "itemBought"),
            1..=3 => ("sword", "itemBought"),
            _ => ("dragon", "questDone"),
        };
        let event = Publish::new("player", name).key(player);
        let gold = if n % 21 == 20 { "\"a lot\"" } else { "50" };
        let payload = format!(r#"{{"item": "{item}", "gold": {gold}}}"#);
        let event = event.payload(serde_json::from_str::<serde_json::Value>(&payload)?);
        client.publish(event).await?.await?;
    }
    let done = Arc::new(Semaphore::new(0));
    let dead = Arc::clone(&done);
    let rewards = Subscribe::new("player")
        .group_id("rewards")
        .offset(StartOffset::Head)
        .retry(Retry::attempts(1).then(Exhausted::DeadLetter))
        .on_dead_letter(move |_| dead.add_permits(1))
        .state(Arc::clone(&done))
        .on("itemBought", buy)
        .on("questDone", reward);
    let subscription = client.register(rewards).await?;
    done.acquire_many(42).await?.forget();
    subscription.stop(SOON).await?;
    client.shutdown(SOON).await;
    Ok(())
}

async fn buy(Payload(bought): Payload<Bought>, State(done): State<Arc<Semaphore>>) -> Result<()> {
    if bought.item != "sword" {
        return Err(Reject::new(format!("nobody sells a {}", bought.item)).into());
    }
    done.add_permits(1);
    Ok(())
}

async fn reward(Payload(done): Payload<Bought>) -> Result<()> {
    bail!(
        "pay {} gold: the bank at 10.0.3.7:6432 refused the connection",
        done.gold
    )
}
