//! The routes that carry calls, found without the router: it costs a call as much as all that the host does for it.
//!
//! What is found here the router would find as well, and answer the same; a path that is spelled in an unusual way goes there.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use wharf_core::catalog::Face;

use super::answer::{Answering, known};
use super::auth::Principal;
use super::body;
use super::heads::Heads;
use super::mcp::{self, McpEdge};
use super::problem::Problem;
use super::rest::{self, Edge};
use crate::apart::apart;
use crate::held::Taker;

/// What answers them.
#[derive(Clone, Debug)]
pub(super) struct Hot {
    pub(super) rest: Edge,
    pub(super) mcp: McpEdge,
}

/// Which of them a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way<'a> {
    /// A call of a tool of a plugin, by REST.
    Call { plugin: &'a str, tool: &'a str },
    /// Likewise, for its value alone.
    Value { plugin: &'a str, tool: &'a str },
    /// A message to the endpoint of all plugins, or of this one.
    Message(Option<&'a str>),
}

impl Way<'_> {
    /// `None`: the router knows.
    pub(super) fn of<'a>(method: &Method, path: &'a str) -> Option<Way<'a>> {
        if method != Method::POST {
            return None;
        }
        if path == "/mcp" {
            return Some(Way::Message(None));
        }
        if let Some(plugin) = path.strip_prefix("/plugins/").and_then(|rest| rest.strip_suffix("/mcp")) {
            return is_plain(plugin).then_some(Way::Message(Some(plugin)));
        }
        if let Some((plugin, tool)) = path.strip_prefix("/tools/").and_then(|rest| cut(rest)) {
            return (is_plain(plugin) && is_plain(tool)).then_some(Way::Value { plugin, tool });
        }
        let rest = path.strip_prefix("/api/v1/plugins/")?.strip_suffix("/call")?;
        let (plugin, rest) = cut(rest)?;
        let tool = rest.strip_prefix("tools/")?;
        (is_plain(plugin) && is_plain(tool)).then_some(Way::Call { plugin, tool })
    }
}

/// What stands before the first slash, and what behind it.
fn cut(path: &str) -> Option<(&str, &str)> {
    // For the few letters of a name this costs less than the search for a character does.
    let (before, rest) = path.split_at(path.bytes().position(|b| b == b'/')?);
    Some((before, rest.get(1..)?))
}

/// One part of a path that means what it says.
fn is_plain(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|b| b != b'/' && b != b'%')
}

impl Hot {
    /// Whether a request is not refused for what its head says, nor for want of room, before its body is looked at.
    pub(super) fn welcomes(&self, way: Way<'_>, heads: &Heads<'_>) -> bool {
        let is_clear = match way {
            Way::Call { .. } | Way::Value { .. } => rest::are_clear(heads),
            Way::Message(None) => true,
            Way::Message(Some(plugin)) => {
                mcp::face_of(plugin).and_then(|face| mcp::visitor(&self.mcp, face, None)).is_ok()
            }
        };
        is_clear && body::claims_json(heads).is_ok() && !self.mcp.is_full()
    }

    /// Begins to answer a request whose caller is known: all that its head and its body say is looked at. What is waited for
    /// then holds none of the memory that they were read into.
    pub(super) async fn begin<'h, B>(
        &'h self,
        way: Way<'_>,
        (heads, body): (&Heads<'_>, B),
        principal: Principal,
        taker: &'h Arc<Taker>,
    ) -> Result<Answering<'h>, Problem>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: Into<axum::BoxError>,
    {
        let face = match way {
            Way::Call { plugin, tool } => {
                let call = pin!(rest::call(&self.rest, principal, (plugin, tool), (heads, body), taker));
                return Ok(call.await?.answer(&self.rest));
            }
            Way::Value { plugin, tool } => {
                let value = pin!(rest::value(&self.rest, principal, (plugin, tool), (heads, body))).await?;
                return Ok(apart(|| value.answer()));
            }
            Way::Message(None) => Face::All,
            Way::Message(Some(plugin)) => mcp::face_of(plugin)?,
        };
        let visitor = mcp::visitor(&self.mcp, face, Some(principal))?;
        if let Some(refusal) = mcp::no_room(&self.mcp, heads) {
            return Ok(known(refusal));
        }
        let body = pin!(body::json(heads, body)).await?;
        Ok(mcp::look(&self.mcp, visitor, (heads, body)).answer(&self.mcp, taker))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::Way;

    fn way(method: &str, path: &str) -> Option<String> {
        let (head, ()) = Request::builder().method(method).uri(path).body(()).unwrap().into_parts();
        Way::of(&head.method, head.uri.path()).map(|way| format!("{way:?}"))
    }

    #[test]
    fn only_plain_paths_of_calls_are_found() {
        let call = Some(format!("{:?}", Way::Call { plugin: "p-1", tool: "t.x" }));
        assert_eq!(way("POST", "/api/v1/plugins/p-1/tools/t.x/call"), call);
        assert_eq!(way("POST", "/api/v1/plugins/p-1/tools/t.x/call?x=1"), call);
        let value = Some(format!("{:?}", Way::Value { plugin: "p-1", tool: "t.x" }));
        assert_eq!(way("POST", "/tools/p-1/t.x"), value);
        assert_eq!(way("POST", "/mcp"), Some(format!("{:?}", Way::Message(None))));
        assert_eq!(way("POST", "/plugins/p/mcp"), Some(format!("{:?}", Way::Message(Some("p")))));
        for other in [
            "/mcp/",
            "/api/v1/plugins/p/tools/t%20x/call",
            "/api/v1/plugins/p/tools//call",
            "/api/v1/plugins//tools/t/call",
            "/api/v1/plugins/p/tools/a/b/call",
            "/api/v1/plugins/p/tools/call",
            "/plugins/a/b/mcp",
            "/plugins//mcp",
            "/groups/g/mcp",
            "/tools/p",
            "/tools/p/",
            "/tools//t",
            "/tools/p/t%20x",
            "/tools/p/a/b",
        ] {
            assert_eq!(way("POST", other), None, "{other}");
        }
        assert_eq!(way("GET", "/mcp"), None);
        assert_eq!(way("GET", "/tools/p/t"), None);
    }
}
