//! A client on rmcp 3.9, which finds out the era by itself. Argument: what to do, as JSON; stdout: the report.
//! It knows no host: the same run works against any server.

#![allow(deprecated, reason = "sampling and roots are deprecated, and servers in use still ask for them")]

use std::collections::HashMap;
use std::error::Error;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
    ElicitRequestParams, ElicitResult, ElicitationAction, Implementation, ListRootsResult,
    ProgressNotificationParam, ProtocolVersion, Root, SamplingMessage,
};
use rmcp::service::{NotificationContext, RequestContext, RoleClient, RunningService};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt as _, ErrorData};
use serde::Deserialize;
use serde_json::{Map, Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Deserialize)]
struct Task {
    to: Target,
    calls: Vec<Call>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Target {
    Command(Vec<String>),
    #[serde(untagged)]
    Http {
        url: String,
        #[serde(default)]
        headers: HashMap<String, String>,
    },
}

#[derive(Deserialize)]
struct Call {
    tool: String,
    arguments: Map<String, Value>,
}

/// What came from the server since the running call began.
#[derive(Default)]
struct Heard {
    asked: Vec<&'static str>,
    progress: Vec<Value>,
}

#[derive(Clone, Default)]
struct Answers(Arc<Mutex<Heard>>);

impl Answers {
    fn hear(&self, note: impl FnOnce(&mut Heard)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn take(&self) -> Heard {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientHandler for Answers {
    fn get_info(&self) -> ClientConfig {
        let capabilities = json!({ "sampling": {}, "elicitation": { "form": {} }, "roots": {} });
        let capabilities: ClientCapabilities = serde_json::from_value(capabilities).unwrap_or_default();
        ClientConfig::new(capabilities, Implementation::new("rmcp", "1.0.0"))
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> std::result::Result<CreateMessageResult, ErrorData> {
        self.hear(|heard| heard.asked.push("sampling/createMessage"));
        let message = SamplingMessage::assistant_text("sampled by interop");
        Ok(CreateMessageResult::new(message, "interop".to_owned()))
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> std::result::Result<ElicitResult, ErrorData> {
        self.hear(|heard| heard.asked.push("elicitation/create"));
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "name": "interop" })))
    }

    async fn list_roots(
        &self,
        _: RequestContext<RoleClient>,
    ) -> std::result::Result<ListRootsResult, ErrorData> {
        self.hear(|heard| heard.asked.push("roots/list"));
        Ok(ListRootsResult::new(vec![Root::new("file:///interop")]))
    }

    async fn on_progress(&self, event: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.hear(|heard| heard.progress.push(json!([event.progress, event.total])));
    }
}

// One thread: what came before an answer is handled before the answer is.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let task = std::env::args().nth(1).ok_or("the argument is what to do, as JSON")?;
    let Task { to, calls } = serde_json::from_str(&task)?;
    let answers = Answers::default();
    let client = connect(to, answers.clone()).await?;
    let info = client.peer_info().ok_or("the server has not said who it is")?;
    let info = serde_json::to_value(&*info)?;
    let listed: Vec<_> = client.list_all_tools().await?.into_iter().map(|tool| tool.name).collect();
    let mut done = Vec::new();
    for call in calls {
        done.push(perform(&client, &answers, call).await);
    }
    let report = json!({
        "server": info.pointer("/serverInfo/name"), "protocol": info.get("protocolVersion"),
        "listed": listed, "calls": done,
    });
    writeln!(std::io::stdout(), "{report}")?;
    client.cancel().await?;
    Ok(())
}

/// One call and what was heard meanwhile; an error is told as such and does not end the run.
async fn perform(client: &RunningService<RoleClient, Answers>, answers: &Answers, call: Call) -> Value {
    answers.take();
    let Call { tool, arguments } = call;
    let params = CallToolRequestParams::new(tool.clone()).with_arguments(arguments);
    let result = match client.call_tool(params).await {
        Ok(result) => result,
        Err(error) => return json!({ "tool": tool, "error": error.to_string() }),
    };
    let Heard { asked, progress } = answers.take();
    let texts = result.content.iter().filter_map(|block| block.as_text()).map(|text| &*text.text);
    let text = texts.collect::<Vec<_>>().join("\n");
    let failed = result.is_error == Some(true);
    json!({ "tool": tool, "text": text, "failed": failed, "progress": progress, "asked": asked })
}

async fn connect(to: Target, answers: Answers) -> Result<RunningService<RoleClient, Answers>> {
    let mode = ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::LATEST],
        legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
    };
    Ok(match to {
        Target::Command(argv) => {
            let (program, args) = argv.split_first().ok_or("an empty command")?;
            let mut command = tokio::process::Command::new(program);
            command.args(args);
            answers.serve_with_lifecycle(TokioChildProcess::new(command)?, mode).await?
        }
        Target::Http { url, headers } => {
            let mut config = StreamableHttpClientTransportConfig::with_uri(url);
            for (name, value) in headers {
                config.custom_headers.insert(name.parse()?, value.parse()?);
            }
            answers.serve_with_lifecycle(StreamableHttpClientTransport::from_config(config), mode).await?
        }
    })
}
