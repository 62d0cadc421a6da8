//! `{"mcpServers": {..}}`, as Claude Desktop, Claude Code, Cursor, Windsurf, Gemini CLI, Cline and mcpo write it.

use wharf_core::manifest::globs;

use super::Foreign;
use crate::manifest::tree::{Entry, Node, Spot, Value, escape};

/// The key under which an entry holds keys of ours.
const OURS: &str = "x-wharf";

/// The entries, if the file has a table `mcpServers`.
pub(super) fn entries(root: &Node) -> Option<Vec<Foreign>> {
    Some(root.get("mcpServers")?.table()?.iter().map(foreign).collect())
}

fn foreign(entry: &Entry) -> Foreign {
    let pointer = format!("/mcpServers/{}", escape(&entry.key));
    let mut out =
        Foreign { name: entry.key.clone(), spot: entry.key_spot, pointer, root: None, ignored: Vec::new() };
    let Some(keys) = entry.node.table() else { return out };
    let mut made =
        Made { root: Node::new(Value::Table(Vec::new()), entry.node.spot), ignored: &mut out.ignored };
    for key in keys {
        made.take(key);
    }
    let mut root = made.root;
    if let Some(ours) = entry.node.get(OURS) {
        root.merge(ours.clone());
    }
    out.root = Some(root);
    out
}

struct Made<'a> {
    root: Node,
    ignored: &'a mut Vec<(String, Spot, Option<&'static str>)>,
}

impl Made<'_> {
    fn take(&mut self, entry: &Entry) {
        match entry.key.as_str() {
            "command" | "args" | "cwd" | "env" | "url" | "headers" | "description" | "enabled" => {
                self.put(&entry.key, entry, entry.node.clone())
            }
            "envFile" => self.put("env_file", entry, entry.node.clone()),
            "serverUrl" => self.put("url", entry, entry.node.clone()),
            "httpUrl" => {
                self.put("url", entry, entry.node.clone());
                self.put("dialect", entry, Node::new(Value::Str("http".to_owned()), entry.node.spot));
            }
            "type" | "transport" => self.put("dialect", entry, dialect(&entry.node)),
            "disabled" => self.put("enabled", entry, negated(&entry.node)),
            "disabledTools" | "excludeTools" => self.filter("exclude", entry),
            "includeTools" | "enabledTools" => self.filter("include", entry),
            OURS => {}
            other => self.ignored.push((other.to_owned(), entry.key_spot, about(other))),
        }
    }

    fn put(&mut self, key: &str, from: &Entry, node: Node) {
        let entry = Entry { key: key.to_owned(), key_spot: from.key_spot, node };
        self.root.merge(Node::new(Value::Table(vec![entry]), self.root.spot));
    }

    /// Names of tools; ours are patterns.
    fn filter(&mut self, key: &str, from: &Entry) {
        let mut names = from.node.clone();
        if let Value::List(items) = &mut names.value {
            for item in items {
                if let Value::Str(name) = &mut item.value {
                    *name = globs::literal(name);
                }
            }
        }
        let entry = Entry { key: key.to_owned(), key_spot: from.key_spot, node: names };
        self.put("tools", from, Node::new(Value::Table(vec![entry]), from.node.spot));
    }
}

/// The clients' words for a dialect. Any other stays as it is, for the checker to tell.
fn dialect(node: &Node) -> Node {
    let ours = match node.str() {
        Some("streamable-http" | "streamableHttp" | "streamable_http" | "http") => "http",
        Some("sse") => "sse",
        Some("stdio") => "stdio",
        Some(_) | None => return node.clone(),
    };
    Node::new(Value::Str(ours.to_owned()), node.spot)
}

fn negated(node: &Node) -> Node {
    match node.value {
        Value::Bool(truth) => Node::new(Value::Bool(!truth), node.spot),
        Value::Null | Value::Int(_) | Value::Float(_) | Value::Str(_) | Value::List(_) | Value::Table(_) => {
            node.clone()
        }
    }
}

/// What to know about a key that is left aside.
fn about(key: &str) -> Option<&'static str> {
    match key {
        "timeout" => Some(
            "its unit differs between clients; write \"x-wharf\": {\"limits\": {\"call_timeout\": \"60s\"}}",
        ),
        "oauth" | "auth" | "headersHelper" => Some("not supported by this version of wharf; use `headers`"),
        _ => None,
    }
}
