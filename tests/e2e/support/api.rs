//! A host under test as its users meet it: requests, waits for what the API shows, calls.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::sse::Events;
use super::{Answer, TestHost, eventually};

impl TestHost {
    /// A request without the token.
    pub(crate) fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// A request with the token.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(&self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }

    /// A plugin as the API shows it.
    pub(crate) async fn plugin(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/plugins/{id}")).await.expect(200)
    }

    /// Waits until the API shows of a plugin what `fits` looks for.
    pub(crate) async fn until(&self, id: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/v1/plugins/{id}");
        eventually(&format!("{id} to be {what}"), async || {
            let answer = self.get(&path).await;
            let view = answer.json();
            if answer.status == 200 && fits(&view) { Ok(view) } else { Err(answer.text()) }
        })
        .await
    }

    pub(crate) async fn until_state(&self, id: &str, state: &str) -> Value {
        self.until(id, state, |view| view["state"] == state).await
    }

    /// Waits until a plugin has the given state for this cause.
    pub(crate) async fn until_cause(&self, id: &str, cause: &str) -> Value {
        let view = self.until(id, cause, |view| view["cause"]["code"] == cause).await;
        for said in ["detail", "remedy"] {
            assert!(view["cause"][said].as_str().is_some_and(|text| !text.is_empty()), "no {said}: {view}");
        }
        view
    }

    /// Waits until a plugin is ready in another process than this one.
    pub(crate) async fn until_back(&self, id: &str, old: u32) -> u32 {
        let view = self
            .until(id, "ready in a new process", |view| {
                view["state"] == "ready" && pid_of(view).is_some_and(|pid| pid != old)
            })
            .await;
        pid_of(&view).expect("just seen")
    }

    /// The process id of a ready plugin's first instance.
    pub(crate) async fn pid_of(&self, id: &str) -> u32 {
        let view = self.until_state(id, "ready").await;
        pid_of(&view).unwrap_or_else(|| panic!("a ready plugin has a process: {view}"))
    }

    /// Calls a tool; the whole answer.
    pub(crate) async fn try_call(&self, plugin: &str, tool: &str, arguments: Value) -> Answer {
        let path = format!("/api/v1/plugins/{plugin}/tools/{tool}/call");
        self.post(&path, &json!({ "arguments": arguments })).await
    }

    /// Calls a tool that must answer; the result as the plugin sent it.
    pub(crate) async fn call(&self, plugin: &str, tool: &str, arguments: Value) -> Value {
        self.try_call(plugin, tool, arguments).await.expect(200)["result"].take()
    }

    /// Begins a command to a plugin and waits for its end.
    pub(crate) async fn command(&self, plugin: &str, action: &str) -> Value {
        let answer = self.post(&format!("/api/v1/plugins/{plugin}/{action}"), &json!({})).await;
        answer.expect(202);
        let place = answer.header("location").to_owned();
        assert!(place.starts_with("/api/v1/operations/"), "location {place:?}");
        eventually(&format!("the end of {action} {plugin}"), async || {
            let operation = self.get(&place).await.expect(200);
            if operation["status"] == "running" { Err(operation.to_string()) } else { Ok(operation) }
        })
        .await
    }

    /// Opens a stream of events.
    pub(crate) async fn events(&self, path: &str) -> Events {
        Events::open(self.request(Method::GET, path)).await
    }
}

fn pid_of(view: &Value) -> Option<u32> {
    view["instances"][0]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
}
