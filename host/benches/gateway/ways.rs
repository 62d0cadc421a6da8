//! The ways from a caller to a tool: without anything between, through the bare hop, and through the host by each of its
//! edges; each to an upstream over HTTP and one over pipes.

use crate::children::{Listening, manifest};
use crate::common::{Host, McpHttp, Outcome};
use crate::connection::Connection;
use crate::load::Callers;
use crate::pipes::Pipes;
use crate::wire::{Edge, Payload, Talk};

/// What the upstream is spoken to over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Http,
    Stdio,
}

/// Who stands between.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    Nothing,
    Hop,
    Host { edge: Edge, plugin: &'static str },
}

/// One row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) over: Over,
    pub(crate) through: Through,
}

impl Way {
    const fn host(name: &'static str, over: Over, edge: Edge, plugin: &'static str) -> Self {
        Self { name, over, through: Through::Host { edge, plugin } }
    }

    pub(crate) fn is_host(&self) -> bool {
        matches!(self.through, Through::Host { .. })
    }
}

/// All of them.
pub(crate) const WAYS: [Way; 14] = [
    Way { name: "direct, http", over: Over::Http, through: Through::Nothing },
    Way { name: "direct, stdio", over: Over::Stdio, through: Through::Nothing },
    Way { name: "hop, http", over: Over::Http, through: Through::Hop },
    Way { name: "hop, stdio", over: Over::Stdio, through: Through::Hop },
    Way::host("REST, http", Over::Http, Edge::Rest, "h"),
    Way::host("REST, stdio", Over::Stdio, Edge::Rest, "s"),
    Way::host("/tools, http", Over::Http, Edge::Facade, "h"),
    Way::host("/tools, stdio", Over::Stdio, Edge::Facade, "s"),
    Way::host("/mcp legacy, http", Over::Http, Edge::Legacy, "h"),
    Way::host("/mcp legacy, stdio", Over::Stdio, Edge::Legacy, "s"),
    Way::host("/mcp modern, http", Over::Http, Edge::Modern, "h"),
    Way::host("/mcp modern, stdio", Over::Stdio, Edge::Modern, "s"),
    Way::host("/mcp modern, http modern", Over::Http, Edge::Modern, "hm"),
    Way::host("/mcp modern, stdio modern", Over::Stdio, Edge::Modern, "sm"),
];

/// All the processes that the ways lead through.
pub(crate) struct Field {
    upstream: Listening,
    hop_http: Listening,
    hop_stdio: Listening,
    pub(crate) host: Host,
}

impl Field {
    /// With plugins that have these limits.
    pub(crate) async fn start(limits: &str) -> Outcome<Self> {
        let upstream = Listening::start(&["upstream", "http", "0"]).await?;
        let hop_http = Listening::start(&["hop", "http", &upstream.address]).await?;
        let hop_stdio = Listening::start(&["hop", "stdio"]).await?;
        let host = Host::start(plugins(limits)?).await?;
        host.all_ready().await?;
        Ok(Self { upstream, hop_http, hop_stdio, host })
    }

    /// The process whose cost is the way's: the hop or the host, without the plugins.
    pub(crate) fn pid(&self, way: &Way) -> Option<u32> {
        match (way.through, way.over) {
            (Through::Nothing, _) => None,
            (Through::Hop, Over::Http) => Some(self.hop_http.pid),
            (Through::Hop, Over::Stdio) => Some(self.hop_stdio.pid),
            (Through::Host { .. }, _) => Some(self.host.pid),
        }
    }

    /// So many callers on a way.
    pub(crate) async fn callers(&self, way: &Way, payload: Payload, count: usize) -> Outcome<Callers> {
        if matches!((way.through, way.over), (Through::Nothing, Over::Stdio)) {
            return Ok(Callers::Pipes(Box::new(Pipes::start(Talk::line(payload), count)?)));
        }
        let mut callers = Vec::with_capacity(count);
        for _ in 0..count {
            callers.push(self.caller(way, payload).await?);
        }
        Ok(Callers::Http(callers))
    }

    async fn caller(&self, way: &Way, payload: Payload) -> Outcome<Connection> {
        let address = match (way.through, way.over) {
            (Through::Host { edge, plugin }, _) => return connect(&self.host, edge, plugin, payload).await,
            (Through::Hop, Over::Stdio) => &self.hop_stdio.address,
            (Through::Hop, Over::Http) => &self.hop_http.address,
            (Through::Nothing, _) => &self.upstream.address,
        };
        let headers = format!("host: {address}\r\n");
        Ok(Connection::new(address, Talk::http(Edge::Plain, "", payload, &headers)))
    }

    pub(crate) async fn end(self) -> Outcome<()> {
        self.host.end().await
    }
}

/// A caller of the host, with a session if it needs one.
pub(crate) async fn connect(host: &Host, edge: Edge, plugin: &str, payload: Payload) -> Outcome<Connection> {
    let (address, token) = (&host.address, &host.token);
    let mut headers = format!("host: {address}\r\nauthorization: Bearer {token}\r\n");
    if edge == Edge::Legacy {
        let session = McpHttp::legacy(host.connect().await?, "/mcp").await?;
        headers.push_str(&format!("mcp-session-id: {}\r\n", session.session()));
    }
    Ok(Connection::new(address, Talk::http(edge, plugin, payload, &headers)))
}

/// Two eras by two dialects; all but these limits as a manifest has it that says nothing of it.
fn plugins(limits: &str) -> Outcome<Vec<(String, String)>> {
    let http = |era: &str| format!("dialect = \"http\"\nport = \"auto\"\nera = \"{era}\"\n{limits}");
    let stdio = |era: &str| format!("era = \"{era}\"\n{limits}");
    Ok(vec![
        ("s".to_owned(), manifest(&["stdio"], &stdio("legacy"))?),
        ("sm".to_owned(), manifest(&["stdio", "--modern"], &stdio("modern"))?),
        ("h".to_owned(), manifest(&["http", "${port}"], &http("legacy"))?),
        ("hm".to_owned(), manifest(&["http", "${port}", "--modern"], &http("modern"))?),
    ])
}
