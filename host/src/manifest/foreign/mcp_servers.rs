//! `{"mcpServers": {..}}`, as Claude Desktop, Claude Code, Cursor, Windsurf, Gemini CLI, Cline and mcpo write it.

use wharf_core::manifest::globs;

use super::{Foreign, Remark, Servers, without_effect};
use crate::manifest::problem::Severity;
use crate::manifest::tree::{Entry, Node, Value, escape};

/// The key under which an entry holds keys of ours.
const OURS: &str = "x-wharf";

/// The servers, if the file has a table `mcpServers`.
pub(super) fn servers(root: &Node) -> Option<Servers> {
    let entries = root.get("mcpServers")?.table()?.iter().map(foreign).collect();
    let beside = |entry: &&Entry| !matches!(entry.key.as_str(), "mcpServers" | "$schema");
    let others: Vec<&Entry> = root.table()?.iter().filter(beside).collect();
    Some(Servers { entries, remarks: without_effect(&others).into_iter().collect() })
}

fn foreign(entry: &Entry) -> Foreign {
    let pointer = format!("/mcpServers/{}", escape(&entry.key));
    let root = Err("a server must be a table with `command` or `url`");
    let (name, spot) = (entry.key.clone(), entry.key_spot);
    let mut out = Foreign { name, spot, pointer, root, shares: None, remarks: Vec::new() };
    let Some(keys) = entry.node.table() else { return out };
    let mut made = Made {
        root: Node::new(Value::Table(Vec::new()), entry.node.spot),
        pointer: &out.pointer,
        remarks: &mut out.remarks,
    };
    for key in keys {
        made.take(key);
    }
    let mut root = made.root;
    if let Some(ours) = entry.node.get(OURS) {
        root.merge(ours.clone());
    }
    out.root = Ok(root);
    out
}

struct Made<'a> {
    root: Node,
    pointer: &'a str,
    remarks: &'a mut Vec<Remark>,
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
            other => {
                let message = format!("the key `{other}` of another program has no effect here");
                let remark = Remark::new(Severity::Warning, entry, self.pointer, message);
                self.remarks.push(Remark { help: about(other), ..remark });
            }
        }
    }

    fn put(&mut self, key: &str, from: &Entry, node: Node) {
        super::put(&mut self.root, &[key], from, node);
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
        super::put(&mut self.root, &["tools", key], from, names);
    }
}

/// The clients' words for a dialect. Any other stays as it is, for the checker to tell.
pub(super) fn dialect(node: &Node) -> Node {
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
