//! `demo`: publishing, consuming, retries and dead letters on an embedded broker, step by step.

use std::time::Duration;

use eventstream::{Actor, AuditLog, BrokerConfig, Client, Subscription};
use serde_json::json;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::exit::Exit;
use crate::output;
use crate::signals::Interrupt;

mod handlers;
mod ledger;
mod samples;

use ledger::{Happened, Ledger};

pub(crate) const EXAMPLES: &str = "\
Needs neither a broker nor a network, finishes within 10 s, and exits with code 0 only if every event is
accounted for.

Examples:
  eventstream demo
  eventstream demo --log info";

/// The prefix of every topic and group.
const PREFIX: &str = "demo";
const PLAYER: &str = "player";
const MATCH: &str = "match";
const AUDIT: &str = "auditLog";
const DEAD_LETTERS: &str = "player-dlq";

/// The time for handling. The rest of the ten seconds is for publishing and shutting down.
const HANDLING: Duration = Duration::from_secs(6);
const CALL: Duration = Duration::from_secs(5);

pub(crate) async fn run(interrupt: &Interrupt) -> anyhow::Result<Exit> {
    let config = BrokerConfig::new()
        .publish_timeout(CALL)
        .registration_settle(Duration::from_millis(50));
    let client = Client::embedded()
        .prefix(PREFIX)
        .config(config)
        .audit_log_topic(AUDIT)
        .audit_log_enabled(true)
        .build()?;
    let Some(told) = interrupt.or(tell(&client)).await else {
        return Ok(Exit::Interrupted);
    };
    let complete = told?;
    let undelivered = client.shutdown(Duration::from_secs(2)).await;
    Ok(if complete && undelivered.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

async fn tell(client: &Client) -> anyhow::Result<bool> {
    let address = client
        .embedded_broker()
        .map_or("", |broker| broker.address());
    line(&format!(
        "A game back end on a Kafka broker inside this process ({address}).\n"
    ))?;
    for (topic, partitions) in [(PLAYER, 4), (MATCH, 2), (AUDIT, 1), (DEAD_LETTERS, 1)] {
        client.create_topic(topic, partitions, 1, CALL).await?;
    }
    let mut ledger = Ledger::default();
    publish(client, &mut ledger).await?;
    publish_audit_log(client, &mut ledger).await?;
    let (happened, happenings) = mpsc::unbounded_channel();
    let subscriptions = subscribe(client, happened).await?;
    let heard = tokio::time::timeout(HANDLING, listen(happenings, &mut ledger));
    if let Ok(heard) = heard.await {
        heard?;
    }
    for subscription in subscriptions {
        subscription.stop(Duration::from_secs(1)).await?;
    }
    // No handler is called for them, so only the counter shows them.
    ledger.unmatched(client.reader_stats().unmatched);
    line(&ledger.summary())?;
    Ok(ledger.is_complete())
}

async fn publish(client: &Client, ledger: &mut Ledger) -> anyhow::Result<()> {
    line(
        "1. Services publish events. Each has its player's or match's key, which keeps the events",
    )?;
    line("   of that key in order. Its receipt says where the broker stored it.\n")?;
    let mut receipts = Vec::new();
    for sample in samples::EVENTS {
        receipts.push((sample, client.publish(sample.event()).await?));
    }
    for (sample, mut receipt) in receipts {
        let delivery = (&mut receipt).await?;
        ledger.published(sample, receipt.id());
        let place = format!(
            "{}/{}@{}",
            delivery.topic(),
            delivery.partition(),
            delivery.offset()
        );
        line(&format!(
            "   {:<11} {:<9} stored at {place:<12} {}",
            sample.name, sample.key, sample.payload
        ))?;
    }
    Ok(())
}

async fn publish_audit_log(client: &Client, ledger: &mut Ledger) -> anyhow::Result<()> {
    let operator = Actor::User("e95b150043ff4a2c88427a6eb25e5bc8".to_owned());
    let log = AuditLog::new("players", "grantGold", operator)
        .client_id("7d480ce0e8624b02901bd80d9ba9817c")
        .actor_namespace("demo")
        .object_namespace("demo")
        .object_type("player")
        .object_id("dee")
        .diff(json!({"gold": 0}), json!({"gold": 500}));
    if let Some(receipt) = client.publish_audit_log(log).await? {
        let delivery = receipt.await?;
        ledger.audit_published();
        line(&format!(
            "\n   An operator grants a player gold: an audit log, stored at {}/{}@{}.\n",
            delivery.topic(),
            delivery.partition(),
            delivery.offset()
        ))?;
    }
    Ok(())
}

async fn subscribe(
    client: &Client,
    happened: UnboundedSender<Happened>,
) -> anyhow::Result<Vec<Subscription>> {
    line(
        "2. Consumer groups handle them. `rewards` has handlers for three event names: one fails",
    )?;
    line(
        "   twice for an event, while the next event of that key waits, and one rejects an event.",
    )?;
    line("   `analytics` has one handler for all names.\n")?;
    let subscribes = [
        handlers::rewards(happened.clone()),
        handlers::analytics(happened.clone()),
        handlers::support(happened.clone()),
        handlers::compliance(happened),
    ];
    let mut subscriptions = Vec::new();
    for subscribe in subscribes {
        subscriptions.push(client.register(subscribe).await?);
    }
    Ok(subscriptions)
}

/// Prints what the handlers do, until everything expected has happened.
async fn listen(
    mut happenings: UnboundedReceiver<Happened>,
    ledger: &mut Ledger,
) -> anyhow::Result<()> {
    while !ledger.is_handled() {
        let Some(happened) = happenings.recv().await else {
            break;
        };
        line(&format!("   {happened}"))?;
        ledger.enter(happened);
    }
    Ok(())
}

fn line(text: &str) -> std::io::Result<()> {
    output::print(&format!("{text}\n"))
}
