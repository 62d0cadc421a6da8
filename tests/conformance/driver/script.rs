//! What the client does in each scenario. What the suite checks it sees at its own end.

use serde_json::{Map, Value, json};

use super::pipe::{Pipe, result_of};

/// Performs the script of a scenario.
pub(super) async fn perform(client: &mut Pipe, scenario: &str, context: &Value) {
    match scenario {
        "initialize" | "request-metadata" | "json-schema-ref-no-deref" => {
            client.request("tools/list", json!({})).await;
        }
        "tools_call" => {
            let result = client.call("add_numbers", json!({ "a": 5, "b": 3 })).await;
            assert_eq!(result["content"][0]["text"], "The sum of 5 and 3 is 8");
        }
        "elicitation-sep1034-client-defaults" => {
            client.call("test_client_elicitation_defaults", json!({})).await;
        }
        "sse-retry" => {
            let result = client.call("test_reconnection", json!({})).await;
            assert_eq!(result["content"][0]["text"], "Reconnection test completed successfully");
        }
        "http-standard-headers" => everything(client).await,
        "http-custom-headers" => {
            client.request("tools/list", json!({})).await;
            for call in context["toolCalls"].as_array().expect("the suite names the calls") {
                let name = call["name"].as_str().expect("a tool");
                client.call(name, call["arguments"].clone()).await;
            }
        }
        "http-invalid-tool-headers" => every_tool(client).await,
        "sep-2322-client-request-state" => rounds(client).await,
        "json-schema-2020-12-preservation" => {
            let tools = list(client, "tools").await;
            let schema = tools[0]["inputSchema"].clone();
            client.call("json_schema_echo", json!({ "schema": schema })).await;
        }
        // Not scored, and of extensions that the host does not speak as a client.
        _ => {}
    }
}

async fn list(client: &mut Pipe, kind: &str) -> Vec<Value> {
    let result = client.request(&format!("{kind}/list"), json!({})).await;
    result[kind].as_array().cloned().unwrap_or_else(|| panic!("no {kind}: {result}"))
}

/// Uses all that the server lists.
async fn everything(client: &mut Pipe) {
    every_tool(client).await;
    for resource in list(client, "resources").await {
        client.request("resources/read", json!({ "uri": resource["uri"] })).await;
    }
    for prompt in list(client, "prompts").await {
        client.request("prompts/get", json!({ "name": prompt["name"] })).await;
    }
}

/// Calls every tool that is listed: one that should have been left out of the list is called, and the suite sees it.
async fn every_tool(client: &mut Pipe) {
    for tool in list(client, "tools").await {
        let required = tool["inputSchema"]["required"].as_array().cloned().unwrap_or_default();
        let names = required.iter().filter_map(Value::as_str);
        let arguments: Map<_, _> = names.map(|name| (name.to_owned(), json!("x"))).collect();
        client.call(tool["name"].as_str().expect("a name"), Value::Object(arguments)).await;
    }
}

/// Rounds of asking and answering, with another call between the two.
async fn rounds(client: &mut Pipe) {
    for tool in ["test_mrtr_echo_state", "test_mrtr_no_state"] {
        let asked = client.call(tool, json!({})).await;
        assert_eq!(asked["resultType"], "input_required", "{asked}");
        client.call("test_mrtr_unrelated", json!({})).await;
        let requests = asked["inputRequests"].as_object().expect("requests by key");
        let answers = requests.iter().map(|(key, ask)| {
            let method = ask["method"].as_str().expect("a method");
            (key.clone(), result_of(method, &ask["params"]))
        });
        let mut retry =
            json!({ "name": tool, "arguments": {}, "inputResponses": answers.collect::<Map<_, _>>() });
        if let Some(state) = asked.get("requestState") {
            retry["requestState"] = state.clone();
        }
        let result = client.request("tools/call", retry).await;
        assert_ne!(result["resultType"], "input_required", "{result}");
    }
    client.call("test_mrtr_no_result_type", json!({})).await;
}
