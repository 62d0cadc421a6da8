//! The MCP server: connected to, asked for its tools, called, and connected to again when it was gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, Implementation, ProtocolVersion,
};
use rmcp::service::{ClientInitializeError, NotificationContext, RoleClient, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt as _};
use serde_json::{Map, Value};

use crate::failure::{Failure, chain};
use crate::net;
use crate::tools::Tool;

mod sse;

/// How long the server may take to greet us, and to list its tools.
const GREETING: Duration = Duration::from_secs(30);

/// Where a server is and what opens its door.
#[derive(Clone, Debug)]
pub struct Address {
    /// Streamable HTTP, or HTTP+SSE if the path ends in `/sse`.
    pub url: String,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<String>,
}

/// A connected server.
pub struct Server {
    address: Address,
    client: RunningService<RoleClient, Listener>,
    heard: Listener,
    tools: Vec<Tool>,
    call_timeout: Duration,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whether the tool, or the way to it, failed.
    pub failed: bool,
    /// JSON where the tool answered JSON, else a text.
    pub result: Value,
}

/// Hears that the list of tools is another one.
#[derive(Clone, Debug, Default)]
struct Listener {
    changed: Arc<AtomicBool>,
}

impl ClientHandler for Listener {
    fn get_info(&self) -> ClientConfig {
        let own = Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        let mut config = ClientConfig::new(ClientCapabilities::default(), own);
        config.protocol_version = ProtocolVersion::LATEST_WITH_INITIALIZE;
        config
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed.store(true, Ordering::Relaxed);
    }
}

impl Server {
    /// Connects and lists the tools.
    ///
    /// # Errors
    /// Says who does not answer, or asks for another token.
    pub async fn connect(address: Address, call_timeout: Duration) -> Result<Self, Failure> {
        let heard = Listener::default();
        let client = greet(&address, &heard).await?;
        let mut server = Self { address, client, heard, tools: Vec::new(), call_timeout };
        server.list().await?;
        Ok(server)
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What the server calls itself.
    pub fn name(&self) -> String {
        let info =
            self.client.peer_info().and_then(|info| serde_json::to_value(&*info).ok()).unwrap_or_default();
        info.pointer("/serverInfo/name")
            .and_then(Value::as_str)
            .unwrap_or("a server without a name")
            .to_owned()
    }

    /// The tools as they were listed last.
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// Brings the list up to date: connects again if the connection is gone, lists again if the server said that the
    /// list changed. True if there are other tools now.
    ///
    /// # Errors
    /// If the server is gone.
    pub async fn refresh(&mut self) -> Result<bool, Failure> {
        if self.client.is_closed() {
            self.client = greet(&self.address, &self.heard).await?;
        } else if !self.heard.changed.swap(false, Ordering::Relaxed) && self.tells_changes() {
            return Ok(false);
        }
        let before = std::mem::take(&mut self.tools);
        self.list().await?;
        Ok(before != self.tools)
    }

    /// Calls a tool. What goes wrong is told to the model, which may do something about it.
    pub async fn call(&self, tool: &str, arguments: Map<String, Value>) -> Outcome {
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        match tokio::time::timeout(self.call_timeout, self.client.call_tool(params)).await {
            Ok(Ok(result)) => Outcome { failed: result.is_error == Some(true), result: read(result) },
            Ok(Err(ServiceError::McpError(error))) => Outcome::failure(error.message.to_string()),
            Ok(Err(error)) => {
                let sent = if let ServiceError::TransportSend(sent) = &error { Some(sent) } else { None };
                let cause = sent.map_or_else(|| chain(&error), |sent| chain(sent.error.as_ref()));
                Outcome::failure(format!("no answer, and it is not known whether it ran: {cause}"))
            }
            Err(_) => {
                let after = humantime::format_duration(self.call_timeout);
                Outcome::failure(format!("no answer within {after}; the call was cancelled"))
            }
        }
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        self.client.close_with_timeout(Duration::from_secs(2)).await.ok();
    }

    /// Servers of a revision without sessions tell changes only to those who subscribe; they are asked each time.
    fn tells_changes(&self) -> bool {
        self.client.peer_info().is_some_and(|info| info.protocol_version.has_initialize())
    }

    async fn list(&mut self) -> Result<(), Failure> {
        let gone = |cause: String| {
            Failure::Unreachable(format!(
                "the server at {} does not list its tools: {cause}",
                self.address.url
            ))
        };
        let listed = tokio::time::timeout(GREETING, self.client.list_all_tools()).await;
        let listed = listed.map_err(|_| gone("no answer in time".to_owned()))?;
        let tools = listed.map_err(|error| gone(chain(&error)))?.into_iter().map(|tool| Tool {
            name: tool.name.into_owned(),
            description: tool.description.unwrap_or_default().into_owned(),
            schema: Value::Object(Map::clone(&tool.input_schema)),
        });
        self.tools = tools.collect();
        Ok(())
    }
}

impl Outcome {
    pub(crate) fn failure(text: impl Into<String>) -> Self {
        Self { failed: true, result: Value::String(text.into()) }
    }
}

/// Opens a session; with a server that knows none, it says so in each request.
async fn greet(address: &Address, heard: &Listener) -> Result<RunningService<RoleClient, Listener>, Failure> {
    let legacy = serve(address, heard, ClientLifecycleMode::Initialize).await;
    let Err(Failure::Failed(cause)) = legacy else { return legacy };
    let modern = ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::LATEST] };
    let modern = serve(address, heard, modern).await;
    if matches!(modern, Err(Failure::Failed(_))) { Err(Failure::Unreachable(cause)) } else { modern }
}

