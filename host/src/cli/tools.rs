//! `wharf tools` and `wharf describe`: what can be called.

use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, parse};
use super::exit::{Complaint, Exit};
use super::out;
use super::table::table;

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only tools of this plugin
    plugin: Option<String>,
    /// Only tools whose name or description has all these words
    #[arg(short, long, value_name = "TEXT")]
    query: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct DescribeArgs {
    /// PLUGIN/TOOL
    tool: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Tools {
    tools: Vec<Tool>,
}

/// What the commands read of a tool.
#[derive(Debug, Deserialize)]
pub(super) struct Tool {
    plugin: String,
    name: String,
    available: bool,
    #[serde(default)]
    on_call: bool,
    description: Option<String>,
    #[serde(default)]
    pub(super) definition: Value,
}

pub(super) async fn list(args: &ListArgs, host: &Client) -> Result<(), Complaint> {
    let mut url = host.path(&["api", "v1", "tools"]);
    for (name, value) in [("plugin", &args.plugin), ("q", &args.query)] {
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    if args.json {
        url.query_pairs_mut().append_pair("detail", "full");
        return out::line(&String::from_utf8_lossy(&host.get_bytes(url).await?));
    }
    let Tools { tools } = host.get(url).await?;
    if tools.is_empty() {
        out::note("no tools");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = tools.iter().map(row).collect();
    out::data(&out::harmless(&table(&["TOOL", "AVAILABLE", "DESCRIPTION"], &rows)))
}

pub(super) async fn describe(args: &DescribeArgs, host: &Client) -> Result<(), Complaint> {
    let (plugin, tool) = split(&args.tool)?;
    let body = host.get_bytes(host.path(&["api", "v1", "plugins", plugin, "tools", tool])).await?;
    if args.json {
        return out::line(&String::from_utf8_lossy(&body));
    }
    let tool: Tool = parse(&body)?;
    out::data(&out::harmless(&text(&tool)))
}

/// The definition of a tool.
pub(super) async fn fetch(host: &Client, plugin: &str, tool: &str) -> Result<Tool, Complaint> {
    host.get(host.path(&["api", "v1", "plugins", plugin, "tools", tool])).await
}

/// Splits `PLUGIN/TOOL`. A tool's name may hold further slashes.
pub(super) fn split(name: &str) -> Result<(&str, &str), Complaint> {
    name.split_once('/').filter(|(plugin, tool)| !plugin.is_empty() && !tool.is_empty()).ok_or_else(|| {
        Complaint::new(Exit::Usage, format!("{name:?} does not name a tool"))
            .remedy("write it as PLUGIN/TOOL; `wharf tools` lists them")
    })
}

fn row(tool: &Tool) -> Vec<String> {
    let first = tool.description.as_deref().unwrap_or_default().lines().next().unwrap_or_default();
    let available = match (tool.available, tool.on_call) {
        (true, _) => "yes",
        // A lazy plugin that sleeps: the call starts it.
        (false, true) => "on call",
        (false, false) => "no",
    };
    vec![format!("{}/{}", tool.plugin, tool.name), available.to_owned(), first.to_owned()]
}

fn text(tool: &Tool) -> String {
    let mut text = format!("{}/{}\n", tool.plugin, tool.name);
    for line in tool.description.as_deref().unwrap_or("(no description)").lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str("\narguments:\n");
    let schema = tool.definition.get("inputSchema").cloned().unwrap_or_default();
    text.push_str(&parameters(&schema));
    text
}

fn parameters(schema: &Value) -> String {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    let rows: Vec<Vec<String>> = properties
        .into_iter()
        .flatten()
        .map(|(name, property)| {
            let kind = match property.get("type") {
                Some(Value::String(kind)) => kind.clone(),
                Some(other) => other.to_string(),
                None => "any".to_owned(),
            };
            let need = if required.contains(&name.as_str()) { "required" } else { "" };
            let about = property.get("description").and_then(Value::as_str).unwrap_or_default();
            vec![
                format!("  {name}"),
                kind,
                need.to_owned(),
                about.lines().next().unwrap_or_default().to_owned(),
            ]
        })
        .collect();
    if rows.is_empty() {
        "  (none)\n".to_owned()
    } else {
        table(&["  NAME", "TYPE", "", "DESCRIPTION"], &rows)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Exit, Tool, row, split, text};

    #[test]
    fn a_tool_is_named_by_plugin_and_name() {
        assert_eq!(split("a/b").unwrap(), ("a", "b"));
        assert_eq!(split("a/b/c").unwrap(), ("a", "b/c"));
        for bad in ["", "a", "a/", "/b"] {
            assert_eq!(split(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn a_tool_of_a_plugin_that_sleeps_is_there_on_call() {
        let available = |more: serde_json::Value| {
            let mut tool = json!({"plugin": "p", "name": "t", "description": null});
            tool.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            row(&serde_json::from_value(tool).unwrap()).swap_remove(1)
        };
        assert_eq!(available(json!({"available": true})), "yes");
        assert_eq!(available(json!({"available": false, "on_call": true})), "on call");
        assert_eq!(available(json!({"available": false})), "no");
    }

    #[test]
    fn a_description_shows_the_arguments() {
        let tool: Tool = serde_json::from_value(json!({
            "plugin": "p", "name": "t", "available": true, "description": "Does\nthings",
            "definition": {"inputSchema": {"required": ["n"], "properties": {
                "n": {"type": "integer", "description": "how many"}, "x": {"type": ["string", "null"]}, "y": true}}}
        }))
        .unwrap();
        let expected = "p/t\n  Does\n  things\n\narguments:\n  NAME  TYPE                         DESCRIPTION\n  \
            n     integer            required  how many\n  x     [\"string\",\"null\"]\n  y     any\n";
        assert_eq!(text(&tool), expected);
    }
}
