//! The mock over a pipe: what it answers, what it records, and several of its faults.

use serde_json::{Value, json};

use super::faults::Death;
use super::testing::{Client, HELLO, call, within};

#[tokio::test]
async fn lists_and_calls_its_tools() {
    let mut client = Client::ready(&[]).await;
    let list = client.ask(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await;
    let names: Vec<_> =
        list["result"]["tools"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["echo", "add", "sleep", "count", "progress", "env", "whoami", "fail", "rpc_error", "big", "ask"]
    );
    let echo = client.ask(&call(2, "echo", &json!({"message": "a\nb"}))).await;
    assert_eq!(echo["result"]["content"][0]["text"], "a\nb");
    let add = client.ask(&call(3, "add", &json!({"a": 2, "b": 3}))).await;
    assert_eq!(add["result"]["structuredContent"], json!({"sum": 5}));
    let add = client.ask(&call(4, "add", &json!({"a": 0.5, "b": 1}))).await;
    assert_eq!(add["result"]["structuredContent"], json!({"sum": 1.5}));
    for count in 1..3 {
        assert_eq!(
            client.ask(&call(5, "count", &json!({}))).await["result"]["structuredContent"]["count"],
            count
        );
    }
    assert_eq!(client.ask(&call(6, "fail", &json!({"message": "no"}))).await["result"]["isError"], true);
    assert_eq!(client.ask(&call(7, "rpc_error", &json!({"code": -5}))).await["error"]["code"], -5);
    let big = client.ask(&call(8, "big", &json!({"bytes": 100_000}))).await;
    assert_eq!(big["result"]["content"][0]["text"].as_str().unwrap().len(), 100_000);
    let whoami = client.ask(&call(9, "whoami", &json!({}))).await;
    assert_eq!(whoami["result"]["structuredContent"]["pid"], std::process::id());
}

#[tokio::test]
async fn refuses_what_is_wrong_and_says_why() {
    let mut client = Client::new(&[]);
    assert_eq!(
        client.ask(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await["error"]["code"],
        -32600
    );
    assert_eq!(
        client.ask(r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#).await["error"]["code"],
        -32601
    );
    assert_eq!(client.ask("not json").await["error"]["code"], -32700);
    client.ask(HELLO).await;
    assert_eq!(client.ask(&call(1, "nope", &json!({}))).await["error"]["code"], -32602);
    let missing = client.ask(&call(1, "echo", &json!({}))).await;
    assert_eq!(missing["error"]["message"], "argument \"message\" is missing");
    assert_eq!(
        client.ask(r#"{"jsonrpc":"2.0","id":2,"method":"prompts/nope"}"#).await["error"]["code"],
        -32601
    );
}

#[tokio::test]
async fn an_unknown_revision_is_answered_with_the_latest() {
    let mut client = Client::new(&[]);
    let hello = client.ask(&HELLO.replace("2025-06-18", "2031-01-01")).await;
    assert_eq!(hello["result"]["protocolVersion"], "2025-11-25");
}

#[tokio::test]
async fn all_in_one_go_is_answered_in_order_of_need() {
    let mut client = Client::new(&[]);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#;
    let lines = [HELLO, &call(1, "count", &json!({})), &call(2, "count", &json!({})), cancel].join("\n");
    client.send(&lines).await;
    client.end().await;
    assert_eq!(client.message().await["id"], 0);
    let counted = client.message().await;
    assert_eq!((&counted["id"], &counted["result"]["structuredContent"]["count"]), (&json!(1), &json!(1)));
    // Cancelled before it could begin.
    assert_eq!(client.line().await, None);
}

#[tokio::test]
async fn ids_keep_their_type() {
    let mut client = Client::ready(&[]).await;
    assert_eq!(client.ask(r#"{"jsonrpc":"2.0","id":"1","method":"ping"}"#).await["id"], json!("1"));
    assert_eq!(client.ask(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await["id"], json!(1));
}

#[tokio::test]
async fn calls_overtake_each_other_and_cancel_ends_one() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let mut client = Client::ready(&["--ledger", ledger.to_str().unwrap()]).await;
    client.send(&call(1, "sleep", &json!({"ms": 3_600_000}))).await;
    assert_eq!(client.ask(&call(2, "echo", &json!({"message": "first"}))).await["id"], 2);
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#).await;
    // The cancelled one says nothing, so the next answer is the next call's.
    assert_eq!(client.ask(&call(3, "count", &json!({}))).await["id"], 3);
    let cancelled = async {
        while !super::ledger::read(&ledger).iter().any(|l| l["phase"] == "cancelled") {
            tokio::task::yield_now().await;
        }
    };
    within(cancelled).await;
    client.end().await;
    within(client.served).await.unwrap().unwrap();
    let lines = super::ledger::read(&ledger);
    let mut seen: Vec<_> =
        lines.iter().map(|l| (l["tool"].as_str().unwrap(), l["phase"].as_str().unwrap())).collect();
    seen.sort_unstable();
    let all = [
        ("count", "begin"),
        ("count", "end"),
        ("echo", "begin"),
        ("echo", "end"),
        ("sleep", "begin"),
        ("sleep", "cancelled"),
    ];
    assert_eq!(seen, all);
}

#[tokio::test]
async fn progress_comes_only_when_asked_for_and_before_the_answer() {
    let mut client = Client::ready(&[]).await;
    assert_eq!(client.ask(&call(1, "progress", &json!({"steps": 3}))).await["id"], 1);
    client.send(r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"progress","arguments":{"steps":2},"_meta":{"progressToken":"t"}}}"#).await;
    for step in 1..3 {
        let progress = client.message().await;
        assert_eq!(progress["params"]["progress"], step);
        assert_eq!(progress["params"]["progressToken"], "t");
    }
    assert_eq!(client.message().await["id"], 2);
}

#[tokio::test]
async fn asks_the_client_and_tells_what_it_said() {
    let mut client = Client::ready(&[]).await;
    let asked = client.ask(&call(1, "ask", &json!({"method": "roots"}))).await;
    assert_eq!(asked["method"], "roots/list");
    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}});
    let told = client.ask(&answer.to_string()).await;
    assert_eq!(told["result"]["structuredContent"]["reply"]["result"], json!({"roots": []}));
}

#[tokio::test]
async fn greets_with_pings_and_changes() {
    let mut client = Client::ready(&["--ping-client", "--list-changed"]).await;
    for _ in 0..4 {
        assert_eq!(client.message().await["method"], "notifications/tools/list_changed");
    }
    let ping = client.message().await;
    assert_eq!(ping["method"], "ping");
    let roots = client.ask(&json!({"jsonrpc": "2.0", "id": ping["id"], "result": {}}).to_string()).await;
    assert_eq!(roots["method"], "roots/list");
}

#[tokio::test]
async fn a_script_is_played_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("s.json");
    let mut text = json!({
        "instructions": "be kind", "page_size": 2,
        "tools": [
            {"name": "a", "answer": {"structuredContent": {"x": 1}}},
            {"name": "b", "answer": {"error": {"code": -7, "message": "no", "data": [1]}}},
            {"name": "c", "answer": {"text": "bad", "isError": true, "delay": 1, "progress": 1}},
        ],
        "resources": [{"uri": "x://1", "text": "one"}],
        "prompts": [{"name": "p", "text": "say"}],
    });
    std::fs::write(&script, text.to_string()).unwrap();
    let flags = ["--script", script.to_str().unwrap()];
    let mut client = Client::ready(&flags).await;
    let first = client.ask(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#).await;
    assert_eq!(first["result"]["tools"].as_array().unwrap().len(), 2);
    let page = |cursor: &Value| {
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {"cursor": cursor}}).to_string()
    };
    let second = client.ask(&page(&first["result"]["nextCursor"])).await;
    assert_eq!(second["result"]["tools"][0]["name"], "c");
    assert!(second["result"].get("nextCursor").is_none());
    assert_eq!(client.ask(&page(&json!("made up"))).await["error"]["code"], -32602);
    assert_eq!(client.ask(&call(3, "a", &json!({}))).await["result"]["structuredContent"], json!({"x": 1}));
    assert_eq!(
        client.ask(&call(4, "b", &json!({}))).await["error"],
        json!({"code": -7, "message": "no", "data": [1]})
    );
    assert_eq!(client.ask(&call(5, "c", &json!({}))).await["result"]["isError"], true);
    let read =
        client.ask(r#"{"jsonrpc":"2.0","id":6,"method":"resources/read","params":{"uri":"x://1"}}"#).await;
    assert_eq!(read["result"]["contents"][0]["text"], "one");
    let prompt = client.ask(r#"{"jsonrpc":"2.0","id":7,"method":"prompts/get","params":{"name":"p"}}"#).await;
    assert_eq!(prompt["result"]["messages"][0]["content"]["text"], "say");

    text["list_forever"] = true.into();
    std::fs::write(&script, text.to_string()).unwrap();
    let mut client = Client::ready(&flags).await;
    let mut cursor = json!("page-1");
    for _ in 0..10 {
        cursor = client.ask(&page(&cursor)).await["result"]["nextCursor"].clone();
        assert!(cursor.is_string());
    }
}

#[tokio::test]
async fn crashes_before_or_after_the_call_ran() {
    for (flags, death, phases) in [
        (["--crash-at-call", "2"].as_slice(), Death::Exit(1), 2),
        (["--crash-after-call", "2", "--abort"].as_slice(), Death::Abort, 4),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let ledger = dir.path().join("ledger");
        let mut client = Client::ready(&[flags, &["--ledger", ledger.to_str().unwrap()]].concat()).await;
        client.ask(&call(1, "count", &json!({}))).await;
        client.send(&call(2, "count", &json!({}))).await;
        assert_eq!(within(client.deaths.recv()).await, Some(death));
        assert_eq!(super::ledger::read(&ledger).len(), phases);
    }
}

#[tokio::test]
async fn a_call_that_hangs_has_begun_and_never_ends() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let mut client = Client::ready(&["--hang-at-call", "1", "--ledger", ledger.to_str().unwrap()]).await;
    client.send(&call(1, "count", &json!({}))).await;
    assert_eq!(client.ask(&call(2, "echo", &json!({"message": ""}))).await["id"], 2);
    let phases = |lines: Vec<Value>| {
        lines.iter().filter(|l| l["n"] == 1).map(|l| l["phase"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(phases(super::ledger::read(&ledger)), ["begin"]);
}

#[tokio::test(start_paused = true)]
async fn initialize_hangs_or_is_late_as_asked() {
    let mut client = Client::new(&["--hang-at-start"]);
    client.send(HELLO).await;
    assert_eq!(client.ask(r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#).await["id"], 9);
    let mut client = Client::new(&["--start-after", "5000"]);
    let before = tokio::time::Instant::now();
    client.ask(HELLO).await;
    assert!(before.elapsed().as_millis() >= 5000);
}

#[tokio::test]
async fn garbage_and_logs_stand_between_messages() {
    let mut client = Client::new(&["--garbage=1", "--log-on-stdout"]);
    client.send(HELLO).await;
    assert_eq!(client.line().await.unwrap(), "Starting server v1.2.3 ...");
    assert!(client.line().await.unwrap().starts_with("INFO "));
    assert_eq!(client.message().await["id"], 0);
}

#[tokio::test]
async fn a_huge_line_goes_before_the_answer() {
    let mut client = Client::ready(&["--huge-line", "1MiB", "--huge-line-at-call", "1"]).await;
    client.send(&call(1, "count", &json!({}))).await;
    assert_eq!(client.line().await.unwrap().len(), 1 << 20);
    assert_eq!(client.message().await["id"], 1);
}

#[tokio::test]
async fn answers_are_wrong_double_and_surprising_as_asked() {
    let mut client = Client::ready(&["--wrong-id=extra", "--answer-twice", "--unknown-notification"]).await;
    client.send(&call(1, "count", &json!({}))).await;
    assert_eq!(client.message().await["method"], "notifications/mock/unheard_of");
    assert_eq!(client.message().await["id"], "nobody-asked-this");
    assert_eq!(client.message().await["id"], 1);
    assert_eq!(client.message().await["id"], 1);
    let mut client = Client::ready(&["--wrong-id"]).await;
    assert_eq!(client.ask(&call(1, "count", &json!({}))).await["id"], "nobody-asked-this");
    assert_eq!(client.ask(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#).await["id"], 2);
}

#[tokio::test]
async fn closes_its_output_and_lives() {
    let mut client = Client::ready(&["--close-stdout-at-call", "1"]).await;
    client.send(&call(1, "count", &json!({}))).await;
    assert_eq!(client.line().await, None);
    assert!(!client.served.is_finished());
}

#[tokio::test]
async fn stops_answering_pings() {
    let mut client = Client::ready(&["--unhealthy-after", "1"]).await;
    assert_eq!(client.ask(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await["id"], 1);
    client.send(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#).await;
    assert_eq!(client.ask(&call(3, "count", &json!({}))).await["id"], 3);
}

#[tokio::test]
async fn a_pretty_result_stays_one_line_on_stdio() {
    let mut client = Client::ready(&["--pretty"]).await;
    assert_eq!(client.ask(&call(1, "add", &json!({"a": 1, "b": 1}))).await["id"], 1);
}

#[tokio::test]
async fn ends_with_its_input_even_while_a_call_runs() {
    let mut client = Client::ready(&[]).await;
    client.send(&call(1, "sleep", &json!({"ms": 3_600_000}))).await;
    client.end().await;
    within(client.served).await.unwrap().unwrap();
}
