//! Tests of `examples/agent`: the agent over a host, typed to as a user types.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::support::{TestHost, eventually, ledger, mock, procs};

pub(crate) mod program;
mod providers;

/// A script in a file of the test.
fn script(host: &TestHost, text: &str) -> String {
    let path = host.scratch("script.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn two() -> TestHost {
    let host = TestHost::with([("a", mock()), ("b", mock())]).await;
    host.until_state("a", "ready").await;
    host.until_state("b", "ready").await;
    host
}

/// Lines of a table as their cells, which are two spaces apart at least.
fn cells(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect()
}

#[tokio::test]
async fn a_question_is_answered_with_the_tools_of_several_plugins() {
    let host = two().await;
    let script = script(
        &host,
        r#"
        [[turns]]
        say = "I add."
        calls = [{ tool = "a__add", arguments = { a = 2, b = 3 } }, { tool = "b__fail", id = "bad" }]
        [[turns]]
        say = "It is {{add.sum}}, of {{tools}} tools."
        calls = [{ tool = "b__echo", arguments = { message = "{{prompt}} {{add.sum}} {{bad}}" } }]
        [[turns]]
        say = "b says {{echo}}"
        "#,
    );
    // The same over streamable HTTP and over HTTP+SSE.
    for path in ["/mcp", "/sse"] {
        let url = format!("{}{path}", host.base);
        let outcome =
            program::once(&host, &["--server-url", &url, "--script", &script, "what", "now?"]).await;
        let Value::Array(tools) = host.get("/api/v1/tools").await.expect(200)["tools"].take() else {
            panic!()
        };
        let count = tools.len();
        let said = format!("I add.\nIt is 5, of {count} tools.\nb says what now? 5 failed as asked\n");
        let outcome = outcome.expect(0);
        assert_eq!(outcome.stdout, said);
        for shown in [
            &*format!("✓ Connected to wharf at {url}\n✓ Available MCP tools: {count}\n"),
            "   Calling: a__add({\"a\":2,\"b\":3})\n   ✓ Result: {\"sum\":5} (",
            "   Calling: b__fail({})\n   ✗ Error: failed as asked (",
        ] {
            assert!(outcome.stderr.contains(shown), "no {shown:?} in {}", outcome.stderr);
        }
    }
}

#[tokio::test]
async fn a_chat_outlives_a_plugin_and_finds_it_again() {
    let host = two().await;
    let mut chat = program::start(&host, &[]).await;
    let first = chat.ask("call a__whoami", "It answered: {").await;
    let pid = host.pid_of("a").await;

    // It dies while it works.
    chat.say("call a__sleep {\"ms\": 60000}");
    chat.until_shown("Calling: a__sleep").await;
    eventually("the call to be at the plugin", async || {
        let view = host.plugin("a").await;
        if view["instances"][0]["inflight"] == 1 { Ok(()) } else { Err(view.to_string()) }
    })
    .await;
    procs::kill9(pid);
    chat.until_shown("✗ Error").await;
    chat.ask("call b__echo {\"message\": \"b lives\"}", "It answered: b lives").await;

    host.until_back("a", pid).await;
    let again = chat.ask("call a__whoami", "It answered: {").await;
    assert_ne!(first, again, "another process answers");
    chat.end().await.expect(0);
}

#[tokio::test]
async fn the_status_tells_of_each_server_what_the_host_knows() {
    let host = two().await;
    let mut chat = program::start(&host, &[]).await;
    for _ in 0..2 {
        chat.ask("call a__echo {\"message\": \"x\"}", "It answered: x").await;
    }
    chat.ask("call a__fail", "It answered: failed as asked").await;
    let table = chat.ask("/status", "a/fail").await;
    let rows = cells(&table);
    let head = ["server", "status", "tools", "requests", "success", "mean time", "breaker"];
    assert_eq!(rows[0], head, "{table}");
    let row =
        |name: &str| rows.iter().find(|row| row.first() == Some(&name)).unwrap_or_else(|| panic!("{table}"));
    let (a, b) = (row("a"), row("b"));
    assert_eq!((a[1], a[3], a[4], a[6]), ("ready", "3", "66.6 %", "closed"), "{table}");
    assert!(
        a[5].strip_suffix(" ms").is_some_and(|time| time.parse::<f64>().is_ok_and(|time| time > 0.0)),
        "{table}"
    );
    assert_eq!((b[1], b[3], b[4], b[5]), ("ready", "0", "-", "-"), "{table}");
    assert_eq!((row("a/echo")[1], row("a/echo")[2]), ("2", "100.0 %"), "{table}");
    assert_eq!((row("a/fail")[1], row("a/fail")[2]), ("1", "0.0 %"), "{table}");

    host.command("b", "disable").await;
    let table = chat.ask("/status", "a/fail").await;
    assert!(cells(&table).iter().any(|row| row[..2] == ["b", "disabled"]), "{table}");
    chat.end().await.expect(0);

    // One plugin alone is an MCP server like any other: then there is what the agent saw itself.
    let url = format!("{}/plugins/a/mcp", host.base);
    let mut chat = program::start(&host, &["--server-url", &url]).await;
    chat.ask("call fail", "It answered: failed as asked").await;
    let table = chat.ask("/status", "fail").await;
    let rows = cells(&table);
    assert_eq!((rows[1][1], rows[1][3], rows[1][4], rows[1][6]), ("connected", "1", "0.0 %", "-"), "{table}");
    chat.end().await.expect(0);
}

#[tokio::test]
async fn tools_that_come_and_go_are_noticed() {
    let host = two().await;
    let mut chat = program::start(&host, &[]).await;
    assert!(!chat.ask("/tools", "b__echo").await.contains("c__echo"));

    host.put("c", &mock());
    host.until_state("c", "ready").await;
    let mut listed = async |has: bool| {
        // The news travels beside the answers.
        eventually("another list", async || {
            let list = chat.ask("/tools", "a__echo").await;
            if list.contains("c__echo") == has { Ok(()) } else { Err(list) }
        })
        .await;
    };
    listed(true).await;
    host.remove("c");
    listed(false).await;

    host.put("c", &mock());
    host.until_state("c", "ready").await;
    eventually("the agent to see them while it answers", async || {
        match chat.ask("call c__echo {\"message\": \"c is here\"}", "It answered").await {
            said if said.contains("It answered: c is here") => Ok(()),
            other => Err(other),
        }
    })
    .await;
    chat.until_shown("The tools changed").await;
    chat.end().await.expect(0);
}

#[tokio::test]
async fn a_model_is_kept_within_namespaces() {
    let host = two().await;
    let mut chat = program::start(&host, &["--namespace", "a"]).await;
    let tools = chat.ask("/tools", "a__echo").await;
    assert!(tools.lines().all(|line| line.starts_with("a__")), "{tools}");
    chat.ask("call b__echo {\"message\": \"x\"}", "in a namespace that the user did not allow").await;
    assert!(chat.ask("/namespace", "b  ").await.contains("* a  "));
    let switched = chat.ask("/namespace b", "* b  ").await;
    assert!(switched.contains("  a  "), "{switched}");
    chat.ask("call b__echo {\"message\": \"x\"}", "It answered: x").await;
    chat.ask("call a__echo {\"message\": \"x\"}", "did not allow").await;
    chat.say("/namespace nobody");
    chat.until_shown("There is no namespace nobody.").await;
    chat.ask("/namespace all", "* a  ").await;
    chat.ask("call a__echo {\"message\": \"y\"}", "It answered: y").await;
    chat.end().await.expect(0);
}

#[tokio::test]
async fn a_conversation_is_kept_and_goes_on() {
    let host = two().await;
    let script = script(
        &host,
        r#"
        [[turns]]
        calls = [{ tool = "a__add", id = "sum", arguments = { a = 1, b = 1 } }]
        [[turns]]
        say = "Noted."
        [[turns]]
        say = "It was {{sum.sum}}."
        "#,
    );
    let kept = host.scratch("kept.json");
    let kept_text = kept.to_str().unwrap();
    let args = ["--script", &script, "--conversation", kept_text];
    let run = async |prompt: &str| program::once(&host, &[&args[..], &[prompt]].concat()).await;
    assert_eq!(run("add").await.expect(0).stdout, "Noted.\n");
    assert_eq!(run("what was it?").await.expect(0).stdout, "It was 2.\n");
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&kept).unwrap();
    let roles: Value = serde_json::from_str(&text).unwrap();
    let roles: Vec<_> =
        roles["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "assistant", "user", "assistant"]);

    let over = run("more").await.expect(1);
    assert!(over.stderr.contains("the script has 3 turns, one more was asked for"), "{over:?}");
    std::fs::write(&kept, "{").unwrap();
    let broken = run("more").await.expect(2);
    assert!(broken.stderr.contains(&format!("the conversation {kept_text}: EOF")), "{broken:?}");
}

#[tokio::test]
async fn ctrl_c_ends_an_answer_and_its_call_but_not_the_chat() {
    let setup = crate::support::host::Setup::new();
    let ledger = setup.scratch("ledger");
    let host = setup.plugin("a", &mock().arg("--ledger").path(&ledger)).start().await;
    host.until_state("a", "ready").await;
    let mut chat = program::start(&host, &[]).await;
    chat.say("call a__sleep {\"ms\": 600000}");
    let begun = async |phase: &str| {
        eventually(phase, async || match ledger::count(&ledger, "sleep", phase) {
            1 => Ok(()),
            count => Err(format!("{count} times")),
        })
        .await;
    };
    begun("begin").await;
    chat.interrupt();
    begun("cancelled").await;
    chat.until_shown("✗ interrupted").await;
    chat.ask("call a__echo {\"message\": \"still here\"}", "It answered: still here").await;
    // With nothing to end but itself, it ends.
    chat.interrupt();
    chat.ended().await.expect(130);

    let slow = script(
        &host,
        "pace = \"10ms\"\n[[turns]]\nsay = \"one two three four five six seven eight nine ten\"\n",
    );
    let kept = host.scratch("kept.json");
    let chat =
        program::start(&host, &["--script", &slow, "--conversation", kept.to_str().unwrap(), "count"]).await;
    chat.until("the first words", |said| said.contains("two")).await;
    chat.interrupt();
    let outcome = chat.ended().await;
    assert_eq!(outcome.code, 130, "{outcome:?}");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&kept).unwrap()).unwrap();
    assert_eq!(
        kept["messages"][1]["text"],
        outcome.stdout.trim_end_matches('\n'),
        "what was said stays: {kept}"
    );
}

