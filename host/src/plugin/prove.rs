//! The proof that an instance works: its lists are fetched and parsed, within bounds.

mod entries;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use wharf_core::splice;
use wharf_plugin_api::{
    CallError, CallErrorKind, Caller, Cause, CauseKind, Era, Link, Notification, Reply, Request, RpcError,
    Scope, async_trait,
};

/// Pages of one list.
const MAX_PAGES: usize = 100;
/// Entries of one list.
const MAX_ENTRIES: usize = 1000;
/// Bytes of one list.
const MAX_BYTES: usize = 16 << 20;
/// Bytes of a tool's name; longer ones are of no use to any client.
const MAX_NAME: usize = 256;

/// What an instance offers, as it told it.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) tools: Vec<ListedTool>,
    pub(crate) prompts: Vec<Arc<RawValue>>,
    pub(crate) resources: Vec<Arc<RawValue>>,
    pub(crate) templates: Vec<Arc<RawValue>>,
    /// How long the lists hold whose changes nobody would hear of, if the plugin says so.
    pub(crate) ttl: Option<Duration>,
}

/// A list with all its pages.
#[derive(Default)]
struct Read {
    entries: Vec<Box<RawValue>>,
    /// Of the page that holds shortest.
    ttl: Option<Duration>,
}

/// A tool as the plugin lists it.
#[derive(Debug)]
pub(crate) struct ListedTool {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) definition: Arc<RawValue>,
}

/// The scope of what the host itself asks: nobody listens, nobody can be asked.
#[derive(Debug)]
pub(crate) struct HostScope {
    caller: Caller,
    deadline: std::time::Instant,
}

/// Why there is no list.
enum Unlisted {
    /// The plugin answered this method with an error.
    Refused(&'static str, RpcError),
    /// Anything else.
    Failed(Cause),
}

#[derive(Deserialize)]
struct Page {
    #[serde(
        default,
        alias = "resources",
        alias = "resourceTemplates",
        alias = "prompts",
        deserialize_with = "entries::bounded::<MAX_ENTRIES, _>"
    )]
    tools: Option<Vec<Box<RawValue>>>,
    #[serde(default, rename = "nextCursor")]
    next_cursor: Option<String>,
    #[serde(default, rename = "ttlMs")]
    ttl_ms: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct ToolHead {
    name: String,
    #[serde(default)]
    description: Option<String>,
}

#[derive(Default, Deserialize)]
struct Capabilities<'a> {
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
    #[serde(borrow, default)]
    resources: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompts: Option<&'a RawValue>,
}

/// Reads all lists that the plugin says it has.
///
/// # Errors
/// If a list cannot be read, is over the bounds or does not end.
pub(crate) async fn prove(link: &dyn Link, deadline: std::time::Instant) -> Result<Proof, Cause> {
    let capabilities = link.hello().capabilities.as_ref().map_or_else(
        || Ok(Capabilities::default()),
        |raw| serde_json::from_str::<Capabilities<'_>>(raw.get()),
    );
    let capabilities = capabilities.map_err(|error| {
        Cause::new(CauseKind::HandshakeRefused, format!("its capabilities are no object: {error}"))
    })?;
    let scope = HostScope::until(deadline);
    // A server that declares nothing at all is asked for tools: some simple ones forget to.
    let nothing = capabilities.resources.is_none() && capabilities.prompts.is_none();
    let tools = if capabilities.tools.is_some() || nothing {
        list(link, "tools/list", &scope).await.map_err(Unlisted::into_cause)?
    } else {
        Read::default()
    };
    let has_resources = capabilities.resources.is_some();
    let resources = listed(has_resources, link, "resources/list", &scope).await?;
    let templates = templates(has_resources, link, &scope).await?;
    let prompts = listed(capabilities.prompts.is_some(), link, "prompts/list", &scope).await?;
    let ttl = [
        (&tools, capabilities.tools),
        (&resources, capabilities.resources),
        (&templates, capabilities.resources),
        (&prompts, capabilities.prompts),
    ];
    // To the legacy revisions the word means nothing.
    let ttl = ttl.into_iter().filter(|(_, told)| link.hello().era() == Era::Modern && !tells_changes(*told));
    let ttl = ttl.filter_map(|(read, _)| read.ttl).min();
    let tools = unique(tools.entries.into_iter().map(listed_tool).collect::<Result<_, _>>()?);
    let [prompts, resources, templates] = [prompts, resources, templates].map(Read::shared);
    Ok(Proof { tools, prompts, resources, templates, ttl })
}

