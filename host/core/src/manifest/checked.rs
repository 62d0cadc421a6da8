//! A manifest after all checks: what the host launches from.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use wharf_plugin_api::Plugin;

use super::audit::Audit;
use super::embedded::{Embedded, Wrapper};
use super::routing::{Balance, Breaker, Retry, Upgrade};
use super::sandbox::Sandbox;
use super::sections::{Dialect, EraChoice, Health, Isolation, Limits, Restart, Start, Stop, ToolFilter};
use super::template::{Late, Template};
use super::units::Span;
use crate::id::PluginId;
use crate::launcher;

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
    /// What the embedding program puts around it.
    pub wrapper: Option<Wrapper>,
    /// Whether `/readyz` waits for it.
    pub required: bool,
    /// Whether it runs at all (an operator's `disable` is kept elsewhere).
    pub enabled: bool,
    /// When it is started.
    pub start: Start,
    /// A lazy one that nobody used for so long is stopped.
    pub idle_stop: Option<Span>,
    /// The prefix of exposed names.
    pub namespace: String,
    /// The groups that it belongs to.
    pub groups: BTreeSet<Arc<str>>,
    /// Which way of speaking MCP it is spoken to in.
    pub era: EraChoice,
    /// Whether clients share the instances.
    pub isolation: Isolation,
    /// Instances side by side.
    pub replicas: u32,
    /// Further instances that take calls only where those do not.
    pub standby: u32,
    /// Which instance takes the next call.
    pub balance: Balance,
    /// Which tools are offered.
    pub tools: ToolFilter,
    /// How the host knows that an instance works.
    pub health: Health,
    /// What happens when an instance ends.
    pub restart: Restart,
    /// Bounds on calls, and on what a launched plugin takes of the machine.
    pub limits: Limits,
    /// Further attempts.
    pub retry: Retry,
    /// When an instance is left alone.
    pub breaker: Breaker,
    /// How a changed plugin takes over.
    pub upgrade: Upgrade,
    /// How an instance is ended.
    pub stop: Stop,
    /// What a launched plugin may do to the machine. Its paths are absolute.
    pub sandbox: Sandbox,
    /// What is remembered of calls.
    pub audit: Audit,
}

/// What a plugin is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A process that we launch.
    Command(Command),
    /// A server that runs elsewhere.
    Remote(Remote),
    /// A Rust type of the program that embeds the host.
    Embedded(Embedded),
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
    /// Its endpoints, at least one. Each is an instance.
    pub targets: Vec<Target>,
    /// Sent on every request; `auth` is among them.
    pub headers: Vec<(String, Template)>,
}

/// An endpoint of a server that runs elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Where it is.
    pub url: Template,
    /// How it speaks MCP; `None` is to be detected.
    pub dialect: Option<Dialect>,
    /// Lower ones are preferred.
    pub priority: u32,
    /// Its share among those of the same priority.
    pub weight: u32,
    /// Sent to this one only, after those that all get.
    pub headers: Vec<(String, Template)>,
}

// === impl Manifest ===

impl Manifest {
    /// What a file with nothing but defaults would declare, for a plugin that needs no file.
    #[must_use]
    pub fn embedded(id: PluginId, plugin: Arc<dyn Plugin>) -> Self {
        Self {
            namespace: id.as_str().to_owned(),
            id,
            path: PathBuf::from("(embedded)"),
            description: None,
            kind: Kind::Embedded(Embedded(plugin)),
            wrapper: None,
            required: false,
            enabled: true,
            start: Start::default(),
            idle_stop: None,
            groups: BTreeSet::new(),
            era: EraChoice::default(),
            isolation: Isolation::default(),
            replicas: 1,
            standby: 0,
            balance: Balance::default(),
            tools: ToolFilter::default(),
            health: Health::default(),
            restart: Restart::default(),
            limits: Limits::default(),
            retry: Retry::default(),
            breaker: Breaker::default(),
            upgrade: Upgrade::default(),
            stop: Stop::default(),
            sandbox: Sandbox::default(),
            audit: Audit::default(),
        }
    }

    /// Whether a process launched by `other` does not do for this one; a change of anything else takes effect in place.
    #[must_use]
    pub fn launches_otherwise(&self, other: &Self) -> bool {
        self.kind != other.kind
            || self.wrapper != other.wrapper
            || self.era != other.era
            || self.stop != other.stop
            || self.sandbox != other.sandbox
            || !self.limits.launches_like(&other.limits)
    }

    /// How many instances are to be up: the replicas and those that stand by, or one for each target.
    #[must_use]
    pub fn instances(&self) -> u32 {
        match &self.kind {
            Kind::Remote(remote) if remote.targets.len() > 1 => {
                u32::try_from(remote.targets.len()).unwrap_or(u32::MAX)
            }
            Kind::Remote(_) | Kind::Command(_) | Kind::Embedded(_) => {
                self.replicas.saturating_add(self.standby)
            }
        }
    }

    /// Whether its command may fetch what it runs.
    #[must_use]
    pub fn fetches(&self) -> bool {
        let Kind::Command(command) = &self.kind else { return false };
        launcher::fetches(&command.argv.iter().map(|word| word.render(Late::default())).collect::<Vec<_>>())
    }

    /// The API's word for what kind of plugin it is.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Command(Command { library: Some(_), .. }) => "native",
            Kind::Command(_) => "external",
            Kind::Remote(_) => "remote",
            Kind::Embedded(_) => "embedded",
        }
    }

    /// The values that came from the environment or from files: no log may show one.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let templates: Vec<&Template> = match &self.kind {
            Kind::Command(c) => c.argv.iter().chain(c.env.iter().map(|(_, t)| t)).chain(&c.url).collect(),
            Kind::Remote(r) => {
                let headers = r.headers.iter().chain(r.targets.iter().flat_map(|target| &target.headers));
                headers.map(|(_, t)| t).chain(r.targets.iter().map(|target| &target.url)).collect()
            }
            Kind::Embedded(_) => Vec::new(),
        };
        templates.into_iter().flat_map(Template::secrets)
    }
}