/// [`Failure::Failed`] if another revision of the protocol may be worth a try.
async fn serve(
    address: &Address,
    heard: &Listener,
    mode: ClientLifecycleMode,
) -> Result<RunningService<RoleClient, Listener>, Failure> {
    let Address { url, token } = address;
    let http = net::client(url)?;
    let heard = heard.clone();
    let greeting = async {
        if net::parse(url)?.path().ends_with("/sse") {
            let transport = sse::Transport::open(http, url, token.as_deref()).await?;
            return heard.serve_with_lifecycle(transport, mode).await.map_err(|error| refused(url, &error));
        }
        let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str());
        config.auth_header.clone_from(token);
        let transport = StreamableHttpClientTransport::with_client(http, config);
        heard.serve_with_lifecycle(transport, mode).await.map_err(|error| refused(url, &error))
    };
    let late = |_| Failure::Unreachable(format!("the server at {url} does not greet back in time"));
    tokio::time::timeout(GREETING, greeting).await.map_err(late)?
}

fn refused(url: &str, error: &ClientInitializeError) -> Failure {
    // The rest of the SDK's text names its types.
    let sent =
        if let ClientInitializeError::TransportError { error, .. } = error { Some(error) } else { None };
    let cause = sent.map_or_else(|| chain(error), |sent| chain(sent.error.as_ref()));
    if error.is_authorization_required() || cause.contains("401") || cause.contains("403") {
        return locked(url, &cause);
    }
    let text = format!("cannot connect to the MCP server at {url}: {cause}");
    if cause.contains("error sending request") || cause.contains("refused") {
        return Failure::Unreachable(format!(
            "{text}\nIs it running, and is the port right? See --server-url."
        ));
    }
    Failure::Failed(text)
}

/// The server asks for another token.
fn locked(url: &str, cause: &str) -> Failure {
    Failure::NotAuthorised(format!(
        "the MCP server at {url} does not let us in: {cause}\nSet WHARF_TOKEN, or name the host's state folder with --state."
    ))
}

/// What a tool answered: one text that is JSON, else the structured content, else all texts.
fn read(result: CallToolResult) -> Value {
    let texts: Vec<_> = result
        .content
        .iter()
        .map(|block| match block.as_text() {
            Some(text) => text.text.clone(),
            None => serde_json::to_string(block).unwrap_or_default(),
        })
        .collect();
    if let [text] = texts.as_slice()
        && let Ok(json @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text)
    {
        return json;
    }
    result.structured_content.unwrap_or_else(|| texts.join("\n").into())
}
