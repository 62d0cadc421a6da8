//! A crowd on one plugin: 64 sessions of both eras at both endpoints, which use the same request ids and the same
//! progress tokens at the same time. What belongs to a session is told by what it asked for: only session n asks for
//! n + 1 steps. The plugin's own ledger tells which calls it ended and which it was told to give up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::support::host::Setup;
use crate::support::{Manifest, PATIENCE, TestHost, eventually, mock};
use crate::wire::{Messages, Session};

const SESSIONS: u64 = 64;
const CALLS: u64 = 100;
/// Calls of one session at a time.
const IN_FLIGHT: usize = 8;
/// What a call asks for that is to be cancelled: it would go on until long after the test.
const ENDLESS: u64 = 1_000_000;

/// What a session does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Echo,
    Progress,
    Cancelled,
}

/// The session's number, its connection and the names of the plugin's tools where it is connected.
struct Member {
    n: u64,
    session: Session,
    prefix: &'static str,
}

#[tokio::test]
async fn what_belongs_to_one_of_many_sessions_reaches_that_session_alone() {
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let all = i64::try_from(SESSIONS).unwrap() * i64::try_from(IN_FLIGHT).unwrap();
    // No deadline of the host's may end what a session cancels.
    let limits =
        |manifest: Manifest| manifest.set("limits.concurrency", all).set("limits.call_timeout", "10m");
    let plugin = limits(mock().arg("--ledger").path(&ledger));
    let host = setup.plugin("mock", &plugin).start().await;
    host.until_state("mock", "ready").await;

    let mut members = Vec::new();
    for n in 0..SESSIONS {
        members.push(Member::join(&host, n).await);
    }
    join_all(members.iter().map(Member::work)).await;

    let expected: BTreeMap<_, _> =
        (0..SESSIONS).flat_map(|n| (0..CALLS).map(move |call| (who(n, call), kind(call)))).collect();
    the_ledger_agrees(&ledger, &expected).await;
}

fn kind(call: u64) -> Kind {
    match call % 10 {
        0 | 3 | 6 => Kind::Echo,
        9 => Kind::Cancelled,
        _ => Kind::Progress,
    }
}

/// Names a call among all. The plugin writes it to its ledger with the other arguments.
fn who(n: u64, call: u64) -> String {
    format!("session {n}, call {call}")
}

impl Member {
    async fn join(host: &TestHost, n: u64) -> Self {
        let (path, prefix) = if n % 4 < 2 { ("/mcp", "mock__") } else { ("/plugins/mock/mcp", "") };
        let session =
            if n.is_multiple_of(2) { Session::legacy(host, path).await } else { Session::modern(host, path) };
        Self { n, session, prefix }
    }

    /// All calls of the session, some at a time; a legacy one listens meanwhile and must hear nothing of them.
    async fn work(&self) {
        let calls = async {
            stream::iter(0..CALLS).map(|call| self.call(call)).buffer_unordered(IN_FLIGHT).count().await;
        };
        if !self.session.is_legacy() {
            return calls.await;
        }
        let mut heard = self.session.listen().await;
        let overhear = async {
            while let Some(message) = heard.next().await {
                let method = message["method"].as_str().unwrap_or_default();
                assert!(
                    method.ends_with("list_changed"),
                    "session {} hears beside its calls: {message}",
                    self.n
                );
            }
        };
        let calls_then_end = async {
            calls.await;
            self.session.end().await;
        };
        tokio::join!(calls_then_end, overhear);
    }

