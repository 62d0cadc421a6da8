//! A YAML map of remote servers with `global_settings`, as managers of several MCP servers read it: the servers stand at
//! the top, or below `servers` or `mcp_servers`. Those that share a `namespace` are one plugin with several targets.

use super::{Foreign, Remark, Servers, global_settings, put, without_effect};
use crate::manifest::problem::Severity;
use crate::manifest::schema;
use crate::manifest::tree::{Entry, Node, Value, escape};

/// The key under which an entry holds keys of ours.
const OURS: &str = "x-wharf";
/// The keys of a manifest of ours that say what is run: with one of them a file is no map of servers.
const RUNS: [&str; 4] = ["command", "url", "targets", "library"];
/// Tables that hold the servers, where they do not stand at the top.
const TABLES: [&str; 2] = ["servers", "mcp_servers"];
const GLOBAL: &str = "global_settings";
/// Longer than any call may take unless a manifest says so, seconds.
pub(super) const LONG: f64 = 600.0;

/// The servers, if the file is such a map.
pub(super) fn servers(root: &Node) -> Option<Servers> {
    let top = root.table()?;
    if RUNS.iter().any(|key| root.get(key).is_some_and(|node| node.table().is_none())) {
        return None;
    }
    let below = TABLES.iter().find_map(|key| root.entry(key).filter(|entry| all_tables(&entry.node)));
    let has_settings = root.get(GLOBAL).is_some_and(|node| node.table().is_some());
    if below.is_none() && !has_settings && !at_the_top(root) {
        return None;
    }
    let (pointer, entries): (String, Vec<&Entry>) = match below {
        Some(below) => {
            (format!("/{}", escape(&below.key)), below.node.table().into_iter().flatten().collect())
        }
        None => (String::new(), top.iter().filter(|entry| is_server(entry)).collect()),
    };
    let beside = |entry: &&Entry| match below {
        Some(below) => entry.key != below.key && entry.key != GLOBAL,
        None => !is_server(entry) && entry.key != GLOBAL,
    };
    let others: Vec<&Entry> = top.iter().filter(beside).collect();
    let mut remarks: Vec<Remark> = without_effect(&others).into_iter().collect();
    let defaults = root.entry(GLOBAL).map(|entry| global_settings::defaults(entry, &mut remarks));
    let entries = entries.into_iter().map(|entry| foreign(entry, &pointer, defaults.as_ref())).collect();
    Some(Servers { entries, remarks })
}

/// Whether it is a table of nothing but tables.
fn all_tables(node: &Node) -> bool {
    node.table().is_some_and(|entries| entries.iter().all(|entry| entry.node.table().is_some()))
}

/// Whether the whole file is a map of servers, and no manifest of ours without what it runs.
fn at_the_top(root: &Node) -> bool {
    let known = schema::keys_at("");
    all_tables(root)
        && root.table().is_some_and(|entries| {
            entries.iter().any(|entry| entry.node.get("url").is_some())
                && entries.iter().all(|entry| !known.contains(&entry.key.as_str()))
        })
}

fn is_server(entry: &Entry) -> bool {
    entry.key != GLOBAL && entry.node.table().is_some()
}

fn foreign(entry: &Entry, table: &str, defaults: Option<&Node>) -> Foreign {
    let pointer = format!("{table}/{}", escape(&entry.key));
    let mut out = Foreign {
        name: entry.key.clone(),
        spot: entry.key_spot,
        pointer,
        root: Err("a server of this file must be a table with a `url`"),
        shares: shares(entry),
        remarks: Vec::new(),
    };
    let Some(keys) = entry.node.table().filter(|_| entry.node.get("url").is_some()) else { return out };
    let mut root = Node::new(Value::Table(Vec::new()), entry.node.spot);
    if let Some(defaults) = defaults {
        let spot = root.spot;
        root.merge(Node::new(defaults.value.clone(), spot));
    }
    let mut made = Made { root, pointer: &out.pointer, remarks: &mut out.remarks };
    for key in keys {
        made.take(key);
    }
    made.priority(&entry.node);
    let mut root = made.root;
    if let Some(ours) = entry.node.get(OURS) {
        root.merge(ours.clone());
    }
    out.root = Ok(root);
    out
}

/// The namespace, which is the server's name unless it says another. An empty one is shared by nobody: it says that the
/// tools keep their names.
fn shares(entry: &Entry) -> Option<String> {
    let name = entry.node.get("namespace").and_then(Node::str).unwrap_or(&entry.key);
    (!name.is_empty()).then(|| name.to_owned())
}

