use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Level, Server, Session, Tool, ToolError};

const PATIENCE: Duration = Duration::from_secs(30);

/// A client of a server in this process.
struct Client {
    session: Session,
    from: mpsc::Receiver<Vec<u8>>,
}

impl Client {
    fn new(server: Server) -> Self {
        let (to, from) = mpsc::channel();
        let session =
            server.open(Arc::new(move |message: &[u8]| to.send(message.to_vec()).unwrap())).unwrap();
        Self { session, from }
    }

    fn send(&self, message: &Value) {
        self.session.receive(message.to_string().as_bytes());
    }

    fn next(&self) -> Value {
        serde_json::from_slice(&self.from.recv_timeout(PATIENCE).unwrap()).unwrap()
    }

    fn ask(&self, method: &str, params: &Value) -> Value {
        self.send(&json!({"jsonrpc": "2.0", "id": "q", "method": method, "params": params}));
        let answer = self.next();
        assert_eq!(answer["id"], "q", "{answer}");
        answer
    }

    fn start(&self, id: u64, tool: &str, arguments: &Value) {
        let params =
            json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": format!("p{id}")}});
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}));
    }

    fn call(&self, tool: &str, arguments: &Value) -> Value {
        self.ask("tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    fn cancel(&self, id: u64) {
        self.send(
            &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}),
        );
    }
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

fn server() -> Server {
    Server::new("test", "1.2.3")
        .instructions("be kind")
        .tool(Tool::new("echo", "Says it").text("text", "what to say"), |call| {
            Ok(call.text("text")?.to_owned())
        })
        .tool(Tool::new("panic", ""), |_| -> Result<Answer, ToolError> { panic!("at the disco") })
        .tool(Tool::new("refuse", ""), |_| -> Result<Answer, ToolError> {
            Err(ToolError::protocol(-32602, "no"))
        })
        .tool(Tool::new("parse", "").text("n", "a number"), |call| {
            Ok(json!({"n": call.text("n")?.parse::<i32>()?}))
        })
}

/// A tool that says that it runs and then waits for its end.
fn waiting() -> Server {
    server().tool(Tool::new("wait", ""), |call| {
        call.progress(1.0, Some(2.0), Some("begun"));
        call.sleep(PATIENCE)?;
        Ok("slept")
    })
}

#[test]
fn a_revision_is_negotiated() {
    let client = Client::new(server());
    for (asked, settled) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let hello = client
            .ask("initialize", &json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": {}}));
        assert_eq!(hello["result"]["protocolVersion"], settled);
        assert_eq!(hello["result"]["serverInfo"], json!({"name": "test", "version": "1.2.3"}));
        assert_eq!(hello["result"]["instructions"], "be kind");
    }
    assert_eq!(client.ask("ping", &json!({}))["result"], json!({}));
    assert_eq!(client.ask("initialize", &json!({}))["error"]["code"], -32602);
    assert_eq!(client.ask("server/discover", &json!({}))["error"]["code"], -32601);
}

#[test]
fn tools_are_listed_as_they_were_described() {
    let tool = Tool::new("t", "Does it")
        .title("T")
        .text("a", "first")
        .integer("n", "second")
        .optional()
        .choice("c", "third", &["x", "y"])
        .read_only()
        .destructive(false);
    let own = Tool::new("own", "").schema(r#"{"type":"object","additionalProperties":false}"#);
    let client = Client::new(Server::new("s", "1").tool(tool, |_| Ok("")).tool(own, |_| Ok("")));
    assert_eq!(
        client.ask("tools/list", &json!({}))["result"]["tools"],
        json!([{
            "name": "t", "title": "T", "description": "Does it",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "a": {"type": "string", "description": "first"},
                    "n": {"type": "integer", "description": "second"},
                    "c": {"type": "string", "enum": ["x", "y"], "description": "third"},
                },
                "required": ["a", "c"],
            },
            "annotations": {"readOnlyHint": true, "destructiveHint": false},
        }, {"name": "own", "description": "", "inputSchema": {"type": "object", "additionalProperties": false}}])
    );
    assert_eq!(client.ask("tools/list", &json!({"cursor": "x"}))["error"]["code"], -32602);
}

