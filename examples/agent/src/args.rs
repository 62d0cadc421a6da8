//! The command line and the environment, and what follows from both: the server's address, its token.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::failure::Failure;
use crate::mcp::Address;
use crate::model::script;

/// Where wharf listens if nothing else is said.
const HOST: &str = "http://127.0.0.1:7800";

/// A terminal agent: a language model with the tools of an MCP endpoint.
///
/// With a prompt it answers once: the answer on stdout, the tools that it calls on stderr. Without one it chats; /help
/// lists what can be typed. Exit codes: 0 answered, 1 failed, 2 wrong usage, 3 the server is not there, 8 not
/// authorised, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "wharf-agent", version, after_help = script::FORMAT)]
pub struct Args {
    /// What to answer; none begins a chat
    pub prompt: Vec<String>,

    /// The MCP endpoint: streamable HTTP, or HTTP+SSE if its path ends in /sse [default: wharf on this machine]
    #[arg(long, env = "MCP_SERVER_URL", value_name = "URL")]
    pub server_url: Option<String>,

    /// Sent to the server as a bearer token [default: the token of wharf's state folder, to wharf only]
    #[arg(long, env = "WHARF_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// The state folder of a wharf on this machine, for its token [default: $XDG_STATE_HOME/wharf]
    #[arg(long, env = "WHARF_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// Who thinks
    #[arg(long, env = "AI_PROVIDER", value_enum, default_value = "mock")]
    pub provider: Provider,

    /// The provider's model [default: one of its own for each provider]
    #[arg(long, env = "AI_MODEL")]
    pub model: Option<String>,

    /// Another address of the provider, as of a server that is compatible with OpenAI
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,

    /// What the mock model says; see below
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,

    /// Use the tools of these namespaces only
    #[arg(long = "namespace", value_name = "NAME", value_delimiter = ',')]
    pub namespaces: Vec<String>,

    /// A file in which the conversation is kept; if it is there, the conversation goes on
    #[arg(long, value_name = "FILE")]
    pub conversation: Option<PathBuf>,

    /// A file with instructions for the model, such as a skill
    #[arg(long, value_name = "FILE")]
    pub instructions: Option<PathBuf>,

    /// How often the model may speak for one message
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_turns: u16,

    /// How long a tool may take
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    pub call_timeout: Duration,

    /// Let the model write to the agents of a registry (tool send_to_agent)
    #[arg(long)]
    pub a2a: bool,
}

/// Who thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Provider {
    /// A script; needs no key
    Mock,
    /// OpenAI or a server compatible with it; OPENAI_API_KEY, OPENAI_BASE_URL
    #[value(name = "openai")]
    OpenAi,
    /// Anthropic; ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL
    Anthropic,
    /// AWS Bedrock; AWS_BEARER_TOKEN_BEDROCK, AWS_REGION, BEDROCK_BASE_URL
    Bedrock,
}

impl Args {
    /// Where the server is, and the token for it. The token of a state folder goes to a wharf of this machine, or where
    /// the user names the folder: no other server gets it.
    ///
    /// # Errors
    /// If the state folder was named and has no token.
    pub fn address(&self) -> Result<Address, Failure> {
        let url = self.server_url.clone().unwrap_or_else(|| {
            let host = std::env::var("WHARF_URL").unwrap_or_else(|_| HOST.to_owned());
            format!("{}/mcp", host.trim_end_matches('/'))
        });
        let token = match (&self.token, &self.state) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(state)) => Some(read_token(state).map_err(|(path, error)| {
                Failure::Usage(format!("the host's token cannot be read from {}: {error}", path.display()))
            })?),
            (None, None) if self.server_url.is_none() && std::env::var_os("WHARF_URL").is_none() => {
                default_state().and_then(|state| read_token(&state).ok())
            }
            (None, None) => None,
        };
        Ok(Address { url, token: token.filter(|token| !token.is_empty()) })
    }
}

fn read_token(state: &Path) -> Result<String, (PathBuf, std::io::Error)> {
    let path = state.join("token");
    match std::fs::read_to_string(&path) {
        Ok(token) => Ok(token.trim().to_owned()),
        Err(error) => Err((path, error)),
    }
}

fn default_state() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")));
    base.map(|base| base.join("wharf"))
}