struct Made<'a> {
    root: Node,
    pointer: &'a str,
    remarks: &'a mut Vec<Remark>,
}

impl Made<'_> {
    fn take(&mut self, entry: &Entry) {
        match entry.key.as_str() {
            key @ ("url" | "namespace" | "enabled" | "description" | "headers") => {
                put(&mut self.root, &[key], entry, entry.node.clone());
            }
            "transport" => put(&mut self.root, &["dialect"], entry, super::mcp_servers::dialect(&entry.node)),
            "health_check_interval" => self.time(&["health", "interval"], entry),
            "max_retries" => put(&mut self.root, &["retry", "max"], entry, entry.node.clone()),
            "timeout" => call_timeout(&mut self.root, entry, self.pointer, self.remarks),
            "auth" => self.auth(entry),
            "priority" | OURS => {}
            other => {
                let message = format!("the key `{other}` of another program has no effect here");
                self.remarks.push(Remark::new(Severity::Warning, entry, self.pointer, message));
            }
        }
    }

    fn time(&mut self, path: &[&str], entry: &Entry) {
        if let Some((node, _)) = seconds(entry, self.pointer, self.remarks) {
            put(&mut self.root, path, entry, node);
        }
    }

    /// The one kind of credential: a bearer token.
    fn auth(&mut self, entry: &Entry) {
        let kind = entry.node.get("type");
        let token = entry.node.entry("token");
        let fault = match (kind.and_then(Node::str), token) {
            (Some("bearer"), Some(token)) => {
                let unknown = entry.node.table().into_iter().flatten();
                for other in unknown.filter(|other| !matches!(other.key.as_str(), "type" | "token")) {
                    let table = format!("{}/auth", self.pointer);
                    let message =
                        format!("the key `auth.{}` of another program has no effect here", other.key);
                    self.remarks.push(Remark::new(Severity::Warning, other, &table, message));
                }
                put(&mut self.root, &["auth", "bearer"], token, token.node.clone());
                return;
            }
            (Some("none"), _) => return,
            (Some("bearer"), None) => "`auth` has no `token`",
            (Some(_), _) => "`auth.type` must be `bearer` or `none`",
            (None, _) => "`auth` must be a table with `type` and `token`",
        };
        let help = "write type: bearer and token: \"${VARIABLE}\"; for other credentials write `headers`";
        self.remarks.push(Remark::new(Severity::Error, entry, self.pointer, fault).help(help));
    }

    /// With a priority, the url is a target.
    fn priority(&mut self, server: &Node) {
        let (Some(priority), Some(url)) = (server.entry("priority"), server.entry("url")) else { return };
        let Value::Table(keys) = &mut self.root.value else { return };
        keys.retain(|entry| entry.key != "url");
        let target = Node::new(Value::Table(vec![url.clone(), priority.clone()]), server.spot);
        put(&mut self.root, &["targets"], url, Node::new(Value::List(vec![target]), url.node.spot));
    }
}

/// Sets how long a call may take; a longer one than is usual is one that callers may ask for, too.
pub(super) fn call_timeout(root: &mut Node, entry: &Entry, table: &str, remarks: &mut Vec<Remark>) {
    let Some((node, number)) = seconds(entry, table, remarks) else { return };
    if number > LONG {
        put(root, &["limits", "max_timeout"], entry, node.clone());
    }
    put(root, &["limits", "call_timeout"], entry, node);
}

/// A number of seconds as we write it, and as a number. Anything else is told.
pub(super) fn seconds(entry: &Entry, table: &str, remarks: &mut Vec<Remark>) -> Option<(Node, f64)> {
    #[allow(clippy::cast_precision_loss, reason = "spans are far below that")]
    let number = match entry.node.value {
        Value::Int(n) => n as f64,
        Value::Float(x) => x,
        Value::Null | Value::Bool(_) | Value::Str(_) | Value::List(_) | Value::Table(_) => f64::NAN,
    };
    // Not a number is in no range.
    if !(0.0..=86_400.0).contains(&number) {
        let message = format!("`{}` must be a number of seconds, at most 86400", entry.key);
        remarks.push(Remark::new(Severity::Error, entry, table, message));
        return None;
    }
    let text = format!("{:.0}ms", (number * 1000.0).round());
    Some((Node::new(Value::Str(text), entry.node.spot), number))
}

#[cfg(test)]
mod tests;
