//! The script of the mock model: what it says and which tools it calls, turn by turn. Read and checked here.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::failure::Failure;

/// The format, for `--help`.
pub const FORMAT: &str = r#"The script of the mock model is TOML (or JSON with the same keys, in a file *.json):

  pace = "20ms"                  # a pause after each word; none if left out

  [[turns]]                      # one message of the model; they are said in this order
  say = "I look at the metrics."
  [[turns.calls]]                # tools to call after it, any number; a turn without calls ends the answer
  tool = "monitoring__get_system_metrics"
  id = "metrics"                 # a name for the result; the tool's own name if left out
  arguments = { service = "{{prompt}}" }

  [[turns]]
  say = "CPU is at {{metrics.cpu.percent}} %."

  [[answers]]                    # said instead whenever the user's message has this text in it
  when = "tools"
  turns = [{ say = "I have {{tools}} tools." }]

{{prompt}} is the user's message, {{tools}} the number of tools, {{last}} the last result, {{ID}} the latest result of that
name, {{ID.key.0.key}} a part of it. A result is JSON where the tool answered JSON; JSON within a string is looked into.
An argument that is nothing but {{..}} keeps its type: a number stays a number."#;

/// What the mock says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Said in this order, through the whole conversation.
    #[serde(default)]
    pub turns: Vec<ScriptedTurn>,
    /// Said when a message of the user fits.
    #[serde(default)]
    pub answers: Vec<ScriptedAnswer>,
    /// The pause after each word.
    #[serde(default, deserialize_with = "duration")]
    pub pace: Duration,
}

/// What is said whenever the user's message has a text in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedAnswer {
    /// Compared without regard to case.
    pub when: String,
    /// From the first on, each time.
    pub turns: Vec<ScriptedTurn>,
}

/// One message of the model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedTurn {
    /// A template.
    #[serde(default)]
    pub say: String,
    /// In this order.
    #[serde(default)]
    pub calls: Vec<ScriptedCall>,
}

/// A tool to call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedCall {
    /// As the server has it.
    pub tool: String,
    /// What later turns call its result.
    #[serde(default)]
    pub id: Option<String>,
    /// Each text in them is a template.
    #[serde(default)]
    pub arguments: Map<String, Value>,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// If the file cannot be read or is no script; the text says where.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let wrong = |cause: String| Failure::Usage(format!("the script {}: {cause}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let json = path.extension().is_some_and(|extension| extension == "json");
        let script = if json { Self::from_json(&text) } else { Self::from_toml(&text) };
        script.map_err(wrong)
    }

    fn from_json(text: &str) -> Result<Self, String> {
        serde_json::from_str::<Self>(text).map_err(|error| error.to_string())?.checked()
    }

    /// Reads a script from a text.
    ///
    /// # Errors
    /// Says what is wrong, and where.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        toml::from_str::<Self>(text).map_err(|error| error.to_string())?.checked()
    }

    fn checked(self) -> Result<Self, String> {
        if self.turns.is_empty() && self.answers.is_empty() {
            return Err("it has no turns: write at least one [[turns]] with say or calls".to_owned());
        }
        if let Some(answer) = self.answers.iter().find(|answer| answer.turns.is_empty()) {
            return Err(format!("the answer to {:?} has no turns", answer.when));
        }
        Ok(self)
    }
}

fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}
