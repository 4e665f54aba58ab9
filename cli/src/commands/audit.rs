//! `audit`: one audit log from options, or many from NDJSON.

use std::cell::OnceCell;
use std::path::PathBuf;

use clap::ValueEnum;
use eventstream::Client;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::publish::{self, Line, Next, Outcome, Pump, Source};
use crate::connection::Connection;
use crate::exit::{Exit, Usage};
use crate::ndjson::BadLine;
use crate::ndjson::audit::{self as ndjson, AuditFields};
use crate::output::{EventLines, Lines};
use crate::progress::Progress;
use crate::signals::Interrupt;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    fields: Fields,
    /// Print one JSON line for each audit log: where it is stored, or why not
    #[arg(long)]
    receipts: bool,
    /// Stop at the first bad line; earlier lines are still delivered
    #[arg(long)]
    strict: bool,
    /// NDJSON file, or - for standard input; standard input too if no field is given
    file: Option<PathBuf>,
}

/// One audit log, or what its lines leave out.
#[derive(clap::Args)]
#[command(next_help_heading = "Fields")]
struct Fields {
    /// Category of the action
    #[arg(long, value_name = "CATEGORY")]
    category: Option<String>,
    /// Name of the action
    #[arg(long, value_name = "ACTION")]
    action_name: Option<String>,
    /// Id of the actor: a UUID v4 without hyphens
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Type of the actor
    #[arg(long, value_name = "TYPE", ignore_case = true)]
    actor_type: Option<ActorType>,
    /// Client used: a UUID v4 without hyphens
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Namespace of the actor
    #[arg(long, value_name = "NAMESPACE")]
    actor_namespace: Option<String>,
    /// Namespace of the object, or the publisher's if it has none
    #[arg(long, value_name = "NAMESPACE")]
    object_namespace: Option<String>,
    /// Id of the affected object
    #[arg(long, value_name = "ID")]
    object_id: Option<String>,
    /// Type of the object
    #[arg(long, value_name = "TYPE")]
    object_type: Option<String>,
    /// Affected user: a UUID v4 without hyphens
    #[arg(long, value_name = "ID")]
    target_user_id: Option<String>,
    /// Address of the actor
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// Device used
    #[arg(long, value_name = "ID")]
    device_id: Option<String>,
    /// Key of the record [default: empty]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// What was done, in detail: a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    content: Option<Box<RawValue>>,
    /// The object before: a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    before: Option<Box<RawValue>>,
    /// The object after: a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    after: Option<Box<RawValue>>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ActorType {
    User,
    Client,
    Anonymous,
}

pub(crate) const EXAMPLES: &str = "\
The topic is APP_EVENT_STREAM_AUDIT_LOG_TOPIC (default auditLog), after the prefix. With
APP_EVENT_STREAM_AUDIT_LOG_ENABLED=false audit logs are validated but not published.

Each NDJSON line has the fields of the wire format: _id, category, actionName, timestamp (milliseconds),
ip, actor, actorType (USER, CLIENT or ANONYMOUS), clientId, actorNamespace, objectId, objectType,
objectNamespace, targetUserId, deviceId, payload (content, diff with before and after), and key.
Options fill in the fields that a line leaves out.

Examples:
  eventstream audit --category userBan --action-name banUser --actor e95b150043ff4a2c88427a6eb25e5bc8 --actor-type user --client-id 7d480ce0e8624b02901bd80d9ba9817c --actor-namespace accelbyte --object-namespace accelbyte --content '{\"reason\":\"cheating\"}'
  eventstream audit --receipts < audit.ndjson
  eventstream audit --client-id 7d480ce0e8624b02901bd80d9ba9817c audit.ndjson";