#[test]
fn a_server_that_is_built_wrong_names_every_problem() {
    let server = Server::new("s", "1")
        .tool(Tool::new("a b", ""), |_| Ok(""))
        .tool(Tool::new("t", "").schema("{").optional().text("x", "").text("x", ""), |_| Ok(""))
        .tool(Tool::new("t", "").output_schema("[]"), |_| Ok(""));
    let problems = server.open(Arc::new(|_: &[u8]| {})).unwrap_err().0;
    assert_eq!(problems.len(), 6, "{problems:#?}");
}

#[test]
fn answers_and_failures_are_told_apart() {
    let client = Client::new(server());
    assert_eq!(
        client.call("echo", &json!({"text": "hi"}))["result"],
        json!({"content": [{"type": "text", "text": "hi"}]})
    );

    let missing = client.call("echo", &json!({}));
    assert_eq!(missing["result"]["isError"], true);
    assert_eq!(text(&missing), r#"the argument "text" (what to say) is missing"#);
    assert!(text(&client.call("echo", &json!({"text": 1}))).contains("not a string"));

    let data = client.call("parse", &json!({"n": "7"}));
    assert_eq!((&data["result"]["structuredContent"], text(&data)), (&json!({"n": 7}), r#"{"n":7}"#));
    assert!(text(&client.call("parse", &json!({"n": "x"}))).contains("invalid digit"));

    assert_eq!(client.call("refuse", &json!({}))["error"], json!({"code": -32602, "message": "no"}));
    assert_eq!(client.call("none", &json!({}))["error"]["message"], "unknown tool: none");
    assert_eq!(client.call("echo", &json!([]))["error"]["code"], -32602);
}

#[test]
fn arguments_have_types() {
    #[derive(Deserialize)]
    struct Arguments {
        n: u8,
    }
    let server = Server::new("s", "1").tool(Tool::new("t", "").integer("n", "").optional(), |call| {
        Ok(match call.get::<Option<u8>>("n")? {
            None => "none".to_owned(),
            Some(n) => format!("{n} {}", call.arguments::<Arguments>()?.n),
        })
    });
    let client = Client::new(server);
    assert_eq!(text(&client.call("t", &json!({"n": 3}))), "3 3");
    assert_eq!(text(&client.call("t", &json!({}))), "none");
    assert!(text(&client.call("t", &json!({"n": 300}))).contains("does not fit"));
    assert_eq!(text(&client.ask("tools/call", &json!({"name": "t"}))), "none");
}

#[test]
fn a_panic_is_the_calls_failure_and_nobody_elses() {
    let client = Client::new(server());
    let failed = client.call("panic", &json!({}));
    assert_eq!(
        (&failed["result"]["isError"], text(&failed)),
        (&json!(true), "the tool panicked: at the disco")
    );
    assert_eq!(text(&client.call("echo", &json!({"text": "alive"}))), "alive");
}

#[test]
fn a_cancelled_call_ends_and_is_not_answered() {
    let client = Client::new(waiting());
    client.start(1, "wait", &json!({}));
    let progress = client.next();
    assert_eq!(progress["method"], "notifications/progress");
    assert_eq!(
        progress["params"],
        json!({"progressToken": "p1", "progress": 1.0, "total": 2.0, "message": "begun"})
    );
    client.cancel(1);
    client.cancel(99);
    assert_eq!(client.session.close(), 0, "the tool did not see the cancellation");
    assert!(client.from.try_recv().is_err());
}

#[test]
fn answers_come_as_they_are_ready_and_a_ping_at_any_time() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let server = server().concurrency(2).tool(Tool::new("gate", ""), move |call| {
        call.progress(1.0, None, None);
        gate.lock().unwrap().recv_timeout(PATIENCE)?;
        Ok("through")
    });
    let client = Client::new(server);
    client.start(1, "gate", &json!({}));
    assert_eq!(client.next()["params"]["progressToken"], "p1");
    client.start(2, "echo", &json!({"text": "faster"}));
    assert_eq!(client.next()["id"], 2);
    client.start(3, "gate", &json!({}));
    assert_eq!(client.next()["params"]["progressToken"], "p3");
    // Both threads are taken: this call waits, a ping does not.
    client.start(4, "echo", &json!({"text": "waits"}));
    assert_eq!(client.ask("ping", &json!({}))["result"], json!({}));
    assert!(client.from.try_recv().is_err());
    go.send(()).unwrap();
    go.send(()).unwrap();
    let mut ids: Vec<_> = (0..3).map(|_| client.next()["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 3, 4]);
}

#[test]
fn too_many_waiting_calls_are_refused_at_once() {
    let ran = Arc::new(AtomicBool::new(false));
    let mark = Arc::clone(&ran);
    let mut server = waiting().concurrency(1).tool(Tool::new("mark", ""), move |_| {
        mark.store(true, Ordering::SeqCst);
        Ok("")
    });
    server.waiting = 1;
    let client = Client::new(server);
    client.start(1, "wait", &json!({}));
    assert_eq!(client.next()["method"], "notifications/progress");
    client.start(2, "mark", &json!({}));
    client.start(3, "mark", &json!({}));
    let refused = client.next();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(3), &json!(-32000)));
    // A cancelled call that waits is never run.
    client.cancel(2);
    client.cancel(1);
    assert_eq!(client.session.close(), 0);
    assert!(!ran.load(Ordering::SeqCst));
    assert!(client.from.try_recv().is_err());
}

#[test]
fn an_id_in_flight_is_not_used_twice() {
    let client = Client::new(waiting());
    client.start(1, "wait", &json!({}));
    client.next();
    client.start(1, "echo", &json!({"text": "x"}));
    let refused = client.next();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&Value::Null, &json!(-32600)));
    client.cancel(1);
}