/// Whether a plugin says that it tells when such a list changes.
fn tells_changes(capability: Option<&RawValue>) -> bool {
    capability.and_then(|raw| splice::field(raw, "listChanged")).is_some_and(|told| told.get() == "true")
}

/// A list, if the plugin says that it has it.
async fn listed(
    has: bool,
    link: &dyn Link,
    method: &'static str,
    scope: &Arc<HostScope>,
) -> Result<Read, Cause> {
    if has { list(link, method, scope).await.map_err(Unlisted::into_cause) } else { Ok(Read::default()) }
}

/// Whoever has resources need not have templates, and some servers say so with whatever error they have at hand.
async fn templates(has: bool, link: &dyn Link, scope: &Arc<HostScope>) -> Result<Read, Cause> {
    const METHOD: &str = "resources/templates/list";
    match if has { list(link, METHOD, scope).await } else { Ok(Read::default()) } {
        Ok(read) => Ok(read),
        Err(Unlisted::Refused(_, error)) => {
            tracing::warn!(%error, "{METHOD} was answered with an error; it has no templates then");
            Ok(Read::default())
        }
        Err(Unlisted::Failed(cause)) => Err(cause),
    }
}

pub(super) fn listed_tool(definition: Box<RawValue>) -> Result<ListedTool, Cause> {
    let head: ToolHead = serde_json::from_str(definition.get()).map_err(|error| {
        Cause::new(CauseKind::ListFailed, format!("tools/list holds an entry that is no tool: {error}"))
    })?;
    if head.name.len() > MAX_NAME {
        let detail = format!("tools/list holds a name of {} bytes; {MAX_NAME} is the most", head.name.len());
        return Err(Cause::new(CauseKind::ListFailed, detail));
    }
    Ok(ListedTool { name: head.name, description: head.description, definition: definition.into() })
}

/// Of tools that share a name, the first: a call could not tell them apart.
fn unique(tools: Vec<ListedTool>) -> Vec<ListedTool> {
    let mut names = HashSet::new();
    let (kept, doubled): (Vec<_>, Vec<_>) =
        tools.into_iter().partition(|tool| names.insert(tool.name.clone()));
    for tool in doubled {
        tracing::warn!(tool = tool.name, "a second tool of this name is not offered");
    }
    kept
}

async fn list(link: &dyn Link, method: &'static str, scope: &Arc<HostScope>) -> Result<Read, Unlisted> {
    let (mut read, mut bytes) = (Read::default(), 0usize);
    let mut cursor: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let request = match &cursor {
            None => Request::bare(method),
            Some(cursor) => Request::new(method, &serde_json::json!({ "cursor": cursor }))
                .map_err(|error| Cause::new(CauseKind::ListFailed, error.to_string()))?,
        };
        let scope: Arc<dyn Scope> = Arc::<HostScope>::clone(scope);
        let reply = link.request(request, scope).await.map_err(|error| failed(method, &error))?;
        let page = match reply {
            Reply::Result(raw) => page(method, &raw)?,
            // A list that does not exist is empty.
            Reply::Error(error) if error.code == RpcError::METHOD_NOT_FOUND => return Ok(read),
            Reply::Error(error) => return Err(Unlisted::Refused(method, error)),
        };
        read.ttl = read.ttl.into_iter().chain(page.ttl()).min();
        for entry in page.tools.unwrap_or_default() {
            bytes = bytes.saturating_add(entry.get().len());
            read.entries.push(entry);
        }
        if bytes > MAX_BYTES {
            let detail = format!("{method} has more than {MAX_BYTES} bytes");
            return Err(Cause::new(CauseKind::ListFailed, detail).into());
        }
        if read.entries.len() > MAX_ENTRIES {
            let detail = format!("{method} has more than {MAX_ENTRIES} entries");
            return Err(Cause::new(CauseKind::ListFailed, detail).into());
        }
        match page.next_cursor {
            None => return Ok(read),
            next => cursor = next,
        }
    }
    let detail = format!("{method} does not end: more than {MAX_PAGES} pages");
    Err(Cause::new(CauseKind::ListFailed, detail).into())
}

