//! What the environment says of a provider: its address, its key, a model that it has.

use super::hosted::{Hosted, Speech};
use crate::failure::Failure;

/// What a model is told first.
const OWN: &str = "You are an agent in a terminal. Use the tools where they help; their names begin with the namespace \
    of the server that has them. If a tool fails, say so and try another way if there is one. Answer briefly.";

/// Where things stand in the environment.
struct Facts {
    key: &'static str,
    url: &'static str,
    model: &'static str,
}

/// A model of a provider. What is not given is looked up in the environment.
///
/// # Errors
/// If a key is not set.
pub fn model(
    speech: Speech,
    url: Option<&str>,
    model: Option<&str>,
    instructions: Option<&str>,
) -> Result<Hosted, Failure> {
    let facts = facts(speech);
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let own_url = url.map(str::to_owned).or_else(|| set(facts.url));
    let key = set(facts.key).or_else(|| {
        // A model on the user's own machine asks for no key, but the header must be there.
        (speech == Speech::OpenAi && own_url.is_some()).then(|| "none".to_owned())
    });
    let key = key.ok_or_else(|| {
        Failure::Usage(format!(
            "{} is not set: the provider needs a key; --provider mock needs none",
            facts.key
        ))
    })?;
    let url = match (speech, own_url) {
        (Speech::OpenAi, url) => url.unwrap_or_else(|| "https://api.openai.com/v1".to_owned()),
        (Speech::Anthropic, url) => versioned(url.as_deref().unwrap_or("https://api.anthropic.com")),
        (Speech::Bedrock, Some(url)) => url,
        (Speech::Bedrock, None) => {
            let region = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION"));
            format!("https://bedrock-runtime.{}.amazonaws.com", region.as_deref().unwrap_or("us-east-1"))
        }
    };
    let own = match instructions {
        Some(more) => format!("{OWN}\n\n{more}"),
        None => OWN.to_owned(),
    };
    Hosted::new(speech, &url, key, model.unwrap_or(facts.model), own)
}

/// Anthropic's own clients are given the address without the version.
fn versioned(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.ends_with("/v1") { url.to_owned() } else { format!("{url}/v1") }
}

fn facts(speech: Speech) -> Facts {
    match speech {
        Speech::OpenAi => Facts { key: "OPENAI_API_KEY", url: "OPENAI_BASE_URL", model: "gpt-5-mini" },
        Speech::Anthropic => {
            Facts { key: "ANTHROPIC_API_KEY", url: "ANTHROPIC_BASE_URL", model: "claude-sonnet-4-5" }
        }
        Speech::Bedrock => Facts {
            key: "AWS_BEARER_TOKEN_BEDROCK",
            url: "BEDROCK_BASE_URL",
            model: "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        },
    }
}
