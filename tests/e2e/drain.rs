//! The end of a host by a signal: calls in flight are answered, new ones refused, and what takes too long is told.

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::mcp_sse::Old;
use crate::support::answer::text_of;
use crate::support::host::{Setup, client};
use crate::support::mcp::{BOTH, LEGACY, call, enveloped, hello, refused, reply, request};
use crate::support::pipe::Pipe;
use crate::support::sse::Events;
use crate::support::{Answer, TestHost, command, eventually, mock, procs};

const ECHO: &str = "/api/v1/plugins/mock/tools/echo/call";
const SLEEP: &str = "/api/v1/plugins/mock/tools/sleep/call";

fn echo(tool: &str) -> Value {
    call(tool, json!({ "message": "in flight" }))
}

fn forever(tool: &str) -> Value {
    call(tool, json!({ "ms": 600_000 }))
}

/// Calls under way, each with the name of its way in.
type Calls = JoinSet<(&'static str, Answer)>;

fn begin(calls: &mut Calls, way: &'static str, asked: reqwest::RequestBuilder) {
    calls.spawn(async move { (way, Answer::of(asked).await) });
}

/// A pipe with a session on it.
fn pipe(host: &TestHost, hello: Value) -> Pipe {
    let mut pipe = Pipe::on(host, &[]);
    let opened = pipe.ask("hello", "initialize", hello);
    assert!(opened["result"].is_object(), "{opened}");
    pipe.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    pipe
}

async fn in_flight(host: &TestHost, calls: u64) {
    host.until("mock", "in so many calls", |view| view["instances"][0]["inflight"] == calls).await;
}

/// The first signal; returns when the host says that it ends, on a connection of its own.
pub(crate) async fn terminate(host: &TestHost) -> Answer {
    procs::signal(host.pid(), Signal::SIGTERM);
    eventually("the host to say that it ends", async || {
        let asked = client().request(Method::GET, format!("{}/readyz", host.base));
        match Answer::of(asked).await {
            answer if answer.status == 503 => Ok(answer),
            answer => Err(answer.text()),
        }
    })
    .await
}

/// The plugin stands still until it is let go on: what it is asked meanwhile is in flight.
async fn with_the_plugin_held(host: &TestHost, then: impl AsyncFnOnce()) {
    let pid = host.pid_of("mock").await;
    procs::signal(pid, Signal::SIGSTOP);
    then().await;
    procs::signal(pid, Signal::SIGCONT);
}

#[tokio::test]
async fn calls_in_flight_are_answered_by_every_way_in_and_new_ones_refused() {
    let mut host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    answered_and_refused(&host).await;
    assert!(host.wait().success(), "it exits with 0");
}

async fn answered_and_refused(host: &TestHost) {
    let session = host.session("/mcp", LEGACY).await;
    let mut feed = Events::open(session.get()).await;
    feed.next().await.expect("it stands");
    let (mut events, follow) = (host.events("/api/v1/events").await, "/api/v1/plugins/mock/logs?follow=true");
    let log = host.events(follow).await;
    let mut pipe = pipe(host, hello(LEGACY));
    let mut old = Old::open(host, "/sse").await;
    old.ask(1, "initialize", hello("2024-11-05")).await;
    let (mut calls, mut streams) = (Calls::new(), Vec::new());
    let body = json!({ "arguments": { "message": "in flight" } });
    with_the_plugin_held(host, async || {
        begin(&mut calls, "rest", host.request(Method::POST, ECHO).json(&body));
        begin(&mut calls, "modern", host.modern("/mcp", "tools/call", echo("mock__echo")));
        streams.push(Events::open(host.request(Method::POST, ECHO).json(&body)).await);
        // It becomes a stream as it takes its time.
        let legacy = request("c", "tools/call", echo("mock__echo"));
        let opened = session.send(&legacy).send().await.expect("the head of a stream");
        assert_eq!(opened.headers()["content-type"], "text/event-stream");
        streams.push(Events::of(opened));
        pipe.send(&request(1, "tools/call", echo("mock__echo")));
        pipe.send(&request(2, "tools/call", enveloped(echo("mock__echo"))));
        assert_eq!(old.post(&request(3, "tools/call", echo("mock__echo"))).await, 202);
        in_flight(host, 7).await;
        let ends = terminate(host).await;
        ends.problem(503, "overloaded");
        assert_ne!(ends.header("retry-after"), "");
        new_is_refused(host, &session.id).await;
        let late = pipe.ask(4, "tools/call", echo("mock__echo"));
        let late = (&late["error"]["code"], &late["error"]["data"]["code"]);
        assert_eq!(late, (&json!(-32010), &json!("overloaded")));
        let late = old.ask(5, "tools/call", echo("mock__echo")).await;
        assert_eq!(late["error"]["data"]["code"], "overloaded", "{late}");
        // What has no end of its own has ended, and what is in flight has not.
        feed.all().await;
        while events.next().await.is_some() {}
        log.all().await;
        assert!(calls.try_join_next().is_none(), "answered, and by whom?");
    })
    .await;
    while let Some(ended) = calls.join_next().await {
        let (way, answer) = ended.expect("no test panics there");
        let answer = answer.expect(200);
        assert_eq!(text_of(&answer["result"]), "in flight", "{way}");
    }
    for stream in streams {
        let last = stream.all().await.pop().expect("an answer").json();
        assert_eq!(text_of(&last["result"]), "in flight", "{last}");
    }
    // In whatever order they come.
    for answer in pipe.answers([1, 2]) {
        assert_eq!(text_of(&answer["result"]), "in flight");
    }
    let answer = old.until(3).await;
    assert_eq!(text_of(&answer["result"]), "in flight");
    // Who closes it first, host or client, is open.
    pipe.close();
}

#[tokio::test]
async fn calls_that_must_be_on_the_disk_are_there_when_the_host_has_ended() {
    let mut host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    let mut calls = Calls::new();
    let body = json!({ "arguments": { "message": "in flight" } });
    with_the_plugin_held(&host, async || {
        for _ in 0..8 {
            let asked = host.request(Method::POST, ECHO).header("wharf-durable", "true");
            begin(&mut calls, "rest", asked.json(&body));
        }
        in_flight(&host, 8).await;
        terminate(&host).await;
    })
    .await;
    while let Some(ended) = calls.join_next().await {
        let (_, answer) = ended.expect("no test panics there");
        assert_eq!(text_of(&answer.expect(200)["result"]), "in flight");
    }
    assert!(host.wait().success());
    host.again();
    let found = of_tool(&host, "echo").await;
    assert_eq!(found.len(), 8, "{found:?}");
    for call in found {
        // Read from the journal: the answer was there before it went back.
        let known = (&call["outcome"], &call["recovered"]);
        assert_eq!(known, (&json!("answered"), &json!(true)), "{call}");
    }
}

/// What a client is told that comes by a connection of its own while the host ends.
async fn new_is_refused(host: &TestHost, session: &str) {
    let post = |path: &str, body: &Value| {
        client().post(format!("{}{path}", host.base)).bearer_auth(&host.token).json(body)
    };
    for (path, body) in
        [(ECHO, json!({ "arguments": { "message": "x" } })), ("/tools/mock/echo", json!({ "message": "x" }))]
    {
        let late = Answer::of(post(path, &body)).await;
        late.problem(503, "overloaded");
        assert_eq!((late.header("retry-after"), late.header("connection")), ("1", "close"));
    }
    refused(&Answer::of(host.modern("/mcp", "tools/call", echo("mock__echo"))).await, 503, -32010);
    let message = request("late", "tools/call", echo("mock__echo"));
    let late = post("/mcp", &message).header("accept", BOTH).header("mcp-session-id", session);
    let late = Answer::of(late.header("mcp-protocol-version", LEGACY)).await;
    assert_eq!(refused(&late, 503, -32010)["error"]["data"]["code"], "overloaded");
    let health = Answer::of(client().get(format!("{}/healthz", host.base))).await;
    assert_eq!(health.status, 200, "it lives, and ends");
    // Whoever looks for a host by its socket finds none.
    command::on(host, &["ps"]).await.expect(3);
}

#[tokio::test]
async fn what_a_plugin_asks_its_client_is_answered_while_the_host_ends() {
    // Of two calls at one of them a plugin of this era cannot say which it asks for.
    let mut host = TestHost::with([("mock", mock()), ("other", mock())]).await;
    host.until_state("mock", "ready").await;
    host.until_state("other", "ready").await;
    let mut can_be_asked = hello(LEGACY);
    can_be_asked["capabilities"] = json!({ "elicitation": {} });
    let opened = Answer::of(host.message("/mcp", &request(0, "initialize", can_be_asked.clone()))).await;
    let id = opened.header("mcp-session-id").to_owned();
    let send = |message: &Value| {
        let post = client().post(format!("{}/mcp", host.base)).bearer_auth(&host.token);
        let post = post.header("mcp-session-id", &id).header("mcp-protocol-version", LEGACY);
        post.header("accept", BOTH).json(message)
    };
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(Answer::of(send(&ready)).await.status, 202);
    let asks = |tool: &str| call(tool, json!({ "method": "elicitation" }));
    let answer = |question: &Value| {
        let said = json!({ "action": "accept", "content": { "name": "me" } });
        json!({ "jsonrpc": "2.0", "id": question["id"], "result": said })
    };
    let said = |result: &Value| result["structuredContent"]["reply"]["result"]["content"]["name"].clone();
    {
        let mut pipe = pipe(&host, can_be_asked);
        let mut events = Events::open(send(&request("c", "tools/call", asks("mock__ask")))).await;
        let by_http = events.until("a question", |event| event.data.contains("elicitation/create")).await;
        pipe.send(&request(1, "tools/call", asks("other__ask")));
        let by_pipe = pipe.next();
        assert_eq!(by_pipe["method"], "elicitation/create", "{by_pipe}");
        terminate(&host).await;
        assert_eq!(Answer::of(send(&answer(&by_http.json()))).await.status, 202);
        let ended = events.until("the answer", |event| event.data.contains("structuredContent")).await.json();
        assert_eq!(said(&ended["result"]), "me", "{ended}");
        pipe.send(&answer(&by_pipe));
        assert_eq!(said(&pipe.answer(1)["result"]), "me");
    }
    assert!(host.wait().success());
}

/// A call by each way in that does not end.
async fn endless(host: &TestHost, pipe: &mut Pipe) -> (Calls, Vec<Events>) {
    let session = host.session("/mcp", LEGACY).await;
    let (mut calls, body) = (Calls::new(), json!({ "arguments": { "ms": 600_000 } }));
    begin(&mut calls, "rest", host.request(Method::POST, SLEEP).json(&body));
    begin(&mut calls, "modern", host.modern("/mcp", "tools/call", forever("mock__sleep")));
    let streams = vec![
        Events::open(host.request(Method::POST, SLEEP).json(&body)).await,
        Events::open(session.send(&request("c", "tools/call", forever("mock__sleep")))).await,
    ];
    pipe.send(&request(1, "tools/call", forever("mock__sleep")));
    pipe.send(&request(2, "tools/call", enveloped(forever("mock__sleep"))));
    in_flight(host, 6).await;
    (calls, streams)
}

/// All calls of a tool.
async fn of_tool(host: &TestHost, tool: &str) -> Vec<Value> {
    let mut calls = host.get("/api/v1/calls").await.expect(200);
    let Value::Array(mut calls) = calls["calls"].take() else { panic!("{calls}") };
    calls.retain(|call| call["tool"] == tool);
    calls
}

/// The next host knows each of them as handed over, and not as ended.
async fn are_unknown(host: &mut TestHost, calls: usize) {
    host.again();
    let found = of_tool(host, "sleep").await;
    assert_eq!(found.len(), calls, "{found:?}");
    for call in found {
        assert_eq!((&call["outcome"], &call["recovered"]), (&json!("unknown"), &json!(true)), "{call}");
    }
}

#[tokio::test]
async fn what_takes_longer_than_the_end_may_is_told_so_and_reads_as_unknown() {
    let quick = mock().set("stop.grace", "100ms").set("stop.term", "100ms");
    let mut host = Setup::new().plugin("mock", &quick).flag("--drain=200ms").start().await;
    host.until_state("mock", "ready").await;
    {
        let mut pipe = pipe(&host, hello(LEGACY));
        let (mut calls, streams) = endless(&host, &mut pipe).await;
        procs::signal(host.pid(), Signal::SIGTERM);
        let of_mcp = |answer: &Value| {
            let error = &answer["error"];
            assert_eq!(
                (&error["code"], &error["data"]["delivery"]),
                (&json!(-32011), &json!("unknown")),
                "{answer}"
            );
            assert!(error["data"]["call_id"].is_string(), "{answer}");
        };
        while let Some(ended) = calls.join_next().await {
            match ended.expect("no test panics there") {
                ("rest", answer) => {
                    let problem = answer.problem(502, "outcome_unknown");
                    assert_eq!(problem["delivery"], "unknown", "{problem}");
                    assert!(problem["call_id"].is_string(), "{problem}");
                }
                (_, answer) => of_mcp(&reply(&answer, 200)),
            }
        }
        let mut last = Vec::new();
        for stream in streams {
            last.push(stream.all().await.pop().expect("an answer").json());
        }
        of_mcp(&last[1]);
        for answer in pipe.answers([1, 2]) {
            of_mcp(&answer);
        }
        assert_eq!((&last[0]["code"], &last[0]["delivery"]), (&json!("outcome_unknown"), &json!("unknown")));
    }
    assert!(host.wait().success(), "it exits with 0");
    are_unknown(&mut host, 6).await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_leaves_nothing() {
    let mut host =
        TestHost::with([("mock", mock().args(["--ignore-sigterm", "--ignore-stdin-close"]))]).await;
    let plugin = host.pid_of("mock").await;
    {
        let mut pipe = pipe(&host, hello(LEGACY));
        let (calls, streams) = endless(&host, &mut pipe).await;
        terminate(&host).await;
        let begun = std::time::Instant::now();
        procs::signal(host.pid(), Signal::SIGTERM);
        assert!(host.wait().success());
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
        drop((calls, streams));
        pipe.close();
    }
    eventually("the plugin to be gone", async || {
        if procs::is_gone(plugin) { Ok(()) } else { Err(plugin.to_string()) }
    })
    .await;
    procs::assert_none_left(host.mark(), host.home());
    are_unknown(&mut host, 6).await;
}
