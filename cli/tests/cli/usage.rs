//! Options, help and secrets.

use crate::support::{Broker, run, run_command, tool};

#[test]
fn wrong_usage_names_the_option_the_value_and_what_is_allowed() {
    for (args, told) in [
        ("", "Usage"),
        ("frobnicate", "frobnicate"),
        ("publish", "--topic"),
        ("publish --topic a..b", "runs of A-Z a-z 0-9"),
        ("publish --topic a'b", "A-Z a-z 0-9"),
        ("subscribe --topic a'b", "A-Z a-z 0-9"),
        ("publish --topic t --name=-x-", "runs of A-Z a-z 0-9"),
        (
            "subscribe --topic t --from -1",
            "must be tail, head, an offset from 0",
        ),
        (
            "subscribe --topic t --from yesterday",
            "must be tail, head, an offset from 0",
        ),
        ("subscribe --topic t --count 0", "--count"),
        ("subscribe --topic t --idle no", "number of seconds"),
        ("subscribe --topic t --output xml", "xml"),
        (
            "subscribe --topic t --ordering serial --concurrency 2",
            "must be 1",
        ),
        (
            "copy --topic t --to t --to-brokers b:9092",
            "--group: required with --to-brokers b:9092",
        ),
        (
            "doctor --stream stdout",
            "--stream stdout: must be kafka or embedded",
        ),
        ("metadata -X foo", "key=value"),
        (
            "metadata -X fetch.min.byte=1",
            "did you mean fetch.min.bytes",
        ),
        ("metadata --brokers nohost", "--brokers \"nohost\""),
        (
            "metadata --sasl-mechanism foo",
            "scram-sha-512, scram-sha-256, plain, oauthbearer",
        ),
        (
            "metadata --sasl-mechanism oauthbearer",
            "needs something to get tokens from: oauth_token_endpoint",
        ),
        (
            "metadata --oauth-token-endpoint http://a/token --oauth-client-id i --oauth-client-secret s",
            "--oauth-token-endpoint: must be https",
        ),
        (
            "metadata --oauth-token-endpoint https://a/token --oauth-client-id i",
            "--oauth-client-secret: needed by oauth_token_endpoint",
        ),
        (
            "metadata --aws-msk-region eu_west",
            "--aws-msk-region \"eu_west\": a region such as eu-west-1",
        ),
        (
            "metadata --oauth-parameters audience",
            "--oauth-parameters: name=value",
        ),
        (
            "metadata --sasl-mechanism plain --sasl-username u",
            "--sasl-password",
        ),
        ("metadata --publish-timeout 0", "above 0"),
        ("metadata --ca-file /no/such", "--ca-file \"/no/such\""),
        ("metadata --stream foo", "kafka, embedded, stdout, none"),
        ("metadata --config /no/such", "/no/such"),
        ("metadata --prefix a$", "--prefix \"a$\""),
        ("audit --category x", "actorType"),
        ("bench publish --events 0", "--events"),
        ("broker --nodes 11", "--nodes"),
        ("completions csh", "csh"),
    ] {
        let words: Vec<_> = args.split_whitespace().collect();
        let ended = run(&words, "").expect(2);
        assert!(ended.err.contains(told), "{args}: {}", ended.err);
        assert_eq!(ended.out, "", "{args}");
    }
}

#[test]
fn a_wrong_variable_is_wrong_usage_and_an_empty_one_is_none() {
    let mut command = tool(&["metadata"]);
    command.env("EVENTSTREAM_STREAM", "carrier-pigeon");
    let ended = run_command(command, "").expect(2);
    assert!(
        ended.err.contains("kafka, embedded, stdout, none"),
        "{}",
        ended.err
    );
    let mut command = tool(&["metadata"]);
    command
        .env("EVENTSTREAM_STREAM", "none")
        .env("EVENTSTREAM_CONFIG", "");
    run_command(command, "").expect(0);
}

