//! What a user may write in a manifest: the one place where keys, types and defaults stand. The JSON Schema
//! (`wharf schema plugin`) and the reference in the README are generated from it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::audit::Audit;
use super::routing::{Balance, Breaker, Retry, TargetFile, Upgrade};
use super::sandbox::Sandbox;
use super::sections::{Dialect, EraChoice, Health, Isolation, Limits, Restart, Start, Stop, ToolFilter};
use super::units::Span;

/// A wharf plugin manifest. One of `command`, `url`, `targets` and `library` is needed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginFile {
    /// The schema that an editor should check this file against; wharf does not read it.
    #[serde(rename = "$schema", default)]
    pub schema: Option<String>,
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
    /// The program to run: a path, or a name on the PATH. Never a shell string.
    #[serde(default)]
    pub command: Option<String>,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// The working directory, relative to the manifest's folder, which is also the default.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Environment variables for the plugin. Of the host's own environment it gets a short safe list only. Names by which
    /// a program is made to run other code (`LD_PRELOAD`, `NODE_OPTIONS`, `BROWSER`) bring a warning; from a file of another
    /// program these are refused, and so are those that tell where code is loaded from or whom to trust (`PYTHONPATH`,
    /// `NODE_PATH`, `SSL_CERT_FILE`, `npm_config_*`).
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// A file of NAME=value lines, relative to the manifest's folder. `env` wins over it.
    #[serde(default)]
    pub env_file: Option<String>,
    /// How the server speaks MCP. Default: `stdio` for a command without a url, otherwise detected.
    #[serde(default)]
    pub dialect: Option<Dialect>,
    /// With `command`: where the launched server listens, with `${port}`. Without: a remote server.
    #[serde(default)]
    pub url: Option<String>,
    /// The port for `${port}`: `auto`, or a number.
    #[serde(default)]
    pub port: Option<PortField>,
    /// A native library, served by a worker process; short for `command = "${wharf}"` with `native LIB`.
    #[serde(default)]
    pub library: Option<String>,
    /// Whether `/readyz` waits for this plugin.
    #[serde(default)]
    pub required: bool,
    /// Whether it runs at all.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// When it is started. `lazy`: by the first call, which waits for it until its own deadline; its tools are listed all the
    /// time. `/readyz` counts one that sleeps as ready.
    #[serde(default)]
    pub start: Start,
    /// With `start = "lazy"`: it is stopped when nobody has used it for so long: no call, no open task, no subscription, no
    /// session with an instance of its own. Default: once started it stays.
    #[serde(default)]
    pub idle_stop: Option<Span>,
    /// The prefix of its tools' exposed names, `<namespace>__<tool>`, cut to 64 characters with a hash where they are longer.
    /// Default: the id. A name that two plugins would share is offered for neither, and reported.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Groups that it belongs to: `/groups/NAME/mcp` offers the plugins of one group.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub groups: Vec<Group>,
    /// Which era of MCP it is spoken to in. `auto` asks the server, starts it again if it dies of the question, and remembers.
    #[serde(default)]
    pub era: EraChoice,
    /// Whether clients share the instances. `session`: each legacy session has one of its own, at most 64 at a time; others share.
    #[serde(default)]
    pub isolation: Isolation,
    /// How many instances run side by side.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub replicas: u32,
    /// Further instances that are started and proven, and take calls only while fewer than `replicas` of the others serve.
    #[serde(default)]
    #[schemars(range(min = 0, max = 16))]
    pub standby: u32,
    /// Which instance takes the next call.
    #[serde(default)]
    pub balance: Balance,
    /// Remote: several endpoints instead of one `url`. Those of the lowest priority number that work take the calls, each
    /// as much as its weight says.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub targets: Vec<TargetFile>,
    /// Remote: headers sent on every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Remote: credentials.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// Which tools are offered, and under which names.
    #[serde(default)]
    pub tools: ToolFilter,
    /// How the host knows that an instance works.
    #[serde(default)]
    pub health: Health,
    /// What happens when an instance ends.
    #[serde(default)]
    pub restart: Restart,
    /// Bounds on calls, and on what a launched plugin takes of the machine.
    #[serde(default)]
    pub limits: Limits,
    /// Further attempts of a call.
    #[serde(default)]
    pub retry: Retry,
    /// When an instance that keeps failing is left alone.
    #[serde(default)]
    pub breaker: Breaker,
    /// What happens when the manifest or the program changes while it runs.
    #[serde(default)]
    pub upgrade: Upgrade,
    /// How an instance is ended.
    #[serde(default)]
    pub stop: Stop,
    /// What a launched plugin may do to the machine.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// What is remembered of calls.
    #[serde(default)]
    pub audit: Audit,
}

/// The name of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Group(#[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,63}$"))] pub String);

/// `auto`, or a port number.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PortField {
    /// A port number.
    Number(#[schemars(range(min = 1, max = 65535))] u16),
    /// The word `auto`.
    Auto(Auto),
}

/// The word `auto`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Auto {
    /// Chosen by the host.
    Auto,
}

/// `[auth]`: credentials for a remote server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Sent as `Authorization: Bearer ...`; write it as `"${env:TOKEN}"`.
    pub bearer: String,
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}