#[test]
fn logs_come_from_the_chosen_level_on_and_progress_only_grows() {
    let client = Client::new(Server::new("s", "1").tool(Tool::new("t", ""), |call| {
        call.log(Level::Debug, "quiet");
        call.log(Level::Error, "loud");
        for done in [1.0, 1.0, 0.5, f64::NAN, 2.0] {
            call.progress(done, None, None);
        }
        Ok("")
    }));
    let run = || {
        client.start(1, "t", &json!({}));
        let mut seen = Vec::new();
        loop {
            let message = client.next();
            if message.get("id").is_some() {
                return seen;
            }
            let params = &message["params"];
            seen.push(params.get("data").or_else(|| params.get("progress")).unwrap().clone());
        }
    };
    assert_eq!(run(), [json!("loud"), json!(1.0), json!(2.0)]);
    client.ask("logging/setLevel", &json!({"level": "debug"}));
    assert_eq!(run(), [json!("quiet"), json!("loud"), json!(1.0), json!(2.0)]);
    client.ask("logging/setLevel", &json!({"level": "emergency"}));
    assert_eq!(run(), [json!(1.0), json!(2.0)]);
    assert_eq!(client.ask("logging/setLevel", &json!({"level": "shout"}))["error"]["code"], -32602);
}

#[test]
fn what_is_no_message_is_answered_without_an_id() {
    let client = Client::new(server());
    for (bytes, code) in
        [("{", -32700), ("hello", -32700), ("[]", -32600), ("{}", -32600), ("{\"id\":1.5}", -32600)]
    {
        client.session.receive(bytes.as_bytes());
        let answer = client.next();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(code)), "{bytes}");
    }
    client.session.receive(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    client.session.receive(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert!(client.from.try_recv().is_err());
}

/// A growing output that others can read.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn at_the_end_of_input_calls_in_flight_are_still_answered() {
    let input: String = (0..100)
        .map(|id| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "a\nb"}}}).to_string() + "\n")
        .collect();
    let output = Output::default();
    server().serve(input.as_bytes(), output.clone()).unwrap();
    let written = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
    assert_eq!(written.lines().count(), 100);
    assert!(written.lines().all(|line| text(&serde_json::from_str(line).unwrap()) == "a\nb"));
}

#[test]
fn the_end_of_input_does_not_wait_for_ever() {
    let client = Client::new(waiting().grace(Duration::ZERO));
    client.start(1, "wait", &json!({}));
    client.next();
    assert_eq!(client.session.close(), 1);
    // It now knows that nobody waits for it.
    assert_eq!(client.session.pool_left(PATIENCE), 0);
    assert!(client.from.try_recv().is_err());
}

#[test]
fn missing_configuration_names_the_variable_and_ends_for_good() {
    let missing = super::env("WHARF_TEST_VARIABLE_THAT_IS_NOT_SET").unwrap_err();
    assert!(missing.to_string().contains("WHARF_TEST_VARIABLE_THAT_IS_NOT_SET"));
    let code = super::run(|| -> Result<Server, _> { Err(missing) });
    assert_eq!(code, std::process::ExitCode::from(78));
}
