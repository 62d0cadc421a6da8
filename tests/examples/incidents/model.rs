//! A fake of the Anthropic Messages API, which streams: a model that asks for the tools of a list, one a turn, whatever
//! it is told, and then says that it is done.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// What the model says at its end.
pub(super) const DONE: &str = "The incident is resolved.";

/// The running fake; it ends when this is dropped.
pub(super) struct Model {
    pub(super) base: String,
    state: Arc<Script>,
    _server: JoinSet<()>,
}

struct Script {
    turns: Vec<(&'static str, Value)>,
    heard: Mutex<Vec<Value>>,
}

impl Model {
    pub(super) async fn start(turns: Vec<(&'static str, Value)>) -> Self {
        let state = Arc::new(Script { turns, heard: Mutex::default() });
        let app = Router::new()
            .route("/v1/messages", post(answer))
            .layer(DefaultBodyLimit::max(16 << 20))
            .with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("it is bound"));
        let mut server = JoinSet::new();
        server.spawn(async { axum::serve(listener, app).await.expect("it serves") });
        Self { base, state, _server: server }
    }

    /// The names of the tools that it was offered last.
    pub(super) fn offered(&self) -> Vec<String> {
        let heard = self.state.heard.lock().expect("nothing panics with it");
        let tools = heard.last().expect("it was asked")["tools"].as_array().expect("tools").clone();
        tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// What the tools answered, one text for each turn.
    pub(super) fn told(&self) -> Vec<String> {
        let heard = self.state.heard.lock().expect("nothing panics with it");
        let messages = heard.last().expect("it was asked")["messages"].as_array().expect("messages").clone();
        let users = messages.iter().filter(|message| message["role"] == "user");
        let blocks = users.flat_map(|message| message["content"].as_array().cloned().unwrap_or_default());
        blocks
            .filter(|block| block["type"] == "tool_result")
            .map(|block| block["content"].to_string())
            .collect()
    }
}

/// The turn is told by the conversation itself, which holds what the model has said so far.
async fn answer(State(script): State<Arc<Script>>, body: String) -> impl IntoResponse {
    let request: Value = serde_json::from_str(&body).expect("JSON");
    let said = request["messages"].as_array().expect("messages").iter();
    let turn = said.filter(|message| message["role"] == "assistant").count();
    let (block, delta, stop) = match script.turns.get(turn) {
        Some((tool, input)) => (
            json!({ "type": "tool_use", "id": format!("toolu_{turn}"), "name": tool, "input": {} }),
            json!({ "type": "input_json_delta", "partial_json": input.to_string() }),
            "tool_use",
        ),
        None => {
            (json!({ "type": "text", "text": "" }), json!({ "type": "text_delta", "text": DONE }), "end_turn")
        }
    };
    let message = json!({
        "id": format!("msg_{turn}"), "type": "message", "role": "assistant", "model": request["model"], "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": { "input_tokens": 1, "output_tokens": 1 },
    });
    script.heard.lock().expect("nothing panics with it").push(request);
    let events = [
        ("message_start", json!({ "message": message })),
        ("content_block_start", json!({ "index": 0, "content_block": block })),
        ("content_block_delta", json!({ "index": 0, "delta": delta })),
        ("content_block_stop", json!({ "index": 0 })),
        (
            "message_delta",
            json!({ "delta": { "stop_reason": stop, "stop_sequence": null }, "usage": { "output_tokens": 1 } }),
        ),
        ("message_stop", json!({})),
    ];
    let stream: String = events.map(|(name, data)| event(name, data)).concat();
    ([(CONTENT_TYPE, "text/event-stream")], stream)
}

fn event(name: &str, mut data: Value) -> String {
    data["type"] = name.into();
    format!("event: {name}\ndata: {data}\n\n")
}