    async fn call(&self, call: u64) {
        // The same ids and tokens in every session, of both types: who mixes sessions up by them is found out.
        let id = if call.is_multiple_of(2) { json!(call) } else { json!(call.to_string()) };
        let steps = if kind(call) == Kind::Cancelled { ENDLESS + self.n } else { self.n + 1 };
        let (tool, arguments) = match kind(call) {
            Kind::Echo => ("echo", json!({ "who": who(self.n, call), "message": who(self.n, call) })),
            Kind::Progress => ("progress", json!({ "who": who(self.n, call), "steps": steps })),
            Kind::Cancelled => {
                ("progress", json!({ "who": who(self.n, call), "steps": steps, "interval_ms": 5 }))
            }
        };
        let tool = format!("{}{tool}", self.prefix);
        let mut messages = self.session.call(&id, &id, &tool, &arguments).await;
        match kind(call) {
            Kind::Echo => {
                let (seen, answer) = self.read(&mut messages, &id, steps, u64::MAX).await;
                assert_eq!((seen, answer), (0, Some(who(self.n, call))), "{}", who(self.n, call));
            }
            Kind::Progress => {
                let (seen, answer) = self.read(&mut messages, &id, steps, u64::MAX).await;
                let done = Some(format!("did {steps} steps"));
                assert_eq!((seen, answer), (steps, done), "{}", who(self.n, call));
            }
            Kind::Cancelled => self.cancel(messages, &id, steps).await,
        }
    }

    /// Gives up a call that runs: by a notification, or in the modern era by closing its stream.
    async fn cancel(&self, mut messages: Messages, id: &Value, steps: u64) {
        let (seen, _) = self.read(&mut messages, id, steps, 1).await;
        assert_eq!(seen, 1, "session {}: it runs", self.n);
        if self.session.is_legacy() {
            self.session.notify("notifications/cancelled", &json!({ "requestId": id })).await;
            let mut last = 1;
            while let Some(message) = messages.next().await {
                last += 1;
                self.is_progress(&message, id, last, steps);
            }
        }
    }

    /// Reads an answer with its progress, at most so many events; how many there were, and the text of the answer.
    async fn read(
        &self,
        messages: &mut Messages,
        id: &Value,
        steps: u64,
        most: u64,
    ) -> (u64, Option<String>) {
        let mut seen = 0;
        let reading = async {
            while seen < most {
                let message = messages.next().await?;
                if message.get("id").is_none() {
                    seen += 1;
                    self.is_progress(&message, id, seen, steps);
                    continue;
                }
                assert_eq!(
                    &message["id"], id,
                    "session {} gets an answer that is not its own: {message}",
                    self.n
                );
                let text = message["result"]["content"][0]["text"].as_str();
                return Some(text.unwrap_or_else(|| panic!("session {}: {message}", self.n)).to_owned());
            }
            None
        };
        let answer = tokio::time::timeout(PATIENCE, reading).await.expect("a call ends");
        (seen, answer)
    }

    /// Fails unless this is the event with this number of the call with this token and so many steps.
    fn is_progress(&self, message: &Value, token: &Value, at: u64, steps: u64) {
        let params = &message["params"];
        let own = message["method"] == "notifications/progress"
            && &params["progressToken"] == token
            && params["progress"] == at
            && params["total"] == steps;
        assert!(own, "session {} awaits step {at} of {steps} for {token} and gets {message}", self.n);
    }
}

/// The plugin has run each call once, and gave up those that were cancelled and no other.
async fn the_ledger_agrees(ledger: &Path, expected: &BTreeMap<String, Kind>) {
    let lines = eventually("the end of every call in the ledger", async || {
        let text = std::fs::read_to_string(ledger).map_err(|error| error.to_string())?;
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let begun = lines.iter().filter(|line| line["phase"] == "begin").count();
        if lines.len() == 2 * begun && begun >= expected.len() {
            Ok(lines)
        } else {
            Err(format!("{} lines, {begun} of {} calls begun", lines.len(), expected.len()))
        }
    })
    .await;
    let of = |phase: &str| -> Vec<String> {
        let lines = lines.iter().filter(|line| line["phase"] == phase);
        lines.map(|line| line["arguments"]["who"].as_str().expect("who it was").to_owned()).collect()
    };
    let begun = of("begin");
    assert_eq!(begun.len(), expected.len(), "each call runs once");
    assert_eq!(begun.iter().collect::<BTreeSet<_>>(), expected.keys().collect(), "and every one of them");
    let given_up: BTreeSet<_> = of("cancelled").into_iter().collect();
    let cancelled = expected.iter().filter(|(_, kind)| **kind == Kind::Cancelled).map(|(who, _)| who.clone());
    assert_eq!(given_up, cancelled.collect(), "what was cancelled, and nothing else");
}