#[test]
fn help_has_examples_and_goes_to_standard_output() {
    for command in [
        "demo",
        "publish",
        "subscribe",
        "audit",
        "metadata",
        "dlq",
        "bench",
        "broker",
        "completions",
        "manual",
    ] {
        let ended = run(&[command, "--help"], "").expect(0);
        assert!(ended.out.contains("Examples:\n"), "{command}");
        assert!(
            ended.out.contains(&format!("eventstream {command}")),
            "{command}"
        );
    }
    assert!(
        run(&["--version"], "")
            .expect(0)
            .out
            .starts_with("eventstream ")
    );
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(&["completions", shell], "").expect(0).out;
        assert!(
            script.contains("subscribe") && script.contains("dead-letter"),
            "{shell}"
        );
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let ended = run(&["manual", pages.to_str().unwrap()], "").expect(0);
    assert_eq!(ended.out, "");
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    for (name, told) in [
        ("eventstream.1", "eventstream\\-publish(1)"),
        ("eventstream-publish.1", "\\-\\-receipts"),
        ("eventstream-group-seek.1", "\\-\\-dry\\-run"),
    ] {
        assert!(page(name).contains(told), "{name}: {}", page(name));
    }
    assert!(page("eventstream-publish.1").contains("Examples:\n"));
    let file = pages.join("eventstream.1");
    let ended = run(&["manual", file.to_str().unwrap()], "").expect(1);
    assert!(ended.err.contains("eventstream.1: "), "{}", ended.err);
}

#[test]
fn secrets_are_never_printed() {
    const SECRET: &str = "correct-horse-battery";
    let sasl = [
        "--sasl-mechanism",
        "plain",
        "--sasl-username",
        "u",
        "--log",
        "debug",
    ];
    let args = [
        &["metadata", "--brokers", "127.0.0.1:1", "--timeout", "1"],
        &sasl[..],
    ]
    .concat();
    let mut with_variable = tool(&args);
    with_variable.env("EVENTSTREAM_SASL_PASSWORD", SECRET);
    let with_option = tool(&[&args[..], &["--sasl-password", SECRET]].concat());
    let with_property = tool(&[&args[..], &["-X", &format!("sasl.password={SECRET}")]].concat());
    let mut help = tool(&["metadata", "--help"]);
    help.env("EVENTSTREAM_SASL_PASSWORD", SECRET);
    for command in [with_variable, with_option, with_property, help] {
        let ended = run_command(command, "");
        assert!(!ended.err.contains(SECRET), "{}", ended.err);
        assert!(!ended.out.contains(SECRET), "{}", ended.out);
    }
}

#[test]
fn what_a_file_says_of_patience_and_log_counts() {
    let mut file = std::env::temp_dir();
    file.push(format!(
        "eventstream-cli-patience-{}.toml",
        std::process::id()
    ));
    std::fs::write(&file, "publish_timeout = 1\nlog_mode = 'info'\n").unwrap();
    let path = file.to_str().unwrap();
    // Nobody listens there. Without the file, the command would try for a minute.
    let args = [
        "subscribe",
        "--topic",
        "t",
        "--brokers",
        "127.0.0.1:1",
        "--config",
        path,
    ];
    let loud = run(&args, "").expect(1);
    let quiet = run(&[&args[..], &["--log", "off"]].concat(), "").expect(1);
    std::fs::remove_file(&file).unwrap();
    for ended in [&loud, &quiet] {
        assert!(ended.err.contains("no broker answered"), "{}", ended.err);
    }
    assert!(loud.err.contains("facility=\"FAIL\""), "{}", loud.err);
    assert!(!quiet.err.contains("facility"), "{}", quiet.err);
}