#[tokio::test]
async fn each_failure_has_its_code_and_its_words() {
    let host = two().await;
    let looping = "[[answers]]\nwhen = \"\"\nturns = [{ calls = [{ tool = \"a__count\" }] }, { calls = [{ tool = \"a__count\" }] }, { say = \"done\" }]\n";
    let looping = script(&host, looping);
    let closed = format!("http://127.0.0.1:{}", crate::support::mockproc::free_port());
    let gone = [format!("{closed}/mcp"), format!("{closed}/sse")];
    let nowhere = format!("{}/nowhere", host.base);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--server-url", &gone[0], "x"], 3, "Is it running"),
        (&["--server-url", &gone[1], "x"], 3, "Is it running"),
        (&["--server-url", &nowhere, "x"], 3, "404"),
        (&["--server-url", "ftp://x", "x"], 2, "neither http:// nor https://"),
        (&["--token", "wrong", "x"], 8, "Set WHARF_TOKEN"),
        (&["--state", "/nowhere", "x"], 2, "/nowhere/token"),
        (&["--script", "/nowhere.toml", "x"], 2, "the script /nowhere.toml: No such file"),
        (&["--script", &looping, "--max-turns", "2", "x"], 1, "allow more with --max-turns"),
        (&["--provider", "openai", "x"], 2, "OPENAI_API_KEY is not set"),
        (&["--provider", "anthropic", "x"], 2, "ANTHROPIC_API_KEY is not set"),
        (&["--provider", "bedrock", "x"], 2, "AWS_BEARER_TOKEN_BEDROCK is not set"),
        (&["--provider", "nobody", "x"], 2, "invalid value 'nobody'"),
    ];
    for (args, code, words) in cases {
        let outcome = program::once(&host, args).await;
        assert_eq!((outcome.code, &*outcome.stdout), (*code, ""), "{args:?}: {outcome:?}");
        assert!(outcome.stderr.contains(words), "{args:?}: {}", outcome.stderr);
    }
    let enough = program::once(&host, &["--script", &looping, "--max-turns", "3", "x"]).await;
    assert_eq!(enough.expect(0).stdout, "done\n");

    // The host's token goes to no server that the user did not connect with it.
    let url = format!("{}/mcp", host.base);
    let state = host.state();
    let home = state.parent().unwrap().to_str().unwrap();
    std::os::unix::fs::symlink(&state, host.home().join("wharf")).unwrap();
    let stranger = program::run(&["--server-url", &url, "x"], &[("XDG_STATE_HOME", home)]).await.end().await;
    assert_eq!(stranger.code, 8, "{stranger:?}");
    let env = [("XDG_STATE_HOME", home), ("WHARF_URL", &host.base), ("WHARF_TOKEN", &host.token)];
    program::run(&["x"], &env).await.end().await.expect(0);
}
