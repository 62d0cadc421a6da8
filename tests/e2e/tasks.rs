//! The tasks of 2025-11-25 with a server that has them: begun, looked at and fetched through the host, by who began them
//! and by nobody else.

use serde_json::{Value, json};

use crate::support::answer::text_of;
use crate::support::mcp::{BOTH, LEGACY, Session, hello, messages, request};
use crate::support::servers::Servers;
use crate::support::{Answer, Manifest, TestHost, eventually};

const QUERY: &str = "simulate-research-query";

async fn host(isolation: &str) -> TestHost {
    let everything = Manifest::command(Servers::node().bin("mcp-server-everything")).arg("stdio");
    let everything = everything.set("health.start_timeout", "60s").set("isolation", isolation).quick();
    let host = TestHost::with([("everything", everything)]).await;
    host.until_state("everything", "ready").await;
    host
}

/// Begins a task; its id.
async fn begin(session: &Session<'_>, tool: &str) -> String {
    let params = json!({ "name": tool, "arguments": { "topic": "bytes" }, "task": { "ttl": 600_000 } });
    let begun = session.ask("tools/call", params).await;
    let task = &begun["result"]["task"];
    assert_eq!(task["status"], "working", "{begun}");
    task["taskId"].as_str().unwrap_or_else(|| panic!("no task in {begun}")).to_owned()
}

/// Follows a task to its end and fetches what came of it.
async fn fetch(session: &Session<'_>, task: &str) {
    let named = || json!({ "taskId": task });
    eventually("the task to be completed", async || {
        let got = session.ask("tasks/get", named()).await;
        assert_eq!(got["result"]["taskId"], task, "{got}");
        match got["result"]["status"].as_str() {
            Some("completed") => Ok(()),
            Some("working") => Err(got.to_string()),
            _ => panic!("an odd status: {got}"),
        }
    })
    .await;
    let result = session.ask("tasks/result", named()).await;
    assert!(text_of(&result["result"]).starts_with("# Research Report: bytes"), "{result}");
    let related = &result["result"]["_meta"]["io.modelcontextprotocol/related-task"]["taskId"];
    assert_eq!(related, task, "{result}");
}

/// A client on the host's own socket, which is another principal than one with the token.
struct Other {
    http: reqwest::Client,
    path: &'static str,
    session: String,
}

impl Other {
    async fn open(host: &TestHost, path: &'static str) -> Self {
        let http = reqwest::Client::builder().no_proxy().unix_socket(host.state().join("wharf.sock"));
        let mut other = Self { http: http.build().unwrap(), path, session: String::new() };
        let answer = other.send(&request(0, "initialize", hello(LEGACY))).await;
        answer.expect(200);
        answer.header("mcp-session-id").clone_into(&mut other.session);
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(other.send(&ready).await.status, 202);
        other
    }

    async fn send(&self, message: &Value) -> Answer {
        let post = self.http.post(format!("http://localhost{}", self.path)).header("accept", BOTH);
        let post = if self.session.is_empty() {
            post
        } else {
            post.header("mcp-session-id", &self.session).header("mcp-protocol-version", LEGACY)
        };
        Answer::of(post.json(message)).await
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        messages(&self.send(&request(1, method, params)).await).pop().expect("an answer")
    }
}

#[tokio::test]
async fn a_task_is_begun_looked_at_and_fetched() {
    let host = host("shared").await;
    for (path, tool) in
        [("/plugins/everything/mcp", QUERY.to_owned()), ("/mcp", format!("everything__{QUERY}"))]
    {
        let session = host.session(path, LEGACY).await;
        let list = session.ask("tools/list", json!({})).await;
        let listed = list["result"]["tools"].as_array().unwrap().iter().find(|one| one["name"] == tool);
        assert_eq!(listed.expect("it is listed")["execution"]["taskSupport"], "required", "{list}");
        let task = begin(&session, &tool).await;
        fetch(&session, &task).await;
    }
}

#[tokio::test]
async fn a_task_is_nobody_elses() {
    let host = host("shared").await;
    let path = "/plugins/everything/mcp";
    let session = host.session(path, LEGACY).await;
    let task = begin(&session, QUERY).await;
    let other = Other::open(&host, path).await;
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        let refused = other.ask(method, json!({ "taskId": task })).await;
        assert_eq!(refused["error"]["code"], -32602, "{method}: {refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains("Unknown task"), "{refused}");
    }
    let ids = |list: &Value| {
        let tasks = list["result"]["tasks"].as_array().unwrap_or_else(|| panic!("no tasks in {list}"));
        tasks.iter().map(|task| task["taskId"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&other.ask("tasks/list", json!({})).await), Vec::<String>::new());
    assert_eq!(ids(&session.ask("tasks/list", json!({})).await), [task.as_str()]);
    // Nothing that the other one tried has touched it.
    fetch(&session, &task).await;
}

#[tokio::test]
async fn a_task_in_an_instance_of_one_session_is_that_sessions() {
    let host = host("session").await;
    let path = "/plugins/everything/mcp";
    let (session, second) = (host.session(path, LEGACY).await, host.session(path, LEGACY).await);
    let task = begin(&session, QUERY).await;
    let unknown = second.ask("tasks/get", json!({ "taskId": task })).await;
    assert!(unknown["error"]["code"].is_i64(), "{unknown}");
    fetch(&session, &task).await;
}