#[test]
fn options_win_over_variables_and_those_over_the_file() {
    let broker = Broker::start(&[]);
    let mut file = std::env::temp_dir();
    file.push(format!("eventstream-cli-{}.toml", std::process::id()));
    std::fs::write(&file, "message_max_bytes = 2000\nbuffer_bytes = 1000000\n").unwrap();
    let line = format!(
        "{{\"name\":\"n\",\"payload\":{{\"x\":\"{}\"}}}}\n",
        "x".repeat(2500)
    );
    let path = file.to_str().unwrap();
    let args = ["publish", "--topic", "t", "--config", path];
    broker.run(&args, &line).expect(1);
    let mut command = broker.tool(&args);
    command.env("EVENTSTREAM_MESSAGE_MAX_BYTES", "3000");
    run_command(command, &line).expect(0);
    broker
        .run(
            &[&args[..], &["-X", "message.max.bytes=3000"]].concat(),
            &line,
        )
        .expect(0);
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn brokers_and_prefix_come_from_options_variables_and_the_file() {
    let broker = Broker::start(&["file.t:1", "variable.t:1", "option.t:1"]);
    let mut file = std::env::temp_dir();
    file.push(format!(
        "eventstream-cli-brokers-{}.toml",
        std::process::id()
    ));
    let text = format!("brokers = [\"{}\"]\nprefix = \"file\"\n", broker.address);
    std::fs::write(&file, text).unwrap();
    let args = ["metadata", "--topic", "t", "--json", "--config"];
    let args = [&args[..], &[file.to_str().unwrap()]].concat();
    let name = |command| run_command(command, "").expect(0).lines()[0]["topics"][0]["name"].clone();
    assert_eq!(name(tool(&args)), "file.t");
    let mut command = tool(&args);
    command.env("EVENTSTREAM_PREFIX", "variable");
    assert_eq!(name(command), "variable.t");
    let mut command = tool(&[&args[..], &["--prefix", "option"]].concat());
    command.env("EVENTSTREAM_PREFIX", "variable");
    assert_eq!(name(command), "option.t");
    for (variable, option, code) in [
        ("127.0.0.1:1", None, 1),
        ("127.0.0.1:1", Some(&*broker.address), 0),
    ] {
        let mut command = tool(&[&args[..], &["--timeout", "1", "--log", "off"]].concat());
        command.env("EVENTSTREAM_BROKERS", variable);
        command.args(option.iter().flat_map(|address| ["--brokers", address]));
        run_command(command, "").expect(code);
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn tls_and_the_assignment_have_options() {
    let broker = Broker::start(&["t:1"]);
    broker.publish("t", "{}\n");
    let ended = broker
        .run(&["metadata", "--tls", "--timeout", "2"], "")
        .expect(1);
    assert!(ended.err.contains("TLS"), "{}", ended.err);
    for assignment in ["eager", "cooperative-sticky"] {
        let args = [
            "subscribe",
            "--topic",
            "t",
            "--from",
            "head",
            "--count",
            "1",
        ];
        let args = [
            &args[..],
            &["--group", assignment, "--assignment", assignment],
        ]
        .concat();
        broker.run(&args, "").expect(0);
    }
    let ended = run(&["metadata", "--assignment", "sticky"], "").expect(2);
    assert!(
        ended.err.contains("eager, cooperative-sticky, consumer"),
        "{}",
        ended.err
    );
}

#[test]
fn a_password_in_the_wrong_place_is_not_printed() {
    const SECRET: &str = "correct-horse-battery";
    let address = format!("u:{SECRET}@h:1");
    let property = format!("sasl.password:{SECRET}");
    let mut with_variable = tool(&["metadata"]);
    with_variable.env("EVENTSTREAM_BROKERS", &address);
    for (command, told) in [
        (tool(&["metadata", "--brokers", &address]), "--brokers"),
        (with_variable, "sasl_password"),
        (tool(&["metadata", "-X", &property]), "key=value"),
    ] {
        let ended = run_command(command, "").expect(2);
        assert!(!ended.err.contains(SECRET), "{}", ended.err);
        assert!(ended.err.contains(told), "{}", ended.err);
    }
}

#[test]
fn a_prefix_stands_before_topics_and_groups() {
    let broker = Broker::start(&["p.t:1"]);
    broker
        .run(
            &["publish", "--prefix", "p", "--topic", "t", "--name", "n"],
            "{}",
        )
        .expect(0);
    let lines = broker.read("p.t", 1);
    assert_eq!(lines[0]["topic"], "p.t");
    let mut command = broker.tool(&[
        "subscribe",
        "--topic",
        "t",
        "--from",
        "head",
        "--count",
        "1",
    ]);
    command.env("EVENTSTREAM_PREFIX", "p");
    assert_eq!(run_command(command, "").expect(0).lines()[0]["topic"], "t");
}