pub(crate) async fn run(
    args: Args,
    connection: &Connection,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    let events = EventLines::default();
    let client = connection.client_on(&events)?;
    let defaults = args.fields.into_fields();
    let progress = Progress::new(None, args.receipts);
    let one = args.file.is_none() && !defaults.is_empty();
    let input = if one {
        Source::of_one_line("{}")
    } else {
        Source::open(args.file.as_deref())?
    };
    let lines = args.receipts.then(|| Lines::start(None)).transpose()?;
    let work = Work {
        client: &client,
        defaults,
        strict: args.strict,
        one,
        refused: OnceCell::new(),
    };
    let pump = Pump {
        client: &client,
        patience: connection.patience(),
        progress: &progress,
        interrupt,
        events_closed: events.closed(),
    };
    let publish = async |line, outcomes: &_| work.line(&line, outcomes, interrupt).await;
    let exit = pump.run(input.read()?, lines, publish).await?;
    match work.refused.into_inner() {
        Some(bad) => Err(Usage(bad.message).into()),
        None => Ok(exit),
    }
}

struct Work<'a> {
    client: &'a Client,
    defaults: AuditFields,
    strict: bool,
    /// Publishes the audit log that the options describe; a fault in it is a usage error.
    one: bool,
    refused: OnceCell<BadLine>,
}

impl Work<'_> {
    async fn line(
        &self,
        line: &Line,
        outcomes: &mpsc::Sender<Outcome>,
        interrupt: &Interrupt,
    ) -> Next {
        let number = line.number;
        let (log, key) = match ndjson::parse(&line.text, &self.defaults) {
            Ok(parsed) => parsed,
            Err(bad) => return self.bad(number, bad, outcomes).await,
        };
        let outcome = match interrupt.or(self.client.publish_audit_log(log)).await {
            Some(Ok(Some(receipt))) => Outcome::accepted(number, receipt, Some(key)),
            Some(Ok(None)) => Outcome::disabled(number),
            Some(Err(error)) if publish::is_bad_line(error.kind()) => {
                return self.bad(number, BadLine::refused(&error), outcomes).await;
            }
            Some(Err(error)) => Outcome::failed(number, &error),
            None => {
                Outcome::bad(number, publish::interrupted())
                    .tell(outcomes)
                    .await;
                return Next::Stop;
            }
        };
        outcome.tell(outcomes).await;
        Next::Go
    }

    async fn bad(&self, number: u64, bad: BadLine, outcomes: &mpsc::Sender<Outcome>) -> Next {
        if self.one {
            self.refused.get_or_init(|| bad);
            return Next::Stop;
        }
        Outcome::bad(number, bad).tell(outcomes).await;
        if self.strict { Next::Stop } else { Next::Go }
    }
}

impl Fields {
    fn into_fields(self) -> AuditFields {
        let mut fields = AuditFields::default();
        let actor_type = self.actor_type.map(|actor_type| {
            match actor_type {
                ActorType::User => "USER",
                ActorType::Client => "CLIENT",
                ActorType::Anonymous => "ANONYMOUS",
            }
            .to_owned()
        });
        let texts = [
            ("category", self.category),
            ("actionName", self.action_name),
            ("actor", self.actor),
            ("actorType", actor_type),
            ("clientId", self.client_id),
            ("actorNamespace", self.actor_namespace),
            ("objectNamespace", self.object_namespace),
            ("objectId", self.object_id),
            ("objectType", self.object_type),
            ("targetUserId", self.target_user_id),
            ("ip", self.ip),
            ("deviceId", self.device_id),
            ("key", self.key),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                fields.set_text(name, text);
            }
        }
        fields.content = self.content;
        fields.before = self.before;
        fields.after = self.after;
        fields
    }
}

/// clap's parser for a JSON object, kept as text.
fn object(text: &str) -> Result<Box<RawValue>, String> {
    let value: Box<RawValue> =
        serde_json::from_str(text).map_err(|error| format!("must be a JSON object: {error}"))?;
    if value.get().starts_with('{') {
        Ok(value)
    } else {
        Err("must be a JSON object".to_owned())
    }
}
