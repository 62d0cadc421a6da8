//! Reads the command line, connects, and answers.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use wharf_agent::a2a::Neighbours;
use wharf_agent::agent::Agent;
use wharf_agent::args::{Args, Provider};
use wharf_agent::chat::Chat;
use wharf_agent::conversation::Conversation;
use wharf_agent::counts::Counts;
use wharf_agent::failure::Failure;
use wharf_agent::mcp::Server;
use wharf_agent::model::ChatModel;
use wharf_agent::model::hosted::Speech;
use wharf_agent::model::mock::Mock;
use wharf_agent::model::provider;
use wharf_agent::model::script::Script;
use wharf_agent::screen::Screen;
use wharf_agent::tools::Allowed;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            writeln!(std::io::stderr(), "wharf-agent: {failure}").ok();
            ExitCode::from(failure.code())
        }
    }
}

async fn run(args: Args) -> Result<(), Failure> {
    let model = model(&args)?;
    let conversation = args.conversation.as_deref().map(Conversation::load).transpose()?.unwrap_or_default();
    let server = Server::connect(args.address()?, args.call_timeout).await?;
    let mut screen = Screen::new(std::io::stdout(), std::io::stderr());
    screen.note(&format!("✓ Connected to {} at {}", server.name(), server.address().url));
    let allowed = Allowed::only(args.namespaces);
    screen.note(&format!("✓ Available MCP tools: {}", allowed.of(server.tools()).len()));
    let agent = Agent {
        model,
        server,
        neighbours: args.a2a.then_some(Neighbours { timeout: args.call_timeout }),
        allowed,
        conversation,
        max_turns: args.max_turns.into(),
        counts: Counts::default(),
        unfinished: String::new(),
    };
    let interrupts = signal(SignalKind::interrupt()).map_err(|error| Failure::Failed(error.to_string()))?;
    let mut chat = Chat { agent, screen, keep: args.conversation, interrupts };
    let prompt = args.prompt.join(" ");
    let ended = if prompt.is_empty() { chat.run().await } else { chat.once(&prompt).await };
    chat.close().await;
    ended
}

fn model(args: &Args) -> Result<Box<dyn ChatModel>, Failure> {
    match args.provider {
        Provider::Mock => {
            let script = args.script.as_deref().map(Script::load).transpose()?;
            Ok(Box::new(Mock::new(script)))
        }
        Provider::OpenAi => hosted(args, Speech::OpenAi),
        Provider::Anthropic => hosted(args, Speech::Anthropic),
        Provider::Bedrock => hosted(args, Speech::Bedrock),
    }
}

fn hosted(args: &Args, speech: Speech) -> Result<Box<dyn ChatModel>, Failure> {
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|error| Failure::Usage(format!("the instructions {}: {error}", path.display())))
    };
    let instructions = args.instructions.as_deref().map(read).transpose()?;
    let model =
        provider::model(speech, args.base_url.as_deref(), args.model.as_deref(), instructions.as_deref())?;
    Ok(Box::new(model))
}
