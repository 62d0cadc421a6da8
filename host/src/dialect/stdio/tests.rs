use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, duplex,
};
use wharf_plugin_api::{
    CallError, CallErrorKind, Cause, CauseKind, Delivery, Era, Link, Notification, Reply, Scope,
};

use super::{LAST_WORDS, connect, start};
use crate::dialect::handshake::{self, HostScope};
use crate::dialect::testkit::{Call, Ear, options, request, result, spawn_call, within};
use crate::dialect::{Connected, Lost, Options};

/// The plugin's side of the pipes.
struct Peer {
    stdin: BufReader<DuplexStream>,
    stdout: DuplexStream,
}

impl Peer {
    async fn line(&mut self) -> String {
        let mut line = String::new();
        within(self.stdin.read_line(&mut line)).await.expect("readable");
        line
    }

    async fn message(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    async fn say(&mut self, text: &str) {
        within(self.stdout.write_all(text.as_bytes())).await.expect("writable");
    }

    async fn tell(&mut self, message: Value) {
        self.say(&format!("{message}\n")).await;
    }

    async fn answer(&mut self, id: &Value, result: Value) {
        self.tell(json!({"jsonrpc": "2.0", "id": id, "result": result})).await;
    }

    /// Answers `initialize` after saying `first`.
    async fn handshake(&mut self, first: &str) {
        let hello = self.message().await;
        assert_eq!(hello["method"], "initialize");
        assert_eq!(hello["params"]["protocolVersion"], "2025-11-25");
        assert_eq!(
            hello["params"]["capabilities"],
            json!({
                "roots": {},
                "sampling": {"context": {}, "tools": {}},
                "elicitation": {"form": {}, "url": {}},
            })
        );
        self.say(first).await;
        self.settle(&hello, "2025-06-18").await;
    }

    async fn settle(&mut self, hello: &Value, revision: &str) {
        self.answer(&hello["id"], json!({"protocolVersion": revision, "serverInfo": {"name": "fake"}})).await;
    }
}

fn pipes() -> (DuplexStream, DuplexStream, Peer) {
    let (stdin, peer_in) = duplex(64 << 10);
    let (stdout, peer_out) = duplex(64 << 10);
    (stdout, stdin, Peer { stdin: BufReader::new(peer_in), stdout: peer_out })
}

async fn connected_with(options: Options, ear: &Ear) -> (Arc<dyn Link>, Lost, Peer) {
    let (stdout, stdin, mut peer) = pipes();
    let (connected, ()) = within(async {
        tokio::join!(connect(stdout, stdin, Arc::new(ear.clone()), options), peer.handshake(""))
    })
    .await;
    let Connected { link, lost, .. } = connected.expect("connected");
    assert_eq!(peer.message().await, json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    (link, lost, peer)
}

async fn connected() -> (Arc<dyn Link>, Lost, Peer) {
    connected_with(options(), &Ear::default()).await
}

#[tokio::test]
async fn the_handshake_proves_what_the_server_says() {
    let (link, _lost, _peer) = connected().await;
    assert_eq!((link.hello().dialect, link.hello().revision.as_str()), ("stdio", "2025-06-18"));
}

#[tokio::test]
async fn answers_find_their_callers_in_any_order_and_strays_are_dropped() {
    let (link, _lost, mut peer) = connected().await;
    let (a, b) = (Call::new(false), Call::new(false));
    let first = spawn_call(&link, &a, request("tools/call", r#"{"n":1}"#));
    let one = peer.message().await;
    let second = spawn_call(&link, &b, request("tools/call", r#"{"n":2}"#));
    let two = peer.message().await;
    assert_eq!((&one["params"]["n"], &two["params"]["n"]), (&json!(1), &json!(2)));
    peer.answer(&json!(999), json!("nobody's")).await;
    peer.answer(&json!("2"), json!("a string is not a number")).await;
    peer.answer(&two["id"], json!("two")).await;
    peer.answer(&two["id"], json!("two again")).await;
    peer.answer(&one["id"], json!("one")).await;
    assert_eq!(result(within(first).await.expect("joined")), "one");
    assert_eq!(result(within(second).await.expect("joined")), "two");
    assert_eq!((a.times_sent(), b.times_sent()), (1, 1));
    // Ids are never used again: the duplicate of the second answer does not reach the third caller.
    let third = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    let three = peer.message().await;
    assert!(three["id"].as_u64() > two["id"].as_u64());
    peer.answer(&two["id"], json!("late")).await;
    peer.answer(&three["id"], json!("three")).await;
    assert_eq!(result(within(third).await.expect("joined")), "three");
}

#[tokio::test]
async fn a_caller_that_goes_is_cancelled_at_the_plugin_with_its_id() {
    let (link, _lost, mut peer) = connected().await;
    let call = Call::new(false);
    let task = spawn_call(&link, &call, request("tools/call", "{}"));
    let sent = peer.message().await;
    task.abort();
    let cancelled = peer.message().await;
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], sent["id"]);
    // The late answer is dropped and the connection goes on.
    peer.answer(&sent["id"], json!("late")).await;
    let next = spawn_call(&link, &call, request("tools/call", "{}"));
    let sent = peer.message().await;
    peer.answer(&sent["id"], json!("next")).await;
    assert_eq!(result(within(next).await.expect("joined")), "next");
}

#[tokio::test]
async fn a_caller_that_goes_while_its_request_is_queued_is_never_heard_of() {
    let (link, _lost, mut peer) = connected().await;
    // Fills the pipe, so that what comes after it stays in the queue.
    let big = request("tools/call", &format!("[\"{}\"]", "x".repeat(1 << 20)));
    let _stuck = spawn_call(&link, &Call::new(false), big);
    within(peer.stdin.read_u8()).await.expect("a byte");
    let queued = [Call::new(false), Call::new(false)];
    for (waits, call) in queued.iter().enumerate() {
        let mut gone = link.request(request("tools/call", r#"{"n":"gone"}"#), call.clone() as Arc<dyn Scope>);
        // Whether it has waited at all.
        assert!(waits == 0 || futures_util::FutureExt::now_or_never(&mut gone).is_none());
        drop(gone);
    }
    link.notify(Notification::bare("notifications/next")).expect("room");
    assert!(peer.line().await.ends_with("xx\"]}\n"));
    assert_eq!(peer.message().await["method"], "notifications/next");
    assert_eq!(queued.map(|call| call.times_sent()), [0, 0]);
}

#[tokio::test]
async fn an_answer_that_comes_before_its_request_is_none() {
    let ear = Ear::default();
    let (link, _lost, mut peer) = connected_with(options(), &ear).await;
    // Fills the pipe, so that what comes after it stays in the queue.
    let big = request("tools/call", &format!("[\"{}\"]", "x".repeat(1 << 20)));
    let _stuck = spawn_call(&link, &Call::new(false), big);
    within(peer.stdin.read_u8()).await.expect("a byte");
    let task = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    peer.answer(&json!(3), json!("forged")).await;
    peer.tell(json!({"jsonrpc": "2.0", "method": "notifications/heard"})).await;
    ear.heard.at_least(1).await;
    assert!(peer.line().await.ends_with("xx\"]}\n"));
    assert_eq!(peer.message().await["id"], 3);
    peer.answer(&json!(3), json!("true")).await;
    assert_eq!(result(within(task).await.expect("joined")), "true");
}

#[tokio::test]
async fn initialize_is_never_cancelled() {
    let (stdout, stdin, mut peer) = pipes();
    let (wire, _incoming, _lost) = start(stdout, stdin, Arc::new(Ear::default()), &options());
    let deadline = options().handshake_deadline;
    let mut opening =
        Box::pin(wire.request(&handshake::initialize(None), &HostScope::until(deadline), Era::Legacy, false));
    let hello =
        tokio::select! { hello = peer.message() => hello, _ = &mut opening => panic!("no handshake") };
    assert_eq!(hello["method"], "initialize");
    drop(opening);
    wire.notify(&Notification::bare("notifications/next")).expect("room");
    assert_eq!(peer.message().await["method"], "notifications/next");
}

#[tokio::test]
async fn a_handshake_that_is_given_up_closes_stdin() {
    let (stdout, stdin, mut peer) = pipes();
    let mut opening = Box::pin(connect(stdout, stdin, Arc::new(Ear::default()), options()));
    tokio::select! { _ = peer.message() => {}, _ = &mut opening => panic!("no handshake") }
    drop(opening);
    assert_eq!(peer.line().await, "");
}

#[tokio::test]
async fn what_comes_before_the_answer_to_initialize_is_legal() {
    let (stdout, stdin, mut peer) = pipes();
    let ear = Ear::default();
    let early = concat!(
        "starting up\n",
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}"#,
        "\n",
        r#"{"jsonrpc":"2.0","id":"s1","method":"ping"}"#,
        "\n",
        r#"{"jsonrpc":"2.0","id":2,"method":"roots/list"}"#,
        "\n",
        r#"{"jsonrpc":"2.0","id":3,"method":"sampling/createMessage"}"#,
        "\r\n",
    );
    let (connected, ()) = within(async {
        tokio::join!(connect(stdout, stdin, Arc::new(ear.clone()), options()), peer.handshake(early))
    })
    .await;
    let _connected = connected.expect("connected");
    assert_eq!(ear.heard.at_least(1).await[0].0, "notifications/message");
    let mut said = Vec::new();
    for _ in 0..4 {
        said.push(peer.message().await);
    }
    let of = |id: Value| said.iter().find(|message| message["id"] == id).expect("answered").clone();
    assert_eq!(of(json!("s1"))["result"], json!({}));
    assert_eq!(of(json!(2))["result"], json!({"roots": []}));
    assert_eq!(of(json!(3))["error"]["code"], -32601);
}

#[tokio::test]
async fn progress_goes_to_the_call_it_belongs_to() {
    let ear = Ear::default();
    let (link, _lost, mut peer) = connected_with(options(), &ear).await;
    let (a, b, deaf) = (Call::new(true), Call::new(true), Call::new(false));
    let mut tokens = Vec::new();
    let mut tasks = Vec::new();
    for call in [&a, &b] {
        tasks.push(spawn_call(
            &link,
            call,
            request("tools/call", r#"{"_meta":{"progressToken":"own","k":1}}"#),
        ));
        let sent = peer.message().await;
        assert_eq!(sent["params"]["_meta"], json!({"progressToken": sent["id"], "k": 1}));
        tokens.push(sent["id"].clone());
    }
    tasks.push(spawn_call(&link, &deaf, request("tools/call", r#"{"name":"x"}"#)));
    assert_eq!(peer.message().await["params"], json!({"name": "x"}));
    let progress = |token: &Value, n: u32| json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": n}});
    peer.tell(progress(&tokens[1], 1)).await;
    peer.tell(progress(&tokens[0], 2)).await;
    peer.tell(progress(&json!("own"), 3)).await;
    assert_eq!(a.heard.at_least(1).await[0].1["progress"], 2);
    assert_eq!(b.heard.at_least(1).await[0].1["progress"], 1);
    for method in ["notifications/cancelled", "notifications/after"] {
        peer.tell(json!({"jsonrpc": "2.0", "method": method, "params": {"requestId": tokens[0]}})).await;
    }
    let heard = ear.heard.at_least(1).await;
    assert_eq!(heard[0].0, "notifications/after", "what is about no request is for nobody");
    assert_eq!((a.heard.all().len(), b.heard.all().len()), (1, 1));
}

#[tokio::test]
async fn the_token_of_a_caller_who_does_not_listen_is_not_taken_for_ours() {
    let (link, _lost, mut peer) = connected().await;
    let victim = Call::new(true);
    let _first = spawn_call(&link, &victim, request("tools/call", "{}"));
    let id = peer.message().await["id"].clone();
    let forged = format!(r#"{{"_meta":{{"progress\u0054oken":{id}}}}}"#);
    let _second = spawn_call(&link, &Call::new(false), request("tools/call", &forged));
    let sent = peer.message().await;
    assert_eq!(sent["params"]["_meta"]["progressToken"], sent["id"]);
    assert_ne!(sent["id"], id);
}

#[tokio::test]
async fn pretty_printed_params_and_answers_are_one_line() {
    let (link, _lost, mut peer) = connected().await;
    let smuggled = "{\r\n\"text\":\n{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\"}\n}";
    let task = spawn_call(&link, &Call::new(false), request("tools/call", smuggled));
    let sent = peer.message().await;
    assert_eq!(sent["params"]["text"]["id"], 7);
    link.notify(Notification {
        method: "notifications/x".into(),
        params: request("", "{\n\"a\":\n1}").params,
    })
    .expect("room");
    assert_eq!(peer.message().await["params"], json!({"a": 1}));
    peer.answer(&sent["id"], json!({"a\nb": "c\r\n"})).await;
    assert_eq!(result(within(task).await.expect("joined")), json!({"a\nb": "c\r\n"}));
    // What the plugin is answered is one line as well, however the host's side spelled it.
    peer.tell(json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create"})).await;
    assert_eq!(peer.message().await["error"]["data"], json!({"x": 1}));
}

#[tokio::test]
async fn a_line_end_within_an_answer_smuggles_no_second_message_in() {
    let ear = Ear::default();
    let (link, _lost, mut peer) = connected_with(options(), &ear).await;
    let victim = spawn_call(&link, &Call::new(false), request("tools/call", r#"{"n":1}"#));
    let waiting = peer.message().await["id"].clone();
    let task = spawn_call(&link, &Call::new(false), request("tools/call", r#"{"n":2}"#));
    let sent = peer.message().await["id"].clone();
    // A bare CR is a space of JSON and ends no line: what stands between two of them is a part of the answer.
    let forged = format!("{{\"jsonrpc\":\"2.0\",\"id\":{waiting},\"result\":\"forged\"}}");
    peer.say(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{sent},\"result\":[\r{forged}\r]}}\n")).await;
    let inner: Value = serde_json::from_str(&forged).expect("JSON");
    assert_eq!(result(within(task).await.expect("joined")), json!([inner]));
    // A string that holds a byte LF or CR is no JSON: neither its halves nor the whole are a message.
    peer.say("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/a\",\"params\":{\"x\":\"\n\"}}\n").await;
    peer.say("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/b\",\"params\":{\"x\":\"\r\"}}\n").await;
    peer.answer(&waiting, json!("true")).await;
    assert_eq!(result(within(victim).await.expect("joined")), "true");
    assert!(ear.heard.all().is_empty());
}

#[tokio::test]
async fn an_answer_leaves_as_the_bytes_it_came_in() {
    let (link, _lost, mut peer) = connected().await;
    let task = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    let id = peer.message().await["id"].clone();
    let odd = r#"{ "b":1.0,"a" : 1E400, "a":"\u00e9é" }"#;
    peer.say(&format!("{{\"id\":{id},\"result\":{odd},\"jsonrpc\":\"2.0\"}}\r\n")).await;
    let Ok(Reply::Result(raw)) = within(task).await.expect("joined") else { panic!("no result") };
    assert_eq!(raw.get(), odd);
}

#[tokio::test]
async fn big_messages_in_both_directions_do_not_block_each_other() {
    let (link, _lost, mut peer) = connected().await;
    let big = format!(r#"{{"x":"{}"}}"#, "x".repeat(1 << 20));
    let calls: Vec<_> =
        (0..4).map(|_| spawn_call(&link, &Call::new(false), request("tools/call", &big))).collect();
    // A server that answers line by line and reads nothing while it writes.
    let server = async {
        for _ in 0..4 {
            let sent = peer.message().await;
            peer.answer(&sent["id"], sent["params"].clone()).await;
        }
    };
    within(server).await;
    for call in calls {
        assert_eq!(result(within(call).await.expect("joined"))["x"].as_str().map(str::len), Some(1 << 20));
    }
}

#[tokio::test]
async fn a_plugin_may_ask_only_so_much_at_once_and_may_take_it_back() {
    let ear = Ear { may_answer: Arc::new(tokio::sync::Semaphore::new(0)), ..Ear::default() };
    let (_link, _lost, mut peer) = connected_with(options(), &ear).await;
    for id in 0..65 {
        peer.tell(json!({"jsonrpc": "2.0", "id": id, "method": "sampling/createMessage"})).await;
    }
    let refused = peer.message().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(64), &json!(-32603)));
    peer.tell(json!({"jsonrpc": "2.0", "id": "ping", "method": "ping"})).await;
    assert_eq!(peer.message().await["result"], json!({}), "a ping takes no place");
    peer.tell(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 0}}))
        .await;
    // Its place is free again, once its task has seen it. A ping needs none and is answered behind a refusal.
    within(async {
        loop {
            peer.tell(json!({"jsonrpc": "2.0", "id": "again", "method": "sampling/createMessage"})).await;
            peer.tell(json!({"jsonrpc": "2.0", "id": "ping", "method": "ping"})).await;
            let refused = peer.message().await;
            if refused["id"] == "ping" {
                return;
            }
            assert!(refused["id"] == "again" && refused["error"].is_object(), "{refused}");
            let pong = peer.message().await;
            assert_eq!((&pong["id"], &pong["result"]), (&json!("ping"), &json!({})));
        }
    })
    .await;
    ear.may_answer.add_permits(100);
    let mut ids: Vec<u64> = Vec::new();
    for _ in 1..=64 {
        ids.extend(peer.message().await["id"].as_u64());
    }
    ids.sort_unstable();
    assert_eq!(ids, (1..64).collect::<Vec<u64>>(), "what was taken back is not answered");
}

mod batches;
mod broken;
mod eras;
mod turns;
mod unlinked;
