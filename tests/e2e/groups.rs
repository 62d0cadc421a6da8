//! A group: the plugins that say that they belong to it, and no other, at every way in.

use serde_json::{Value, json};

use crate::mcp_sse::Old;
use crate::support::answer::text_of;
use crate::support::host::Setup;
use crate::support::mcp::{LEGACY, call, enveloped, hello, reply, request};
use crate::support::pipe::Pipe;
use crate::support::{Answer, TestHost, eventually, mock};

/// Two plugins in the group `g`, one of them in another group too, and one in none.
fn setup() -> Setup {
    let within = |groups: &[&str]| {
        mock().set("groups", groups.iter().map(|group| toml::Value::from(*group)).collect::<Vec<_>>())
    };
    Setup::new().plugin("one", &within(&["g"])).plugin("two", &within(&["h", "g"])).plugin("other", &mock())
}

async fn host() -> TestHost {
    let host = setup().start().await;
    for id in ["one", "two", "other"] {
        host.until_state(id, "ready").await;
    }
    host
}

/// The plugins whose tools a list shows.
fn plugins(list: &Value) -> Vec<&str> {
    let tools = list["result"]["tools"].as_array().unwrap_or_else(|| panic!("no tools in {list}"));
    let mut found: Vec<_> =
        tools.iter().map(|tool| tool["name"].as_str().unwrap().split_once("__").unwrap().0).collect();
    found.dedup();
    found
}

fn echo(tool: &str) -> Value {
    call(tool, json!({ "message": tool }))
}

#[tokio::test]
async fn a_group_has_an_endpoint_for_both_eras() {
    let host = host().await;
    for (path, offered) in [("/groups/g/mcp", &["one", "two"][..]), ("/groups/h/mcp", &["two"])] {
        let session = host.session(path, LEGACY).await;
        let list = session.ask("tools/list", json!({})).await;
        assert_eq!(plugins(&list), offered, "{path}");
        let list = reply(&Answer::of(host.modern(path, "tools/list", json!({}))).await, 200);
        assert_eq!(plugins(&list), offered, "{path}");
        for tool in offered.iter().map(|plugin| format!("{plugin}__echo")) {
            assert_eq!(text_of(&session.call(&tool, json!({ "message": tool })).await), tool);
            let modern = reply(&Answer::of(host.modern(path, "tools/call", echo(&tool))).await, 200);
            assert_eq!(text_of(&modern["result"]), tool);
        }
        let outside = session.ask("tools/call", echo("other__echo")).await;
        assert_eq!(outside["error"]["code"], -32602, "{outside}");
        let outside = Answer::of(host.modern(path, "tools/call", echo("other__echo"))).await;
        assert_eq!(reply(&outside, 200)["error"]["code"], -32602, "{}", outside.text());
    }
    // A session belongs to the face that it was opened at.
    let session = host.session("/groups/g/mcp", LEGACY).await;
    let elsewhere = host.message("/groups/h/mcp", &request(1, "tools/list", json!({})));
    assert_eq!(Answer::of(elsewhere.header("mcp-session-id", &session.id)).await.status, 404);
}

#[tokio::test]
async fn a_group_has_an_endpoint_for_old_clients() {
    let host = host().await;
    let mut old = Old::open(&host, "/groups/g/sse").await;
    assert!(old.endpoint.starts_with("/groups/g/messages?sessionId="), "{}", old.endpoint);
    old.ask(1, "initialize", hello("2024-11-05")).await;
    assert_eq!(old.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await, 202);
    assert_eq!(plugins(&old.ask(2, "tools/list", json!({})).await), ["one", "two"]);
    assert_eq!(text_of(&old.ask(3, "tools/call", echo("two__echo")).await["result"]), "two__echo");
    assert_eq!(old.ask(4, "tools/call", echo("other__echo")).await["error"]["code"], -32602);
}

/// Both eras on a pipe. The plugins may be on their way up still: a list grows until all are there.
async fn on_a_pipe(pipe: &mut Pipe) {
    let hello = pipe.ask("hello", "initialize", hello(LEGACY));
    assert_eq!(hello["result"]["protocolVersion"], LEGACY, "{hello}");
    pipe.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    // A plugin of the group that is not up yet is waited for.
    for tool in ["one__echo", "two__echo"] {
        let answer = pipe.ask(1, "tools/call", echo(tool));
        assert_eq!(text_of(&answer["result"]), tool, "{answer}");
        let answer = pipe.ask(2, "tools/call", enveloped(echo(tool)));
        assert_eq!(text_of(&answer["result"]), tool, "{answer}");
    }
    assert_eq!(pipe.ask(3, "tools/call", echo("other__echo"))["error"]["code"], -32602);
    assert_eq!(plugins(&pipe.ask(4, "tools/list", json!({}))), ["one", "two"]);
    assert_eq!(plugins(&pipe.ask(5, "tools/list", enveloped(json!({})))), ["one", "two"]);
}

#[tokio::test]
async fn a_pipe_serves_a_group_of_a_running_host() {
    let host = host().await;
    let mut pipe = Pipe::on(&host, &["--group", "g"]);
    on_a_pipe(&mut pipe).await;
    assert_eq!(pipe.close().1, Some(0));
    assert_eq!(Pipe::on(&host, &["--group", "none"]).close().1, Some(4), "no such group");
}

#[tokio::test]
async fn a_pipe_serves_a_group_without_a_host() {
    let setup = setup();
    let mut pipe = Pipe::alone(&setup, &["--group", "g"]);
    on_a_pipe(&mut pipe).await;
    assert_eq!(pipe.close().1, Some(0));
    assert_eq!(Pipe::alone(&setup, &["--group", "none"]).close().1, Some(4), "no such group");
}

#[tokio::test]
async fn a_group_that_no_plugin_names_is_not_found() {
    let host = host().await;
    for path in ["/groups/none/mcp", "/groups/G/mcp", "/groups/one/mcp"] {
        let hello = request(0, "initialize", hello(LEGACY));
        Answer::of(host.message(path, &hello)).await.problem(404, "not_found");
        Answer::of(host.modern(path, "tools/list", json!({}))).await.problem(404, "not_found");
        host.get(path).await.problem(404, "not_found");
    }
    host.get("/groups/none/sse").await.problem(404, "not_found");
    // A plugin that joins makes the group.
    host.put("late", &mock().set("groups", vec![toml::Value::from("none")]));
    host.until_state("late", "ready").await;
    let session = host.session("/groups/none/mcp", LEGACY).await;
    eventually("its tools", async || {
        let list = session.ask("tools/list", json!({})).await;
        if plugins(&list) == ["late"] { Ok(()) } else { Err(list.to_string()) }
    })
    .await;
}