fn page(method: &str, raw: &RawValue) -> Result<Page, Cause> {
    let page: Page = serde_json::from_str(raw.get()).map_err(|error| {
        Cause::new(CauseKind::ListFailed, format!("the answer to {method} is no list: {error}"))
    })?;
    if page.tools.is_none() {
        return Err(Cause::new(CauseKind::ListFailed, format!("the answer to {method} holds no list")));
    }
    Ok(page)
}

fn failed(method: &str, error: &CallError) -> Cause {
    let kind = match error.kind {
        CallErrorKind::Timeout => CauseKind::StartTimeout,
        CallErrorKind::Protocol | CallErrorKind::Refused => CauseKind::ProtocolGarbage,
        CallErrorKind::Connection => CauseKind::LinkLost,
        CallErrorKind::Session | CallErrorKind::Cancelled | CallErrorKind::Full | _ => CauseKind::ListFailed,
    };
    Cause::new(kind, format!("{method}: {error}"))
}

// === impl Page, Read ===

impl Page {
    /// How long it holds. Nothing is what most say that do not know; it asks for no reading.
    fn ttl(&self) -> Option<Duration> {
        let millis: u64 = self.ttl_ms.as_ref()?.get().parse().ok()?;
        (millis > 0).then_some(Duration::from_millis(millis))
    }
}

impl Read {
    fn shared(self) -> Vec<Arc<RawValue>> {
        self.entries.into_iter().map(Into::into).collect()
    }
}

// === impl Unlisted ===

impl Unlisted {
    fn into_cause(self) -> Cause {
        match self {
            Self::Refused(method, error) => {
                Cause::new(CauseKind::ListFailed, format!("{method} was answered with an error: {error}"))
            }
            Self::Failed(cause) => cause,
        }
    }
}

impl From<Cause> for Unlisted {
    fn from(cause: Cause) -> Self {
        Self::Failed(cause)
    }
}

// === impl HostScope ===

impl HostScope {
    /// A scope of the host's own, until `deadline`.
    pub(crate) fn until(deadline: std::time::Instant) -> Arc<Self> {
        Arc::new(Self { caller: Caller::new("wharf"), deadline })
    }

    /// A scope of the host's own, for a time from now.
    pub(crate) fn within(time: Duration) -> Arc<Self> {
        Self::until(std::time::Instant::now() + time)
    }
}

#[async_trait]
impl Scope for HostScope {
    fn sent(&self) {}

    fn listens(&self) -> bool {
        false
    }

    fn event(&self, _: Notification) {}

    async fn ask(&self, request: Request) -> Result<Reply, CallError> {
        Ok(Reply::Error(RpcError::new(
            RpcError::METHOD_NOT_FOUND,
            format!("nobody is there to answer {}", request.method),
        )))
    }

    fn is_call(&self) -> bool {
        false
    }

    fn caller(&self) -> &Caller {
        &self.caller
    }

    fn deadline(&self) -> std::time::Instant {
        self.deadline
    }
}
