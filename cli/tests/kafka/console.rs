//! What README and guide say to type is run as it stands there, on real Kafka.

mod instead;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::{Admin, Kafka, Typed, pages_for_readers, workspace};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use self::instead::{INSTEAD, Instead, for_a_test, is_for};
use super::letters::{self, Letter};

/// A line that has not ended by then fails, in seconds.
const PATIENCE: &str = "60";

#[test]
fn every_line_to_type_does_what_its_page_says() {
    // A topic that was deleted would come back by itself.
    let kafka = Kafka::builder().auto_create_topics(false).start().unwrap();
    let (admin, brokers) = (kafka.admin().unwrap(), &*kafka.bootstrap());
    prepare(admin, brokers);
    let (mut run, mut changed, mut left) = (0, 0, 0);
    let (mut used, mut failures) = (BTreeSet::new(), Vec::new());
    for page in pages_for_readers().unwrap() {
        let name = page
            .strip_prefix(workspace())
            .unwrap()
            .display()
            .to_string();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("events.ndjson"), r#"{"name":"levelUp"}"#).unwrap();
        let lines = Typed::of(&page).unwrap();
        if lines.iter().any(|line| uses_up(&line.text)) {
            renew(admin, brokers);
        }
        for line in lines {
            let known = INSTEAD
                .iter()
                .position(|(key, _, _)| is_for(key, &line.text));
            used.extend(known);
            let instead = known.map(|known| &INSTEAD[known].1);
            let Some(text) = for_a_test(&line.text, instead) else {
                left += 1;
                continue;
            };
            changed += usize::from(instead.is_some());
            let text = text
                .replace("127.0.0.1:9092", brokers)
                .replace("$B", brokers);
            let outcome = match instead {
                Some(Instead::Briefly) => first_line(&text, folder.path()),
                _ => typed(&text, folder.path(), brokers)
                    .and_then(|output| as_expected(&text, &output)),
            };
            let outcome = outcome.and_then(|printed| like_the_page(&line.printed, &printed));
            if let Err(why) = outcome {
                failures.push(format!("{name}:{}: {}\n{why}", line.line, line.text));
            }
            run += 1;
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let unused = (0..INSTEAD.len()).filter(|at| !used.contains(at));
    let unused: Vec<_> = unused.map(|at| INSTEAD[at].0).collect();
    assert!(unused.is_empty(), "no page has these any more: {unused:?}");
    // Past the capture of the test's output: the test command reports it.
    let mut report = std::io::stderr();
    writeln!(
        report,
        "pages: {run} lines typed, {changed} of them changed for a test; {left} not"
    )
    .unwrap();
    for (key, instead, why) in &INSTEAD {
        let what = if matches!(instead, Instead::Nothing) {
            "not run"
        } else {
            "changed"
        };
        writeln!(report, "pages:   {what}: {key}: {why}").unwrap();
    }
    assert!(run >= 55, "{run} lines");
}

/// Whether a line does something that the next page would do again.
fn uses_up(line: &str) -> bool {
    ["eventstream dlq ", "eventstream group copy "]
        .iter()
        .any(|start| line.starts_with(start))
}

/// What the pages take for granted: topics with events, and groups that have read them.
fn prepare(admin: &Admin, brokers: &str) {
    let topics = [
        "player",
        "player-b",
        "player-v2",
        "canary",
        "bench",
        "userAuthentication",
    ];
    for topic in topics {
        admin.create_topic(topic, 4, 1, &[]).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    for text in [
        r#"printf '{"name":"levelUp","key":"player-7","payload":{"level":%s}}\n' 1 2 3 4 5 | eventstream publish --topic player"#,
        "eventstream subscribe --topic player --group rewards --from head --count 5",
        "eventstream subscribe --topic player --group old --from head --count 5",
        r#"echo '{"name":"userLoggedIn"}' | eventstream publish --topic userAuthentication"#,
        "eventstream subscribe --topic userAuthentication --group greeter --from head --count 1",
    ] {
        let output = typed(text, folder.path(), brokers).unwrap();
        assert!(output.status.success(), "{text}\n{}", told(&output));
    }
    renew(admin, brokers);
}

/// Dead letters that nobody has replayed, parked or edited, and no group that a page copies to.
fn renew(admin: &Admin, brokers: &str) {
    let (letters_topic, others) = ("player-dlq", ["player-dlq-replayed", "player-parked"]);
    for topic in others.into_iter().chain([letters_topic]) {
        if admin.partitions(topic).is_ok() {
            admin.delete_topic(topic).unwrap();
        }
    }
    admin.create_topic(letters_topic, 4, 1, &[]).unwrap();
    // The last one is of now: older ones, once replayed, would be near the end of their topic's retention.
    let first = SystemTime::now() - Duration::from_secs(400);
    let first = first.duration_since(UNIX_EPOCH).unwrap().as_millis();
    let letters = (0..400).map(|n| {
        let (reason, name, error) = match n {
            0..200 => ("unmatched", "seasonEnded", String::new()),
            _ if n % 2 == 0 => ("rejected", "levelUp", format!("no player {n:032x}")),
            _ => {
                let refused = format!(
                    "POST http://10.0.0.{}:80/grant: connection refused",
                    n % 200
                );
                ("exhausted", "itemPurchased", refused)
            }
        };
        Letter {
            reason: Some(reason),
            name: name.to_owned(),
            error,
            timestamp: i64::try_from(first).unwrap() + 1000 * i64::try_from(n).unwrap(),
            ..Letter::new("player", n)
        }
    });
    letters::write(brokers, letters_topic, letters);
    let folder = tempfile::tempdir().unwrap();
    for group in ["rewards-green", "new"] {
        // It may not exist yet.
        let text = format!("eventstream group delete {group} --yes || true");
        typed(&text, folder.path(), brokers).unwrap();
    }
}

fn shell(text: &str, folder: &Path) -> Command {
    let tools = Path::new(env!("CARGO_BIN_EXE_eventstream"))
        .parent()
        .unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("timeout");
    // A line fails if any part of it does.
    command.args([PATIENCE, "bash", "-e", "-o", "pipefail", "-c", text]);
    command.current_dir(folder).env("PATH", path);
    // An editor that changes a payload.
    command
        .env("EDITOR", "sed -i s/1.50/2.50/")
        .env_remove("VISUAL");
    command
}

fn typed(text: &str, folder: &Path, brokers: &str) -> Result<Output, String> {
    let text = format!("mkdir -p share/man share/bash-completion/completions; {text}");
    let mut command = shell(&text, folder);
    command
        .env("EVENTSTREAM_BROKERS", brokers)
        .stdin(Stdio::null());
    command.output().map_err(|error| error.to_string())
}

/// What it printed, if it ended well. The doctor may warn: a cluster for a test has no replicas.
fn as_expected(text: &str, output: &Output) -> Result<String, String> {
    let warned = text.starts_with("eventstream doctor") && output.status.code() == Some(1);
    if output.status.success() || warned {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(told(output))
    }
}

fn told(output: &Output) -> String {
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    format!("{}\n{printed}{errors}", output.status)
}

fn first_line(text: &str, folder: &Path) -> Result<String, String> {
    let mut command = shell(&format!("exec {text}"), folder);
    // A group of its own, so that the signal reaches all of it.
    let mut child = command
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let read = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line);
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap());
    killpg(group, Signal::SIGTERM).unwrap();
    child.wait().unwrap();
    read.map_err(|error| error.to_string())?;
    Ok(line)
}

/// The first line that a page shows as printed is one that is printed, but for numbers and the width of columns.
fn like_the_page(shown: &[String], printed: &str) -> Result<(), String> {
    let Some(first) = shown.first() else {
        return Ok(());
    };
    // A column that is for a terminal alone.
    let wanted = shape(&first.replace("over time", ""));
    if printed.lines().any(|line| shape(line) == wanted) {
        Ok(())
    } else {
        Err(format!(
            "the page shows\n{first}\nand it printed\n{printed}"
        ))
    }
}

fn shape(line: &str) -> String {
    let mut shape = String::new();
    for c in line
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
    {
        let c = if c.is_ascii_digit() { '0' } else { c };
        if !(c == '0' && shape.ends_with('0')) {
            shape.push(c);
        }
    }
    shape
}

/// The rights that the guide gives to its example service are those that the service needs.
#[test]
fn the_rights_of_the_guide_are_enough_and_no_more() {
    let kafka = Kafka::builder()
        .authorizing()
        .user("rewards")
        .start()
        .unwrap();
    let admin = kafka.admin().unwrap();
    for topic in ["prod.player", "prod.player-dlq", "prod.purse"] {
        admin.create_topic(topic, 1, 1, &[]).unwrap();
    }
    let page = workspace().join("docs/guide/src/security.md");
    let lines = Typed::of(&page).unwrap();
    let secured = kafka.secured().unwrap();
    let user = secured.user("rewards").unwrap();
    let as_service = |arguments: &str| {
        let connection =
            "--prefix prod --sasl-without-tls --sasl-mechanism plain --sasl-username rewards";
        let text = format!("echo '{{\"name\":\"n\"}}' | eventstream {arguments} {connection}");
        let mut command = shell(&text, &std::env::temp_dir());
        command.env("EVENTSTREAM_BROKERS", &secured.sasl_plaintext);
        command.env("EVENTSTREAM_SASL_PASSWORD", &user.password);
        command.output().unwrap()
    };
    let publish = "publish --publish-timeout 20 --topic";
    let refused = as_service(&format!("{publish} purse"));
    assert!(!refused.status.success(), "{}", told(&refused));
    let bootstrap = kafka.bootstrap();
    let mut granted = 0;
    for line in lines
        .iter()
        .filter(|line| line.text.starts_with("kafka-acls"))
    {
        let words = line.text.replace("$B", &bootstrap);
        let words: Vec<_> = words.split_whitespace().skip(1).collect();
        kafka
            .tool("org.apache.kafka.tools.AclCommand", &words)
            .unwrap();
        granted += 1;
    }
    assert_eq!(granted, 4, "lines with rights");
    for topic in ["purse", "player-dlq"] {
        let stored = as_service(&format!("{publish} {topic}"));
        assert!(stored.status.success(), "{topic}: {}", told(&stored));
    }
    let output = shell(
        "echo '{\"name\":\"n\"}' | eventstream publish --prefix prod --topic player",
        &std::env::temp_dir(),
    )
    .env("EVENTSTREAM_BROKERS", &bootstrap)
    .output()
    .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let read = as_service("subscribe --topic player --group rewards --from head --count 1");
    assert!(read.status.success(), "{}", told(&read));
    let refused = as_service(&format!("{publish} player"));
    assert!(!refused.status.success(), "{}", told(&refused));
}
