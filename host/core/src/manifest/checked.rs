//! A manifest after all checks: what the host launches from.

use std::path::PathBuf;

use super::sections::{Balance, Dialect, Health, Limits, Restart, Retry, Stop, ToolFilter};
use super::template::Template;
use crate::id::PluginId;

/// One plugin as its manifest declares it, checked and with its variables expanded.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The plugin's id.
    pub id: PluginId,
    /// The file it stands in.
    pub path: PathBuf,
    /// For people.
    pub description: Option<String>,
    /// What is launched or called.
    pub kind: Kind,
    /// Whether `/readyz` waits for it.
    pub required: bool,
    /// Whether it runs at all (an operator's `disable` is kept elsewhere).
    pub enabled: bool,
    /// The prefix of exposed names.
    pub namespace: String,
    /// Instances side by side.
    pub replicas: u32,
    /// Which instance takes the next call.
    pub balance: Balance,
    /// Which tools are offered.
    pub tools: ToolFilter,
    /// How the host knows that an instance works.
    pub health: Health,
    /// What happens when an instance ends.
    pub restart: Restart,
    /// Bounds on calls.
    pub limits: Limits,
    /// Further attempts.
    pub retry: Retry,
    /// How an instance is ended.
    pub stop: Stop,
}

/// What a plugin is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A process that we launch.
    Command(Command),
    /// A server that runs elsewhere.
    Remote(Remote),
}

/// A process to launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The program, then its arguments.
    pub argv: Vec<Template>,
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// The variables that the manifest declares (`env_file` included), in order of name.
    pub env: Vec<(String, Template)>,
    /// How it speaks MCP.
    pub dialect: Dialect,
    /// Where it listens, for every dialect but stdio.
    pub url: Option<Template>,
    /// The port to put in for `${port}`; `None` if nothing uses one.
    pub port: Option<PortChoice>,
    /// The native library that it serves, if it is our own worker.
    pub library: Option<PathBuf>,
}

/// Where the port of a launched server comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortChoice {
    /// A free one, chosen anew at each launch.
    Auto,
    /// This one (with replicas: this one and the following).
    Fixed(u16),
}

/// A server that runs elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    /// Its endpoint.
    pub url: Template,
    /// How it speaks MCP; `None` is to be detected.
    pub dialect: Option<Dialect>,
    /// Sent on every request; `auth` is among them.
    pub headers: Vec<(String, Template)>,
}

// === impl Manifest ===

impl Manifest {
    /// The API's word for what kind of plugin it is.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Command(Command { library: Some(_), .. }) => "native",
            Kind::Command(_) => "external",
            Kind::Remote(_) => "remote",
        }
    }

    /// The values that came from the environment or from files: no log may show one.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let templates: Vec<&Template> = match &self.kind {
            Kind::Command(c) => c.argv.iter().chain(c.env.iter().map(|(_, t)| t)).chain(&c.url).collect(),
            Kind::Remote(r) => r.headers.iter().map(|(_, t)| t).chain([&r.url]).collect(),
        };
        templates.into_iter().flat_map(Template::secrets)
    }
}
