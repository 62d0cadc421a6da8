//! A plugin in a program of one's own. It owns a server's process and a client of it, and translates: to its callers it is
//! one tool that takes a link to LinkedIn; the server has a tool for each kind of page, which take names and numbers.
#![allow(clippy::print_stdout, reason = "it says where it listens")]

use std::{error::Error, sync::Arc, time::Duration};

use serde_json::{Value, json};
use wharf::serve::{Listening, Settings};
use wharf_plugin_api::{CallError, Cause, Full, Hello, Inbox, Launch, Link, Plugin, Scope, async_trait};
use wharf_plugin_api::{Notification, Reply, Request, ToolCall};

struct LinkedIn(Arc<dyn Plugin>); // the process: a new one each time that it is opened
struct ByLink(Arc<dyn Link>); // the client of one of them

#[async_trait]
impl Plugin for LinkedIn {
    async fn open(&self, launch: Launch, host: Arc<dyn Inbox>) -> Result<Arc<dyn Link>, Cause> {
        Ok(Arc::new(ByLink(self.0.open(launch, host).await?)))
    }
}

#[async_trait]
impl Link for ByLink {
    fn hello(&self) -> &Hello {
        self.0.hello()
    }
    async fn request(&self, mut request: Request, scope: Arc<dyn Scope>) -> Result<Reply, CallError> {
        if request.method == "tools/list" {
            let input = json!({"type": "object", "properties": {"link": {"type": "string"}}});
            let tool = json!({"name": "read", "description": "Reads a LinkedIn page", "inputSchema": input});
            return Ok(Reply::of(&json!({ "tools": [tool] })));
        } else if request.method == ToolCall::METHOD {
            let mut call = ToolCall::of(&request);
            let Some((tool, arguments)) = meant(&call.arguments) else {
                return Ok(Reply::tool_error(
                    "A link has /in/NAME, /company/NAME, /company/NAME/posts or /jobs/view/ID",
                ));
            };
            (call.name, call.arguments) = (tool.into(), arguments);
            request = call.into();
        }
        self.0.request(request, scope).await
    }
    fn notify(&self, notification: Notification) -> Result<(), Full> {
        self.0.notify(notification)
    }
    async fn close(&self) {
        self.0.close().await;
    }
}

/// The server's tool that a link means, and its arguments.
fn meant(arguments: &Value) -> Option<(&'static str, Value)> {
    let (_, path) = arguments.get("link")?.as_str()?.split_once("linkedin.com/")?;
    match path.split(['/', '?', '#']).collect::<Vec<_>>()[..] {
        ["in", username, ..] => Some(("get_person_profile", json!({ "username": username }))),
        ["company", company, "posts", ..] => Some(("get_company_posts", json!({ "company": company }))),
        ["company", company, ..] => Some(("get_company_profile", json!({ "company": company }))),
        ["jobs", "view", job, ..] => Some(("get_job_details", json!({ "job_id": job }))),
        _ => None,
    }
}

async fn run(state: &str, listen: &str) -> Result<(), Box<dyn Error>> {
    let listening = Listening::bind(&Settings::new(listen.parse()?, state)).await?;
    println!("wharf listening on http://{}", listening.address());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/wrapper/linkedin.toml"); // of the process
    let host = wharf::Host::builder(state).wrap(manifest, LinkedIn).start().await?;
    let server = listening.serve(host.clone())?;
    tokio::signal::ctrl_c().await?;
    server.end(&host, Duration::from_secs(20)).await;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    wharf::init(); // first of all: the process that keeps the server's tree is this program too
    let listen = std::env::args().nth(1).unwrap_or("127.0.0.1:7800".into());
    tokio::runtime::Runtime::new()?.block_on(run(".wharf", &listen))
}
