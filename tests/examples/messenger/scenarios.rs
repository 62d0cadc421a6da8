//! The four test scenarios of the seed, as it has them.

use reqwest::Method;
use serde_json::{Value, json};

use super::checkout::{both, mock_reply, mock_stream, on_port, python, started};
use crate::support::answer::text_of;
use crate::support::host::client;
use crate::support::sse::Events;
use crate::support::{Answer, PATIENCE, TestHost};

/// Test 1: direct HTTP to server B, no MCP.
#[tokio::test]
async fn one_direct_http() {
    let (host, port) = started(&[]).await;
    let ask = |method: Method, path: &str| client().request(method, format!("http://127.0.0.1:{port}{path}"));
    let health = Answer::of(ask(Method::GET, "/health")).await.expect(200);
    assert_eq!((&health["status"], &health["provider"]), (&"healthy".into(), &"mock".into()), "{health}");
    let question = json!({ "message": "What is AI" });
    let reply = Answer::of(ask(Method::POST, "/process").json(&question)).await.expect(200);
    assert_eq!(reply["aiResponse"], mock_reply(1, "What is AI"), "{reply}");
    let joke = json!({ "message": "Tell me a joke" });
    let stream = Events::open(ask(Method::POST, "/stream").json(&joke)).await.all().await;
    let [pieces @ .., usage, done] = stream.as_slice() else { panic!("{stream:?}") };
    let text: String = pieces.iter().map(|e| e.json()["content"].as_str().unwrap().to_owned()).collect();
    assert_eq!(text, mock_stream(2, "Tell me a joke"));
    assert!(pieces.len() > 1, "a stream is more than one piece");
    assert_eq!(usage.json()["usage"]["estimatedCost"], Value::Null);
    assert_eq!(done.data, "[DONE]");
    let models = Answer::of(ask(Method::GET, "/models")).await.expect(200);
    assert_eq!(models["models"], json!(["mock-model"]));
    drop(host);
}

/// Test 2: server A on stdio, and its tools as functions.
#[tokio::test]
async fn two_stdio() {
    let (host, _) = started(&[]).await;
    let program = "import asyncio\n\
        from server_a import send_message, check_server_b_health, send_message_stream\n\
        async def test():\n\
        \x20   health = await check_server_b_health()\n\
        \x20   print(f'Status: {health[\"status\"]}')\n\
        \x20   print(f'Provider: {health[\"provider\"]}')\n\
        \x20   result = await send_message('What is Python?')\n\
        \x20   print(f'Response: {result[\"aiResponse\"]}')\n\
        \x20   print(f'Streamed: {await send_message_stream(\"Tell me about AI\")}')\n\
        asyncio.run(test())";
    let said = python(&host, program).await;
    let expected = [
        "Status: healthy".to_owned(),
        "Provider: mock".to_owned(),
        format!("Response: {}", mock_reply(1, "What is Python?")),
        format!("Streamed: {}", mock_stream(2, "Tell me about AI")),
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    assert_eq!(host.plugin("server-a").await["dialect"], "stdio");
    let sent = host.call("server-a", "send_message", json!({ "message": "What is Python?" })).await;
    assert_eq!(sent["structuredContent"]["aiResponse"], mock_reply(3, "What is Python?"));
}

/// Test 3: both servers as SSE servers, by argument and by variable; streamable HTTP too.
#[tokio::test]
async fn three_sse() {
    let (setup, _) = both(&[]);
    let by_variable = |server: &str, transport: &str, port: &str| {
        on_port(server, transport, port)
            .set("args", vec![format!("../examples/messenger/{server}")])
            .set("env.MCP_TRANSPORT", transport)
    };
    let host = setup
        .plugin("a-sse", &on_port("server_a.py", "sse", "MCP_PORT_A"))
        .plugin("b-sse", &by_variable("server_b.py", "sse", "MCP_PORT_B"))
        .plugin("a-http", &by_variable("server_a.py", "streamable-http", "MCP_PORT_A"))
        .plugin("b-http", &on_port("server_b.py", "streamable-http", "MCP_PORT_B"))
        .start()
        .await;
    host.until_state("server-b", "ready").await;
    for (id, dialect, name) in [
        ("a-sse", "sse", "Server A (MCP) with SSE"),
        ("b-sse", "sse", "Server B (MCP) with SSE"),
        ("a-http", "http", "Server A (MCP) with streamable HTTP"),
        ("b-http", "http", "Server B (MCP) with streamable HTTP"),
    ] {
        let view = host.until_state(id, "ready").await;
        assert_eq!(view["dialect"], dialect, "{view}");
        let port = view["instances"][0]["port"].as_u64().unwrap();
        let log = host.get(&format!("/api/v1/plugins/{id}/logs")).await.text();
        assert!(log.contains(&format!("Starting {name} transport on ")), "{log}");
        if dialect == "sse" {
            let mut stream = client().get(format!("http://127.0.0.1:{port}/sse")).send().await.unwrap();
            let first = tokio::time::timeout(PATIENCE, stream.chunk()).await.unwrap().unwrap().unwrap();
            assert!(first.starts_with(b"event: endpoint"), "{first:?}");
        }
        answers(&host, id).await;
    }
}

async fn answers(host: &TestHost, id: &str) {
    if id.starts_with('a') {
        let sent = host.call(id, "send_message", json!({ "message": "over HTTP" })).await;
        assert_eq!(sent["structuredContent"]["status"], "success", "{sent}");
        let path = format!("/api/v1/plugins/{id}/tools/send_message_stream/call");
        let body = json!({ "arguments": { "message": "hello" } });
        let events = Events::open(host.request(Method::POST, &path).json(&body)).await.all().await;
        let pieces = events.iter().filter(|event| event.name == "progress").map(|event| event.json());
        let pieces: String = pieces.map(|piece| piece["message"].as_str().unwrap().to_owned()).collect();
        assert_eq!(pieces, text_of(&events.last().unwrap().json()["result"]), "{events:?}");
    } else {
        let sent = host.call(id, "process_message", json!({ "message": "direct" })).await;
        assert_eq!(sent["structuredContent"]["aiResponse"], mock_reply(1, "direct"), "its own model");
    }
}

/// Test 4: the full stack, A by HTTP to B, and B's tools directly.
#[tokio::test]
async fn four_full_stack() {
    let (host, _) = started(&[]).await;
    let program = "import asyncio\n\
        from server_a import send_message, check_server_b_health, send_message_stream, list_available_models\n\
        from server_b import process_message, health_check, get_provider_info\n\
        async def main():\n\
        \x20   health = await check_server_b_health()\n\
        \x20   print(health['status'], health['provider'])\n\
        \x20   print((await list_available_models())['models'])\n\
        \x20   print((await send_message('Hello, what is 2+2?'))['aiResponse'])\n\
        \x20   print(await send_message_stream('Say hello'))\n\
        \x20   health = await health_check()\n\
        \x20   print(health['status'], health['provider'])\n\
        \x20   info = await get_provider_info()\n\
        \x20   print(info['provider'], info['defaultModel'])\n\
        \x20   print((await process_message('What is Python?'))['aiResponse'])\n\
        asyncio.run(main())";
    let said = python(&host, program).await;
    let expected = [
        "healthy mock".to_owned(),
        "['mock-model']".to_owned(),
        mock_reply(1, "Hello, what is 2+2?"),
        mock_stream(2, "Say hello"),
        "healthy mock".to_owned(),
        "mock mock-model".to_owned(),
        mock_reply(1, "What is Python?"),
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}
